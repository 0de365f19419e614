"""Promises of both scripts: how they train, and what happens when they are started."""
import copy
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn


@pytest.fixture(params=["training", "iris"])
def module(request):
    """Each of the two scripts, imported."""
    return request.getfixturevalue(request.param)


def test_training_is_that_of_a_textbook(module):
    inputs, labels = torch.randn(23, 4), torch.arange(23) % 3
    batches = list(zip(inputs.split(10), labels.split(10)))
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    twin = copy.deepcopy(model)

    module.train_loader = module.validate_loader = module.test_loader = batches
    module.model = model
    module.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    module.train(2)

    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for inputs, labels in 2 * batches:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(twin(inputs), labels)
        loss.backward()
        optimizer.step()
    for name, value in twin.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


@pytest.mark.parametrize("weights, saved", [([-1, 2, 3, -4], 3), ([-1, -2], -2)])
def test_the_last_of_the_best_epochs_is_saved(module, echo, weights, saved):
    """A weight above 0 makes the prediction of the network right, and one below 0 wrong."""
    coming = iter(weights)

    def step():
        echo.weight.data.fill_(next(coming))

    batches = [(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([0]))]
    module.train_loader = module.validate_loader = module.test_loader = batches
    module.model = echo
    module.optimizer = SimpleNamespace(zero_grad=echo.zero_grad, step=step)
    module.train(len(weights))
    assert torch.load(module.path)["weight"] == saved
    assert echo.modes == {(True, True), (False, False)}  # (training mode, gradients)


@pytest.mark.parametrize("fixture, settings", [
    ("training", {"lr": 0.001, "fused": True}), ("iris", {"lr": 0.01})])
def test_the_optimizer_is_Adam_with_these_settings(request, fixture, settings):
    module = request.getfixturevalue(fixture)
    expected = torch.optim.Adam(module.model.parameters(), weight_decay=0.0001, **settings)
    assert str(module.optimizer) == str(expected)  # it lists all settings
    assert module.optimizer.param_groups[0]["params"] == list(module.model.parameters())


@pytest.mark.parametrize("fixture, sizes", [("training", []), ("iris", [4, 3])])
def test_an_import_draws_random_numbers_only_for_its_network(request, fixture, sizes):
    torch.manual_seed(1)
    module = request.getfixturevalue(fixture)  # imported now
    after_the_import = torch.rand(1)
    torch.manual_seed(1)
    module.Network(*sizes)
    assert torch.equal(after_the_import, torch.rand(1))


def test_model_and_batches_go_to_the_device(pretended_gpu, training, iris):
    training.train_loader = training.test_loader = [(torch.zeros(2, 3, 32, 32), torch.arange(2))]
    training.train(1)
    iris.train(1)
    assert training.model.fc1.weight.device == iris.model.layer1.weight.device == pretended_gpu
    for test in (training.testAccuracy, training.testBatch, training.testClassess):
        training.model = training.Network()  # it is on the CPU
        test()
        assert training.model.fc1.weight.device == pretended_gpu


def without_results(lines):
    """The lines, with # in place of each percentage and each number with a point."""
    return [re.sub(r" +(\d+\.\d+|\d+(?= %))", " #", line) for line in lines]


def test_DataClassifier_runs_from_another_folder(start):
    lines = start("DataClassifier.py")
    epoch = "Completed training batch %d Training Loss is: # Validation Loss is: # Accuracy is # %%"
    assert without_results(lines) == [
        "Our dataset has the following values to predict:",
        "Iris-setosa        50", "Iris-versicolor    50", "Iris-virginica     50", "",
        "Input format:  torch.Size([150, 4]) torch.float32",
        "Output format:  torch.Size([150]) torch.int64",
        "The model will be running on cpu device", "",
        "Begin training...", *(epoch % number for number in range(1, 11)), "Finished Training", "",
        "Accuracy of the model based on the test set of 45 inputs is: # %",
        "Accuracy to predict Iris-setosa : # %", "Accuracy to predict Iris-versicolor : # %",
        "Accuracy to predict Iris-virginica : # %", "The model is saved as ./NetModel.pth"]
    assert int(re.search(r"inputs is: (\d+) %", "\n".join(lines))[1]) > 80
    assert os.listdir() == ["NetModel.pth"]


def test_PyTorchTraining_runs_from_another_folder_without_a_display(start):
    *results, real, predicted, saved = start("PyTorchTraining.py", "--dummy", "--epochs", "1")
    names = "plane car bird cat deer dog frog horse ship truck"
    assert without_results(results) == [
        "The number of images in a training set is:  1000",
        "The number of images in a test set is:  200",
        "The number of batches per epoch is:  100",
        "The model will be running on cpu device", "[1,   100] loss: #",
        "For epoch 1 the test accuracy over the whole test set is # %", "Finished Training",
        "The model saved as ./dummyModel.pth has a test accuracy of # %",
        *(f"Accuracy of {name:>5} : # %" for name in names.split())]
    assert int(re.search(r"test accuracy of (\d+) %", "\n".join(results))[1]) > 50
    assert real.startswith("Real labels: ") and predicted.startswith("Predicted: ")
    assert saved == "The picture is saved as ./testBatch.png"
    assert sorted(os.listdir()) == ["dummyModel.pth", "testBatch.png"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_real_gpu_is_used(start, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    line = "The model will be running on cuda:0 device"
    assert line in start("DataClassifier.py")
    assert line in start("PyTorchTraining.py", "--dummy", "--epochs", "1")


def test_PyTorchTraining_trains_on_CIFAR10_for_5_epochs_by_default(run, cifar):
    names = run("PyTorchTraining.py")
    assert "training set is:  20\n" in names.printed and "test set is:  10\n" in names.printed
    assert re.findall(r"For epoch (\d+)", names.printed) == ["1", "2", "3", "4", "5"]
    first, second = list(names.train_loader), list(names.train_loader)
    assert not torch.equal(first[0][0], second[0][0])  # the training images are shuffled
    assert [labels.tolist() for _, labels in names.test_loader] == [list(range(10))]


both = pytest.mark.parametrize("script, path", [
    ("PyTorchTraining.py", "myFirstModel.pth"), ("DataClassifier.py", "NetModel.pth")])


@both
def test_with_epochs_0_the_saved_model_is_tested_only(run, cifar, script, path):
    with pytest.raises(FileNotFoundError, match=path):
        run(script, "--epochs", "0")
    trained = run(script, "--epochs", "1").printed.partition("Finished Training")[2]
    saved = Path(path).read_bytes()
    tested = run(script, "--epochs", "0").printed
    assert tested.endswith(trained.strip() + "\n")
    assert "Training" not in tested
    assert Path(path).read_bytes() == saved
    assert not Path(path + ".old").exists()


@both
def test_the_seed_decides_and_the_model_of_the_run_before_is_kept(run, cifar, script, path):
    saved = []
    for options in (["--seed", "1"], [], ["--seed", "1"], ["--seed", "0"]):
        run(script, "--epochs", "1", *options)
        saved.append(Path(path).read_bytes())
    assert saved[:2] == saved[2:]
    assert saved[0] != saved[1]
    assert Path(path + ".old").read_bytes() == saved[2]
