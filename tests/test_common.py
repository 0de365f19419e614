"""Promises of common.py: the device, and checkpoints that are whole or not there."""
import os
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from torch import nn

import common


def test_the_device_is_the_first_gpu_or_else_the_cpu(monkeypatch):
    assert common.get_device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert common.get_device() == torch.device("cuda:0")


def test_a_model_is_loaded_as_it_was_last_saved():
    model, other = nn.Linear(2, 3), nn.Linear(2, 3)
    common.save_checkpoint(other, "model.pth")
    common.save_checkpoint(model, "model.pth")
    common.load_checkpoint(other, "model.pth")
    assert torch.equal(other.weight, model.weight)
    assert list(torch.load("model.pth", weights_only=True)) == ["weight", "bias"]
    assert os.listdir() == ["model.pth"]


@pytest.mark.parametrize("error, end, line", [
    (OSError(28, "No space left"), SystemExit, "model.pth cannot be saved: No space left. "),
    (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop")])
def test_a_full_disk_or_a_stop_leaves_the_old_file(monkeypatch, error, end, line):
    Path("model.pth").write_text("old")

    def open_and_stop(file, content):
        file.open("wb").close()
        raise error

    monkeypatch.setattr(Path, "write_bytes", open_and_stop)
    with pytest.raises(end, match=f"^{line}"):
        common.save_checkpoint(nn.Linear(2, 3), "model.pth")
    assert Path("model.pth").read_text() == "old"
    assert os.listdir() == ["model.pth"]


def test_two_runs_can_save_at_the_same_time(monkeypatch):
    model, other = nn.Linear(2, 3), nn.Linear(2, 3)
    write = Path.write_bytes

    def write_while_another_run_saves(file, content):
        write(file, content)
        monkeypatch.setattr(Path, "write_bytes", write)
        monkeypatch.setattr(os, "getpid", lambda: 12345)
        common.save_checkpoint(other, "model.pth")

    monkeypatch.setattr(Path, "write_bytes", write_while_another_run_saves)
    common.save_checkpoint(model, "model.pth")
    common.load_checkpoint(other, "model.pth")
    assert torch.equal(other.weight, model.weight)
    assert os.listdir() == ["model.pth"]


def test_a_save_is_tried_again_while_a_virus_scanner_holds_the_file(monkeypatch):
    model, other = nn.Linear(2, 3), nn.Linear(2, 3)
    replace = Path.replace
    held = [PermissionError(13, "Permission denied")] * 4

    def replace_if_not_held(file, path):
        if held:
            raise held.pop()
        replace(file, path)

    monkeypatch.setattr(Path, "replace", replace_if_not_held)
    monkeypatch.setattr(time, "sleep", Mock())
    common.save_checkpoint(model, "model.pth")
    common.load_checkpoint(other, "model.pth")
    assert torch.equal(other.weight, model.weight)
    assert os.listdir() == ["model.pth"]


def test_a_file_that_is_held_for_two_seconds_ends_the_script_with_a_line(monkeypatch):
    Path("model.pth").write_text("old")
    held = Mock(side_effect=PermissionError(13, "Permission denied"))
    monkeypatch.setattr(Path, "replace", held)
    monkeypatch.setattr(Path, "unlink", held)  # it cannot be removed, either
    monkeypatch.setattr(time, "sleep", Mock())
    with pytest.raises(SystemExit, match=r"^model.pth cannot be saved: Permission denied\. "):
        common.save_checkpoint(nn.Linear(2, 3), "model.pth")
    assert sum(call.args[0] for call in time.sleep.call_args_list) == pytest.approx(2)
    assert Path("model.pth").read_text() == "old"


def test_a_checkpoint_is_kept_as_old():
    common.keep_checkpoint("model.pth")
    assert os.listdir() == []
    for content in ("first", "second"):
        Path("model.pth").write_text(content)
        common.keep_checkpoint("model.pth")
        assert Path("model.pth.old").read_text() == content
        assert Path("model.pth").read_text() == content


def test_a_checkpoint_that_cannot_be_kept_ends_the_script_with_a_line():
    Path("model.pth").write_text("good")
    Path("model.pth.old").mkdir()
    with pytest.raises(SystemExit, match="^model.pth.old cannot be saved: "):
        common.keep_checkpoint("model.pth")
    assert Path("model.pth").read_text() == "good"


def test_a_missing_checkpoint_says_to_train_first():
    with pytest.raises(SystemExit, match=r"^model.pth cannot be read: No such file .* Train first"):
        common.load_checkpoint(nn.Linear(2, 3), "model.pth")


@pytest.mark.parametrize("damage", ["empty", "cut", "changed"])
def test_a_damaged_checkpoint_ends_the_script_with_a_line(damage):
    model = nn.Linear(2, 3)
    common.save_checkpoint(model, "model.pth")
    content = Path("model.pth").read_bytes()
    weights = model.weight.detach().numpy().tobytes()
    damaged = {"empty": b"", "cut": content[:1000], "changed": content.replace(weights, bytes(24))}
    Path("model.pth").write_bytes(damaged[damage])
    with pytest.raises(SystemExit, match=r"^model.pth is damaged [^\n]*\. Train again\.$"):
        common.load_checkpoint(model, "model.pth")


def test_a_checkpoint_of_another_network_ends_the_script_with_a_short_line():
    many_layers = nn.ModuleDict({f"layer{n}": nn.Linear(1, 1) for n in range(50)})
    common.save_checkpoint(nn.Linear(2, 3), "model.pth")
    with pytest.raises(SystemExit, match=r"^[^\n]*Missing key[^\n]*\)\. Train again\.$") as end:
        common.load_checkpoint(many_layers, "model.pth")
    assert len(str(end.value)) < 400


class Hostile:
    """When it is unpickled without care, it makes a folder."""
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_not_run(zipped):
    torch.save(Hostile(), "model.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(SystemExit, match=r"^[^\n]*\. Train again\.$") as end:
        common.load_checkpoint(nn.Linear(2, 3), "model.pth")
    assert os.listdir() == ["model.pth"]
    assert "False" not in str(end.value)  # no advice to turn weights_only off


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_from_a_gpu_is_loaded_in_both_formats(monkeypatch, zipped):
    model, other = nn.Linear(2, 3), nn.Linear(2, 3)
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
    torch.save(model.state_dict(), "model.pth", _use_new_zipfile_serialization=zipped)
    common.load_checkpoint(other, "model.pth")
    assert b"cuda:0" in Path("model.pth").read_bytes()
    assert torch.equal(other.weight, model.weight)
