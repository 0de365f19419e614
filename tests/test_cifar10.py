"""How the image script gets its images: from ./data, from servers that work or not, or synthetic ones."""
import io
import pickle
import re
import shutil
import socket
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import PyTorchTraining
import pytest
import torch
from conftest import IMAGES, Hostile, copy_of, the_line
from torchvision import transforms
from torchvision.datasets import CIFAR10

URLOPEN, SETTIMEOUT = urllib.request.urlopen, socket.setdefaulttimeout


class Handler(BaseHTTPRequestHandler):
    """A server that works or not: the path that is asked for says how it answers."""

    def do_GET(self):
        self.server.asked.append(self.path)
        archive = self.server.archive
        if self.path == "/silent":
            self.server.finished.wait(10)
        elif self.path == "/no_HTTP":
            self.wfile.write(b"this is\r\nno HTTP")
        else:
            self.send_response(404 if self.path == "/missing" else 200)
            self.send_header("Content-Length", str(len(archive)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write({"/good": archive, "/half": archive[:len(archive) // 2]}.get(self.path, bytes(1000)))

    do_HEAD = do_GET

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(archive, monkeypatch):
    """A server of our own, which has the archive; ./data has it no more."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.finished, server.archive = [], threading.Event(), archive.read_bytes()
    archive.unlink()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("urllib.request.urlopen", URLOPEN)
    yield server
    server.finished.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def run_with(server, run, monkeypatch):
    """A function that runs one epoch of the script, with servers that answer as the names say, in their order."""
    def run_with(*names):
        urls = [f"http://127.0.0.1:{1 if name == 'down' else server.server_port}/{name}" for name in names]
        script = copy_of(IMAGES, lambda text: re.sub(r"(?ms)^servers = \[.*?\]$", f"servers = {urls}", text))
        monkeypatch.setattr(CIFAR10, "url", None)  # so that what the script sets ends with the test
        monkeypatch.setattr("socket.setdefaulttimeout", lambda seconds: SETTIMEOUT(seconds / 100))
        try:
            return run(script, "--epochs", "1")
        finally:
            SETTIMEOUT(None)

    return run_with


@pytest.mark.parametrize("fault", ["down", "missing", "wrong", "half", "no_HTTP", "silent"])
def test_after_a_server_that_fails_the_next_one_is_asked(run_with, server, archive, capsys, fault):
    run_with(fault, "good", "never_asked")
    assert archive.read_bytes() == server.archive and "/never_asked" not in server.asked
    start, _, rest = capsys.readouterr().out.partition("The number of images in a training set is:  20\n")
    assert re.findall(r"^Downloading CIFAR-10 \(170 MB\) from \S+/(\w+) to data.cifar-10-python.tar.gz$", start, re.M) == [
        fault, "good"] and rest


@pytest.mark.parametrize("last, reason", [("down", "refused"), ("missing", "404"), ("wrong", "corrupted")])
def test_if_all_servers_fail_one_line_tells_the_last_reason_and_what_to_do(run_with, last, reason):
    line = the_line(run_with, "half", "silent", last)
    start, _, cures = line.partition("). ")
    assert start.startswith("The CIFAR-10 images could neither be read from ./data nor downloaded (") and reason in start
    for cure in ("Delete ./data/cifar-10-batches-py", "--dummy", f"{CIFAR10.filename} (MD5 {CIFAR10.tgz_md5})"):
        assert cure in cures
    run_with("good")  # what was left of the downloads is no harm


def test_what_is_in_data_needs_no_server_but_a_damaged_archive_is_told_and_downloaded_again(
        run_with, server, archive, capsys):
    archive.write_bytes(server.archive)
    run_with("good")  # the archive alone
    archive.unlink()
    run_with("good")  # its folder alone
    assert server.asked == [] and "Downloading" not in capsys.readouterr().out
    shutil.rmtree(archive.parent / CIFAR10.base_folder)
    archive.write_bytes(server.archive[:-10])
    run_with("good")
    assert re.match(r"\S+.tar.gz is damaged \(its MD5 is not " + CIFAR10.tgz_md5, capsys.readouterr().out)
    assert archive.read_bytes() == server.archive


def test_a_disk_that_is_full_is_told_and_no_other_server_is_asked(run_with, monkeypatch, capsys):
    class FullDisk(io.BytesIO):
        url, length = None, 1000

        def read(self, size):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("urllib.request.urlopen", lambda *arguments: FullDisk())
    assert "No space left on device" in the_line(run_with, "good", "never_asked")
    assert "never_asked" not in capsys.readouterr().out


def test_ctrl_c_in_the_download_is_status_130_and_the_next_start_works(run_with, monkeypatch, capsys):
    class CtrlC(io.BytesIO):
        url, length = None, 1000

        def read(self, size):
            if self.tell() == 0:
                return super().read(500)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("urllib.request.urlopen", lambda *arguments: CtrlC(bytes(1000)))
        the_line(run_with, "good", status=130)
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("Stopped. ") and "--dummy" in error and CIFAR10.filename in error and "elete" not in error
    run_with("good")


def test_a_file_named_data_stays(archive, run):
    shutil.rmtree("data")
    Path("data").write_text("my notes")
    the_line(run, IMAGES)
    assert Path("data").read_text() == "my notes"


def test_data_are_never_unpickled_before_their_checksum_was_verified(archive, run):
    run(IMAGES, "--epochs", "1")
    archive.unlink()
    for file in list(Path("data", CIFAR10.base_folder).iterdir()):
        whole = file.read_bytes()
        file.write_bytes(pickle.dumps(Hostile()))
        the_line(run, IMAGES)
        assert not Path("executed").exists()
        file.write_bytes(whole)
    run(IMAGES, "--epochs", "0")


def test_a_programming_error_keeps_its_traceback(run, monkeypatch):
    monkeypatch.setattr(CIFAR10, "__init__", lambda self, wrong: None)
    with pytest.raises(TypeError):
        run(IMAGES)


def test_the_images_are_those_of_the_tutorial_and_transforms_get_them_as_floats(archive, run):
    script = run(IMAGES, "--epochs", "1")
    assert [image.shape for image, _ in script["train_loader"]] == 2 * [(10, 3, 32, 32)]
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])
    for train, ours in ((True, script["train_set"]), (False, script["test_set"])):
        changed = PyTorchTraining.FastCIFAR10("./data", train, transforms.RandomHorizontalFlip(p=1.0), lambda label: -label)
        for (image, label), theirs, (flipped, changed_label) in zip(ours, CIFAR10("./data", train, transform), changed):
            assert torch.equal(image, theirs[0]) and label == theirs[1]
            assert torch.equal(image.flip(2), flipped) and -label == changed_label
    orders = [torch.cat([labels for _, labels in script["train_loader"]]).tolist() for _ in range(2)]
    assert orders[0] != orders[1]  # shuffled in each epoch
    assert torch.cat([labels for _, labels in script["test_loader"]]).tolist() == list(range(10))


def test_the_dummy_images_can_be_told_apart_and_are_the_same_with_every_seed(run):
    script = run(IMAGES, "--dummy", "--epochs", "1", "--seed", "1")
    assert script["testAccuracy"]() > 90
    (images, labels), (test_images, test_labels) = script["train_set"].tensors, script["test_set"].tensors
    assert images.shape == (1000, 3, 32, 32) and test_images.shape == (200, 3, 32, 32)
    assert images.dtype == torch.float32 and labels.dtype == torch.int64 and images.min() == -1 and images.max() == 1
    for part in (labels, test_labels):
        assert part.bincount().tolist() == 10 * [len(part) // 10]
    distances = torch.cdist(test_images.flatten(1), images.flatten(1))
    assert distances.min() > 10  # nothing is both trained on and tested, and noise makes the patterns no trifle
    assert torch.equal(images, run(IMAGES, "--dummy", "--epochs", "0", "--seed", "2")["train_set"].tensors[0])
