"""For every test: an empty folder, the CPU, no window and no network."""
import hashlib
import os
import pickle
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
from urllib.error import URLError

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; faster for tiny data
os.environ["MPLBACKEND"] = "agg"  # it draws without a window

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import CIFAR10

repository = Path(__file__).parents[1]
sys.path.insert(0, str(repository))


@pytest.fixture(autouse=True)
def empty_folder_and_cpu(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # for scripts that a test starts


@pytest.fixture(autouse=True)
def internet(monkeypatch):
    """A pretended one: `answers` has, for a host, an error or the parts to read."""
    internet = SimpleNamespace(answers={}, asked=[])

    def urlopen(request):
        internet.asked.append(request.full_url)
        answer = internet.answers.get(request.host, URLError("no network in the tests"))
        if isinstance(answer, Exception):
            raise answer
        return nullcontext(Mock(url=None, length=None, read=Mock(side_effect=[*answer, b""])))

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    yield internet
    socket.setdefaulttimeout(None)


@pytest.fixture
def training():
    """The module PyTorchTraining, imported anew."""
    sys.modules.pop("PyTorchTraining", None)
    import PyTorchTraining
    yield PyTorchTraining
    del sys.modules["PyTorchTraining"]
    plt.close("all")


@pytest.fixture
def iris(capsys):
    """The module DataClassifier, imported anew."""
    sys.modules.pop("DataClassifier", None)
    import DataClassifier
    capsys.readouterr()  # what the import printed is not of interest
    yield DataClassifier
    del sys.modules["DataClassifier"]


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a script with options in this process; return its names and its output."""
    def run(script, *options):
        monkeypatch.setattr(sys, "argv", [script, *options])
        names = runpy.run_path(str(repository / script), run_name="__main__")
        plt.close("all")
        return SimpleNamespace(**names, printed=capsys.readouterr().out)
    return run


@pytest.fixture
def start(monkeypatch):
    """Start a script as a user would, in the empty folder; return the printed lines."""
    if sys.platform == "linux":  # elsewhere, Matplotlib always finds a window
        for name in ("MPLBACKEND", "DISPLAY", "WAYLAND_DISPLAY"):
            monkeypatch.delenv(name, raising=False)

    def start(script, *options):
        done = subprocess.run([sys.executable, repository / script, *options],
                              capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.isascii()
        return done.stdout.splitlines()
    return start


@pytest.fixture
def pretended_gpu(monkeypatch):
    """A device of PyTorch that computes shapes but no numbers: those are made up.

    As with a GPU, an operation with a tensor of it and one of the CPU is an error.
    """
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: 1)
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: [0] * len(tensor))
    monkeypatch.setattr(torch.Tensor, "__index__", lambda tensor: 0)
    return torch.device("meta")


@pytest.fixture
def echo():
    """A network whose ten scores are the first ten inputs, times a weight.

    `seen` tells in which modes it ran: (training mode, with gradients).
    """
    class Echo(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(10))
            self.seen = set()

        def forward(self, input):
            self.seen.add((self.training, torch.is_grad_enabled()))
            return input.flatten(1)[:, :10] * self.weight
    return Echo()


@pytest.fixture
def tested(training, echo):
    """PyTorchTraining with 23 images, in batches of 10, and a model with these results:
    of 9 planes, 8 cars and 6 birds, 8, 6 and 1 are right.
    """
    labels = torch.tensor([0] * 9 + [1] * 8 + [2] * 6)
    guesses = torch.tensor([0] * 8 + [9] + [1] * 6 + [0] * 2 + [2] + [3] * 5)
    images = torch.zeros(23, 3, 32, 32)
    images[:, 0, 0, :10] = F.one_hot(guesses, 10).float()
    training.test_loader = DataLoader(TensorDataset(images, labels), batch_size=10)
    training.model = echo
    return training


@pytest.fixture
def table(iris):
    """A copy of iris.csv in the folder data, with one of the script beside it."""
    shutil.copy(iris.__file__, "DataClassifier.py")
    Path("data").mkdir(exist_ok=True)
    return Path(shutil.copy(iris.table, "data"))


@pytest.fixture
def archive(monkeypatch, tmp_path_factory):
    """A CIFAR-10 of 5 x 4 training and 10 test images: the bytes of its archive.

    torchvision takes it for the real one.
    """
    made = tmp_path_factory.mktemp("made")
    batches = [f"data_batch_{n}" for n in range(1, 6)]
    images = np.random.default_rng(0).integers(0, 256, (30, 3072), dtype=np.uint8)
    files = {"test_batch": {"data": images[20:], "labels": list(range(10))},
             "batches.meta": {"label_names": list("abcdefghij")}}
    for n, name in enumerate(batches):
        files[name] = {"data": images[4 * n:4 * n + 4], "labels": [0, 1, 2, 3]}
    (made / CIFAR10.base_folder).mkdir()
    for name, content in files.items():
        (made / CIFAR10.base_folder / name).write_bytes(pickle.dumps(content))
    file = shutil.make_archive(str(made / "made"), "gztar", made, CIFAR10.base_folder)
    content = Path(file).read_bytes()
    monkeypatch.setattr(CIFAR10, "train_list", [[name, None] for name in batches])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", None]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": None})
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(content).hexdigest())
    return content


@pytest.fixture
def cifar(archive):
    """The images of `archive`, unpacked in the folder data."""
    Path("data").mkdir(exist_ok=True)
    Path("data", CIFAR10.filename).write_bytes(archive)
    CIFAR10("data", download=True)
