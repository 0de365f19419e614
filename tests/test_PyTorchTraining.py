"""The image classifier, function by function, on tiny synthetic data."""
import copy

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from conftest import TESTING, TRAINING, TUTORIAL_TRANSFORM, modes, same, snapshot
from PIL import Image
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset


class TutorialNetwork(nn.Module):
    """The network as the tutorial writes it, to exchange checkpoints with."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 5, 1, 1)
        self.bn1 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(12, 12, 5, 1, 1)
        self.bn2 = nn.BatchNorm2d(12)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv4 = nn.Conv2d(12, 24, 5, 1, 1)
        self.bn4 = nn.BatchNorm2d(24)
        self.conv5 = nn.Conv2d(24, 24, 5, 1, 1)
        self.bn5 = nn.BatchNorm2d(24)
        self.fc1 = nn.Linear(24 * 10 * 10, 10)

    def forward(self, x):
        x = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        x = F.relu(self.bn5(self.conv5(F.relu(self.bn4(self.conv4(self.pool(x)))))))
        return self.fc1(x.view(-1, 24 * 10 * 10))


def predictions(model, dataset):
    """Return the prediction for each image of `dataset`, taken one at a time in evaluation mode."""
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        return [model(image[None]).argmax().item() for image, _ in dataset]


def test_network_has_the_tutorials_parameters(image):
    assert sum(parameter.numel() for parameter in image.model.parameters()) == 50326
    assert list(image.model.state_dict()) == list(TutorialNetwork().state_dict())
    assert image.loss_fn(torch.tensor([[1.0, 3.0]]), torch.tensor([1])).item() == pytest.approx(0.126928)


def test_optimizer_is_the_tutorials(image):
    group = image.optimizer.param_groups[0]
    assert isinstance(image.optimizer, Adam)
    assert (group["lr"], group["weight_decay"]) == (0.001, 0.0001)


def test_checkpoints_go_both_ways(image):
    theirs, batch = TutorialNetwork(), torch.rand(4, 3, 32, 32)
    theirs(batch)  # so that the running statistics are not those of a new network
    torch.save(theirs.state_dict(), "theirs.pth")
    image.load_checkpoint(image.model, "theirs.pth")
    assert torch.equal(image.model.eval()(batch), theirs.eval()(batch))

    image.model.train()(torch.rand(4, 3, 32, 32))
    image.saveModel()
    theirs.load_state_dict(torch.load("./myFirstModel.pth"))
    assert torch.equal(image.model.eval()(batch), theirs.eval()(batch))


def test_to_floats_is_totensor_and_normalize_to_the_bit(image):
    pixels = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    pixels.view(-1)[:256] = torch.arange(256)  # every value
    expected = torch.stack([TUTORIAL_TRANSFORM(Image.fromarray(picture)) for picture in pixels.numpy()])
    floats, labels = image.to_floats((pixels.permute(0, 3, 1, 2), torch.tensor([7, 8, 9])))
    assert floats.dtype == torch.float32 and torch.equal(floats, expected)
    assert labels.tolist() == [7, 8, 9]


def test_dummy_data(image, capsys):
    random = torch.get_rng_state()
    image.load_data(dummy=True)
    assert torch.equal(random, torch.get_rng_state())  # the seed of the run is left alone
    assert capsys.readouterr().out == ("The number of images in a training set is:  1000\n"
                                       "The number of images in a test set is:  200\n"
                                       "The number of batches per epoch is:  100\n")
    first, second = [list(image.train_loader) for _ in range(2)]
    images, labels = first[0]
    assert images.shape == (10, 3, 32, 32) and images.dtype == torch.float32
    assert labels.shape == (10,) and labels.dtype == torch.int64
    assert -1 <= images.min() < -0.9 and 0.9 < images.max() <= 1
    orders = [torch.cat([labels for _, labels in batches]) for batches in (first, second)]
    assert not torch.equal(*orders)  # shuffled anew
    for order in orders:
        assert order.bincount().tolist() == [100] * 10  # and yet each image once
    unshuffled = torch.cat([images for images, _ in image.test_loader])
    assert torch.equal(unshuffled, image.to_floats(image.test_set[:])[0])


def test_network_learns_the_dummy_data(image):
    image.load_data(dummy=True)
    assert image.testAccuracy() < 50
    image.train(2)
    assert image.testAccuracy() > 90


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_testAccuracy_is_the_percentage_of_right_predictions(image, monkeypatch, batch_size):
    expected = predictions(image.model, image.test_set)
    data = TensorDataset(image.test_set.tensors[0], torch.tensor(expected[:5] + [(p + 1) % 10 for p in expected[5:]]))
    monkeypatch.setattr(image, "test_loader", DataLoader(data, batch_size=batch_size))
    assert image.testAccuracy() == pytest.approx(100 * 5 / 7)


def test_more_test_batches_than_are_taken_at_once(image, monkeypatch):
    images = torch.rand(45, 3, 32, 32)
    labels = torch.tensor(predictions(image.model, TensorDataset(images, images)))
    labels[-1] = (labels[-1] + 1) % 10
    monkeypatch.setattr(image, "test_loader", DataLoader(TensorDataset(images, labels), batch_size=1))
    assert image.testAccuracy() == pytest.approx(100 * 44 / 45)


@pytest.mark.parametrize("name", ["testAccuracy", "testBatch", "testClassess"])
def test_testing_changes_nothing(image, name):
    calls, before = modes(image.model), snapshot(image.model)
    getattr(image, name)()
    assert same(snapshot(image.model), before)
    assert calls and set(calls) == {TESTING}
    assert all(parameter.grad is None for parameter in image.model.parameters())


def test_training_mode_in_every_epoch(image):
    calls = modes(image.model)
    image.train(2)
    assert calls == 2 * (3 * [TRAINING] + [TESTING])
    assert image.model.bn1.num_batches_tracked == 6


def test_train_prints_and_saves_the_best_epoch(image, monkeypatch, capsys):
    results, states = [10.0, 30.9, 20.0], []

    def testAccuracy():
        states.append(snapshot(image.model))
        return results[len(states) - 1]

    monkeypatch.setattr(image, "testAccuracy", testAccuracy)
    image.train(3)
    assert same(torch.load("./myFirstModel.pth"), states[1])
    assert capsys.readouterr().out == (
        "The model will be running on cpu device\n"
        "For epoch 1 the test accuracy over the whole test set is 10 %\n"
        "For epoch 2 the test accuracy over the whole test set is 30 %\n"
        "For epoch 3 the test accuracy over the whole test set is 20 %\n")


def test_an_epoch_with_nothing_right_is_saved(image, monkeypatch, empty_folder):
    (empty_folder / "myFirstModel.pth").write_text("an older file")
    monkeypatch.setattr(image, "testAccuracy", lambda: 0.0)
    image.train(1)
    assert same(torch.load("./myFirstModel.pth"), snapshot(image.model))


def test_running_loss_is_that_of_reading_each_loss(image, monkeypatch, capsys):
    batches = [(images, labels) for images, labels in DataLoader(image.train_set, batch_size=1)] * 90
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))  # a small one, for the many steps
    twin = copy.deepcopy(model)
    optimizer = Adam(twin.parameters(), lr=0.001, fused=True)
    monkeypatch.setattr(image, "optimizer", Adam(model.parameters(), lr=0.001, fused=True))
    monkeypatch.setattr(image, "model", model)
    monkeypatch.setattr(image, "loss_fn", lambda *batch: 1e4 + F.cross_entropy(*batch))  # many digits
    monkeypatch.setattr(image, "train_loader", batches)
    expected, running_loss = [], 0.0
    for i, (images, labels) in enumerate(batches):
        optimizer.zero_grad()
        loss = image.loss_fn(twin(images), labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
        if i % 1000 == 999:
            expected.append("[1, %5d] loss: %.3f" % (i + 1, running_loss / 1000))
            running_loss = 0.0

    image.train(1)
    assert capsys.readouterr().out.splitlines()[1:-1] == expected
    assert len(expected) == 2


def test_fused_adam_computes_what_adam_computes(image):
    twin = copy.deepcopy(image.model).double()
    plain = Adam(twin.parameters(), lr=0.001, weight_decay=0.0001)
    fused_model = copy.deepcopy(twin)
    fused = Adam(fused_model.parameters(), lr=0.001, weight_decay=0.0001, fused=True)
    images, labels = image.train_set[:]
    for model, optimizer in ((twin, plain), (fused_model, fused)):
        for _ in range(3):
            optimizer.zero_grad()
            image.loss_fn(model(images.double()), labels).backward()
            optimizer.step()
    for one, other in zip(twin.parameters(), fused_model.parameters()):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def test_testBatch_prints_and_saves_the_picture_without_a_display(image, monkeypatch, capsys, empty_folder):
    images = torch.stack([torch.full((3, 32, 32), value) for value in (-1.0, 0.0, 1.0)])
    monkeypatch.setattr(image, "test_loader", [(images, torch.tensor([3, 8, 0]))])
    predicted = [image.classes[p] for p in predictions(image.model, TensorDataset(images, images))]
    image.testBatch()
    assert capsys.readouterr().out.splitlines() == [
        "There is no display: the picture is saved as ./testBatch.png",
        "Real labels:    cat  ship plane",
        "Predicted:  " + " ".join(name.rjust(5) for name in predicted)]
    picture = image.plt.gca().images[-1].get_array()  # 3 images in a row, with a border of 2 pixels
    assert picture.shape == (36, 104, 3)
    assert [picture[18, column, 0] for column in (18, 52, 86)] == [0, 0.5, 1]
    assert Image.open(empty_folder / "testBatch.png").format == "PNG"


@pytest.mark.parametrize("size", [1, 3, 10])
def test_testBatch_takes_any_batch(image, monkeypatch, capsys, size):
    data = TensorDataset(torch.rand(size, 3, 32, 32), torch.zeros(size, dtype=torch.int64))
    monkeypatch.setattr(image, "test_loader", DataLoader(data, batch_size=10))
    image.testBatch()
    assert capsys.readouterr().out.splitlines()[1] == "Real labels:  " + " ".join(["plane"] * size)


def test_predictions_do_not_depend_on_the_neighbours(image, capsys):
    expected = [image.classes[p] for p in predictions(image.model, image.test_set)[:3]]
    image.model.train()
    image.testBatch()
    assert capsys.readouterr().out.splitlines()[2].split()[1:] == expected


def test_a_display_shows_the_picture(image, monkeypatch, empty_folder):
    shown = []
    monkeypatch.setattr(image.plt, "get_backend", lambda: "TkAgg")
    monkeypatch.setattr(image.plt, "show", lambda: shown.append(image.plt.gca().images[-1].get_array()))
    image.imageshow(torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1).expand(3, 2, 4))
    assert np.allclose(shown[0], [0, 0.5, 1]) and shown[0].shape == (2, 4, 3)
    assert not list(empty_folder.iterdir())


def test_a_window_that_cannot_open_is_no_failure(image, monkeypatch, empty_folder):
    working, switched = image.plt.imshow, []

    def imshow(picture):
        if not switched:
            raise ImportError("Cannot load backend 'TkAgg'")
        return working(picture)

    monkeypatch.setattr(image.plt, "imshow", imshow)
    monkeypatch.setattr(image.plt, "switch_backend", switched.append)
    image.imageshow(torch.zeros(3, 4, 4))
    assert switched == ["agg"] and (empty_folder / "testBatch.png").stat().st_size


def test_testClassess_counts_partial_batches_and_names_absent_classes(image, monkeypatch, capsys):
    images = torch.rand(7, 3, 32, 32)
    predicted = predictions(image.model, TensorDataset(images, images))
    right, wrong = predicted[0], (predicted[0] + 1) % 10
    labels = torch.tensor([right] * 6 + [wrong])
    monkeypatch.setattr(image, "test_loader", DataLoader(TensorDataset(images, labels), batch_size=3))
    image.testClassess()
    lines = ["Accuracy of %5s : no images" % name for name in image.classes]
    lines[right] = "Accuracy of %5s : %2d %%" % (image.classes[right], 100 * predicted[:6].count(right) / 6)
    lines[wrong] = "Accuracy of %5s : %2d %%" % (image.classes[wrong], 100 * (predicted[6] == wrong))
    assert capsys.readouterr().out.splitlines() == lines


def test_a_single_class_and_a_last_batch_of_one(image, monkeypatch):
    data = TensorDataset(torch.rand(11, 3, 32, 32), torch.full((11,), 4))
    for name in ("train_loader", "test_loader"):
        monkeypatch.setattr(image, name, DataLoader(data, batch_size=10))
    image.train(1)
    assert 0 <= image.testAccuracy() <= 100


def test_every_batch_goes_to_the_gpu(image, gpu):
    image.load_data(dummy=True)
    with gpu:
        image.train(1)
        assert next(image.model.parameters()).is_meta
        image.testBatch()
        image.testClassess()


def test_a_model_on_the_cpu_is_tested_there_though_there_is_a_gpu(image, gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with gpu:
        image.testAccuracy()
        image.testBatch()
        image.testClassess()


def test_code_of_the_next_page_pasted_underneath(image, capsys):
    image.train(1)
    pasted = ("model = Network()\n"
              "path = 'myFirstModel.pth'\n"
              "model.load_state_dict(torch.load(path))\n"
              "testBatch()\n"
              "testClassess()\n"
              "for i, (images, labels) in enumerate(train_loader, 0):\n"
              "    loss = loss_fn(model(images), labels)\n"
              "    loss.backward()\n"
              "optimizer.step()\n"
              "print(batch_size, number_of_labels, classes[0])\n")
    exec(pasted, vars(image))
    assert capsys.readouterr().out.endswith("10 10 plane\n")
    for name in ("path", "i", "images", "labels", "loss"):
        delattr(image, name)
