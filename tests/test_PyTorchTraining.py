"""The image classifier, function by function, on tiny synthetic data."""
import copy
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import TESTING, TRAINING, same, watch_modes
from torch import nn
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset


def tutorial_scores(state, output):
    """Return what the tutorial's network, in evaluation mode, computes with the state dict `state`."""
    for layer in "1245":
        output = F.conv2d(output, state[f"conv{layer}.weight"], state[f"conv{layer}.bias"], stride=1, padding=1)
        norm = [state[f"bn{layer}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        output = F.relu(F.batch_norm(output, *norm))
        if layer == "2":
            output = F.max_pool2d(output, 2, 2)
    return F.linear(output.reshape(-1, 24 * 10 * 10), state["fc1.weight"], state["fc1.bias"])


def predictions(model, pictures):
    """Return the prediction for each picture, taken one at a time in evaluation mode."""
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        return [model(picture[None]).argmax().item() for picture in pictures]


def test_the_network_is_the_tutorials(images):
    model = images.model
    assert [(name, *tensor.shape) for name, tensor in model.named_parameters()] == [
        ("conv1.weight", 12, 3, 5, 5), ("conv1.bias", 12), ("bn1.weight", 12), ("bn1.bias", 12),
        ("conv2.weight", 12, 12, 5, 5), ("conv2.bias", 12), ("bn2.weight", 12), ("bn2.bias", 12),
        ("conv4.weight", 24, 12, 5, 5), ("conv4.bias", 24), ("bn4.weight", 24), ("bn4.bias", 24),
        ("conv5.weight", 24, 24, 5, 5), ("conv5.bias", 24), ("bn5.weight", 24), ("bn5.bias", 24),
        ("fc1.weight", 10, 2400), ("fc1.bias", 10)]
    batch = torch.rand(4, 3, 32, 32)
    model(batch)  # so that the running statistics are not those of a new network
    assert torch.allclose(model.eval()(batch), tutorial_scores(model.state_dict(), batch), atol=1e-6)


def test_training_is_the_tutorials_five_steps_and_prints_the_mean_losses(images, monkeypatch, capsys):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))  # a small one, for the many steps
    twin = copy.deepcopy(model)
    batches = [(torch.rand(2, 3, 32, 32), torch.randint(0, 10, (2,))) for _ in range(2100)]
    monkeypatch.setattr(images, "model", model)
    monkeypatch.setattr(images, "optimizer", Adam(model.parameters(), **images.optimizer.defaults))
    monkeypatch.setattr(images, "train_loader", batches)
    optimizer, losses = Adam(twin.parameters(), lr=0.001, weight_decay=0.0001, fused=True), []
    for pictures, labels in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(twin(pictures), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    images.train(1)
    lines = capsys.readouterr().out.splitlines()
    for line, start, mean in zip(lines[1:], ("[1,  1000] loss: ", "[1,  2000] loss: "),
                                 (sum(losses[:1000]) / 1000, sum(losses[1000:2000]) / 1000)):
        assert re.fullmatch(re.escape(start) + r"\d+\.\d{3}", line)
        assert float(line[len(start):]) == pytest.approx(mean, abs=0.001)
    assert lines[3].startswith("For epoch 1 ") and len(lines) == 4
    assert same(model, twin.state_dict())


def test_every_epoch_trains_in_training_mode_and_tests_in_evaluation_mode(images):
    modes = watch_modes(images.model)
    images.train(2)
    assert modes == 2 * (3 * [TRAINING] + [TESTING])


def test_the_first_of_the_best_epochs_is_saved(images, monkeypatch, capsys):
    accuracies, states = [10.0, 30.9, 20.0, 30.9], []

    def testAccuracy():
        states.append(copy.deepcopy(images.model.state_dict()))
        return accuracies[len(states) - 1]

    monkeypatch.setattr(images, "testAccuracy", testAccuracy)
    images.train(4)
    saved = torch.load("./myFirstModel.pth")
    assert [all(torch.equal(saved[name], state[name]) for name in state) for state in states] == [0, 1, 0, 0]
    assert capsys.readouterr().out == (
        "The model will be running on cpu device\n"
        "For epoch 1 the test accuracy over the whole test set is 10 %\n"
        "For epoch 2 the test accuracy over the whole test set is 30 %\n"
        "For epoch 3 the test accuracy over the whole test set is 20 %\n"
        "For epoch 4 the test accuracy over the whole test set is 30 %\n")


def test_an_epoch_with_nothing_right_replaces_an_older_file(images, monkeypatch):
    Path("myFirstModel.pth").write_text("an older file")
    monkeypatch.setattr(images, "testAccuracy", lambda: 0.0)
    images.train(1)
    assert same(images.model, torch.load("./myFirstModel.pth"))


def test_each_line_of_training_appears_when_it_is_printed(images, monkeypatch):
    raw, seen = io.BytesIO(), []
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, newline="\n"))  # it keeps what is not flushed
    monkeypatch.setattr(images, "train_loader", 334 * list(images.train_loader))
    monkeypatch.setattr(images, "model", nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)))
    monkeypatch.setattr(images, "saveModel", lambda: seen.append(raw.getvalue().count(b"\n")))
    images.model.register_forward_pre_hook(lambda *_: seen.append(raw.getvalue().count(b"\n")))
    images.train(1)
    assert seen == 1000 * [1] + 3 * [2] + [3]  # 1,000 batches; 2 more and the test; saving


@pytest.mark.parametrize("right", [0, 1, 104, 105])
def test_testAccuracy_is_the_percentage_of_right_predictions(images, monkeypatch, right):
    pictures = torch.rand(105, 3, 32, 32)  # more than testAccuracy() takes at once
    labels = torch.tensor(predictions(images.model, pictures))
    labels[right:] = (labels[right:] + 1) % 10
    monkeypatch.setattr(images, "test_set", TensorDataset(pictures, labels))
    assert images.testAccuracy() == pytest.approx(100 * right / 105)


@pytest.mark.parametrize("name", ["testAccuracy", "testBatch", "testClassess"])
def test_testing_changes_nothing_and_runs_in_evaluation_mode(images, name):
    modes, before = watch_modes(images.model), copy.deepcopy(images.model.state_dict())
    images.model.train()
    getattr(images, name)()
    assert same(images.model, before)
    assert modes and set(modes) == {TESTING}


def test_testBatch_prints_the_labels_and_the_predictions_and_saves_the_picture(images, monkeypatch, capsys, folder):
    pictures = torch.stack([torch.full((3, 32, 32), value) for value in (-1.0, 0.0, 1.0)])
    pictures[0, 0, 1:] = 1.0  # all but the first row of it red
    monkeypatch.setattr(images, "test_loader", [(pictures, torch.tensor([3, 8, 0]))])
    predicted = [images.classes[prediction] for prediction in predictions(images.model, pictures)]
    images.testBatch()
    assert capsys.readouterr().out.splitlines() == [
        "There is no display: the picture is saved as ./testBatch.png",
        "Real labels:    cat  ship plane",
        "Predicted:  " + " ".join(name.rjust(5) for name in predicted)]
    picture = images.plt.gca().images[-1].get_array()  # 3 images in a row, with a border of 2 pixels
    assert picture.shape == (36, 104, 3)
    assert [picture[18, column].tolist() for column in (18, 52, 86)] == [[1, 0, 0], [0.5, 0.5, 0.5], [1, 1, 1]]
    assert picture[2, 18].tolist() == [0, 0, 0]
    assert (folder / "testBatch.png").read_bytes().startswith(b"\x89PNG")


def test_where_there_is_a_display_the_picture_is_shown_and_not_saved(images, monkeypatch, folder):
    shown = []
    monkeypatch.setattr(images.plt, "get_backend", lambda: "TkAgg")
    monkeypatch.setattr(images.plt, "show", lambda: shown.append(images.plt.gca().images[-1].get_array()))
    images.imageshow(torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1).expand(3, 2, 4))
    assert np.allclose(shown[0], [0, 0.5, 1]) and shown[0].shape == (2, 4, 3)
    assert not list(folder.iterdir())


def test_testClassess_counts_a_last_batch_with_fewer_images_and_names_absent_classes(images, monkeypatch, capsys):
    pictures = torch.rand(7, 3, 32, 32)
    predicted = predictions(images.model, pictures)
    right, wrong = predicted[0], (predicted[0] + 1) % 10
    labels = torch.tensor([right] * 6 + [wrong])
    monkeypatch.setattr(images, "test_loader", DataLoader(TensorDataset(pictures, labels), batch_size=3))
    images.testClassess()
    lines = ["Accuracy of %5s : no images" % name for name in images.classes]
    lines[right] = "Accuracy of %5s : %2d %%" % (images.classes[right], 100 * predicted[:6].count(right) / 6)
    lines[wrong] = "Accuracy of %5s : %2d %%" % (images.classes[wrong], 100 * (predicted[6] == wrong))
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize("name", ["train", "testAccuracy", "testBatch", "testClassess"])
def test_on_a_gpu_the_model_and_every_batch_go_there(images, gpu, name):
    with gpu:
        getattr(images, name)(*[1] * (name == "train"))
    assert next(images.model.parameters()).is_meta
