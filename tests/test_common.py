"""Checkpoints: both ways, damaged, hostile, from a GPU, and through kills and full disks."""
import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import common
import pytest
import torch
from conftest import ROOT, Hostile, same, snapshot


@pytest.fixture
def model():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))


def saved_bytes(thing):
    """Return the bytes that torch.save makes of `thing`."""
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def test_device():
    assert common.get_device() == torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def test_device_with_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert common.get_device() == torch.device("cuda:0")


def test_save_and_load(model, empty_folder):
    before = snapshot(model)
    common.save_checkpoint(model, "./model.pth")
    assert same(torch.load("model.pth"), before)  # a plain state dict
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.zero_()
    common.load_checkpoint(model, "./model.pth")
    assert same(snapshot(model), before)
    assert os.listdir(empty_folder) == ["model.pth"]
    assert common.saved == "./model.pth"


def test_checkpoint_from_a_gpu(model, monkeypatch):
    expected = snapshot(model)
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save(model.state_dict(), "model.pth")
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load("model.pth")  # as the tutorial loads it
    torch.nn.init.zeros_(model[0].weight)
    common.load_checkpoint(model, "model.pth")
    assert same(snapshot(model), expected)


def faulty(model):
    """Return the contents of files that are not checkpoints of `model`."""
    whole = saved_bytes(model.state_dict())
    return {
        "empty": b"",
        "cut short": whole[:len(whole) // 2],
        "cut by a byte": whole[:-1],
        "text": b"hello\n",
        "binary": bytes(range(256)) * 100,
        "zeros": bytes(5000),
        "a number": saved_bytes(5),
        "a list": saved_bytes([1, 2]),
        "numbers for tensors": saved_bytes(dict.fromkeys(model.state_dict(), 1)),
        "another network's": saved_bytes(torch.nn.Linear(2, 2).state_dict()),
        "another size": saved_bytes(torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5)).state_dict()),
        "hostile": saved_bytes(Hostile()),
        "a hostile value": saved_bytes({**model.state_dict(), "0.weight": Hostile()}),
        "a bare hostile pickle": b"cposix\nsystem\n(S'touch executed'\ntR.",
    }


@pytest.mark.parametrize("fault", faulty(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))))
def test_faulty_checkpoint(model, empty_folder, fault):
    content = faulty(model)[fault]
    Path("model.pth").write_bytes(content)
    with pytest.raises(SystemExit) as exit:
        common.load_checkpoint(model, "./model.pth")
    line = exit.value.code
    assert "./model.pth is damaged" in line and "Train first" in line and "\n" not in line and line.isascii()
    assert Path("model.pth").read_bytes() == content
    assert os.listdir(empty_folder) == ["model.pth"]  # nothing was executed


@pytest.mark.parametrize("name", ["test", "test_species"])
def test_missing_checkpoint(iris, empty_folder, name):
    with pytest.raises(SystemExit) as exit:
        getattr(iris, name)()
    assert "./NetModel.pth does not exist" in exit.value.code and "Train first" in exit.value.code
    assert not os.listdir(empty_folder)


def test_a_folder_in_place_of_the_checkpoint(model, empty_folder):
    (empty_folder / "model.pth").mkdir()
    with pytest.raises(SystemExit, match="./model.pth cannot be saved"):
        common.save_checkpoint(model, "./model.pth")
    with pytest.raises(SystemExit, match="Train first"):
        common.load_checkpoint(model, "./model.pth")
    assert os.listdir(empty_folder) == ["model.pth"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_leaves_the_old_checkpoint(model, empty_folder):
    common.save_checkpoint(model, "model.pth")
    before = Path("model.pth").read_bytes()
    Path("model.pth.tmp").symlink_to("/dev/full")
    with pytest.raises(SystemExit, match="model.pth cannot be saved: No space left on device"):
        common.save_checkpoint(model, "model.pth")
    assert Path("model.pth").read_bytes() == before
    assert os.listdir(empty_folder) == ["model.pth"]


@pytest.mark.parametrize("script", ["image", "iris"])
def test_a_folder_that_cannot_be_written_is_found_before_the_first_epoch(script, request, monkeypatch, capsys):
    module = request.getfixturevalue(script)
    monkeypatch.setattr(module, "checkpoint", "./missing/model.pth")
    monkeypatch.setattr(module, "train_loader", None)  # not even touched
    with pytest.raises(SystemExit, match="./missing/model.pth cannot be saved: No such file"):
        module.train(1)
    assert "1" not in capsys.readouterr().out


def test_nothing_is_left_by_the_check(empty_folder):
    common.check_writable("./model.pth")
    assert not os.listdir(empty_folder)


@pytest.mark.parametrize("error", [ValueError("a programming error"), OSError(errno.EINVAL, "Invalid argument")])
@pytest.mark.skipif(os.name == "nt", reason="there EINVAL is also a closed pipe")
def test_other_errors_keep_their_traceback(error, monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    common.end_quietly()
    try:
        raise error
    except Exception:
        sys.excepthook(*sys.exc_info())
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback") and str(error) in lines[-1]


KILLS = """
import os, random, signal, sys, time
import torch
from common import load_checkpoint, save_checkpoint

torch.set_num_threads(1)
model = torch.nn.Linear(500, 500)  # 1 MB

def fill(value):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)

fill(-1.0)
save_checkpoint(model, "model.pth")
random.seed(0)
seen = set()
for _ in range(30):
    child = os.fork()
    if child == 0:
        for value in range(10**9):
            fill(float(value))
            save_checkpoint(model, "model.pth")
    time.sleep(random.uniform(0.001, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    load_checkpoint(model, "model.pth")
    values = {value for parameter in model.parameters() for value in parameter.flatten().tolist()}
    assert len(values) == 1, values
    seen |= values
    assert set(os.listdir()) <= {"model.pth", "model.pth.tmp"}, os.listdir()
    cut = os.path.exists("model.pth.tmp")
    seen |= {"cut"} if cut else set()
save_checkpoint(model, "model.pth")
assert os.listdir() == ["model.pth"], os.listdir()
print(len(seen - {"cut"}), "checkpoints", "cut" in seen)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kills_at_random_moments_of_saving(empty_folder):
    result = subprocess.run([sys.executable, "-c", KILLS], env={**os.environ, "PYTHONPATH": str(ROOT)},
                            capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    checkpoints, _, cut = result.stdout.split()
    assert int(checkpoints) > 1 and cut == "True"  # some kills came after a save, some in the midst of one
