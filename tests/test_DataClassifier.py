"""The Iris classifier, function by function, and what it says of a faulty data/iris.csv."""
import csv
import runpy
import sys

import pytest
import torch
from conftest import ROOT, TESTING, TRAINING, copy_scripts, modes, same, snapshot
from torch.utils.data import DataLoader, TensorDataset

TABLE = (ROOT / "data" / "iris.csv").read_text()


@pytest.fixture
def run(empty_folder, monkeypatch):
    """Return a function that runs a copy of the script on a table (text, bytes or None) and returns its globals."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    copy_scripts(empty_folder)

    def start(table, *arguments, name="DataClassifier"):
        file = empty_folder / "data" / "iris.csv"
        file.unlink() if table is None else file.write_bytes(table if isinstance(table, bytes) else table.encode())
        monkeypatch.setattr(sys, "argv", ["DataClassifier.py", *arguments])
        return runpy.run_path(str(empty_folder / "DataClassifier.py"), run_name=name)

    return start


def changed(line, text):
    """Return the table with its line number `line` (the header is 1) replaced by `text`."""
    lines = TABLE.splitlines()
    lines[line - 1] = text
    return "\n".join(lines) + "\n"


def rows(table):
    """Return the rows of a TensorDataset as a sorted list, to compare regardless of order."""
    return sorted((*features.tolist(), label.item()) for features, label in table)


def test_the_table_is_read_as_it_is(iris):
    with open(ROOT / "data" / "iris.csv", newline="") as file:
        table = list(csv.reader(file))[1:]
    assert iris.input.tolist() == torch.tensor([[float(cell) for cell in row[1:5]] for row in table]).tolist()
    assert iris.output.tolist() == [iris.labels[row[5]] for row in table]
    assert iris.labels == {"Iris-setosa": 0, "Iris-versicolor": 1, "Iris-virginica": 2}


def test_split(iris):
    sets = iris.train_set, iris.validate_set, iris.test_set
    assert [len(part) for part in sets] == [75, 30, 45] == [iris.train_split, iris.validate_split, iris.test_split]
    assert rows([row for part in sets for row in part]) == rows(iris.data)
    assert [features.shape for features, _ in iris.train_loader] == 7 * [(10, 4)] + [(5, 4)]
    for loader in (iris.validate_loader, iris.test_loader):
        assert {features.shape for features, _ in loader} == {(1, 4)}
    orders = [torch.cat([features for features, _ in iris.train_loader]) for _ in range(2)]
    assert not torch.equal(*orders)


def test_lines_before_training(run, capsys):
    run(TABLE)
    assert capsys.readouterr().out == (
        "Our dataset is balanced and has the following values to predict:\n"
        "Iris-setosa        50\n"
        "Iris-versicolor    50\n"
        "Iris-virginica     50\n"
        "\n"
        "Input format:  torch.Size([150, 4]) torch.float32\n"
        "Output format:  torch.Size([150]) torch.int64\n"
        "The model will be running on cpu device\n"
        "\n")


def test_network_and_optimizer(iris):
    group = iris.optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (iris.learning_rate, 0.0001) == (0.01, 0.0001)
    assert [tuple(parameter.shape) for parameter in iris.model.parameters()] == [
        (24, 4), (24,), (24, 24), (24,), (3, 24), (3,)]
    layers = [iris.model.layer1, torch.relu, iris.model.layer2, torch.relu, iris.model.layer3]
    expected = iris.input
    for layer in layers:
        expected = layer(expected)
    assert torch.equal(iris.model(iris.input), expected)


def test_it_learns(iris, capsys):
    iris.train(10)
    iris.test()
    assert int(capsys.readouterr().out.split()[-2]) >= 85


def test_modes(iris):
    calls = modes(iris.model)
    iris.train(2)
    assert calls == 2 * (8 * [TRAINING] + 30 * [TESTING])


def test_train_prints_the_mean_losses(iris, monkeypatch, capsys):
    iris.optimizer.param_groups[0].update(lr=0.0, weight_decay=0.0)  # the model stays as it is
    monkeypatch.setattr(iris, "train_loader", DataLoader(iris.train_set, batch_size=10))
    model, loss_fn = iris.model, iris.loss_fn
    losses = [loss_fn(model(inputs), outputs).item() for inputs, outputs in iris.train_loader]
    validation = [(model(inputs), outputs) for inputs, outputs in iris.validate_loader]
    right = sum(int(scores.argmax() == outputs) for scores, outputs in validation)
    iris.train(1)
    assert capsys.readouterr().out.splitlines() == ["Begin training...", (
        "Completed training batch 1 Training Loss is: %.4f Validation Loss is: %.4f Accuracy is %d %%" % (
            sum(losses) / 8, sum(loss_fn(*pair).item() for pair in validation) / 30, 100 * right / 30))]


def test_the_best_epoch_is_saved(iris, monkeypatch):
    calls = {"train": 0}
    inputs, outputs = iris.validate_set[:]
    states, accuracies = [], []

    def copy_state(module, arguments):  # at the first validation batch of each epoch
        if not module.training and len(states) < calls["train"]:
            states.append(snapshot(module))

    class Counting(list):
        def __iter__(self):
            calls["train"] += 1
            return super().__iter__()

    iris.model.register_forward_pre_hook(copy_state)
    monkeypatch.setattr(iris, "train_loader", Counting(iris.train_loader))
    iris.train(6)
    for state in states:
        iris.model.load_state_dict(state)
        accuracies.append((iris.model(inputs).argmax(1) == outputs).sum().item())
    assert len(states) == 6
    assert same(torch.load("./NetModel.pth"), states[accuracies.index(max(accuracies))])


def test_an_epoch_with_nothing_right_is_saved(iris, monkeypatch, empty_folder):
    (empty_folder / "NetModel.pth").write_text("an older file")
    iris.optimizer.param_groups[0]["lr"] = 0.0
    inputs = iris.input[:6]
    wrong = (iris.model(inputs).argmax(1) + 1) % 3
    monkeypatch.setattr(iris, "validate_loader", DataLoader(TensorDataset(inputs, wrong), batch_size=1))
    iris.train(1)
    assert same(torch.load("./NetModel.pth"), snapshot(iris.model))


def save_a_model_that_says(iris, label):
    """Save a checkpoint of a network that predicts `label` for every flower."""
    saved = iris.Network(4, 3)
    with torch.no_grad():
        saved.layer3.bias[label] = 1000
    torch.save(saved.state_dict(), "NetModel.pth")


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_tests_of_the_saved_model(iris, monkeypatch, capsys, batch_size):
    save_a_model_that_says(iris, 1)
    data = TensorDataset(torch.rand(7, 4), torch.tensor([0, 1, 1, 0, 1, 0, 0]))
    monkeypatch.setattr(iris, "test_loader", DataLoader(data, batch_size=batch_size))
    before = snapshot(iris.model)
    iris.test()
    iris.test_species()
    assert capsys.readouterr().out == (
        "Accuracy of the model based on the test set of 7 inputs is: 42 %\n"
        "Accuracy to predict Iris-setosa :  0 %\n"
        "Accuracy to predict Iris-versicolor : 100 %\n"
        "Accuracy to predict Iris-virginica : no flowers\n")
    assert same(snapshot(iris.model), before)


def test_tests_run_in_evaluation_mode_without_gradients(iris):
    save_a_model_that_says(iris, 0)
    calls = []

    def watch(module, _):
        if isinstance(module, iris.Network):
            calls.append((module.training, torch.is_grad_enabled()))

    hook = torch.nn.modules.module.register_module_forward_pre_hook(watch)
    try:
        iris.test()
        iris.test_species()
    finally:
        hook.remove()
    assert calls == 2 * 45 * [TESTING]


@pytest.mark.filterwarnings("ignore:.*which is a no-op")  # the pretended GPU keeps no values
def test_every_batch_goes_to_the_gpu(iris, gpu, monkeypatch):
    save_a_model_that_says(iris, 0)
    monkeypatch.setattr(iris, "save_checkpoint", lambda model, path: None)
    with gpu:
        iris.model.to(iris.device)
        iris.train(1)
        iris.test()
        iris.test_species()


@pytest.mark.parametrize("table", [
    "\ufeff" + TABLE,
    TABLE.replace("\n", "\r\n"),
    TABLE + "\n\n\n",
    TABLE.rstrip("\n"),
], ids=["byte-order mark", "Windows line ends", "blank lines", "no last line end"])
def test_harmless_tables(run, iris, table):
    assert torch.equal(run(table)["input"], iris.input)


FAULTS = {
    "missing": (None, "No such file"),
    "empty": ("", "line 1"),
    "without its header": (TABLE.split("\n", 1)[1], "line 1"),
    "header only": (TABLE.splitlines()[0], "0 flowers"),
    "four flowers": ("\n".join(TABLE.splitlines()[:5]), "4 flowers"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "utf-8"),
    "zeros": (bytes(1000), "line"),
    "UTF-16": (TABLE.encode("utf-16"), "utf-8"),
    "too few cells": (changed(4, "3,4.7,3.2,1.3,Iris-setosa"), "line 4"),
    "too many cells": (changed(4, "3,4.7,3.2,1.3,0.2,0.2,Iris-setosa"), "line 4"),
    "one cell": (changed(4, "hello"), "line 4"),
    "an empty cell": (changed(7, "6,5.4,,1.7,0.4,Iris-setosa"), "line 7"),
    "text": (changed(151, "150,5.9,3.0,long,1.8,Iris-virginica"), "line 151"),
    "nan": (changed(2, "1,nan,3.5,1.4,0.2,Iris-setosa"), "line 2"),
    "inf": (changed(2, "1,5.1,-inf,1.4,0.2,Iris-setosa"), "line 2"),
    "infinite as float32": (changed(2, "1,5.1,1e39,1.4,0.2,Iris-setosa"), "line 2"),
    "an unknown species": (changed(100, "99,5.1,2.5,3.0,1.1,Iris-r\u00eaveuse"), "line 100"),
    "no species": (changed(100, "99,5.1,2.5,3.0,1.1,"), "line 100"),
    "an open quote": (changed(20, '19,5.7,3.8,1.7,0.3,"Iris-setosa'), "line 20"),
    "empty cells at the end": (TABLE + ",,,,,\n", "line 152"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_tables(run, empty_folder, fault):
    table, words = FAULTS[fault]
    with pytest.raises(SystemExit) as exit:
        run(table)
    line = exit.value.code
    assert str(empty_folder / "data" / "iris.csv") in line and words in line
    assert "\n" not in line and line.isascii()


def test_five_flowers_of_one_species_are_enough(run, capsys):
    run("\n".join(TABLE.splitlines()[:6]), "--epochs", "1", name="__main__")
    output = capsys.readouterr().out
    assert "Our dataset is not balanced and has the following values to predict:\nIris-setosa        5\n" in output
    assert "based on the test set of 1 inputs" in output
    assert output.endswith("Accuracy to predict Iris-virginica : no flowers\n")


def test_every_run_prints_the_same(run, capsys):
    outputs = []
    for _ in range(2):
        run(TABLE, "--epochs", "2", name="__main__")
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] and "Completed training batch 2 " in outputs[0]
