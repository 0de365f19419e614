"""Promises of PyTorchTraining.py: the data, the network, the training and the tests."""
import copy
import os
import socket
import ssl
from collections import OrderedDict
from http.client import BadStatusLine
from pathlib import Path
from unittest.mock import Mock
from urllib.error import URLError
from urllib.parse import urlsplit

import matplotlib.pyplot as plt
import pytest
import torch
from PIL.Image import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchvision import transforms
from torchvision.datasets import CIFAR10
from torchvision.utils import make_grid

half = (0.5, 0.5, 0.5)
tutorials_transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(half, half)])


@pytest.mark.parametrize("options", [{}, {"transform": tutorials_transform}], ids=str)
def test_images_are_the_floats_of_the_tutorials_transform(training, cifar, options):
    for train in (True, False):
        theirs = CIFAR10("data", train, transform=tutorials_transform)
        ours = training.FastCIFAR10("data", train, **options)
        for index in range(len(theirs)):
            assert torch.equal(ours[index][0], theirs[index][0])
            assert ours[index][1] == theirs[index][1]


@pytest.mark.parametrize("options", [{"transform": Image.tobytes}, {"target_transform": str}])
def test_transforms_get_what_those_of_CIFAR10_get(training, cifar, options):
    assert training.FastCIFAR10("data", **options)[3] == CIFAR10("data", **options)[3]


@pytest.mark.parametrize("failure", [
    URLError("no such host"), BadStatusLine("nonsense"), ssl.SSLError("bad record"),
    ValueError("no URL"), [b"a wrong file"], [b"half a file", ConnectionResetError("reset")]],
    ids=str)
def test_the_next_server_follows_one_that_fails(training, internet, archive, capsys, failure):
    first, second, third = training.servers
    internet.answers = {urlsplit(first).netloc: failure, urlsplit(second).netloc: [archive]}
    assert len(training.FastCIFAR10("data", download=True)) == 20
    assert internet.asked[0] == first + "cifar-10-python.tar.gz"
    assert internet.asked[-1] == second + "cifar-10-python.tar.gz"
    assert capsys.readouterr().err.count(f"{first}cifar-10-python.tar.gz failed: ") == 1
    assert socket.getdefaulttimeout() == 30


def test_when_all_servers_fail_the_script_ends_with_a_line(run, internet, capsys):
    with pytest.raises(SystemExit) as end:
        run("PyTorchTraining.py")
    assert str(end.value) == (
        "CIFAR-10 could not be downloaded (the reasons stand above): put cifar-10-python.tar.gz "
        "into ./data yourself, or run with --dummy, which needs no images.")
    assert capsys.readouterr().err.count("failed: <urlopen error no network in the tests>\n") == 3
    assert internet.asked[-1] == CIFAR10.url


def test_a_damaged_folder_of_images_ends_the_script_with_a_line(run, cifar, internet):
    Path("data/cifar-10-batches-py/batches.meta").unlink()
    with pytest.raises(SystemExit) as end:
        run("PyTorchTraining.py")
    assert str(end.value) == (
        "./data/cifar-10-batches-py is damaged: delete it, and start again.")


def test_no_server_is_asked_for_what_is_there(training, internet, cifar, capsys):
    training.FastCIFAR10("data", download=True)
    assert internet.asked == []
    assert capsys.readouterr().err == ""


def test_the_network_is_that_of_the_tutorial(training):
    twin = nn.Sequential(OrderedDict(
        conv1=nn.Conv2d(3, 12, 5, padding=1), bn1=nn.BatchNorm2d(12), relu1=nn.ReLU(),
        conv2=nn.Conv2d(12, 12, 5, padding=1), bn2=nn.BatchNorm2d(12), relu2=nn.ReLU(),
        pool=nn.MaxPool2d(2),
        conv4=nn.Conv2d(12, 24, 5, padding=1), bn4=nn.BatchNorm2d(24), relu4=nn.ReLU(),
        conv5=nn.Conv2d(24, 24, 5, padding=1), bn5=nn.BatchNorm2d(24), relu5=nn.ReLU(),
        flatten=nn.Flatten(), fc1=nn.Linear(2400, 10)))
    twin.load_state_dict(training.model.state_dict())
    images = torch.randn(4, 3, 32, 32)
    assert torch.equal(training.model(images), twin(images))
    assert torch.equal(training.model.eval()(images), twin.eval()(images))


def test_the_loss_is_cross_entropy_and_the_optimizer_a_fused_Adam(training):
    expected = torch.optim.Adam(
        training.model.parameters(), lr=0.001, weight_decay=0.0001, fused=True)
    assert str(training.loss_fn) == "CrossEntropyLoss()"
    assert str(training.optimizer) == str(expected)  # it lists all settings
    assert training.optimizer.param_groups[0]["params"] == expected.param_groups[0]["params"]


def test_training_is_that_of_a_textbook(training):
    inputs, labels = torch.randn(23, 4), torch.arange(23) % 10
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))
    twin = copy.deepcopy(model)

    training.model = model
    training.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    training.train_loader = DataLoader(TensorDataset(inputs, labels), batch_size=10)
    training.test_loader = training.train_loader
    training.train(2)

    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for start in (0, 10, 20, 0, 10, 20):
        optimizer.zero_grad()
        scores = twin(inputs[start:start + 10])
        loss = F.cross_entropy(scores, labels[start:start + 10])
        loss.backward()
        optimizer.step()
    for name, value in twin.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_training_prints_the_mean_loss_of_each_1000_batches(training, echo, capsys):
    scores, labels = torch.randn(2010, 10), torch.arange(2010) % 10
    training.train_loader = DataLoader(TensorDataset(scores, labels))
    training.model = echo
    training.optimizer = torch.optim.SGD(echo.parameters(), lr=0)
    training.testAccuracy = lambda: 56.7
    training.train(2)
    first = F.cross_entropy(scores[:1000], labels[:1000])
    second = F.cross_entropy(scores[1000:2000], labels[1000:2000])
    assert capsys.readouterr().out.splitlines() == [
        "The model will be running on cpu device",
        f"[1,  1000] loss: {first:.3f}", f"[1,  2000] loss: {second:.3f}",
        "For epoch 1 the test accuracy over the whole test set is 56 %",
        f"[2,  1000] loss: {first:.3f}", f"[2,  2000] loss: {second:.3f}",
        "For epoch 2 the test accuracy over the whole test set is 56 %"]


@pytest.mark.parametrize("accuracies, epochs_saved", [
    ([10, 30, 30, 20], [1, 2]), ([0, 0, 0], [1]), ([5, 7, 9], [1, 2, 3]), ([0.2, 0.7], [1, 2])])
def test_the_first_best_epoch_is_saved(training, accuracies, epochs_saved):
    saved = []

    def saveModel():
        saved.append(training.testAccuracy.call_count)

    training.train_loader = []
    training.testAccuracy = Mock(side_effect=accuracies)
    training.saveModel = saveModel
    training.train(len(accuracies))
    assert saved == epochs_saved


@pytest.mark.parametrize("name", ["testAccuracy", "testBatch", "testClassess", "train"])
def test_model_and_batches_are_moved_to_the_device(training, pretended_gpu, name):
    training.get_device = lambda: pretended_gpu
    training.saveModel = lambda: None
    training.train_loader = [(torch.zeros(2, 3, 32, 32), torch.tensor([1, 2]))]
    training.test_loader = training.train_loader
    arguments = [1] if name == "train" else []
    getattr(training, name)(*arguments)
    assert training.model.fc1.weight.device == pretended_gpu


def shown():
    """The picture that Matplotlib shows: a tensor of shape (height, width, 3)."""
    image, = plt.gca().images
    return torch.from_numpy(image.get_array().data)


def test_the_tests_count_every_image_in_evaluation_mode_without_gradients(tested, capsys):
    assert tested.testAccuracy() == 100 * 15 / 23
    tested.model.train()
    tested.testClassess()
    tested.model.train()
    tested.testBatch()
    assert tested.model.seen == {(False, False)}
    assert capsys.readouterr().out.splitlines() == [
        "Accuracy of plane : 88 %", "Accuracy of   car : 75 %", "Accuracy of  bird : 16 %",
        "No window can be opened: the picture is saved as ./testBatch.png",
        "Real labels:  " + "plane " * 9 + "  car",
        "Predicted:  " + "plane " * 8 + "truck   car"]
    first_batch, _ = next(iter(tested.test_loader))
    assert torch.equal(shown(), make_grid(first_batch).permute(1, 2, 0) / 2 + 0.5)
    assert Path("testBatch.png").exists()


def test_where_the_picture_cannot_be_saved_the_test_goes_on(tested, capsys):
    Path("testBatch.png").mkdir()
    tested.testBatch()
    printed = capsys.readouterr().out
    assert "the picture cannot be saved: " in printed and "\nPredicted: " in printed


def test_where_windows_are_broken_the_picture_is_saved(training, monkeypatch):
    figure = plt.figure

    def switch_backend(name):
        monkeypatch.setattr(plt, "get_backend", lambda: name)
        monkeypatch.setattr(plt, "figure", figure)

    monkeypatch.setattr(plt, "get_backend", lambda: "TkAgg")
    monkeypatch.setattr(plt, "figure", Mock(side_effect=RuntimeError("no usable init.tcl")))
    monkeypatch.setattr(plt, "switch_backend", switch_backend)
    training.imageshow(torch.zeros(3, 4, 5))
    assert shown().shape == (4, 5, 3)
    assert os.listdir() == ["testBatch.png"]


def test_with_a_window_the_picture_is_shown(training, monkeypatch, capsys):
    show = Mock()
    monkeypatch.setattr(plt, "get_backend", lambda: "TkAgg")
    monkeypatch.setattr(plt, "show", show)
    training.imageshow(torch.zeros(3, 4, 5))
    assert show.call_count == 1
    assert capsys.readouterr().out == "Close the window of the picture to go on.\n"
    assert os.listdir() == []


