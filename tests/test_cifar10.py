"""Loading CIFAR-10, from a server on this machine that has a small archive of the same layout."""
import hashlib
import http.server
import io
import pickle
import shutil
import socket
import tarfile
import threading

import numpy as np
import pytest
import torch
from conftest import TUTORIAL_TRANSFORM, Hostile
from torch.utils.data import DataLoader
from torchvision.datasets import CIFAR10

FILES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]


@pytest.fixture
def archive(monkeypatch):
    """Return the bytes of an archive with 5 times 3 training and 3 test images, which CIFAR10 now expects."""
    random = np.random.default_rng(0)
    contents = {name: pickle.dumps({"data": random.integers(0, 256, (3, 3072), dtype=np.uint8),
                                    "labels": random.integers(0, 10, 3).tolist()}) for name in FILES}
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
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/nobody-listens-here")
    return buffer.getvalue()


@pytest.fixture
def serve(monkeypatch):
    """Return a function that makes a server answer with the given status and body, cut to a length."""
    servers = []

    def start(body, status=200, cut=None):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body[:cut])

            do_HEAD = do_GET

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def fails_with_one_line(image):
    """Check that load_data() ends the script with one line that helps, and return that line."""
    with pytest.raises(SystemExit) as exit:
        image.load_data()
    line = exit.value.code
    assert "\n" not in line and line.isascii()
    for words in ("CIFAR-10", "./data", CIFAR10.filename, CIFAR10.tgz_md5, "--dummy"):
        assert words in line
    return line


def put(folder, archive):
    """Put a copy of the archive into data, as a reader would by hand."""
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / CIFAR10.filename).write_bytes(archive)


def test_loads_what_the_tutorial_loads(image, archive, serve, capsys):
    serve(archive)
    image.load_data()
    assert capsys.readouterr().out.endswith("The number of images in a training set is:  15\n"
                                            "The number of images in a test set is:  3\n"
                                            "The number of batches per epoch is:  2\n")
    for train, loader in ((True, image.train_loader), (False, image.test_loader)):
        theirs = DataLoader(CIFAR10("./data", train, TUTORIAL_TRANSFORM), batch_size=10, shuffle=train)
        torch.manual_seed(1)
        expected = list(theirs)
        torch.manual_seed(1)  # the same shuffle, too
        for (images, labels), (their_images, their_labels) in zip(loader, expected):
            assert torch.equal(images, their_images) and torch.equal(labels, their_labels)
        assert len(loader) == len(expected)


def test_bytes_are_not_copied(image, archive, empty_folder):
    put(empty_folder, archive)
    image.load_data()
    images = image.train_set.tensors[0]
    assert images.dtype == torch.uint8 and images.is_contiguous()


def test_is_downloaded_once(image, archive, serve, monkeypatch):
    serve(archive)
    image.load_data()
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/nobody-listens-here")
    image.load_data()


def test_archive_put_there_by_hand(image, archive, empty_folder):
    put(empty_folder, archive)
    image.load_data()
    assert len(image.train_set) == 15


def test_no_network(image, archive):
    assert "refused" in fails_with_one_line(image)


def test_host_answers_with_an_error(image, archive, serve):
    serve(b"", status=503)
    assert "503" in fails_with_one_line(image)


def test_host_that_never_answers(image, archive, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.getsockname()[1]}/")
        socket.setdefaulttimeout(0.2)
        try:
            assert "timed out" in fails_with_one_line(image)
        finally:
            socket.setdefaulttimeout(None)


def test_the_run_after_a_cut_download_recovers(image, archive, serve):
    serve(archive, cut=100)
    fails_with_one_line(image)
    fails_with_one_line(image)
    serve(archive)
    image.load_data()


def test_damaged_archive(image, archive, serve, empty_folder):
    put(empty_folder, archive[:-10])
    fails_with_one_line(image)
    assert (empty_folder / "data" / CIFAR10.filename).read_bytes() == archive[:-10]  # left as it was
    serve(archive)
    image.load_data()


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch"])
def test_damaged_folder(image, archive, empty_folder, name):
    put(empty_folder, archive)
    image.load_data()
    damaged = empty_folder / "data" / "cifar-10-batches-py" / name
    damaged.write_bytes(damaged.read_bytes()[:-1])
    image.load_data()  # from the archive
    damaged.unlink()
    (empty_folder / "data" / CIFAR10.filename).unlink()
    fails_with_one_line(image)


def test_what_the_line_says_helps(image, archive, empty_folder):
    put(empty_folder, archive)
    image.load_data()
    (empty_folder / "data" / "cifar-10-batches-py" / "batches.meta").write_bytes(b"damaged")
    assert "Delete ./data/cifar-10-batches-py" in fails_with_one_line(image)
    shutil.rmtree("./data/cifar-10-batches-py")
    image.load_data()


def test_data_is_not_unpickled_before_its_checksum_was_verified(image, archive, empty_folder):
    put(empty_folder, archive)
    image.load_data()
    (empty_folder / "data" / CIFAR10.filename).unlink()
    for name in FILES + ["batches.meta"]:
        file = empty_folder / "data" / "cifar-10-batches-py" / name
        whole = file.read_bytes()
        file.write_bytes(pickle.dumps(Hostile()))
        fails_with_one_line(image)
        assert not (empty_folder / "executed").exists()
        file.write_bytes(whole)


def test_data_is_a_file(image, archive, empty_folder):
    (empty_folder / "data").write_text("my notes")
    fails_with_one_line(image)
    assert (empty_folder / "data").read_text() == "my notes"


def test_a_programming_error_keeps_its_traceback(image, monkeypatch):
    def broken(*args, **kwargs):
        raise TypeError("a programming error")

    monkeypatch.setattr(image, "CIFAR10", broken)
    with pytest.raises(TypeError):
        image.load_data()
