"""What the README shows exists and runs: commands, options, its map, the blocks that write ONNX."""
import importlib.util
import re
import runpy
import sys

import DataClassifier
import PyTorchTraining
import common
import pytest
import torch
from conftest import ROOT, copy_scripts

README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = {"PyTorchTraining.py": PyTorchTraining, "DataClassifier.py": DataClassifier, "common.py": common}
PYTHON_BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)
PLAIN_BLOCKS = re.findall(r"^```\n(.*?)^```$", README, re.M | re.S)
INLINE = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", README, flags=re.M | re.S))
COMMANDS = sorted({line for text in [*PLAIN_BLOCKS, *INLINE] for line in text.splitlines()
                   if line.startswith("python ")})


def options(script, monkeypatch, capsys):
    """Return the options that `python SCRIPT --help` shows."""
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as exit:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert not exit.value.code
    return set(re.findall(r"--[a-z]+", capsys.readouterr().out))


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, monkeypatch, capsys):
    _, *words = command.split()
    if words[0] == "-m":
        assert importlib.util.find_spec(words[1])
        assert words[1:3] != ["pip", "install"] or words[3] != "-r" or (ROOT / words[4]).exists()
    else:
        assert (ROOT / words[0]).exists()
        used = {word for word in words if word.startswith("--")}
        assert used <= (options(words[0], monkeypatch, capsys) if used else set())


def test_commands_and_options_are_all_there(monkeypatch, capsys):
    assert {"python DataClassifier.py", "python PyTorchTraining.py", "python -m pytest",
            "python -m pip install -r requirements.txt"} <= set(COMMANDS)
    shown = {option for text in INLINE for option in re.findall(r"(?<!\S)--[a-z]+", text)}
    existing = options("PyTorchTraining.py", monkeypatch, capsys) | options("DataClassifier.py", monkeypatch, capsys)
    assert shown == existing - {"--help"}


def test_map():
    tables = re.findall(r"^\|[^|\n]*\| `(\w+\.py)` \|\n\|---\|---\|\n((?:\|.*\|\n)+)", README, re.M)
    assert [script for script, _ in tables] == ["PyTorchTraining.py", "DataClassifier.py"]
    for script, rows in tables:
        names = re.findall(r"`(\w+)`", rows)
        missing = {name for name in names if not hasattr(SCRIPTS[script], name)}
        assert len(names) > 8 and missing <= {"train_loader", "test_loader"}
        assert not missing or script == "PyTorchTraining.py"  # there load_data() makes them
    functions = re.findall(r"`(\w+)`", README.split("Both use `common.py`:")[1].split("\n\n")[0])
    assert len(functions) == 5 and all(hasattr(common, name) for name in functions)


EXPORTS = {"ImageClassifier.onnx": ("PyTorchTraining.py", ["modelInput", "modelOutput"], (3, 32, 32)),
           "Network.onnx": ("DataClassifier.py", ["input", "output"], (4,))}


@pytest.fixture(params=EXPORTS)
def export(request, monkeypatch, empty_folder):
    """Return the README's block, the script that it is for, and a function to check what it wrote."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr("socket.setdefaulttimeout", lambda seconds: None)
    monkeypatch.setattr(PyTorchTraining, "checkpoint", "./myFirstModel.pth")
    script, names, shape = EXPORTS[request.param]
    block, = [block for block in PYTHON_BLOCKS if request.param in block]

    def check(model):
        file = empty_folder / request.param
        assert [path.name for path in empty_folder.iterdir() if ".onnx" in path.name] == [request.param]
        assert not list(empty_folder.glob("*.data"))  # a single file
        exported = onnx.load(file)
        onnx.checker.check_model(exported)
        assert [(opset.domain, opset.version) for opset in exported.opset_import] == [("", 9)]
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        assert [session.get_inputs()[0].name, session.get_outputs()[0].name] == names
        assert session.get_inputs()[0].shape[1:] == list(shape)
        for size in (1, 2, 7, 10, 33):
            batch = torch.rand(size, *shape) * 2 - 1
            with torch.no_grad():
                expected = model.eval()(batch)
            output, = session.run(None, {names[0]: batch.numpy()})
            assert output.shape == expected.shape
            assert torch.allclose(torch.from_numpy(output), expected, rtol=1e-3, atol=1e-5)

    return block, script, check


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_onnx_block_beside_the_script(export, image, iris):
    block, script, check = export
    model = {"PyTorchTraining.py": image, "DataClassifier.py": iris}[script].model
    for _ in range(3):
        model.train()(torch.rand(8, 3, 32, 32) if script == "PyTorchTraining.py" else torch.rand(8, 4))
    common.save_checkpoint(model, SCRIPTS[script].checkpoint)
    exec(block, {"__name__": "__main__"})
    check(model)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_onnx_block_pasted_under_the_script(export, monkeypatch, empty_folder):
    block, script, check = export
    copy_scripts(empty_folder)
    with (empty_folder / script).open("a") as file:
        file.write(re.sub("^from .*\n", "", block, flags=re.M))
    monkeypatch.setattr(sys, "argv", [script, "--epochs", "1"] + ["--dummy"] * (script == "PyTorchTraining.py"))
    check(runpy.run_path(str(empty_folder / script), run_name="__main__")["model"])
