"""tests/claims.py and tests/benchmark.py on tiny or pretended data: what they print is what they measured."""
import re
import sys
from pathlib import Path
from statistics import mean
from types import SimpleNamespace

import benchmark
import claims
import pytest
import torch
from conftest import IRIS, ROOT, copy_of, same, the_line
from torchvision.datasets import CIFAR10


@pytest.fixture(autouse=True)
def no_options(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["claims.py"])


def tables(text):
    """Return {first cell: list of the other cells} of all tables in `text`."""
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in re.findall(r"^\|.*\|$", text, re.M)]
    return {first: cells for first, *cells in rows}


def pretended(name, seed, folder):
    """Take the place of claims.started(): epoch 2 is the best, and each result tells of which epoch and mode it is."""
    def train(epochs):
        for epoch in range(epochs):
            torch.nn.init.constant_(model.train().weight, epoch)
            print(f"[1,  1000] loss: {epoch + seed}.500")
            if script["testAccuracy"]() > 65:
                torch.save(model.state_dict(), script["path"])

    def testAccuracy():
        accuracy = [50, 70.26, 60][int(model.weight)] + seed - (0 if model.training else 5)
        model.eval()
        return accuracy

    def testBatch():
        print("Real labels: ", *10 * ["cat"])
        print("Predicted: ", *(["cat"] * (3 * model.training + int(model.weight)) + 10 * ["dog"])[:10])

    def testClassess():
        print("Accuracy of plane : %d %%\nAccuracy of   car : 40 %%" % (10 * model.training + 20 * model.weight))

    model = torch.nn.Linear(1, 1)
    script = {**locals(), "path": str(Path(folder, "claims.pth"))}
    return script


def test_the_image_tables_have_the_best_epoch_its_checkpoint_and_both_modes(monkeypatch, tmp_path):
    monkeypatch.setattr(claims, "started", pretended)
    conclusions, text, curves = claims.images(2, 3, tmp_path)
    assert curves["as published", 1] == [51, 66.26, 56] and curves["as fixed", 0] == [50, 70.26, 60]
    for row in ("seed 0, as published | 50.00 | 65.26 | 55.00", "seed 0, as published | 65.26 | 30.0 | 35.0 | 1 | 4",
                "seed 1, as fixed | 71.26 | 30.0 | 35.0 | 1 | 4", "first loss | 1.782 | 0.500 | 1.500",
                "last loss | 0.758 | 2.500 | 3.500", "plane | 76 | 20 | 20"):
        assert f"\n| {row} |\n" in text
    for words in ("has 70.8 % (mean of 2 seeds), and without it 65.8 %: 5.0 points more (5.0 to 5.0).",
                  "have 30.0 % in evaluation mode", "35.0 % in training mode (35.0 to 35.0): -5.0 points less",
                  "61.0 %, which is outside that range", "as fixed lose -5.0 points in training mode"):
        assert words in conclusions


def test_the_real_scripts_are_started_with_each_seed_and_leave_the_users_checkpoint(archive, tmp_path):
    Path("myFirstModel.pth").write_text("the user's own")
    _, text, curves = claims.images(1, 2, tmp_path)
    assert curves["as published", 0][0] == curves["as fixed", 0][0]  # in epoch 1 nothing is taken back
    assert all(re.fullmatch(r"\d+", tables(text)[name][1]) for name in list(claims.CLASSES_PUBLISHED)[2:])
    assert Path("myFirstModel.pth").read_text() == "the user's own"
    script = claims.started("DataClassifier.py", 3, tmp_path)
    torch.manual_seed(3)
    assert same(script["model"], script["Network"](4, 3).state_dict())


def test_the_iris_tables_are_what_the_script_prints(run, capsys, tmp_path):
    conclusions, text = claims.iris(2, 6, tmp_path)
    for rate in ("0.001", "0.01"):
        script = copy_of(IRIS, lambda text: text.replace("learning_rate = 0.01", f"learning_rate = {rate}"))
        exact = []
        for seed in (0, 1):
            capsys.readouterr()
            names = run(script, "--epochs", "6", "--seed", str(seed))
            output = capsys.readouterr().out
            names["load_checkpoint"](names["model"], names["path"])
            inputs, outputs = names["test_set"][:]
            exact.append(100 * (names["model"](inputs).argmax(1) == outputs).double().mean().item())
            numbers = re.findall(r"Loss is: (\S+) Validation Loss is: (\S+) Accuracy is (\d+) %", output)
            column = [*numbers[0], *numbers[-1], *re.findall(r": +(\d+) %$", output, re.M)]
            assert rate == "0.001" or [tables(text)[name][1 + seed] for name in claims.IRIS_PUBLISHED] == column
        assert tables(text)[f"learning rate {rate}"][-3:] == [f"{f(exact):.1f}" for f in (mean, min, max)]
        assert f"{mean(exact):.1f} %" in conclusions


def test_a_whole_run_writes_both_files_and_keeps_what_was_written_by_hand(monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(claims.plt, "close", figures.append)
    (tmp_path / "results.md").write_text(f"old numbers\n{claims.KEPT}by hand", encoding="utf-8")
    curves, charts = {("as published", 0): [60, 61, 62], ("as fixed", 0): [60, 65, 70]}, []
    for _ in range(2):
        claims.write(tmp_path, "here", ("- one\n", "| table |\n", curves), ("- two\n", "| iris |\n"), "speed\n")
        charts.append((tmp_path / "accuracy.svg").read_bytes())
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert re.search(r"here.*- one\n- two\n.*\| table \|\n.*\| iris \|\n.*speed\n", text, re.S)
    assert text.endswith(f"{claims.KEPT}by hand") and "old numbers" not in text and text.count("speed\n") == 1
    assert charts[0] == charts[1] and b"<svg" in charts[0]
    assert [(line.get_linestyle(), list(line.get_ydata())) for line in figures[0].axes[0].lines] == [
        ("--", [60, 61, 62]), ("-", [60, 65, 70]), ("None", claims.EPOCHS_PUBLISHED)]


@pytest.mark.parametrize("option", ["--seeds", "--epochs"])
def test_a_wrong_number_is_told_before_anything_is_measured(monkeypatch, capsys, option):
    for number in ("0", "-1"):
        monkeypatch.setattr(sys, "argv", ["claims.py", "iris", option, number])
        the_line(claims.main, status=2)
        assert "must be 1 or more" in capsys.readouterr().err


def test_the_benchmark_prints_the_ratios_of_its_own_times(monkeypatch, capsys):
    step = {benchmark.tutorial_train: 8, benchmark.our_train: 5, benchmark.bare_train: 4,
            benchmark.tutorial_test: 2, benchmark.our_test: 1}
    factors = iter([3, 1, 2, 1, 1])  # the tutorial's training: a round to warm up, a slow one among four

    def seconds(function, *arguments):
        function(*arguments)
        factor = next(factors) if function is benchmark.tutorial_train else 1
        return factor * step[function] / 1000 * (benchmark.TESTS if "test" in function.__name__ else benchmark.STEPS)

    def memory(command, **keywords):
        return SimpleNamespace(stdout=b"lines\n300" if command[-1] == "ours" else b"200")

    monkeypatch.setattr(CIFAR10, "__init__", benchmark.random_images)
    for name, value in (("ROUNDS", 4), ("STEPS", 2), ("TESTS", 3), ("seconds", seconds),
                        ("subprocess", SimpleNamespace(PIPE=None, run=memory))):
        monkeypatch.setattr(benchmark, name, value)
    before = dict(vars(benchmark.ours))
    benchmark.main()
    lines = capsys.readouterr().out.splitlines()
    assert "an epoch: the tutorial's, ours       42.00 s    26.00 s   1.62 (1.62 to 3.15)" in lines
    assert "a training step: ours, a bare one     5.00 ms    4.00 ms  1.25 (1.25 to 1.25)" in lines
    if Path("/proc/self/status").exists():
        assert "peak memory: ours, the tutorial's      300 MB     200 MB  1.50" in lines
        benchmark.print_memory("ours")
        assert int(capsys.readouterr().out.split()[-1]) > 100
    assert {name: vars(benchmark.ours).get(name) for name in before} == before


def test_the_help_of_the_benchmark_measures_nothing(run, capsys):
    the_line(run, ROOT / "tests" / "benchmark.py", "--help", status=0)
    assert capsys.readouterr().out.startswith("usage: ")
