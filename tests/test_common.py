"""Checkpoints: what a user has is never lost, what cannot be used is one line, and nothing in a file is run."""
import copy
import errno
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import common
import pytest
import torch
from conftest import ROOT, Hostile, same, the_line
from torch import nn


@pytest.fixture
def model():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def bytes_of(thing, **keywords):
    """Return what torch.save writes for `thing`."""
    buffer = io.BytesIO()
    torch.save(thing, buffer, **keywords)
    return buffer.getvalue()


@pytest.mark.parametrize("gpu, device", [(True, "cuda:0"), (False, "cpu")])
def test_the_device_is_the_first_gpu_or_the_cpu(monkeypatch, gpu, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert common.get_device() == torch.device(device)


@pytest.mark.parametrize("origin", ["here", "a GPU", "an old PyTorch"])
def test_a_checkpoint_is_a_plain_state_dict_and_loads_wherever_it_comes_from(model, folder, monkeypatch, origin):
    state = copy.deepcopy(model.state_dict())
    common.save_checkpoint(model, "./model.pth")
    assert same(model, torch.load("model.pth")) and os.listdir(folder) == ["model.pth"]
    with monkeypatch.context() as patch:
        if origin == "a GPU":
            patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        Path("model.pth").write_bytes(bytes_of(state, _use_new_zipfile_serialization=origin != "an old PyTorch"))
    nn.init.zeros_(model[0].weight)
    common.load_checkpoint(model, "./model.pth")
    assert same(model, state)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_save_that_stops_half_way_leaves_the_old_checkpoint(model, folder, monkeypatch, error):
    def stop(descriptor):
        raise error

    Path("model.pth").write_text("the old one")
    monkeypatch.setattr(os, "fsync", stop)  # between writing and moving
    with pytest.raises((SystemExit, KeyboardInterrupt)) as end:
        common.save_checkpoint(model, "model.pth")
    assert end.type is (SystemExit if error.args else KeyboardInterrupt)
    assert str(end.value).startswith("model.pth cannot be saved: No space left." if error.args else "")
    assert Path("model.pth").read_text() == "the old one" and os.listdir(folder) == ["model.pth"]


def test_two_runs_can_save_the_same_checkpoint_at_a_time(model, folder, monkeypatch):
    def meanwhile(descriptor):
        assert os.fstat(descriptor).st_size > 1000  # all is written
        code = "import torch, common; common.save_checkpoint(torch.nn.Linear(9, 9), 'model.pth')"
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
        nn.Linear(9, 9).load_state_dict(torch.load("model.pth"))

    monkeypatch.setattr(os, "fsync", meanwhile)
    common.save_checkpoint(model, "model.pth")
    assert same(model, torch.load("model.pth")) and os.listdir(folder) == ["model.pth"]


def test_a_link_to_a_checkpoint_is_followed(model, folder):
    Path("models").mkdir()
    try:
        Path("model.pth").symlink_to(Path("models", "good.pth"))
    except OSError:
        pytest.skip("this user may not make links")  # on Windows
    common.save_checkpoint(model, "model.pth")
    assert Path("model.pth").is_symlink() and same(model, torch.load(Path("models", "good.pth")))
    assert sorted(os.listdir(folder)) == ["model.pth", "models"] and os.listdir("models") == ["good.pth"]


def test_a_checkpoint_that_is_missing_or_read_only_or_a_folder_is_one_line(model, folder):
    line = the_line(common.load_checkpoint, model, "./model.pth")
    assert line.startswith("./model.pth cannot be read: No such file or directory. Train first: ")
    Path("model.pth").write_text("a good one")
    Path("model.pth").chmod(0o444)
    assert the_line(common.save_checkpoint, model, "model.pth").startswith("model.pth cannot be saved: It is read-only")
    assert Path("model.pth").read_text() == "a good one"
    Path("model.pth").chmod(0o644)  # on Windows, a read-only file cannot be removed
    Path("model.pth").unlink()
    Path("model.pth").mkdir()
    for function, words in ((common.save_checkpoint, "saved"), (common.load_checkpoint, "read")):
        assert the_line(function, model, "./model.pth").startswith(f"./model.pth cannot be {words}: ")
    assert os.listdir(folder) == ["model.pth"]


STATE = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict()
WHOLE = bytes_of(STATE)
FLIPPED = bytearray(WHOLE)
FLIPPED[WHOLE.index(STATE["0.weight"].numpy().tobytes())] ^= 1
FAULTS = {  # the content of the file, and what the line says of it
    "cut short": (WHOLE[:len(WHOLE) // 3], "Error"),
    "one changed bit": (bytes(FLIPPED), "checksum"),
    "text": (b"hello\n", "Error"),
    "a list": (bytes_of([1, 2]), "list"),
    "another size": (bytes_of({**STATE, "0.weight": torch.zeros(10, 240, 3, 3)}), "torch.Size([10, 240, 3, 3])"),
    "a hostile value": (bytes_of({**STATE, "0.weight": Hostile()}), "Weights only load failed"),
    "a bare hostile pickle": (pickle.dumps(Hostile(), 0), "Weights only load failed"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_checkpoint_is_one_short_line_and_nothing_in_it_is_run(model, folder, fault):
    content, words = FAULTS[fault]
    Path("model.pth").write_bytes(content)
    line = the_line(common.load_checkpoint, model, "./model.pth")
    assert line.startswith("./model.pth is damaged or of another network (") and "Train first: " in line
    assert words in line and "two options" not in line and len(line) < 450
    assert Path("model.pth").read_bytes() == content and os.listdir(folder) == ["model.pth"]
