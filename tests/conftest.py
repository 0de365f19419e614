"""For every test: an empty folder, no GPU, no window, no network, the same random numbers."""
import importlib
import io
import os
import pickle
import re
import runpy
import shutil
import socket
import subprocess
import sys
import urllib.request
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; faster for tiny data
os.environ["MPLBACKEND"] = "agg"  # it draws without a window

import matplotlib.pyplot as plt
import pytest
import torch
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import calculate_md5

repository = Path(__file__).parents[1]
sys.path.insert(0, str(repository))


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # for scripts that a test starts
    torch.manual_seed(0)
    yield
    plt.close("all")
    socket.setdefaulttimeout(None)


@pytest.fixture(autouse=True)
def internet(monkeypatch):
    """A pretended internet: `answers` has the bytes of each url, or its error."""
    internet = SimpleNamespace(answers={}, asked=[])

    def urlopen(request):
        internet.asked.append(request.full_url)
        answer = internet.answers.get(request.full_url, urllib.error.URLError("no network"))
        if isinstance(answer, Exception):
            raise answer
        return nullcontext(Mock(url=None, length=None, read=io.BytesIO(answer).read))

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return internet


@pytest.fixture
def training():
    """The module PyTorchTraining, imported anew."""
    sys.modules.pop("PyTorchTraining", None)
    return importlib.import_module("PyTorchTraining")


@pytest.fixture
def iris(capsys):
    """The module DataClassifier, imported anew."""
    sys.modules.pop("DataClassifier", None)
    module = importlib.import_module("DataClassifier")
    capsys.readouterr()  # what the import printed is not of interest
    return module


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a script with options in this process; return its names and its output."""
    def run(script, *options):
        monkeypatch.setattr(sys, "argv", [str(script), *options])
        names = runpy.run_path(str(repository / script), run_name="__main__")
        return SimpleNamespace(**names, printed=capsys.readouterr().out)
    return run


@pytest.fixture
def start(monkeypatch):
    """Start a script as a user does, in the empty folder; return the printed lines."""
    if sys.platform == "linux":  # elsewhere, Matplotlib would open a window
        for name in ("MPLBACKEND", "DISPLAY", "WAYLAND_DISPLAY"):
            monkeypatch.delenv(name, raising=False)

    def start(script, *options):
        command = [sys.executable, repository / script, *options]
        printed = subprocess.check_output(command, text=True)
        assert printed.isascii()
        return printed.splitlines()
    return start


@pytest.fixture
def changed():
    """Write a copy of a script, with some parts changed, and data/iris.csv. A change is
    the pattern of the old part, which is there once, and the new part."""
    def changed(script, *changes):
        text = (repository / script).read_text(encoding="utf-8")
        for pattern, new in changes:
            before, after = re.split(pattern, text, flags=re.DOTALL)
            text = before + new + after
        Path(script).write_text(text, encoding="utf-8")
        Path("data").mkdir(exist_ok=True)
        shutil.copy(repository / "data" / "iris.csv", "data")
        return Path(script).absolute()
    return changed


@pytest.fixture
def echo():
    """A network whose scores are its first ten inputs, times a weight.

    `modes` tells how it ran: (in training mode, with gradients).
    """
    class Echo(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))
            self.modes = set()

        def forward(self, input):
            self.modes.add((self.training, torch.is_grad_enabled()))
            return input.flatten(1)[:, :10] * self.weight
    return Echo()


@pytest.fixture
def pretended_gpu(monkeypatch):
    """PyTorch's device "meta", for scripts imported after it. As on a GPU, a tensor on the
    CPU and one on the device do not fit. It has no numbers: a made-up one is read."""
    device = torch.device("meta")
    monkeypatch.setattr("common.get_device", lambda: device)
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: 1)
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: [0] * len(tensor))
    monkeypatch.setattr(torch.Tensor, "__index__", lambda tensor: 0)
    return device


@pytest.fixture
def cifar(monkeypatch):
    """The archive of a CIFAR-10 of 20 training and 10 test images, in the folder data."""
    folder = Path("data", CIFAR10.base_folder)
    folder.mkdir(parents=True)
    pixels = torch.randint(256, (30, 3072), dtype=torch.uint8).numpy()
    files = {"data_batch_1": {"data": pixels[:20], "labels": 2 * list(range(10))},
             "test_batch": {"data": pixels[20:], "labels": list(range(10))},
             "batches.meta": {"label_names": []}}
    for name, content in files.items():
        (folder / name).write_bytes(pickle.dumps(content))
    archive = shutil.make_archive("data/cifar-10-python", "gztar", "data", CIFAR10.base_folder)
    shutil.rmtree(folder)
    # so that torchvision takes it for the real one
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", None]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", None]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": None})
    monkeypatch.setattr(CIFAR10, "tgz_md5", calculate_md5(archive))
    return Path(archive)
