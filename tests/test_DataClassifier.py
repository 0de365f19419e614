"""Promises of DataClassifier.py: the data, the network, the training and the tests."""
import copy
import runpy
from collections import OrderedDict
from unittest.mock import MagicMock

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import common


def test_the_flowers_are_those_of_Fisher(iris):
    means = iris.input.view(3, 50, 4).mean(dim=1)
    published = torch.tensor([[5.006, 3.428, 1.462, 0.246],  # in his paper of 1936
                              [5.936, 2.770, 4.260, 1.326],
                              [6.588, 2.974, 5.552, 2.026]])
    assert torch.allclose(means, published, rtol=0, atol=1e-5)
    assert iris.output.tolist() == [0] * 50 + [1] * 50 + [2] * 50


@pytest.mark.parametrize("old, new, number", [
    ("\n1,5.1,", "\n1,five,", 2), ("\n1,5.1,", "\n1,,", 2), ("\n1,5.1,", "\n1,nan,", 2),
    ("\n1,5.1,", "\n1,0,", 2), ("\n1,5.1,", "\n1,1000,", 2), ("\n1,5.1,", '\n1,"5.1,', 2),
    ("\n3,4.7,3.2,1.3,0.2,Iris-setosa", "\n3,4.7,3.2,1.3,0.2,Rose", 4),
    ("\n3,4.7,3.2,1.3,0.2,Iris-setosa", "\n3,4.7,3.", 4), ("sepal length", "length", 2)])
def test_a_faulty_line_ends_the_script_with_a_line_that_shows_it(table, old, new, number):
    table.write_text(table.read_text().replace(old, new))
    faulty = table.read_text().splitlines()[number - 1]
    with pytest.raises(SystemExit) as end:
        runpy.run_path("DataClassifier.py")
    assert str(end.value).startswith(f"{table}, line {number}: found {faulty!r}. Expected four ")
    assert "\n" not in str(end.value)


def test_an_unreadable_or_missing_table_ends_the_script_with_a_line(table):
    table.write_text(table.read_text(), encoding="utf-16")
    with pytest.raises(SystemExit, match=r"iris\.csv cannot be read: 'utf-8' .*UTF-8, or "):
        runpy.run_path("DataClassifier.py")
    table.unlink()
    with pytest.raises(SystemExit, match=r"iris\.csv cannot be read: .*No such file.* again\.$"):
        runpy.run_path("DataClassifier.py")


def test_five_flowers_are_needed_and_enough(table):
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:5]))
    with pytest.raises(SystemExit, match=r"iris\.csv has 4 flowers\. At least five are needed"):
        runpy.run_path("DataClassifier.py")
    rows = [line.split(",", 1)[1] for line in lines[:6]]  # without the first column
    table.write_text("\n".join(rows), encoding="utf-8-sig")  # as Excel writes it
    names = runpy.run_path("DataClassifier.py")
    assert (names["train_split"], names["validate_split"], names["test_split"]) == (3, 1, 1)


def test_75_30_and_45_flowers_are_the_same_for_each_seed(iris, run):
    train, validate, test = iris.train_set.indices, iris.validate_set.indices, iris.test_set.indices
    other = run("DataClassifier.py", "--epochs", "1", "--seed", "5")
    assert (len(train), len(validate), len(test)) == (75, 30, 45)
    assert sorted(train + validate + test) == list(range(150))
    assert (other.train_set.indices, other.test_set.indices) == (train, test)


def test_only_the_training_flowers_are_shuffled(iris):
    first = torch.cat([inputs for inputs, _ in iris.train_loader])
    second = torch.cat([inputs for inputs, _ in iris.train_loader])
    tested = torch.cat([inputs for inputs, _ in iris.test_loader])
    assert not torch.equal(first, second)
    assert torch.equal(tested, iris.input[iris.test_set.indices])
    assert [len(inputs) for inputs, _ in iris.train_loader] == [10] * 7 + [5]


def test_the_network_is_that_of_the_tutorial(iris):
    twin = nn.Sequential(OrderedDict(
        layer1=nn.Linear(4, 24), relu1=nn.ReLU(),
        layer2=nn.Linear(24, 24), relu2=nn.ReLU(), layer3=nn.Linear(24, 3)))
    twin.load_state_dict(iris.model.state_dict())
    assert torch.equal(iris.model(iris.input), twin(iris.input))


def test_the_loss_is_cross_entropy_and_the_optimizer_Adam(iris):
    expected = torch.optim.Adam(iris.model.parameters(), lr=0.01, weight_decay=0.0001)
    assert str(iris.loss_fn) == "CrossEntropyLoss()"
    assert str(iris.optimizer) == str(expected)  # it lists all settings
    assert iris.optimizer.param_groups[0]["params"] == expected.param_groups[0]["params"]


def test_training_is_that_of_a_textbook(iris, capsys):
    inputs, labels = torch.randn(23, 4), torch.arange(23) % 3
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    twin = copy.deepcopy(model)

    iris.model = model
    iris.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    iris.train_loader = DataLoader(TensorDataset(inputs[:13], labels[:13]), batch_size=10)
    iris.validate_loader = DataLoader(TensorDataset(inputs[13:], labels[13:]), batch_size=10)
    iris.train(2)

    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    expected = ["Begin training..."]
    for epoch in (1, 2):
        losses = []
        twin.train()
        for batch in (slice(0, 10), slice(10, 13)):
            optimizer.zero_grad()
            loss = F.cross_entropy(twin(inputs[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        scores = twin.eval()(inputs[13:])
        right = (scores.argmax(dim=1) == labels[13:]).sum().item()
        expected.append(
            f"Completed training batch {epoch} Training Loss is: {sum(losses) / 2:.4f} "
            f"Validation Loss is: {F.cross_entropy(scores, labels[13:]):.4f} "
            f"Accuracy is {10 * right} %")
    assert capsys.readouterr().out.splitlines() == expected
    for name, value in twin.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


@pytest.mark.parametrize("right, epochs_saved", [
    ([1, 3, 3, 2], [1, 2]), ([0, 0, 0], [1]), ([1, 2, 3], [1, 2, 3])])
def test_the_first_best_epoch_is_saved(iris, echo, right, epochs_saved):
    """In epoch n, right[n] of three flowers are right."""
    validations = []
    for count in right:
        labels = torch.tensor([0] * count + [1] * (3 - count))
        validations.append(iter([(torch.eye(10)[[0, 0, 0]], labels)]))
    saved = []

    def saveModel():
        saved.append(iris.validate_loader.__iter__.call_count)

    iris.train_loader = [(torch.eye(10), torch.zeros(10, dtype=torch.long))]
    iris.validate_loader = MagicMock()
    iris.validate_loader.__iter__.side_effect = validations
    iris.validate_loader.__len__.return_value = 1
    iris.saveModel = saveModel
    iris.model = echo
    iris.train(len(right))
    assert saved == epochs_saved
    assert echo.seen == {(True, True), (False, False)}  # training mode with gradients


def test_model_and_batches_are_moved_to_the_device(monkeypatch, pretended_gpu, request):
    monkeypatch.setattr(common, "get_device", lambda: pretended_gpu)
    iris = request.getfixturevalue("iris")  # the import moves the model
    iris.saveModel = lambda: None
    iris.train(1)
    assert iris.model.layer1.weight.device == pretended_gpu


@pytest.mark.parametrize("name, printed", [
    ("test", "Accuracy of the model based on the test set of 13 inputs is: 69 %\n"),
    ("test_species", "Accuracy to predict Iris-setosa : 88 %\n"
                     "Accuracy to predict Iris-virginica : 25 %\n")])
def test_the_tests_count_every_flower_of_the_saved_model(iris, echo, capsys, name, printed):
    labels = torch.tensor([0] * 9 + [2] * 4)
    guesses = torch.tensor([0] * 8 + [1] + [2] + [0] * 3)
    data = TensorDataset(F.one_hot(guesses, 10).float(), labels)
    iris.test_loader = DataLoader(data, batch_size=5)
    iris.Network = lambda input_size, output_size: echo
    torch.save({"weight": torch.full((10,), 7.0)}, "NetModel.pth")
    getattr(iris, name)()
    assert capsys.readouterr().out == printed
    assert echo.seen == {(False, False)}
    assert echo.weight[0] == 7


