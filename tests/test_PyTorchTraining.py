"""Promises of PyTorchTraining.py: the images, the network, the training and the tests."""
import os
import socket
from collections import OrderedDict
from http.client import BadStatusLine
from unittest.mock import Mock
from urllib.error import URLError

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.datasets import CIFAR10
from torchvision.transforms import Compose, Normalize, ToTensor
from torchvision.utils import make_grid


@pytest.mark.parametrize("height, width", [(16, 16), (8, 32), (128, 2)])
def test_images_are_the_floats_of_the_tutorials_transform(training, height, width):
    pixels = np.arange(768).astype(np.uint8)  # so that each color has 0 to 255
    image = Image.fromarray(pixels.reshape(height, width, 3))
    expected = Compose([ToTensor(), Normalize(3 * [0.5], 3 * [0.5])])(image)
    assert torch.equal(training.transformations(image), expected)


@pytest.mark.parametrize("failure", [
    URLError("no network"), BadStatusLine("nonsense"), b"a damaged file"], ids=str)
def test_the_next_url_is_asked_after_one_that_fails(training, internet, cifar, capsys, failure):
    first, second, third = training.urls
    internet.answers = {first: failure, second: cifar.read_bytes()}
    cifar.unlink()
    training.download()
    assert len(CIFAR10("data")) == 20
    assert internet.asked[0] == first
    assert internet.asked[-1] == second
    assert f"{first}: " in capsys.readouterr().err
    assert socket.getdefaulttimeout() == 30


def test_when_all_urls_fail_the_script_ends_with_a_line(training, capsys):
    with pytest.raises(SystemExit, match=r"^CIFAR-10 could not be downloaded .* --dummy\.$"):
        training.download()
    reasons = [f"{url}: no network" for url in training.urls]
    assert capsys.readouterr().err.splitlines() == reasons


def test_nothing_is_asked_if_the_images_are_there(training, internet, cifar):
    training.download()  # it unpacks the archive
    training.download()
    assert len(CIFAR10("data", train=False)) == 10
    assert internet.asked == []


def test_the_network_is_that_of_the_tutorial(training):
    twin = nn.Sequential(OrderedDict(
        conv1=nn.Conv2d(3, 12, 5, padding=1), bn1=nn.BatchNorm2d(12), relu1=nn.ReLU(),
        conv2=nn.Conv2d(12, 12, 5, padding=1), bn2=nn.BatchNorm2d(12), relu2=nn.ReLU(),
        pool=nn.MaxPool2d(2),
        conv4=nn.Conv2d(12, 24, 5, padding=1), bn4=nn.BatchNorm2d(24), relu4=nn.ReLU(),
        conv5=nn.Conv2d(24, 24, 5, padding=1), bn5=nn.BatchNorm2d(24), relu5=nn.ReLU(),
        flatten=nn.Flatten(), fc1=nn.Linear(24 * 10 * 10, 10)))
    twin.load_state_dict(training.model.state_dict())
    images = torch.randn(4, 3, 32, 32)
    assert torch.equal(training.model(images), twin(images))


@pytest.mark.parametrize("batches, printed_after", [(2010, [1000, 2000]), (7, [7])])
def test_the_mean_loss_is_printed(training, echo, capsys, batches, printed_after):
    scores, labels = torch.randn(batches, 10), torch.arange(batches) % 10
    training.train_loader = list(zip(scores.split(1), labels.split(1)))
    training.model = echo
    training.optimizer = torch.optim.SGD(echo.parameters(), lr=0)  # nothing changes
    training.testAccuracy = lambda: 56.7
    training.train(2)
    losses = nn.functional.cross_entropy(scores, labels, reduction="none").split(printed_after[0])
    expected = ["The model will be running on cpu device"]
    for epoch in (1, 2):
        for end, part in zip(printed_after, losses):
            expected.append("[%d, %5d] loss: %.3f" % (epoch, end, part.mean()))
        expected.append(f"For epoch {epoch} the test accuracy over the whole test set is 56 %")
    assert capsys.readouterr().out.splitlines() == expected


@pytest.mark.parametrize("batch_size", [1, 10, 23])
def test_the_tests_count_every_image(training, echo, monkeypatch, capsys, batch_size):
    """Of 9 planes, 8 cars, 5 birds and 1 cat, 8, 6, 1 and 1 are right."""
    labels = torch.tensor(9 * [0] + 8 * [1] + 5 * [2] + [3])
    guesses = torch.tensor(8 * [0] + [9] + 6 * [1] + 2 * [0] + [2] + 4 * [3] + [3])
    images = nn.functional.one_hot(guesses, 30).float().view(23, 3, 2, 5)
    training.test_loader = list(zip(images.split(batch_size), labels.split(batch_size)))
    training.model = echo
    monkeypatch.setattr(plt, "show", Mock())
    accuracy = training.testAccuracy()
    echo.train()
    training.testClassess()
    echo.train()
    training.testBatch()
    assert accuracy == 100 * 16 / 23
    assert capsys.readouterr().out.splitlines() == [
        "Accuracy of plane : 88 %", "Accuracy of   car : 75 %",
        "Accuracy of  bird : 20 %", "Accuracy of   cat : 100 %",
        "Real labels:  " + " ".join("%5s" % training.classes[n] for n in labels[:batch_size]),
        "Predicted:  " + " ".join("%5s" % training.classes[n] for n in guesses[:batch_size]),
        "The picture is saved as ./testBatch.png"]
    assert echo.modes == {(False, False)}  # in evaluation mode, without gradients
    shown, = plt.gca().images
    expected = make_grid(images[:batch_size]).permute(1, 2, 0) / 2 + 0.5
    assert np.array_equal(shown.get_array(), expected)
    assert plt.show.called
    assert os.listdir() == ["testBatch.png"]


TUTORIAL = '''
def testBatch():
    images, labels = next(iter(test_loader))
    imageshow(torchvision.utils.make_grid(images))
    print('Real labels: ', ' '.join('%5s' % classes[labels[j]]
                               for j in range(batch_size)))
    outputs = model(images)
    _, predicted = torch.max(outputs, 1)
    print('Predicted: ', ' '.join('%5s' % classes[predicted[j]]
                              for j in range(batch_size)))
'''


def test_the_tutorials_testBatch_runs_in_the_place_of_ours(run, changed):
    copy = changed("PyTorchTraining.py", (r"def testBatch\(\):.*(?=def testClassess)", TUTORIAL))
    ours = run("PyTorchTraining.py", "--dummy", "--epochs", "1").printed.splitlines()
    theirs = run(copy, "--dummy", "--epochs", "1").printed.splitlines()
    assert sorted(theirs) == sorted(ours)  # it shows the picture first
