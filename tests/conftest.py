"""Each test runs in a new, empty folder, on the CPU, with a fresh model, tiny data and no display."""
import hashlib
import io
import os
import pickle
import runpy
import shutil
import sys
import tarfile
import urllib.error
from pathlib import Path

VISIBLE_GPUS = os.environ.get("CUDA_VISIBLE_DEVICES")
os.environ["OMP_NUM_THREADS"] = "1"  # more threads make tiny data slower on a busy machine
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # PyTorch reads it when it is imported: the tests are of the CPU
ROOT = Path(__file__).resolve().parent.parent
IMAGES, IRIS = ROOT / "PyTorchTraining.py", ROOT / "DataClassifier.py"
sys.path.insert(0, str(ROOT))

import matplotlib  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from torch.optim import Adam  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402
from torchvision.datasets import CIFAR10  # noqa: E402

matplotlib.use("agg")

import common  # noqa: E402
import DataClassifier  # noqa: E402
import PyTorchTraining  # noqa: E402


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The new, empty folder in which the test runs."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    return tmp_path


@pytest.fixture
def images(monkeypatch):
    """PyTorchTraining with a fresh model, 25 random training images and 7 test images in batches of 3."""
    script = PyTorchTraining
    monkeypatch.setattr(script, "model", script.Network())
    monkeypatch.setattr(script, "optimizer", Adam(script.model.parameters(), **script.optimizer.defaults))
    for name, size, batch_size in (("train", 25, 10), ("test", 7, 3)):
        data = TensorDataset(torch.rand(size, 3, 32, 32) * 2 - 1, torch.arange(size) % 10)
        monkeypatch.setattr(script, f"{name}_set", data, raising=False)
        monkeypatch.setattr(script, f"{name}_loader", DataLoader(data, batch_size=batch_size), raising=False)
    return script


@pytest.fixture
def iris(monkeypatch):
    """DataClassifier with a fresh model; its data are the 150 flowers."""
    script = DataClassifier
    monkeypatch.setattr(script, "model", script.Network(script.input_size, script.output_size))
    monkeypatch.setattr(script, "optimizer", Adam(script.model.parameters(), **script.optimizer.defaults))
    return script


@pytest.fixture
def run(monkeypatch):
    """A function that runs a script as `python SCRIPT ARGUMENTS` does and returns its globals."""
    def run(script, *arguments):
        monkeypatch.setattr(sys, "argv", [str(script), *arguments])
        return runpy.run_path(str(script), run_name="__main__")

    monkeypatch.setattr("socket.setdefaulttimeout", lambda seconds: None)  # it would hold for all later tests
    return run


def copy_of(script, change=lambda text: text):
    """Write a changed copy of a script, with data/iris.csv beside it, into the current folder; return its path."""
    Path("data").mkdir(exist_ok=True)
    shutil.copy(ROOT / "data" / "iris.csv", "data")
    copy = Path(script.name).resolve()
    copy.write_text(change(script.read_text(encoding="utf-8")), encoding="utf-8")
    return copy


class Hostile:
    """Leaves a file named `executed` behind when it is unpickled."""

    def __reduce__(self):
        return open, ("executed", "w")


def one_line(exit):
    """Return what a SystemExit, caught with pytest.raises, prints; check that it is one line."""
    line = exit.value.code
    assert isinstance(line, str) and "\n" not in line
    return line


def same(model, state):
    """Return whether the state dict of `model` has the same names and, but for rounding, values as `state`."""
    mine = model.state_dict()
    return list(mine) == list(state) and all(torch.allclose(mine[name], state[name]) for name in mine)


def watch_modes(model):
    """Return a list that from now on gets (training mode, gradients on) at each call of `model`."""
    modes = []
    model.register_forward_pre_hook(lambda module, _: modes.append((module.training, torch.is_grad_enabled())))
    return modes


TRAINING, TESTING = (True, True), (False, False)  # as watch_modes() notes them


class PretendGPU(TorchDispatchMode):
    """Makes the meta device a GPU: an operation on tensors of both devices is an error, as on a real one.

    The meta device has no numbers: all that is read from it is zero.
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


@pytest.fixture
def gpu(monkeypatch):
    """A pretended GPU, which scripts find, to be used as `with gpu:`."""
    for module in (common, PyTorchTraining):
        monkeypatch.setattr(module, "get_device", lambda: torch.device("meta"))
        monkeypatch.setattr(module, "save_checkpoint", lambda model, path: None)
        monkeypatch.setattr(module, "load_checkpoint", lambda model, path: None)
    return PretendGPU()


FILES = ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]


@pytest.fixture
def archive(monkeypatch):
    """The bytes of an archive with 5 times 4 training and 10 test images; CIFAR10 now expects these."""
    random = np.random.default_rng(0)
    sizes = dict.fromkeys(FILES, 4)
    sizes["test_batch"] = 10
    contents = {name: pickle.dumps({"data": random.integers(0, 256, (size, 3072), dtype=np.uint8),
                                    "labels": list(range(size))}) for name, size in sizes.items()}
    contents["batches.meta"] = pickle.dumps({"label_names": list("0123456789")})
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5[name]] for name in FILES[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names",
                                          "md5": md5["batches.meta"]})
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(buffer.getvalue()).hexdigest())
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    return buffer.getvalue()


def no_network(*arguments, **keywords):
    raise urllib.error.URLError("there is no network")


def put(archive):
    """Put the archive into ./data, as a reader does by hand."""
    Path("data").mkdir(exist_ok=True)
    Path("data", CIFAR10.filename).write_bytes(archive)
