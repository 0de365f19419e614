"""How the image script gets CIFAR-10: a whole run on a tiny data set of the same layout, and what can go wrong."""
import http.server
import pickle
import shutil
import socket
import threading
from pathlib import Path

import numpy as np
import PyTorchTraining
import pytest
import torch
from conftest import FILES, ROOT, Hostile, one_line, put
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import CIFAR10

SCRIPT = ROOT / "PyTorchTraining.py"
SET_TIMEOUT = socket.setdefaulttimeout


def fails(run):
    """Run the script; check that it ends with one line that tells the three cures, and return that line."""
    with pytest.raises(SystemExit) as exit:
        run(SCRIPT)
    line = one_line(exit)
    cures = "--dummy", "delete ./data/cifar-10-batches-py", f"put {CIFAR10.filename} (MD5 {CIFAR10.tgz_md5})"
    assert line.startswith("The CIFAR-10 images could neither be read from ./data nor downloaded (")
    assert -1 < line.index(cures[0]) < line.index(cures[1]) < line.index(cures[2])
    return line


def test_the_images_are_those_that_the_tutorial_makes(archive, run, capsys):
    put(archive)
    script = run(SCRIPT, "--epochs", "1")
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


def test_every_byte_becomes_the_tutorials_float():
    images = PyTorchTraining.FastCIFAR10.__new__(PyTorchTraining.FastCIFAR10)
    images.data = np.arange(3072, dtype=np.uint8).reshape(1, 32, 32, 3)
    images.targets = [7]
    image, label = images[0]
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])
    assert torch.equal(image, transform(images.data[0])) and label == 7


def test_a_whole_run_on_an_archive_put_there_by_hand(archive, run, capsys, folder):
    put(archive)
    script = run(SCRIPT, "--epochs", "2", "--seed", "3")
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
    run(SCRIPT, "--epochs", "1")
    (folder / "data" / CIFAR10.filename).unlink()
    for name in FILES + ["batches.meta"]:
        file = folder / "data" / "cifar-10-batches-py" / name
        whole = file.read_bytes()
        file.write_bytes(pickle.dumps(Hostile()))
        fails(run)
        assert not (folder / "executed").exists()
        file.write_bytes(whole)


def test_no_network_is_one_line(archive, run):
    assert "refused" in fails(run)


def test_a_download_stopped_with_ctrl_c_is_one_line(archive, run, monkeypatch):
    def ctrl_c(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("urllib.request.urlopen", ctrl_c)
    assert "(KeyboardInterrupt)" in fails(run)


@pytest.mark.parametrize("status, cut, words", [(503, None, "503"), (200, 100, ""), (None, 0, "")])
def test_a_host_that_answers_with_an_error_or_half_the_file_is_one_line(archive, run, monkeypatch, status, cut, words):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if status is None:
                self.wfile.write(b"not HTTP at all\r\n\r\n")
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(archive)))
            self.end_headers()
            self.wfile.write(archive[:cut])

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{CIFAR10.filename}")
        assert words in fails(run)
        server.shutdown()
    put(archive)  # what was left of the download is no harm
    run(SCRIPT, "--epochs", "1")


def test_a_host_that_stops_answering_is_one_line_after_a_minute(archive, run, monkeypatch):
    monkeypatch.setattr(socket, "setdefaulttimeout", lambda seconds: SET_TIMEOUT(seconds / 300))  # 0.2 for 60
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.getsockname()[1]}/")
        hang_up = threading.Timer(10, server.close)  # so that this test ends without a timeout, too
        hang_up.start()
        try:
            assert "timed out" in fails(run)
        finally:
            hang_up.cancel()
            SET_TIMEOUT(None)


def test_the_cures_in_the_line_help(archive, run, folder):
    put(archive)
    run(SCRIPT, "--epochs", "1")
    (folder / "data" / "cifar-10-batches-py" / "batches.meta").write_bytes(b"damaged")
    fails(run)
    shutil.rmtree(folder / "data" / "cifar-10-batches-py")
    run(SCRIPT, "--epochs", "1")


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
        run(SCRIPT)
