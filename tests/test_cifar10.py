"""How the image script gets CIFAR-10: a whole run on a tiny data set of the same layout, and what can go wrong."""
import http.client
import io
import pickle
import shutil
import socket
import urllib.error

import pytest
import torch
from conftest import FILES, IMAGES, Hostile, one_line, put
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import CIFAR10


def fails(run):
    """Run the script; check that it ends with one line that tells the three cures, and return that line."""
    with pytest.raises(SystemExit) as exit:
        run(IMAGES)
    line = one_line(exit)
    cures = "--dummy", "delete ./data/cifar-10-batches-py", f"put {CIFAR10.filename} (MD5 {CIFAR10.tgz_md5})"
    assert line.startswith("The CIFAR-10 images could neither be read from ./data nor downloaded (")
    assert -1 < line.index(cures[0]) < line.index(cures[1]) < line.index(cures[2])
    return line


def test_the_images_are_those_that_the_tutorial_makes(archive, run, capsys):
    put(archive)
    script = run(IMAGES, "--epochs", "1")
    assert "The number of images in a training set is:  20\n" in capsys.readouterr().out
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])
    for train, loader in ((True, script["train_loader"]), (False, script["test_loader"])):
        torch.manual_seed(1)
        ours = list(loader)
        torch.manual_seed(1)  # the same shuffle, too
        theirs = list(DataLoader(CIFAR10("./data", train, transform), batch_size=10, shuffle=train))
        for (images, labels), (their_images, their_labels) in zip(ours, theirs):
            assert torch.equal(images, their_images) and torch.equal(labels, their_labels)
        assert len(ours) == len(theirs)


def test_a_whole_run_on_an_archive_put_there_by_hand(archive, run, capsys, folder):
    put(archive)
    script = run(IMAGES, "--epochs", "2", "--seed", "3")
    lines = [line for line in capsys.readouterr().out.splitlines()
             if "verified" not in line and "Extracting" not in line]  # old versions of torchvision say so
    assert len(lines) == 21
    for line, start in zip(lines, [
            "The number of images in a training set is:  20", "The number of images in a test set is:  10",
            "The number of batches per epoch is:  2", "The model will be running on cpu device",
            "For epoch 1 the test accuracy over the whole test set is ",
            "For epoch 2 the test accuracy over the whole test set is ", "Finished Training",
            "The best model is saved as ./myFirstModel.pth; its test accuracy is ",
            "There is no display: the picture is saved as ./testBatch.png",
            "Real labels:  plane   car  bird   cat  deer   dog  frog horse  ship truck",
            "Predicted: ", "Accuracy of plane :"]):
        assert line.startswith(start)
    best = max(int(line.split()[-2]) for line in lines if line.startswith("For epoch"))
    assert f"its test accuracy is {best} %" in "".join(lines)
    assert script["options"].seed == 3
    assert sorted(path.name for path in folder.iterdir()) == ["data", "myFirstModel.pth", "testBatch.png"]


def test_data_are_never_unpickled_before_their_checksum_was_verified(archive, run, folder):
    put(archive)
    run(IMAGES, "--epochs", "1")
    (folder / "data" / CIFAR10.filename).unlink()
    for name in FILES + ["batches.meta"]:
        file = folder / "data" / "cifar-10-batches-py" / name
        whole = file.read_bytes()
        file.write_bytes(pickle.dumps(Hostile()))
        fails(run)
        assert not (folder / "executed").exists()
        file.write_bytes(whole)


@pytest.mark.parametrize("error, words", [
    (urllib.error.URLError(ConnectionRefusedError("Connection refused")), "Connection refused"),
    (urllib.error.HTTPError("http://localhost", 503, "Service Unavailable", None, io.BytesIO()), "503"),
    (http.client.BadStatusLine("this is\r\nno HTTP"), "this is no HTTP"),
    (TimeoutError("timed out"), "timed out"),
    (KeyboardInterrupt(), "KeyboardInterrupt"),
    (None, "corrupted")], ids=["refused", "503", "no HTTP", "no answer", "Ctrl-C", "half the file"])
def test_a_download_that_fails_or_stops_for_a_minute_is_one_line(archive, run, monkeypatch, error, words):
    class Half(io.BytesIO):
        url, length = None, len(archive)

    def urlopen(*arguments, **keywords):
        assert timeouts == [60]
        if error:
            raise error
        return Half(archive[:len(archive) // 2])

    timeouts = []
    monkeypatch.setattr(socket, "setdefaulttimeout", timeouts.append)
    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    assert words in fails(run)
    put(archive)  # what was left of the download is no harm
    run(IMAGES, "--epochs", "1")


def test_the_cures_in_the_line_help(archive, run, folder):
    put(archive)
    run(IMAGES, "--epochs", "1")
    (folder / "data" / "cifar-10-batches-py" / "batches.meta").write_bytes(b"damaged")
    fails(run)
    shutil.rmtree(folder / "data" / "cifar-10-batches-py")
    run(IMAGES, "--epochs", "1")


def test_a_damaged_archive_and_a_file_named_data_stay_as_they_are(archive, run, folder):
    put(archive[:-10])
    fails(run)
    assert (folder / "data" / CIFAR10.filename).read_bytes() == archive[:-10]
    shutil.rmtree(folder / "data")
    (folder / "data").write_text("my notes")
    fails(run)
    assert (folder / "data").read_text() == "my notes"


def test_a_programming_error_keeps_its_traceback(run, monkeypatch):
    monkeypatch.setattr(CIFAR10, "__init__", lambda self, wrong: None)
    with pytest.raises(TypeError):
        run(IMAGES)
