"""Both scripts as a user starts them."""
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import common
import pytest
import torch
from conftest import IMAGES, IRIS, VISIBLE_GPUS, the_line
from torch.optim import Adam
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SCRIPTS = pytest.mark.parametrize("script, arguments, path", [
    (IMAGES, ["--dummy"], "./dummyModel.pth"), (IRIS, [], "./NetModel.pth")], ids=["images", "iris"])


def start(*arguments, **variables):
    """Start `python ARGUMENTS` in the current folder, without a display; return the Popen."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment.update(MPLBACKEND="agg" if os.name == "nt" or sys.platform == "darwin" else "", **variables)
    return subprocess.Popen([sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env=environment)


def outputs(processes):
    """Return the output of each process; check that it ends with status 0."""
    texts = []
    for process in processes:
        text, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        texts.append(text)
    return texts


def test_both_scripts_run_from_any_folder_without_a_display_and_print_plain_ascii(folder):
    Path("myFirstModel.pth").write_text("of a real run")
    iris, images = outputs([start(IRIS, PYTHONIOENCODING="ascii"), start(IMAGES, "--dummy", PYTHONIOENCODING="ascii")])
    assert iris.startswith("Our dataset is balanced and has the following values to predict:\n"
                           "Iris-setosa        50\nIris-versicolor    50\nIris-virginica     50\n\n"
                           "Input format:  torch.Size([150, 4]) torch.float32\n"
                           "Output format:  torch.Size([150]) torch.int64\n"
                           "The model will be running on cpu device\n\nBegin training...\n")
    assert iris.count("\nCompleted training batch ") == 10
    assert re.search(r"^Finished Training\n\nAccuracy of the model based on the test set of 45 inputs is: \d+ %\n"
                     r"Accuracy to predict Iris-setosa : +\d+ %\nAccuracy to predict Iris-versicolor : +\d+ %\n"
                     r"Accuracy to predict Iris-virginica : +\d+ %\nThe model is saved as ./NetModel.pth\n\Z",
                     iris, re.M)
    assert images.startswith("The number of images in a training set is:  1000\n"
                             "The number of images in a test set is:  200\nThe number of batches per epoch is:  100\n"
                             "The model will be running on cpu device\nFor epoch 1 ")
    assert images.count("\nFor epoch ") == 5
    assert "\nFinished Training\nThe model saved as ./dummyModel.pth has a test accuracy of " in images
    assert re.findall(r"^Accuracy of +(\w+) : +\d+ %$", images, re.M) == [
        "plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    best = max(map(int, re.findall(r"^For epoch.* (\d+) %$", images, re.M)))
    assert f"has a test accuracy of {best} %\n" in images
    assert sorted(os.listdir(folder)) == ["NetModel.pth", "dummyModel.pth", "myFirstModel.pth", "testBatch.png"]
    assert Path("myFirstModel.pth").read_text() == "of a real run"


def test_both_scripts_run_on_a_gpu_if_there_is_one(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if VISIBLE_GPUS is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", VISIBLE_GPUS)
    probe = start("-c", "import torch; torch.ones(1, device='cuda') + 1")
    probe.communicate()
    if probe.returncode:
        pytest.skip("there is no GPU that PyTorch can use")
    for text in outputs([start(IRIS), start(IMAGES, "--dummy", "--epochs", "2")]):
        assert "The model will be running on cuda:0 device\n" in text and " saved as " in text


class PretendGPU(TorchDispatchMode):
    """Make the meta device, whose tensors have a shape but no numbers, behave like a GPU.

    While `with PretendGPU():` runs, PyTorch calls __torch_dispatch__ for every operation on tensors. As on a GPU, an
    operation on tensors of both devices is an error. All numbers that are read from the meta device are zero.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if name == "_local_scalar_dense" and tensors[0].is_meta:  # item() and tolist()
            return 0
        if name == "_to_copy" and tensors[0].is_meta and kwargs.get("device") == torch.device("cpu"):
            return torch.zeros(tensors[0].shape, dtype=kwargs.get("dtype") or tensors[0].dtype)
        if name != "copy_" and len({tensor.device for tensor in tensors if tensor.dim()}) > 1:
            raise RuntimeError(f"{name}: tensors on two devices")
        return func(*args, **kwargs)


@SCRIPTS
def test_on_a_pretended_gpu_the_model_and_every_batch_go_there(run, monkeypatch, capsys, script, arguments, path):
    monkeypatch.setattr(common, "get_device", lambda: torch.device("meta"))
    monkeypatch.setattr(common, "save_checkpoint", lambda model, path: None)
    monkeypatch.setattr(common, "load_checkpoint", lambda model, path: None)
    with PretendGPU():
        names = run(script, *arguments, "--epochs", "1")
    assert next(names["model"].parameters()).is_meta
    assert "The model will be running on meta device\n" in capsys.readouterr().out


@SCRIPTS
def test_the_seed_decides_the_numbers_and_an_import_has_those_of_seed_0(run, monkeypatch, script, arguments, path):
    def weights(names):
        return torch.cat([parameter.detach().flatten() for parameter in names["model"].parameters()])

    default, first, second = [weights(run(script, *arguments, "--epochs", "1", *seed))
                              for seed in ([], ["--seed", "0"], ["--seed", "1"])]
    assert torch.allclose(default, first, atol=1e-3) and not torch.allclose(first, second, atol=1e-1)
    monkeypatch.setattr(Adam, "step", lambda self: None)  # the model stays as it is made
    imported = runpy.run_path(str(script), run_name="imported")
    assert torch.equal(weights(run(script, *arguments, "--epochs", "1")), weights(imported))
    assert script == IRIS or "train_set" not in imported  # it loads no images


@SCRIPTS
def test_the_help_tells_the_defaults(run, capsys, script, arguments, path):
    with pytest.raises(SystemExit):
        run(script, "--help")
    text = " ".join(capsys.readouterr().out.split())
    assert re.findall(r"--(\w+) N .*?\(default: (\d+)\)", text) == [
        ("epochs", "5" if script == IMAGES else "10"), ("seed", "0")]  # as the tests above see them


@SCRIPTS
@pytest.mark.parametrize("option, value", [
    ("--epochs", "-1"), ("--epochs", "x"), ("--seed", "-1"), ("--seed", "4294967296")])
def test_a_wrong_option_is_told_before_anything_is_done(run, capsys, folder, script, arguments, path, option, value):
    the_line(run, script, *arguments, option, value, status=2)
    text, error = capsys.readouterr()
    assert text == "" and re.search(rf"error: .*{option}.*(must be|to 4294967295|'x')", error)
    assert not os.listdir(folder)


@SCRIPTS
def test_ctrl_c_in_training_is_one_line_and_leaves_the_best_epoch(run, capsys, monkeypatch, script, arguments, path):
    steps, step = [], Adam.step

    def ctrl_c_in_epoch_2(self):
        steps.append(1)
        if len(steps) > (100 if script == IMAGES else 8):
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(Adam, "step", ctrl_c_in_epoch_2)
    the_line(run, script, *arguments, status=130)
    text, error = capsys.readouterr()
    assert error == f"Stopped. If this run has saved an epoch, the best one so far is in {path}.\n"
    assert "Finished" not in text and len(torch.load(path)) > 5


@SCRIPTS
def test_without_epochs_the_saved_model_is_tested_and_nothing_is_trained(run, capsys, script, arguments, path):
    assert the_line(run, script, *arguments, "--epochs", "0").startswith(
        f"{path} cannot be read: No such file or directory. Train first: ")
    run(script, *arguments, "--epochs", "1", "--seed", "3")
    saved = Path(path).read_bytes()
    trained = capsys.readouterr().out.partition("Finished Training\n")[2].strip()
    run(script, *arguments, "--epochs", "0")
    tested = capsys.readouterr().out
    assert trained and tested.endswith(trained + "\n") and Path(path).read_bytes() == saved
    assert not re.search("best|Finished|[Tt]raining batch|For epoch", tested)
