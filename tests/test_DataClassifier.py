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
    script, file = copy_of(IRIS, change), Path("data", "iris.csv")
    file.unlink() if table is None else file.write_bytes(table if isinstance(table, bytes) else table.encode())
    return run(script, "--epochs", "1")


def test_the_table_has_fishers_flowers(iris):
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


@pytest.mark.parametrize("rights, saved", [([2, 5, 3, 5], [1, 2]), ([0, 0], [1])])
def test_the_first_of_the_best_epochs_is_saved(iris, monkeypatch, rights, saved):
    inputs, saves = iris.input[::25], []
    labels = iris.model(inputs).argmax(1)
    sets = [(inputs, torch.where(torch.arange(6) < right, labels, (labels + 1) % 3)) for right in rights]
    loader = type("Loader", (), {"__iter__": lambda self: iter([sets.pop(0)]), "__len__": lambda self: 1})
    iris.optimizer.param_groups[0].update(lr=0.0)  # the model stays as it is
    monkeypatch.setattr(iris, "validate_loader", loader())
    monkeypatch.setattr(iris, "saveModel", lambda: saves.append(len(rights) - len(sets)))
    iris.train(len(rights))
    assert saves == saved


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_the_saved_model_is_tested_with_batches_of_any_size(iris, monkeypatch, capsys, batch_size):
    saved, modes, forward = iris.Network(4, 3), [], iris.Network.forward
    nn.init.constant_(saved.layer3.bias[1:2].detach(), 1000)  # to it, each flower is a versicolor
    torch.save(saved.state_dict(), "NetModel.pth")
    monkeypatch.setattr(iris.Network, "forward", lambda self, x: modes.append(
        (self.training, torch.is_grad_enabled())) or forward(self, x))
    data = TensorDataset(torch.rand(7, 4), torch.tensor([0, 1, 1, 0, 1, 0, 0]))
    monkeypatch.setattr(iris, "test_loader", DataLoader(data, batch_size=batch_size))
    iris.test()
    iris.test_species()
    assert capsys.readouterr().out == (
        "Accuracy of the model based on the test set of 7 inputs is: 42 %\nAccuracy to predict Iris-setosa :  0 %\n"
        "Accuracy to predict Iris-versicolor : 100 %\nAccuracy to predict Iris-virginica : no flowers\n")
    assert set(modes) == {(False, False)}  # in evaluation mode, without gradients


def test_a_table_with_a_byte_order_mark_blank_lines_and_other_columns_is_read_the_same(run, iris):
    lines = [",".join(reversed(line.strip().split(","))) for line in LINES]
    result = run_on(run, "\ufeff" + "".join(f"{line},,\r\n\r\n" for line in lines))
    assert torch.equal(result["input"], iris.input) and torch.equal(result["output"], iris.output)


def test_a_fifth_column_is_used_if_it_is_named(run):
    table = LINES[0].replace("Iris_Type", "Iris_Type,color") + "".join(line.strip() + ",7\n" for line in LINES[1:])
    result = run_on(run, table, lambda text: text.replace("columns = [", 'columns = ["color", '))
    assert (result["input"][:, 0] == 7).all() and result["model"].layer1.weight.shape == (24, 5)


FAULTS = {
    "missing": (None, "cannot be read: [Errno 2] No such file"),
    "UTF-16": (TABLE.encode("utf-16"), "cannot be read: 'utf-8' codec"),
    "a huge cell": (TABLE + 200000 * "x", "cannot be read: field larger than"),
    "four flowers": ("".join(LINES[:5]), "has 4 flowers"),
    "too few cells": (TABLE.replace("\n3,4.7,3.2,1.3,0.2,Iris-setosa", "\n3,4.7,3.2,1.3"), "line 4:"),
    "an empty cell after blank lines": (TABLE.replace("\n6,5.4,3.9,", "\n\n\n6,5.4,,"), "line 9:"),
    "nan": (TABLE.replace("\n1,5.1,3.5,", "\n1,5.1,nan,"), "line 2:"),
    "infinite as float32": (TABLE.replace("\n1,5.1,3.5,", "\n1,5.1,1e39,"), "line 2:"),
    "a negative length": (TABLE.replace("\n150,5.9,3.0,5.1", "\n150,5.9,3.0,-5.1"), "line 151:"),
    "an unknown species": (TABLE.replace("Iris-virginica", 999 * "x", 1), "line 102: expected, with commas in between"),
    "an open quote": (TABLE.replace("\n19,5.7,3.8,1.7,0.3,", '\n19,5.7,3.8,1.7,0.3,"'), "line 20:"),
}


@pytest.mark.parametrize("table, words", FAULTS.values(), ids=list(FAULTS))
def test_a_faulty_table_is_one_line_that_names_the_file_and_the_line(run, folder, capsys, table, words):
    line = the_line(run_on, run, table)
    assert line.startswith(str(folder / "data" / "iris.csv")) and words in line and len(line) < 800
    assert line.endswith(("copy it from the repository again.", "columns in line 1.", "need at least 5."))
    assert capsys.readouterr().out == "" and not (folder / "NetModel.pth").exists()


def test_five_flowers_of_one_species_are_enough(run, capsys):
    run_on(run, "".join(LINES[:6]))
    output = capsys.readouterr().out
    assert output.startswith("Our dataset is not balanced and has the following values to predict:\n"
                             "Iris-setosa        5\nIris-versicolor    0\nIris-virginica     0\n\n")
    assert "based on the test set of 1 inputs" in output
