"""The image classifier, function by function, on tiny synthetic data."""
import copy
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import record_prints, same
from torch import nn
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset


def scores(state, output):
    """Return what the network of the tutorial, in evaluation mode, computes with the state dict `state`."""
    for layer in "1245":
        output = F.conv2d(output, state[f"conv{layer}.weight"], state[f"conv{layer}.bias"], stride=1, padding=1)
        norm = [state[f"bn{layer}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        output = F.relu(F.batch_norm(output, *norm))
        if layer == "2":
            output = F.max_pool2d(output, 2, 2)
    return F.linear(output.reshape(-1, 24 * 10 * 10), state["fc1.weight"], state["fc1.bias"])


def predictions(model, pictures):
    """Return the predicted labels in evaluation mode."""
    return copy.deepcopy(model).eval()(pictures).argmax(1)


def test_the_network_the_loss_and_the_optimizer_are_the_tutorials(images):
    model, batch = images.model, torch.rand(4, 3, 32, 32)
    assert [(name, *tensor.shape) for name, tensor in model.named_parameters() if "bias" not in name] == [
        ("conv1.weight", 12, 3, 5, 5), ("bn1.weight", 12), ("conv2.weight", 12, 12, 5, 5), ("bn2.weight", 12),
        ("conv4.weight", 24, 12, 5, 5), ("bn4.weight", 24), ("conv5.weight", 24, 24, 5, 5), ("bn5.weight", 24),
        ("fc1.weight", 10, 2400)]
    model(batch)  # so that the running statistics are not those of a new network
    assert torch.allclose(model.eval()(batch), scores(model.state_dict(), batch), atol=1e-6)
    expected = Adam(model.parameters(), lr=0.001, weight_decay=0.0001, fused=True)
    assert type(images.optimizer) is Adam and images.optimizer.defaults == expected.defaults
    assert type(images.loss_fn) is nn.CrossEntropyLoss


@pytest.mark.filterwarnings("error")  # PyTorch warns of a loss whose history is kept
def test_training_is_the_five_steps_and_prints_the_mean_losses_and_the_accuracies(images, monkeypatch):
    model = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, 10))
    twin = copy.deepcopy(model)
    batches = [(torch.rand(2, 3, 32, 32), torch.randint(0, 10, (2,))) for _ in range(1050)]
    monkeypatch.setattr(images, "model", model)
    monkeypatch.setattr(images, "optimizer", Adam(model.parameters(), **images.optimizer.defaults))
    monkeypatch.setattr(images, "train_loader", batches)
    optimizer, expected = Adam(twin.parameters(), lr=0.001, weight_decay=0.0001), []
    pictures, labels = images.test_loader.dataset.tensors
    for epoch in (1, 2):
        losses = []
        for inputs, outputs in batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(twin.train()(inputs), outputs)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        right = 100 * (predictions(twin, pictures) == labels).sum() // 7
        expected += [f"[{epoch},  1000] loss: ", sum(losses[:1000]) / 1000,
                     f"For epoch {epoch} the test accuracy over the whole test set is {right} %"]

    lines = record_prints(monkeypatch, images.train, 2)
    assert lines[0] == "The model will be running on cpu device" and lines[2::2] == expected[2::3] and len(lines) == 5
    for line, start, loss in zip(lines[1::2], expected[::3], expected[1::3]):
        assert re.fullmatch(re.escape(start) + r"\d+\.\d{3}", line)
        assert float(line[len(start):]) == pytest.approx(loss, abs=0.001)
    assert same(model, twin.state_dict())  # it trained in training mode and tested in evaluation mode


@pytest.mark.parametrize("accuracies, saved", [([10.0, 30.9, 20.0, 30.9], 1), ([0.0, 0.0], 0)])
def test_the_first_of_the_best_epochs_is_saved(images, monkeypatch, accuracies, saved):
    Path("myFirstModel.pth").write_text("an older file")
    states = []
    monkeypatch.setattr(images, "testAccuracy", lambda: states.append(
        copy.deepcopy(images.model.state_dict())) or accuracies[len(states) - 1])
    images.train(len(accuracies))
    state = torch.load("./myFirstModel.pth")
    assert [torch.equal(state["fc1.weight"], other["fc1.weight"]) for other in states].index(True) == saved


@pytest.mark.parametrize("right", [0, 1, 6, 7])
def test_testAccuracy_is_the_percentage_of_right_predictions_over_test_loader(images, monkeypatch, right):
    pictures = torch.rand(7, 3, 32, 32)
    labels = predictions(images.model, pictures)
    labels[right:] = (labels[right:] + 1) % 10
    monkeypatch.setattr(images, "test_loader", DataLoader(TensorDataset(pictures, labels), batch_size=3))
    assert images.testAccuracy() == pytest.approx(100 * right / 7)


@pytest.mark.parametrize("name", ["testAccuracy", "testBatch", "testClassess"])
def test_testing_changes_nothing_and_keeps_no_gradients(images, name):
    before, gradients = copy.deepcopy(images.model.state_dict()), []
    images.model.train().register_forward_hook(lambda module, _, output: gradients.append(output.requires_grad))
    getattr(images, name)()
    assert same(images.model, before) and gradients and not any(gradients)


def test_testBatch_prints_the_labels_and_the_predictions_and_saves_the_picture(images, monkeypatch, capsys, folder):
    pictures = torch.stack([torch.full((3, 32, 32), value) for value in (-1.0, 0.0, 1.0)])
    pictures[0, 0, 1:] = 1.0  # all but the first row of it red
    monkeypatch.setattr(images, "test_loader", [(pictures, torch.tensor([3, 8, 0]))])
    names = [images.classes[label] for label in predictions(images.model, pictures)]
    images.testBatch()
    assert capsys.readouterr().out.splitlines() == [
        "No window can be opened: the picture is saved as ./testBatch.png",
        "Real labels:    cat  ship plane",
        "Predicted:  " + " ".join(name.rjust(5) for name in names)]
    picture = images.plt.gca().images[-1].get_array()  # 3 images in a row, with a border of 2 pixels
    assert [picture[18, column].tolist() for column in (18, 52, 86)] == [[1, 0, 0], [0.5, 0.5, 0.5], [1, 1, 1]]
    assert picture[2, 18].tolist() == [0, 0, 0] and picture.shape == (36, 104, 3)
    assert (folder / "testBatch.png").read_bytes().startswith(b"\x89PNG")


def test_where_there_is_a_display_the_picture_is_shown_and_not_saved(images, monkeypatch, folder):
    shown = []
    monkeypatch.setattr(images.plt, "get_backend", lambda: "TkAgg")
    monkeypatch.setattr(images.plt, "show", lambda: shown.append(images.plt.gca().images[-1].get_array().shape))
    images.imageshow(torch.zeros(3, 2, 4))
    assert shown == [(2, 4, 3)] and not list(folder.iterdir())


def test_a_picture_that_cannot_be_saved_is_one_line_and_the_run_goes_on(images, capsys):
    Path("testBatch.png").mkdir()
    images.testBatch()
    assert [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()] == [
        "No window can be opened, and the picture cannot be saved", "Real labels", "Predicted"]


def test_testClassess_counts_every_image_and_names_absent_classes(images, monkeypatch, capsys):
    pictures = torch.rand(7, 3, 32, 32)
    predicted = predictions(images.model, pictures).tolist()
    right, wrong = predicted[0], (predicted[0] + 1) % 10
    data = TensorDataset(pictures, torch.tensor([right] * 6 + [wrong]))
    monkeypatch.setattr(images, "test_loader", DataLoader(data, batch_size=3))
    images.testClassess()
    lines = ["Accuracy of %5s : no images" % name for name in images.classes]
    lines[right] = "Accuracy of %5s : %2d %%" % (images.classes[right], 100 * predicted[:6].count(right) / 6)
    lines[wrong] = "Accuracy of %5s : %2d %%" % (images.classes[wrong], 100 * (predicted[6] == wrong))
    assert capsys.readouterr().out.splitlines() == lines
