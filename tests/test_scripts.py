"""Both scripts as a user starts them."""
import os
import re
import runpy
import subprocess
import sys
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import common
import pytest
import torch
from conftest import IMAGES, IRIS, VISIBLE_GPUS, the_line
from test_README import block_with
from torch import nn
from torch.optim import Adam
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SCRIPTS = pytest.mark.parametrize("script, arguments, path", [
    (IMAGES, ["--dummy"], "./dummyModel.pth"), (IRIS, [], "./NetModel.pth")], ids=["images", "iris"])


def output(command):
    """Return what `python COMMAND` prints in ASCII in the current folder without a display, on any GPU."""
    variables = {**os.environ, "DISPLAY": None, "WAYLAND_DISPLAY": None, "CUDA_VISIBLE_DEVICES": VISIBLE_GPUS,
                 "MPLBACKEND": "agg" if os.name == "nt" or sys.platform == "darwin" else None,
                 "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True,
                          env={name: value for name, value in variables.items() if value is not None})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_both_scripts_run_from_any_folder_without_a_display_and_print_plain_ascii_as_the_readme_shows(folder):
    Path("myFirstModel.pth").write_text("of a real run")
    with ThreadPoolExecutor() as pool:
        iris, images = (text.replace("cuda:0", "cpu") for text in pool.map(output, [[IRIS], [IMAGES, "--dummy"]]))
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
    images = images.replace("dummyModel", "myFirstModel").replace(
        "No window can be opened: the picture is saved as ./testBatch.png\n", "")
    for ours, words in ((iris, "Iris-setosa : "), (images, "Real labels: ")):
        ours, readme = (re.sub(r"(Real labels|Predicted): .*| +\d+ %", r"\1", text[text.index("Finished"):])
                        for text in (ours, block_with(words)))
        assert ours == readme
    assert sorted(os.listdir(folder)) == ["NetModel.pth", "dummyModel.pth", "myFirstModel.pth", "testBatch.png"]
    assert Path("myFirstModel.pth").read_text() == "of a real run"


class PretendGPU(TorchDispatchMode):
    """Make the meta device behave like a GPU: an operation has tensors of one device, and all numbers read are 0."""

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
        for epochs in ("1", "0"):
            names = run(script, *arguments, "--epochs", epochs)
            assert next(names["model"].parameters()).is_meta
    assert "The model will be running on meta device\n" in capsys.readouterr().out


@pytest.mark.parametrize("name, shape, settings, layers", [
    ("images", (3, 32, 32), {"lr": 0.001, "fused": True}, {
        "conv1": nn.Conv2d(3, 12, 5, padding=1), "bn1": nn.BatchNorm2d(12), "1": nn.ReLU(),
        "conv2": nn.Conv2d(12, 12, 5, padding=1), "bn2": nn.BatchNorm2d(12), "2": nn.ReLU(), "pool": nn.MaxPool2d(2),
        "conv4": nn.Conv2d(12, 24, 5, padding=1), "bn4": nn.BatchNorm2d(24), "4": nn.ReLU(),
        "conv5": nn.Conv2d(24, 24, 5, padding=1), "bn5": nn.BatchNorm2d(24), "5": nn.ReLU(),
        "flat": nn.Flatten(), "fc1": nn.Linear(2400, 10)}),
    ("iris", (4,), {"lr": 0.01}, {"layer1": nn.Linear(4, 24), "1": nn.ReLU(), "layer2": nn.Linear(24, 24),
                                  "2": nn.ReLU(), "layer3": nn.Linear(24, 3)})], ids=["images", "iris"])
def test_the_network_the_loss_and_the_optimizer_are_the_tutorials(request, name, shape, settings, layers):
    script, theirs, batch = request.getfixturevalue(name), nn.Sequential(OrderedDict(layers)), torch.rand(4, *shape)
    theirs.load_state_dict(script.model.state_dict())  # the same names and shapes
    assert torch.allclose(script.model(batch), theirs(batch), atol=1e-6)  # and so the running statistics differ
    assert torch.allclose(script.model.eval()(batch), theirs.eval()(batch), atol=1e-6)
    assert script.optimizer.defaults == Adam(theirs.parameters(), weight_decay=0.0001, **settings).defaults
    assert type(script.optimizer) is Adam and type(script.loss_fn) is nn.CrossEntropyLoss


@SCRIPTS
def test_the_seed_decides_the_numbers_and_an_import_has_those_of_seed_0(run, monkeypatch, script, arguments, path):
    monkeypatch.setattr(Adam, "step", lambda self: None)  # the model stays as it is made
    names = [run(script, *arguments, "--epochs", "1", *seed) for seed in (["--seed", "1"], [], ["--seed", "0"])]
    imported = runpy.run_path(str(script), run_name="imported")
    weights = [next(each["model"].parameters()).tolist() for each in (*names, imported)]
    assert weights[0] != weights[1] == weights[2] == weights[3]
    assert script == IRIS or "train_set" not in imported  # it loads no images


@SCRIPTS
@pytest.mark.parametrize("option, value", [
    ("--epochs", "-1"), ("--epochs", "x"), ("--seed", "-1"), ("--seed", "4294967296")])
def test_a_wrong_option_is_told_before_anything_is_done(run, capsys, script, arguments, path, option, value):
    the_line(run, script, *arguments, option, value, status=2)
    text, error = capsys.readouterr()
    assert text == "" and re.search(rf"error: .*{option}.*(must be|to 4294967295|'x')", error)


@SCRIPTS
def test_ctrl_c_is_one_line_and_leaves_the_best_epoch(run, capsys, monkeypatch, script, arguments, path):
    def save_and_stop(model, path):
        save(model, path)
        raise KeyboardInterrupt

    save = common.save_checkpoint
    monkeypatch.setattr(common, "save_checkpoint", save_and_stop)
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
