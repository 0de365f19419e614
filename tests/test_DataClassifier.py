"""The Iris classifier, function by function, and what it says of a faulty data/iris.csv."""
import copy
import re
from pathlib import Path

import pytest
import torch
from conftest import IRIS, ROOT, copy_of, own_epoch, printed, same, the_line, use_model
from torch import nn
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset

TABLE = (ROOT / "data" / "iris.csv").read_text(encoding="utf-8")
LINES = TABLE.splitlines(keepends=True)


def run_on(run, table, change=lambda text: text):
    """Run a copy of the script on a table (None: no file); return its globals."""
    script = copy_of(IRIS, change)
    Path("data", "iris.csv").unlink()
    if table is not None:
        Path("data", "iris.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    return run(script, "--epochs", "1")


def test_the_table_has_fishers_flowers(iris):
    assert list(iris.labels) == ["Iris-setosa", "Iris-versicolor", "Iris-virginica"]
    assert iris.output.tolist() == 50 * [0] + 50 * [1] + 50 * [2]
    means = iris.input.double().view(3, 50, 4).mean(1).flatten().tolist()  # of each species, as Fisher printed them
    assert means == pytest.approx([5.006, 3.428, 1.462, 0.246, 5.936, 2.770, 4.260, 1.326, 6.588, 2.974, 5.552, 2.026])


def test_each_flower_is_in_one_of_the_three_sets_which_no_seed_changes(iris, run):
    sets = iris.train_set, iris.validate_set, iris.test_set
    assert [len(part) for part in sets] == [75, 30, 45]
    assert sorted(index for part in sets for index in part.indices) == list(range(150))
    assert all(len({iris.output[index].item() for index in part.indices}) == 3 for part in sets)  # a random split
    assert list(run(IRIS, "--seed", "1", "--epochs", "1")["test_set"].indices) == list(iris.test_set.indices)
    assert [len(loader) for loader in (iris.train_loader, iris.validate_loader, iris.test_loader)] == [8, 30, 45]
    orders = [torch.cat([inputs for inputs, _ in iris.train_loader]) for _ in range(2)]
    assert not torch.equal(*orders)  # shuffled in each epoch


def test_the_network_the_loss_and_the_optimizer_are_the_tutorials(iris):
    state = iris.model.state_dict()
    assert [(name, *tensor.shape) for name, tensor in state.items() if "bias" not in name] == [
        ("layer1.weight", 24, 4), ("layer2.weight", 24, 24), ("layer3.weight", 3, 24)] and len(state) == 6
    layers = [iris.model.layer1, nn.ReLU(), iris.model.layer2, nn.ReLU(), iris.model.layer3]
    assert torch.allclose(iris.model(iris.input), nn.Sequential(*layers)(iris.input))
    expected = Adam(iris.model.parameters(), lr=0.01, weight_decay=0.0001)
    assert type(iris.optimizer) is Adam and iris.optimizer.defaults == expected.defaults
    assert type(iris.loss_fn) is nn.CrossEntropyLoss


@pytest.mark.filterwarnings("error")  # PyTorch warns of a loss whose history is kept
def test_training_is_the_five_steps_and_prints_the_mean_losses_and_the_accuracies(iris, monkeypatch):
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))  # it predicts otherwise in training mode
    twin = copy.deepcopy(model)
    use_model(monkeypatch, iris, model)
    monkeypatch.setattr(iris, "train_loader", DataLoader(iris.train_set, batch_size=10))
    first, *lines = printed(monkeypatch, iris.train, 2)
    optimizer = Adam(twin.parameters(), lr=0.01, weight_decay=0.0001)
    for epoch, line in enumerate(lines, start=1):
        losses, loss, right = own_epoch(twin, optimizer, iris.train_loader, iris.validate_set[:])
        numbers = re.fullmatch(rf"Completed training batch {epoch} Training Loss is: (\d+\.\d{{4}}) "
                               r"Validation Loss is: (\d+\.\d{4}) Accuracy is (\d+) %", line).groups()
        expected = sum(losses) / 8, loss, 100 * right // 30
        assert tuple(map(float, numbers)) == pytest.approx(expected, abs=0.0001)
    assert first == "Begin training..." and len(lines) == 2
    assert same(model, twin.state_dict())  # it trained in training mode and tested in evaluation mode


def test_of_equal_epochs_the_first_is_saved_even_with_nothing_right(iris, monkeypatch):
    Path("NetModel.pth").write_text("an older file")
    inputs = iris.input[:6]
    wrong = TensorDataset(inputs, (iris.model(inputs).argmax(1) + 1) % 3)
    iris.optimizer.param_groups[0].update(lr=0.0)  # the model stays as it is
    saves, save = [], iris.saveModel
    monkeypatch.setattr(iris, "saveModel", lambda: saves.append(save()))
    monkeypatch.setattr(iris, "validate_loader", DataLoader(wrong, batch_size=1))
    iris.train(3)
    assert len(saves) == 1 and same(iris.model, torch.load("./NetModel.pth"))


@pytest.mark.parametrize("species, batch_size", [(0, 1), (1, 4), (2, 100)])
def test_the_saved_model_is_tested_with_batches_of_any_size(iris, monkeypatch, capsys, species, batch_size):
    saved = iris.Network(4, 3)  # it predicts the same species for every flower
    nn.init.constant_(saved.layer3.bias[species:species + 1].detach(), 1000)
    torch.save(saved.state_dict(), "NetModel.pth")
    label, modes, forward = [0, 1, 1, 0, 1, 0, 0], [], iris.Network.forward
    monkeypatch.setattr(iris.Network, "forward", lambda self, x: modes.append(
        (self.training, torch.is_grad_enabled())) or forward(self, x))
    data = TensorDataset(torch.rand(7, 4), torch.tensor(label))
    monkeypatch.setattr(iris, "test_loader", DataLoader(data, batch_size=batch_size))
    iris.test()
    iris.test_species()
    assert capsys.readouterr().out == (
        f"Accuracy of the model based on the test set of 7 inputs is: {100 * label.count(species) // 7} %\n"
        f"Accuracy to predict Iris-setosa : {100 * (species == 0):2d} %\n"
        f"Accuracy to predict Iris-versicolor : {100 * (species == 1):2d} %\n"
        "Accuracy to predict Iris-virginica : no flowers\n")
    assert set(modes) == {(False, False)}  # in evaluation mode, without gradients


@pytest.mark.parametrize("table", [
    "\ufeff" + "".join(",".join(reversed(line.strip().split(","))) + "\r\n" for line in LINES),
    TABLE.replace("\n", "\n\n").rstrip(), TABLE.replace("\n", ",,\n"),
], ids=["as Windows saves it, with another order of the columns", "blank lines", "empty columns"])
def test_a_table_that_says_the_same_is_read_the_same(run, iris, table):
    result = run_on(run, table)
    assert torch.equal(result["input"], iris.input) and torch.equal(result["output"], iris.output)


def test_a_fifth_column_is_used_if_it_is_named(run):
    table = LINES[0].replace("Iris_Type", "Iris_Type,color") + "".join(line.strip() + ",7\n" for line in LINES[1:])
    result = run_on(run, table, lambda text: text.replace("columns = [", 'columns = ["color", '))
    assert (result["input"][:, 0] == 7).all() and result["model"].layer1.weight.shape == (24, 5)


def changed(number, line):
    """Return the table with its line number `number` (the header is 1) replaced by `line`."""
    return "".join(LINES[:number - 1]) + line + "\n" + "".join(LINES[number:])


FAULTS = {
    "missing": (None, "cannot be read: [Errno 2] No such file"),
    "UTF-16": (TABLE.encode("utf-16"), "cannot be read: 'utf-8' codec"),
    "four flowers": ("".join(LINES[:5]), "has 4 flowers"),
    "semicolons": (TABLE.replace(",", ";"), "line 2: expected, with commas in between"),
    "a missing column": ("\n".join(line.rsplit(",", 1)[0] for line in LINES), "line 2:"),
    "too few cells": (changed(4, "3,4.7,3.2,1.3"), "line 4:"),
    "an empty cell after blank lines": (changed(7, "\n\n6,5.4,,1.7,0.4,Iris-setosa"), "line 9:"),
    "nan": (changed(2, "1,nan,3.5,1.4,0.2,Iris-setosa"), "line 2:"),
    "infinite as float32": (changed(2, "1,5.1,1e39,1.4,0.2,Iris-setosa"), "line 2:"),
    "a negative length": (changed(151, "150,5.9,3.0,-5.1,1.8,Iris-virginica"), "line 151:"),
    "an unknown species": (changed(100, "99,5.1,2.5,3.0,1.1,Iris-r\u00eaveuse"), "line 100:"),
    "an open quote": (changed(20, '19,5.7,3.8,1.7,0.3,"Iris-setosa'), "line 20:"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_table_is_one_line_that_names_the_file_and_the_line(run, folder, fault, capsys):
    table, words = FAULTS[fault]
    line = the_line(run_on, run, table)
    assert line.startswith(str(folder / "data" / "iris.csv")) and words in line and len(line) < 650
    assert line.endswith(("copy it from the repository again.", "columns in line 1.", "need at least 5."))
    assert capsys.readouterr().out == "" and not (folder / "NetModel.pth").exists()


def test_five_flowers_of_one_species_are_enough(run, capsys):
    run_on(run, "".join(LINES[:6]))
    output = capsys.readouterr().out
    assert output.startswith("Our dataset is not balanced and has the following values to predict:\n"
                             "Iris-setosa        5\nIris-versicolor    0\nIris-virginica     0\n\n")
    assert "based on the test set of 1 inputs" in output
