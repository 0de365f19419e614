"""Promises of the README: its blocks work, its options and messages exist."""
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

repository = Path(__file__).parents[1]
readme = (repository / "README.md").read_text(encoding="utf-8")
scripts = "".join((repository / name).read_text(encoding="utf-8")
                  for name in ("PyTorchTraining.py", "DataClassifier.py", "common.py"))


def run_block(words):
    """Run the one block of Python in the README that has these words."""
    block, = [block for block in re.findall(r"```python\n(.*?)```", readme, re.S) if words in block]
    Path("block.py").write_text(block)
    runpy.run_path("block.py", run_name="__main__")


def test_an_own_photo_has_the_three_classes_of_the_highest_scores(training, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["photo.py", "photo.png"])
    photo = np.full((40, 50, 4), (255, 0, 51, 255), dtype=np.uint8)
    Image.fromarray(photo).save("photo.png")
    training.saveModel()
    run_block("Image.open")
    image = torch.tensor([1, -1, -0.6]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    chances, labels = training.model.eval()(image).softmax(1)[0].topk(3)
    assert capsys.readouterr().out.splitlines() == [
        "%5s %3d %%" % (training.classes[label], 100 * chance)
        for chance, label in zip(chances, labels)]


@pytest.mark.parametrize("fixture, file, names, shape", [
    ("training", "ImageClassifier.onnx", ["modelInput", "modelOutput"], (3, 32, 32)),
    ("iris", "Network.onnx", ["input", "output"], (4,))])
@pytest.mark.filterwarnings("ignore")  # the older exporter of PyTorch warns
def test_the_onnx_file_computes_what_the_model_does(request, fixture, file, names, shape):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    script = request.getfixturevalue(fixture)
    script.model.train()(torch.rand(8, *shape))  # BatchNorm learns from these
    script.saveModel()
    run_block(file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert [session.get_inputs()[0].name, session.get_outputs()[0].name] == names
    for size in (1, 7):
        batch = torch.rand(size, *shape) * 2 - 1
        output, = session.run(None, {names[0]: batch.numpy()})
        expected = script.model.eval()(batch)
        assert torch.allclose(torch.from_numpy(output), expected, rtol=1e-3, atol=1e-5)


def test_options_and_messages_of_the_readme_exist():
    for option in ("--epochs", "--seed", "--dummy"):
        assert f"{option} " in readme.replace("`", " ") and f'"{option}"' in scripts
    for message in ("CIFAR-10 could not be downloaded", "Train first",
                    "damaged or of another network"):
        assert f"`{message}`" in readme and message in scripts
    for link in re.findall(r"\]\(#?([\w/.-]+)\)", readme):
        heading = "\n## " + link.replace("-", " ").capitalize()
        assert heading.lower() in readme.lower() or (repository / link).exists()
