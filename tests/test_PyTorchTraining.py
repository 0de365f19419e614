"""The image classifier: its functions, and how it gets its images from ./data, from servers, or synthetic ones."""
import copy
import re
import shutil
from contextlib import nullcontext
from http.client import BadStatusLine
from pathlib import Path
from statistics import mean
from unittest.mock import Mock
from urllib.error import URLError

import PyTorchTraining
import pytest
import torch
from conftest import IMAGES, own_epoch, printed, same, the_line, use_model
from torch import nn
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset
from torchvision import transforms
from torchvision.datasets import CIFAR10


class Oracle(nn.Module):
    """It predicts what the red of the first pixel says: class 0 for -1, class 5 for 0, class 9 for 0.8 or more."""

    def forward(self, pictures):
        return -(pictures[:, 0, 0, :1] + 1 - torch.arange(10) / 5).abs()


@pytest.mark.filterwarnings("error")  # PyTorch warns of a loss whose history is kept
def test_training_is_the_five_steps_and_prints_the_mean_losses_and_the_accuracies(images, monkeypatch):
    model = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, 10))
    twin, tests = copy.deepcopy(model), images.test_loader.dataset.tensors
    batches = [(torch.rand(2, 3, 32, 32), torch.randint(0, 10, (2,))) for _ in range(2050)]
    use_model(monkeypatch, images, model)
    monkeypatch.setattr(images, "train_loader", batches)
    first, *lines = printed(monkeypatch, images.train, 2)
    optimizer = Adam(twin.parameters(), lr=0.001, weight_decay=0.0001)
    for epoch, three in ((1, lines[:3]), (2, lines[3:])):
        losses, _, right = own_epoch(twin, optimizer, batches, tests)
        accuracy = f"For epoch {epoch} the test accuracy over the whole test set is {100 * right // 7} %"
        numbers = re.fullmatch(rf"\[{epoch},  1000\] loss: (\d+\.\d{{3}})\n\[{epoch},  2000\] loss: (\d+\.\d{{3}})\n"
                               + accuracy, "\n".join(three)).groups()
        assert [*map(float, numbers)] == pytest.approx([mean(losses[:1000]), mean(losses[1000:2000])], abs=0.001)
    assert first == "The model will be running on cpu device"
    assert same(model, twin.state_dict())  # it trained in training mode and tested in evaluation mode


@pytest.mark.parametrize("accuracies, saved", [([10.0, 30.9, 20.0, 30.9], 1), ([0.0, 0.0], 0)])
def test_the_first_of_the_best_epochs_is_saved(images, monkeypatch, accuracies, saved):
    weights = []
    monkeypatch.setattr(images, "testAccuracy", lambda: weights.append(
        images.model.fc1.weight.detach().clone()) or accuracies[len(weights) - 1])
    images.train(len(accuracies))
    state = torch.load("./myFirstModel.pth")
    assert [torch.equal(state["fc1.weight"], each) for each in weights].index(True) == saved


def test_testAccuracy_and_testClassess_count_every_image_and_name_absent_classes(images, monkeypatch, capsys):
    predicted, labels = torch.tensor([0, 0, 3, 3, 3, 3, 8]), torch.tensor([0, 0, 0, 3, 3, 3, 9])
    pictures = (predicted / 5 - 1).view(7, 1, 1, 1).expand(7, 3, 32, 32)
    monkeypatch.setattr(images, "model", Oracle())
    monkeypatch.setattr(images, "test_loader", DataLoader(TensorDataset(pictures, labels), batch_size=3))
    assert images.testAccuracy() == pytest.approx(500 / 7)
    images.testClassess()
    expected = {"plane": "66 %", "cat": "100 %", "truck": " 0 %"}
    assert capsys.readouterr().out == "".join(
        f"Accuracy of {name:>5} : {expected.get(name, 'no images')}\n" for name in images.classes)


@pytest.mark.parametrize("name", ["testAccuracy", "testBatch", "testClassess"])
def test_testing_changes_nothing_and_keeps_no_gradients(images, name):
    before, gradients = copy.deepcopy(images.model.state_dict()), []
    images.model.train().register_forward_hook(lambda module, _, output: gradients.append(output.requires_grad))
    getattr(images, name)()
    assert same(images.model, before) and gradients and not any(gradients)


@pytest.mark.parametrize("backend, first", [
    ("TkAgg", "shown"), ("agg", "No window can be opened: the picture is saved as ./testBatch.png"),
    ("agg", "No window can be opened, and the picture cannot be saved: ")])
def test_testBatch_shows_or_saves_the_picture_and_prints_labels_and_predictions(
        images, monkeypatch, capsys, backend, first):
    pictures = torch.stack([torch.full((3, 32, 32), value) for value in (-1.0, 0.0, 1.0)])
    pictures[0, 0, 1:] = 1.0  # all but the first row of it red
    monkeypatch.setattr(images, "model", Oracle())
    monkeypatch.setattr(images, "test_loader", [(pictures, torch.tensor([3, 8, 0]))])
    monkeypatch.setattr(images.plt, "get_backend", lambda: backend)
    monkeypatch.setattr(images.plt, "show", lambda: print("shown"))
    if "cannot be saved" in first:
        Path("testBatch.png").mkdir()
    images.testBatch()
    line, *others = capsys.readouterr().out.splitlines()
    assert line.startswith(first) and Path("testBatch.png").is_file() == ("saved as" in first)
    assert others == ["Real labels:    cat  ship plane", "Predicted:  plane   dog truck"]
    picture = images.plt.gca().images[-1].get_array()  # 3 images in a row, with a border of 2 pixels
    assert [picture[18, column].tolist() for column in (18, 52, 86)] == [[1, 0, 0], [0.5, 0.5, 0.5], [1, 1, 1]]
    assert picture[2, 18].tolist() == [0, 0, 0] and picture.shape == (36, 104, 3)


@pytest.fixture
def run_with(archive, run, monkeypatch):
    """A function that runs one epoch; each server sends bytes, then may raise an exception; no further one is asked."""
    def run_with(*answers):
        def urlopen(request):  # torchvision asks again with http: in place of https:
            answer = answers[PyTorchTraining.servers.index(request.full_url.replace("http:", "https:"))]
            return nullcontext(Mock(url=None, length=1000, **{"read.side_effect": [*answer, b""]}))

        monkeypatch.setattr("urllib.request.urlopen", urlopen)
        monkeypatch.setattr("socket.setdefaulttimeout", timeouts.append)
        run(IMAGES, "--epochs", "1")
        assert not answers or timeouts[-1] == 30

    timeouts, run_with.good = [], [archive.read_bytes()]
    archive.unlink()
    return run_with


ERRORS = {"refused": [URLError("refused")], "IPv6": [ValueError("Invalid IPv6 URL")], "TimeoutError": [TimeoutError()],
          "this is no HTTP": [BadStatusLine("this is\r\nno HTTP")], "corrupted": [bytes(1000)],
          "reset": [bytes(500), ConnectionResetError("reset")]}


@pytest.mark.parametrize("reason", ERRORS)
def test_after_a_server_that_fails_the_next_one_is_asked(run_with, archive, capsys, reason):
    run_with(ERRORS[reason], run_with.good)
    start, _, rest = capsys.readouterr().out.partition("The number of images in a training set is:  20\n")
    assert rest and archive.read_bytes() == run_with.good[0] and PyTorchTraining.servers[:2] == re.findall(
        r"^Downloading CIFAR-10 \(170 MB\) from (\S+) to data.cifar-10-python.tar.gz$", start, re.M)


@pytest.mark.parametrize("reason, answers", [
    *((reason, [ERRORS["reset"], ERRORS["corrupted"], error]) for reason, error in ERRORS.items()),
    ("No space left on device", [[bytes(500), OSError(28, "No space left on device")]]),
    ("Ctrl-C", [[bytes(500), KeyboardInterrupt()]])], ids=[*ERRORS, "full disk", "Ctrl-C"])
def test_a_download_that_fails_ends_with_one_line_that_tells_the_last_reason_and_what_to_do(
        run_with, capsys, reason, answers):
    line = the_line(run_with, *answers, status=130 if reason == "Ctrl-C" else 1)
    start = (rf"The CIFAR-10 images could neither be read from \./data nor downloaded \(.*{reason}.*\)\. "
             r"Delete \./data/cifar-10-batches-py if it is there, and start again; ")
    if reason == "Ctrl-C":
        line, start = capsys.readouterr().err.splitlines()[-1], r"Stopped\. If the download is too slow, "
    assert re.fullmatch(rf"{start}run with --dummy, which needs no images; or put {CIFAR10.filename} "
                        rf"\(MD5 {CIFAR10.tgz_md5}\) into \./data\.", line)
    run_with(run_with.good)  # what was left of the download is no harm


def test_what_is_in_data_needs_no_server_but_a_damaged_archive_is_told_and_replaced(run_with, archive, capsys):
    archive.write_bytes(run_with.good[0])
    run_with()  # the archive alone
    archive.unlink()
    run_with()  # its folder alone
    assert "Downloading" not in capsys.readouterr().out
    shutil.rmtree(archive.parent / CIFAR10.base_folder)
    archive.write_bytes(run_with.good[0][:-10])
    with pytest.raises(IndexError):  # a programming error keeps its traceback
        run_with()
    run_with(run_with.good)
    assert re.match(r"\S+.tar.gz is damaged \(its MD5 is not " + CIFAR10.tgz_md5, capsys.readouterr().out)
    assert archive.read_bytes() == run_with.good[0]


def test_the_images_are_those_of_the_tutorial_and_transforms_get_them_as_floats(archive, run):
    script = run(IMAGES, "--epochs", "1")
    assert CIFAR10.url == script["servers"][0]
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])
    flip = transforms.RandomHorizontalFlip(p=1.0), lambda label: -label
    for train, ours in ((True, script["train_set"]), (False, script["test_set"])):
        changed = PyTorchTraining.FastCIFAR10("./data", train, *flip)
        for (image, label), theirs, (flipped, negative) in zip(ours, CIFAR10("./data", train, transform), changed):
            assert torch.equal(image, theirs[0]) and label == theirs[1]
            assert torch.equal(image.flip(2), flipped) and -label == negative
    assert [images.shape for images, _ in script["train_loader"]] == 2 * [(10, 3, 32, 32)]
    orders = [torch.cat([labels for _, labels in script["train_loader"]]).tolist() for _ in range(2)]
    assert orders[0] != orders[1]  # shuffled in each epoch
    assert [labels.tolist() for _, labels in script["test_loader"]] == [list(range(10))]


def test_the_dummy_images_can_be_told_apart_and_are_the_same_with_every_seed(run):
    script = run(IMAGES, "--dummy", "--epochs", "1", "--seed", "1")
    assert script["testAccuracy"]() > 90
    (images, labels), (test_images, test_labels) = script["train_set"].tensors, script["test_set"].tensors
    assert images.min() == -1 and images.max() == 1
    assert labels.bincount().tolist() == 10 * [100] and test_labels.bincount().tolist() == 10 * [20]
    distances = torch.cdist(test_images.flatten(1), images.flatten(1))
    assert distances.min() > 10  # nothing is both trained on and tested, and noise makes the patterns no trifle
    assert torch.equal(images, run(IMAGES, "--dummy", "--epochs", "0", "--seed", "2")["train_set"].tensors[0])
