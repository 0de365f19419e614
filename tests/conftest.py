"""Each test runs in a new, empty folder, on the CPU, with a fresh model, tiny data, no display and no network."""
import hashlib
import os
import pickle
import runpy
import shutil
import sys
import urllib.error
from pathlib import Path
from unittest.mock import Mock

VISIBLE_GPUS = os.environ.get("CUDA_VISIBLE_DEVICES")
os.environ["OMP_NUM_THREADS"] = "1"  # more threads make tiny data slower on a busy machine
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # PyTorch reads it when it is imported: the tests are of the CPU
os.environ["MPLBACKEND"] = "agg"
ROOT = Path(__file__).resolve().parent.parent
IMAGES, IRIS = ROOT / "PyTorchTraining.py", ROOT / "DataClassifier.py"
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from torch.optim import Adam  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402
from torchvision.datasets import CIFAR10  # noqa: E402

import DataClassifier  # noqa: E402
import PyTorchTraining  # noqa: E402


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The new, empty folder in which the test runs."""
    monkeypatch.setattr("urllib.request.urlopen", Mock(side_effect=urllib.error.URLError("there is no network")))
    monkeypatch.setattr("socket.setdefaulttimeout", lambda seconds: None)  # it would hold for all later tests
    monkeypatch.setattr(sys, "argv", ["a test"])
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    return tmp_path


@pytest.fixture
def images(monkeypatch):
    """PyTorchTraining with a fresh model, 7 random images in batches of 3 to train and to test."""
    script = PyTorchTraining
    use_model(monkeypatch, script, script.Network())
    data = TensorDataset(torch.rand(7, 3, 32, 32) * 2 - 1, torch.arange(7))
    for name in ("train_loader", "test_loader"):
        monkeypatch.setattr(script, name, DataLoader(data, batch_size=3), raising=False)
    return script


@pytest.fixture
def iris(monkeypatch):
    """DataClassifier with a fresh model; its data are the 150 flowers."""
    use_model(monkeypatch, DataClassifier, DataClassifier.Network(4, 3))
    return DataClassifier


def use_model(monkeypatch, script, model):
    """Give a script another model, and an optimizer for it with the settings of the script's own."""
    monkeypatch.setattr(script, "model", model)
    monkeypatch.setattr(script, "optimizer", Adam(model.parameters(), **script.optimizer.defaults))


@pytest.fixture
def run(monkeypatch):
    """A function that runs a script as `python SCRIPT ARGUMENTS` does and returns its globals."""
    def run(script, *arguments):
        monkeypatch.setattr(sys, "argv", [str(script), *arguments])
        return runpy.run_path(str(script), run_name="__main__")

    return run


@pytest.fixture
def archive(monkeypatch, folder):
    """./data with an archive of 5 times 4 training images and 10 test images; CIFAR10 now expects this one."""
    random, base = np.random.default_rng(0), folder / "data" / CIFAR10.base_folder
    base.mkdir(parents=True)
    for name, size in [*((f"data_batch_{number}", 4) for number in range(1, 6)), ("test_batch", 10)]:
        content = {"data": random.integers(0, 256, (size, 3072), dtype=np.uint8), "labels": list(range(size))}
        (base / name).write_bytes(pickle.dumps(content))
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": list("0123456789")}))
    file = Path(shutil.make_archive(str(base.parent / "cifar-10-python"), "gztar", base.parent, base.name))
    md5 = {each.name: hashlib.md5(each.read_bytes()).hexdigest() for each in [file, *sorted(base.iterdir())]}
    shutil.rmtree(base)
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5[name]] for name in md5 if name.startswith("data")])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5["batches.meta"]})
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5[file.name])
    monkeypatch.setattr(CIFAR10, "url", None)  # so that what a script sets ends with the test
    return file


def copy_of(script, change=lambda text: text):
    """Write a changed copy of a script, with data/iris.csv beside it, into the current folder; return its path."""
    Path("data").mkdir(exist_ok=True)
    shutil.copy(ROOT / "data" / "iris.csv", "data")
    copy = Path(script.name).resolve()
    copy.write_text(change(script.read_text(encoding="utf-8")), encoding="utf-8")
    return copy


def the_line(function, *arguments, status=1):
    """Return the line with which a call ends the script; check the exit status (130 is that of Ctrl-C)."""
    with pytest.raises((SystemExit, KeyboardInterrupt)) as end:  # a KeyboardInterrupt would end pytest
        function(*arguments)
    assert end.type is SystemExit
    code = end.value.code
    assert isinstance(code, str) and "\n" not in code if status == 1 else (code or 0) == status
    return code


def printed(monkeypatch, function, *arguments):
    """Return the lines that a call prints; check that each is flushed, so that it appears at once everywhere."""
    lines = []
    with monkeypatch.context() as patch:
        patch.setattr("builtins.print", lambda *words, flush=False: lines.append((" ".join(map(str, words)), flush)))
        function(*arguments)
    assert all(flush for _, flush in lines)
    return [line for line, _ in lines]


def same(model, state):
    """Return whether the state dict of `model` has the same names and, but for rounding, values as `state`."""
    mine = model.state_dict()
    return list(mine) == list(state) and all(torch.allclose(mine[name], state[name], atol=1e-4) for name in mine)


def own_epoch(model, optimizer, batches, tests):
    """Train one epoch as a textbook does; return the losses, and in evaluation mode the loss and how many are right."""
    losses = []
    for inputs, outputs in batches:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model.train()(inputs), outputs)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    scores = model.eval()(tests[0])
    loss = torch.nn.functional.cross_entropy(scores, tests[1])
    return losses, loss.item(), (scores.argmax(1) == tests[1]).sum().item()
