"""Both scripts as a user starts them."""
import os
import re
import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
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


def output(*arguments, **variables):
    """Return what `python ARGUMENTS` prints in the current folder, without a display; None if it fails."""
    backend = "agg" if os.name == "nt" or sys.platform == "darwin" else None
    variables = {**os.environ, "DISPLAY": None, "WAYLAND_DISPLAY": None, "MPLBACKEND": backend, **variables}
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True,
                          env={name: value for name, value in variables.items() if value is not None})
    print(done.stderr)  # the reason, if it fails
    return done.stdout if done.returncode == 0 else None


def test_both_scripts_run_from_any_folder_without_a_display_and_print_plain_ascii(folder):
    Path("myFirstModel.pth").write_text("of a real run")
    with ThreadPoolExecutor() as pool:
        iris, images = pool.map(lambda words: output(*words, PYTHONIOENCODING="ascii"), ([IRIS], [IMAGES, "--dummy"]))
    assert iris.startswith("Our dataset is balanced and has the following values to predict:\n"
                           "Iris-setosa        50\nIris-versicolor    50\nIris-virginica     50\n\n"
                           "Input format:  torch.Size([150, 4]) torch.float32\n"
                           "Output format:  torch.Size([150]) torch.int64\n"
                           "The model will be running on cpu device\n\nBegin training...\nCompleted training batch 1 ")
    assert images.startswith("The number of images in a training set is:  1000\n"
                             "The number of images in a test set is:  200\nThe number of batches per epoch is:  100\n"
                             "The model will be running on cpu device\nFor epoch 1 ")
    assert iris.count("\nCompleted training batch ") == 10 and images.count("\nFor epoch ") == 5
    best = max(map(int, re.findall(r"^For epoch.* (\d+) %$", images, re.M)))
    assert f"\nThe model saved as ./dummyModel.pth has a test accuracy of {best} %\n" in images
    assert sorted(os.listdir(folder)) == ["NetModel.pth", "dummyModel.pth", "myFirstModel.pth", "testBatch.png"]
    assert Path("myFirstModel.pth").read_text() == "of a real run"


def test_both_scripts_run_on_a_gpu_if_there_is_one():
    visible = {"CUDA_VISIBLE_DEVICES": VISIBLE_GPUS}
    if output("-c", "import torch; torch.ones(1, device='cuda') + 1", **visible) is None:
        pytest.skip("there is no GPU that PyTorch can use")
    for arguments in ([IRIS], [IMAGES, "--dummy", "--epochs", "2"]):
        assert "The model will be running on cuda:0 device\n" in output(*arguments, **visible)


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
    monkeypatch.setattr(Adam, "step", lambda self: None)  # the model stays as it is made
    imported = runpy.run_path(str(script), run_name="imported")
    names = [imported, *(run(script, *arguments, "--epochs", "1", *seed) for seed in (
        [], ["--seed", "0"], ["--seed", "1"]))]
    weights = [next(each["model"].parameters()).tolist() for each in names]
    assert weights[0] == weights[1] == weights[2] != weights[3]
    assert script == IRIS or "train_set" not in imported  # it loads no images


@SCRIPTS
@pytest.mark.parametrize("option, value", [
    ("--epochs", "-1"), ("--epochs", "x"), ("--seed", "-1"), ("--seed", "4294967296")])
def test_a_wrong_option_is_told_before_anything_is_done(run, capsys, folder, script, arguments, path, option, value):
    the_line(run, script, *arguments, option, value, status=2)
    text, error = capsys.readouterr()
    assert text == "" and re.search(rf"error: .*{option}.*(must be|to 4294967295|'x')", error)
    assert not os.listdir(folder)


@SCRIPTS
def test_ctrl_c_is_one_line_and_leaves_the_best_epoch(run, capsys, monkeypatch, script, arguments, path):
    def ctrl_c_in_epoch_2(self):
        steps.append(step(self))
        if len(steps) > (100 if script == IMAGES else 8):
            raise KeyboardInterrupt

    steps, step = [], Adam.step
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
