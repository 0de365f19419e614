"""Checkpoints: what a user has is never lost, what cannot be used is one line, and nothing in a file is run."""
import copy
import errno
import io
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import common
import pytest
import torch
from conftest import ROOT, Hostile, one_line, same
from torch import nn


@pytest.fixture
def model():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def python(code):
    """Run Python code that may import common in another process; return its exit status."""
    return subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode


def saved_bytes(thing):
    """Return the bytes that torch.save makes of `thing`."""
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("gpu, device", [(True, "cuda:0"), (False, "cpu")])
def test_the_device_is_the_first_gpu_or_the_cpu(monkeypatch, gpu, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert common.get_device() == torch.device(device)


def test_a_checkpoint_is_a_plain_state_dict_and_loads_again(model, folder):
    state = copy.deepcopy(model.state_dict())
    common.save_checkpoint(model, "./model.pth")
    assert same(model, torch.load("model.pth"))
    for tensor in model.state_dict().values():
        tensor.zero_()
    common.load_checkpoint(model, "./model.pth")
    assert same(model, state)
    assert os.listdir(folder) == ["model.pth"]


def test_a_checkpoint_of_a_gpu_loads_on_a_machine_without_one(model, monkeypatch):
    state = copy.deepcopy(model.state_dict())
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save(state, "model.pth")
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load("model.pth")  # as the tutorial loads it
    nn.init.zeros_(model[0].weight)
    common.load_checkpoint(model, "model.pth")
    assert same(model, state)


@pytest.mark.parametrize("error, end", [(OSError(errno.ENOSPC, "No space left"), SystemExit),
                                        (KeyboardInterrupt(), KeyboardInterrupt)], ids=["full disk", "Ctrl-C"])
def test_a_save_that_stops_half_way_leaves_the_old_checkpoint(model, folder, monkeypatch, error, end):
    def stop(descriptor):
        raise error

    Path("model.pth").write_text("the old one")
    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(end) as exit:
        common.save_checkpoint(model, "model.pth")
    if end is SystemExit:
        assert one_line(exit).startswith("model.pth cannot be saved: No space left.")
    assert Path("model.pth").read_text() == "the old one" and os.listdir(folder) == ["model.pth"]


def test_a_kill_in_the_midst_of_saving_leaves_the_old_checkpoint(model):
    Path("model.pth").write_text("the old one")
    assert python("import os, torch, common\n"
                  "os.fsync = lambda descriptor: os._exit(7)\n"  # between writing and moving, as a kill
                  "common.save_checkpoint(torch.nn.Linear(9, 9), 'model.pth')") == 7
    assert Path("model.pth").read_text() == "the old one"
    common.save_checkpoint(model, "model.pth")
    assert same(model, torch.load("model.pth"))


def test_two_runs_can_save_the_same_checkpoint_at_a_time(model, folder, monkeypatch):
    statuses = []

    def meanwhile(descriptor):  # between our writing and our moving
        assert os.fstat(descriptor).st_size > 1000  # all is written
        statuses.append(python("import torch, common; common.save_checkpoint(torch.nn.Linear(9, 9), 'model.pth')"))
        torch.nn.Linear(9, 9).load_state_dict(torch.load("model.pth"))

    monkeypatch.setattr(os, "fsync", meanwhile)
    common.save_checkpoint(model, "model.pth")
    assert statuses == [0]
    assert same(model, torch.load("model.pth")) and os.listdir(folder) == ["model.pth"]


def test_a_checkpoint_that_is_missing_or_a_folder_is_one_line(model, folder):
    with pytest.raises(SystemExit) as exit:
        common.load_checkpoint(model, "./model.pth")
    assert re.match("./model.pth cannot be read: No such file or directory. Train first: .* DataClassifier.py for Iris",
                    one_line(exit))
    Path("model.pth").mkdir()
    for function, words in ((common.save_checkpoint, "saved"), (common.load_checkpoint, "read")):
        with pytest.raises(SystemExit) as exit:
            function(model, "./model.pth")
        assert one_line(exit).startswith(f"./model.pth cannot be {words}: ")
    assert os.listdir(folder) == ["model.pth"]


STATE = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict()
WHOLE = saved_bytes(STATE)
CODE = "Weights only load failed"
FAULTS = {  # the content of the file, and what the line says of it
    "empty": (b"", "EOFError"),
    "cut short": (WHOLE[:len(WHOLE) // 2], "zip archive"),
    "cut by a byte": (WHOLE[:-1], "zip archive"),
    "text": (b"hello\n", "Error"),
    "binary": (bytes(range(256)) * 100, "Error"),
    "zeros": (bytes(5000), "Error"),
    "a number": (saved_bytes(5), "int"),
    "a list": (saved_bytes([1, 2]), "list"),
    "numbers for tensors": (saved_bytes(dict.fromkeys(STATE, 1)), "int"),
    "another network": (saved_bytes(nn.Linear(2, 2).state_dict()), "Missing key(s)"),
    "another size": (saved_bytes({**STATE, "0.weight": torch.zeros(5, 3, 3, 3)}), "size mismatch for 0.weight"),
    "hostile": (saved_bytes(Hostile()), CODE),
    "a hostile value": (saved_bytes({**STATE, "0.weight": Hostile()}), CODE),
    "a bare hostile pickle": (pickle.dumps(Hostile(), 0), CODE),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_checkpoint_is_one_short_line_and_nothing_in_it_is_run(model, folder, fault):
    content, words = FAULTS[fault]
    Path("model.pth").write_bytes(content)
    with pytest.raises(SystemExit) as exit:
        common.load_checkpoint(model, "./model.pth")
    line = one_line(exit)
    assert line.startswith("./model.pth is damaged or of another network (") and "Train first" in line
    assert words in line and "two options" not in line and len(line) < 350
    assert Path("model.pth").read_bytes() == content and os.listdir(folder) == ["model.pth"]
