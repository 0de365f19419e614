"""The Iris classifier, function by function, and what it says of a faulty data/iris.csv."""
import copy
import csv
import io
import re
import sys
from pathlib import Path

import pytest
import torch
from conftest import IRIS, ROOT, TESTING, TRAINING, copy_of, one_line, same, watch_modes
from torch.nn import functional as F
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset

TABLE = (ROOT / "data" / "iris.csv").read_text(encoding="utf-8")


@pytest.fixture
def run_on(run):
    """A function that runs a copy of the script on a table (text or bytes; None: no file) and returns its globals."""
    def run_on(table):
        script = copy_of(IRIS)
        Path("data", "iris.csv").unlink()
        if table is not None:
            Path("data", "iris.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
        return run(script, "--epochs", "1")

    return run_on


def test_every_flower_of_the_table_is_read_as_it_is(iris):
    table = list(csv.reader(io.StringIO(TABLE)))[1:]
    assert len(table) == 150
    assert iris.input.tolist() == torch.tensor([[float(cell) for cell in row[1:5]] for row in table]).tolist()
    assert iris.output.tolist() == [iris.labels[row[5]] for row in table]
    assert iris.labels == {"Iris-setosa": 0, "Iris-versicolor": 1, "Iris-virginica": 2}


def test_each_flower_is_in_one_of_the_three_sets(iris):
    sets = iris.train_set, iris.validate_set, iris.test_set
    assert [len(part) for part in sets] == [75, 30, 45] == [iris.train_split, iris.validate_split, iris.test_split]
    assert sorted(index for part in sets for index in part.indices) == list(range(150))
    for part in sets:
        assert len({iris.output[index].item() for index in part.indices}) == 3  # a random split
    assert [tuple(inputs.shape) for inputs, _ in iris.train_loader] == 7 * [(10, 4)] + [(5, 4)]
    for loader in (iris.validate_loader, iris.test_loader):
        assert {tuple(inputs.shape) for inputs, _ in loader} == {(1, 4)}
    orders = [torch.cat([inputs for inputs, _ in iris.train_loader]) for _ in range(2)]
    assert not torch.equal(*orders)  # shuffled in each epoch


def test_the_network_is_the_tutorials(iris):
    state = iris.model.state_dict()
    assert [(name, *tensor.shape) for name, tensor in state.items()] == [
        ("layer1.weight", 24, 4), ("layer1.bias", 24), ("layer2.weight", 24, 24), ("layer2.bias", 24),
        ("layer3.weight", 3, 24), ("layer3.bias", 3)]
    x = F.relu(F.linear(iris.input, state["layer1.weight"], state["layer1.bias"]))
    x = F.relu(F.linear(x, state["layer2.weight"], state["layer2.bias"]))
    assert torch.allclose(iris.model(iris.input), F.linear(x, state["layer3.weight"], state["layer3.bias"]))


def test_training_is_the_tutorials_five_steps_and_prints_the_mean_losses(iris, monkeypatch, capsys):
    monkeypatch.setattr(iris, "train_loader", DataLoader(iris.train_set, batch_size=10))
    twin = copy.deepcopy(iris.model)
    optimizer, expected = Adam(twin.parameters(), lr=0.01, weight_decay=0.0001), []
    for _ in range(2):
        losses = []
        for inputs, outputs in iris.train_loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(twin(inputs), outputs)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        inputs, outputs = iris.validate_set[:]
        scores = twin(inputs)
        right = (scores.argmax(1) == outputs).sum().item()
        expected.append((sum(losses) / 8, F.cross_entropy(scores, outputs).item(), 100 * right // 30))

    iris.train(2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Begin training..." and len(lines) == 3
    for epoch, numbers in enumerate(expected, start=1):
        printed = re.fullmatch(r"Completed training batch %d Training Loss is: (\d+\.\d{4}) "
                               r"Validation Loss is: (\d+\.\d{4}) Accuracy is (\d+) %%" % epoch, lines[epoch])
        assert [float(number) for number in printed.groups()] == pytest.approx(numbers, abs=0.0001)
    assert same(iris.model, twin.state_dict())


def test_every_epoch_trains_in_training_mode_and_validates_in_evaluation_mode(iris):
    modes = watch_modes(iris.model)
    iris.train(2)
    assert modes == 2 * (8 * [TRAINING] + 30 * [TESTING])


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


def test_each_line_of_training_appears_when_it_is_printed(iris, monkeypatch):
    raw, seen = io.BytesIO(), []
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, newline="\n"))  # it keeps what is not flushed
    iris.model.register_forward_pre_hook(lambda *_: seen.append(raw.getvalue().count(b"\n")))
    iris.train(2)
    assert seen == (8 + 30) * [1] + (8 + 30) * [2]


def save_a_model_that_says(iris, species):
    """Save a checkpoint of a network that predicts `species` for every flower."""
    saved = iris.Network(4, 3)
    with torch.no_grad():
        saved.layer3.bias[species] = 1000
    torch.save(saved.state_dict(), "NetModel.pth")


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_the_saved_model_is_tested_with_batches_of_any_size(iris, monkeypatch, capsys, batch_size):
    save_a_model_that_says(iris, 1)
    data = TensorDataset(torch.rand(7, 4), torch.tensor([0, 1, 1, 0, 1, 0, 0]))
    monkeypatch.setattr(iris, "test_loader", DataLoader(data, batch_size=batch_size))
    iris.test()
    iris.test_species()
    assert capsys.readouterr().out == (
        "Accuracy of the model based on the test set of 7 inputs is: 42 %\n"
        "Accuracy to predict Iris-setosa :  0 %\n"
        "Accuracy to predict Iris-versicolor : 100 %\n"
        "Accuracy to predict Iris-virginica : no flowers\n")


def test_tests_run_in_evaluation_mode_without_gradients(iris):
    save_a_model_that_says(iris, 0)
    modes = []
    hook = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, _: modes.append((module.training, torch.is_grad_enabled())))
    try:
        iris.test()
        iris.test_species()
    finally:
        hook.remove()
    assert modes and set(modes) == {TESTING}


def test_on_a_gpu_the_model_and_every_batch_of_training_go_there(run, gpu):
    with gpu:
        script = run(IRIS, "--epochs", "1")
    assert next(script["model"].parameters()).is_meta


LINES = TABLE.splitlines(keepends=True)
SWAPPED = "".join(",".join(reversed(line.strip().split(","))) + "\n" for line in LINES)


@pytest.mark.parametrize("table", [
    "\ufeff" + TABLE, TABLE.replace("\n", "\r\n"), TABLE.replace("\n", "\n\n"), TABLE.rstrip("\n"), SWAPPED,
], ids=["byte-order mark", "Windows line ends", "blank lines", "no last line end", "other order of the columns"])
def test_a_table_that_says_the_same_is_read_the_same(run_on, iris, table):
    result = run_on(table)
    assert torch.equal(result["input"], iris.input) and torch.equal(result["output"], iris.output)


def changed(number, line):
    """Return the table with its line number `number` (the header is 1) replaced by `line`."""
    return "".join(LINES[:number - 1]) + line + "\n" + "".join(LINES[number:])


FAULTS = {
    "missing": (None, "cannot be read: [Errno 2] No such file"),
    "empty": ("", "line 0:"),
    "a missing column": ("\n".join(line.rsplit(",", 1)[0] for line in LINES), "line 1:"),
    "an unknown column": (changed(1, LINES[0].strip() + ",color"), "line 1:"),
    "a column twice": (changed(1, LINES[0].replace("width", "length").strip()), "line 1:"),
    "without its header": ("".join(LINES[1:]), "line 1:"),
    "header only": (LINES[0], "has 0 flowers"),
    "four flowers": ("".join(LINES[:5]), "has 4 flowers"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "iris.csv"),
    "zeros": (bytes(1000), "iris.csv"),
    "UTF-16": (TABLE.encode("utf-16"), "iris.csv"),
    "too few cells": (changed(4, "3,4.7,3.2,1.3,Iris-setosa"), "line 4:"),
    "too many cells": (changed(4, "3,4.7,3.2,1.3,0.2,Iris-setosa,0.2"), "line 4:"),
    "one cell": (changed(4, "hello"), "line 4:"),
    "an empty cell": (changed(7, "6,5.4,,1.7,0.4,Iris-setosa"), "line 7:"),
    "after blank lines": (changed(7, "\n\n6,5.4,,1.7,0.4,Iris-setosa"), "line 9:"),
    "text": (changed(151, "150,5.9,3.0,long,1.8,Iris-virginica"), "line 151:"),
    "nan": (changed(2, "1,nan,3.5,1.4,0.2,Iris-setosa"), "line 2:"),
    "inf": (changed(2, "1,5.1,inf,1.4,0.2,Iris-setosa"), "line 2:"),
    "a negative length": (changed(2, "1,5.1,-3.5,1.4,0.2,Iris-setosa"), "line 2:"),
    "infinite as float32": (changed(2, "1,5.1,1e39,1.4,0.2,Iris-setosa"), "line 2:"),
    "an unknown species": (changed(100, "99,5.1,2.5,3.0,1.1,Iris-r\u00eaveuse"), "line 100:"),
    "another encoding": (changed(100, "99,5.1,2.5,3.0,1.1,Iris-r\u00eaveuse").encode("cp1252"), "line 100:"),
    "no species": (changed(100, "99,5.1,2.5,3.0,1.1,"), "line 100:"),
    "an open quote": (changed(20, '19,5.7,3.8,1.7,0.3,"Iris-setosa'), "line 20:"),
    "empty cells at the end": (TABLE + ",,,,,\n", "line 152:"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_table_is_one_line_that_names_the_file_and_the_line(run_on, folder, fault, capsys):
    table, words = FAULTS[fault]
    with pytest.raises(SystemExit) as exit:
        run_on(table)
    line = one_line(exit)
    assert line.startswith(str(folder / "data" / "iris.csv")) and words in line
    assert line.endswith(("Copy it from the repository again.", "Correct this line.", "need at least 5."))
    assert capsys.readouterr().out == "" and not (folder / "NetModel.pth").exists()


def test_five_flowers_of_one_species_are_enough(run_on, capsys):
    run_on("".join(LINES[:6]))
    output = capsys.readouterr().out
    assert output.startswith("Our dataset is not balanced and has the following values to predict:\n"
                             "Iris-setosa        5\nIris-versicolor    0\nIris-virginica     0\n\n"
                             "Input format:  torch.Size([5, 4]) torch.float32\n")
    assert "based on the test set of 1 inputs" in output
    assert "Accuracy to predict Iris-virginica : no flowers\n" in output
