"""Checkpoints: what a user has is never lost, what cannot be used is one line, and nothing in a file is run."""
import errno
import os
from pathlib import Path

import common
import pytest
import torch
from conftest import same, the_line
from torch import nn

STATE = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict()
HOSTILE = type("Hostile", (), {"__reduce__": lambda self: (open, ("executed", "w"))})()  # if unpickled, it makes a file


@pytest.fixture
def model():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.mark.parametrize("gpu, device", [(True, "cuda:0"), (False, "cpu")])
def test_the_device_is_the_first_gpu_or_the_cpu(monkeypatch, gpu, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert common.get_device() == torch.device(device)


@pytest.mark.parametrize("tag, zipped", [("cuda:0", True), ("cpu", False)], ids=["a GPU", "an old PyTorch"])
def test_a_checkpoint_from_elsewhere_is_loaded(model, monkeypatch, tag, zipped):
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: tag)
    torch.save(STATE, "model.pth", _use_new_zipfile_serialization=zipped)
    common.load_checkpoint(model, "./model.pth")
    assert same(model, STATE)


@pytest.mark.parametrize("stop", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_save_takes_effect_whole_or_not_at_all_while_another_run_saves(model, folder, monkeypatch, stop):
    def meanwhile(descriptor):  # between writing and moving
        assert os.fstat(descriptor).st_size > 1000  # all is written
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda descriptor: None)
            patch.setattr(os, "getpid", lambda: 0)
            common.save_checkpoint(nn.Linear(9, 9), "model.pth")
        if stops:
            raise stops.pop()

    stops = [stop]
    monkeypatch.setattr(os, "fsync", meanwhile)
    with pytest.raises((SystemExit, KeyboardInterrupt)) as end:
        common.save_checkpoint(model, "./model.pth")
    assert str(end.value).startswith("./model.pth cannot be saved: No space left. Start the" if stop.args else "")
    assert list(torch.load("model.pth")) == ["weight", "bias"] and os.listdir(folder) == ["model.pth"]
    common.save_checkpoint(model, "./model.pth")
    assert same(model, torch.load("model.pth")) and os.listdir(folder) == ["model.pth"]


@pytest.mark.skipif(os.name == "nt", reason="on Windows, not everybody may make links")
def test_a_link_to_a_checkpoint_is_followed(model):
    Path("models").mkdir()
    Path("model.pth").symlink_to(Path("models", "good.pth"))
    common.save_checkpoint(model, "model.pth")
    assert Path("model.pth").is_symlink() and same(model, torch.load(Path("models", "good.pth")))


def test_a_checkpoint_that_is_missing_or_read_only_is_one_line(model):
    assert the_line(common.load_checkpoint, model, "./model.pth") == (
        "./model.pth cannot be read: No such file or directory. "
        "Train first: run PyTorchTraining.py for images, DataClassifier.py for Iris.")
    Path("model.pth").write_text("a good one")
    Path("model.pth").chmod(0o444)
    assert the_line(common.save_checkpoint, model, "model.pth").startswith("model.pth cannot be saved: It is read-only")
    assert Path("model.pth").read_text() == "a good one"


@pytest.mark.parametrize("thing, change, words", [
    (STATE, lambda whole: whole[:len(whole) // 3], "Error"),
    (STATE, lambda whole: whole.replace(STATE["0.weight"].numpy().tobytes(), bytes(432)), "wrong checksum"),
    ({**STATE, **{f"layer{number}": torch.zeros(1) for number in range(99)}}, bytes, "Unexpected key(s)"),
    ({**STATE, "0.weight": HOSTILE}, bytes, "Weights only load failed"),
], ids=["cut short", "other weights", "another network", "hostile"])
def test_a_faulty_checkpoint_is_one_short_line_and_nothing_in_it_is_run(model, folder, thing, change, words):
    torch.save(thing, "model.pth")
    Path("model.pth").write_bytes(change(Path("model.pth").read_bytes()))
    line = the_line(common.load_checkpoint, model, "./model.pth")
    assert line.startswith("./model.pth is damaged or of another network (") and "Train first: " in line
    assert words in line and "two options" not in line and len(line) < 450
    assert os.listdir(folder) == ["model.pth"]
