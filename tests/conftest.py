"""Each test runs in an empty folder, with fresh models, tiny data and no display."""
import shutil
import sys
from pathlib import Path

import matplotlib
import pytest
import torch
from torch.optim import Adam
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, TensorDataset
from torchvision import transforms

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
matplotlib.use("agg")

import common  # noqa: E402
import DataClassifier  # noqa: E402
import PyTorchTraining  # noqa: E402

TRAINING, TESTING = (True, True), (False, False)  # what modes() notes: training mode, gradients on
TUTORIAL_TRANSFORM = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])


class Hostile:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self):
        return open, ("executed", "w")


def copy_scripts(folder):
    """Copy the scripts, common.py and data/iris.csv into `folder`, to be changed there."""
    for name in ("PyTorchTraining.py", "DataClassifier.py", "common.py"):
        shutil.copy(ROOT / name, folder)
    (folder / "data").mkdir()
    shutil.copy(ROOT / "data" / "iris.csv", folder / "data")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(common, "saved", None)
    torch.manual_seed(0)
    return tmp_path


@pytest.fixture
def image(monkeypatch):
    """PyTorchTraining with a fresh model and random data: 25 training and 7 test images."""
    module = PyTorchTraining
    model = module.Network()
    monkeypatch.setattr(module, "model", model)
    monkeypatch.setattr(module, "optimizer", Adam(model.parameters(), **module.optimizer.defaults))
    monkeypatch.setattr(module, "checkpoint", module.checkpoint)
    for name, size, batch in (("train", 25, 10), ("test", 7, 3)):
        data = TensorDataset(torch.rand(size, 3, 32, 32) * 2 - 1, torch.arange(size) % 10)
        monkeypatch.setattr(module, f"{name}_set", data, raising=False)
        monkeypatch.setattr(module, f"{name}_loader", DataLoader(data, batch_size=batch), raising=False)
    return module


@pytest.fixture
def iris(monkeypatch):
    """DataClassifier with a fresh model; its data are the 150 flowers."""
    module = DataClassifier
    model = module.Network(module.input_size, module.output_size)
    monkeypatch.setattr(module, "model", model)
    monkeypatch.setattr(module, "optimizer", Adam(model.parameters(), **module.optimizer.defaults))
    return module


class PretendGPU(TorchDispatchMode):
    """Makes the meta device a GPU whose memory reads as zeros: mixing it with the CPU is an error."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if name == "_local_scalar_dense" and tensors[0].is_meta:
            return 0
        if name == "_to_copy" and tensors[0].is_meta and kwargs.get("device") == torch.device("cpu"):
            return torch.zeros(tensors[0].shape, dtype=kwargs.get("dtype") or tensors[0].dtype)
        if name != "copy_" and len({tensor.device for tensor in tensors if tensor.dim()}) > 1:
            raise RuntimeError(f"{name}: tensors on two devices")
        return func(*args, **kwargs)


@pytest.fixture
def gpu(monkeypatch):
    """Both scripts find a GPU, the pretended one. Use as `with gpu:`."""
    monkeypatch.setattr(PyTorchTraining, "get_device", lambda: torch.device("meta"))
    monkeypatch.setattr(DataClassifier, "device", torch.device("meta"))
    return PretendGPU()


def snapshot(model):
    """Return a copy of every parameter and buffer of `model`."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first, second):
    """Return whether two snapshots hold the same values under the same names."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def modes(model):
    """Return a list that from now on gets (training mode, gradients on) at each call of `model`."""
    calls = []
    model.register_forward_pre_hook(lambda module, _: calls.append((module.training, torch.is_grad_enabled())))
    return calls
