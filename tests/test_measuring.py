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


def tables(text):
    """Return {first cell: list of the other cells} of all tables in `text`."""
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in re.findall(r"^\|.*\|$", text, re.M)]
    return {first: cells for first, *cells in rows}


def test_the_image_tables_have_the_best_epoch_its_checkpoint_and_both_modes(archive, monkeypatch, tmp_path):
    def started(*arguments):
        script, accuracies, weights = original(*arguments), iter(runs.pop(0)), []
        test, model = script["testAccuracy"], script["model"]
        script["testAccuracy"] = lambda: weights.append(model.fc1.weight.tolist()) or test() * 0 + next(accuracies)
        model.register_forward_hook(lambda *_: calls.append("FT"[model.bn1.training] + (
            str(weights.index(model.fc1.weight.tolist()) + 1) if model.fc1.weight.tolist() in weights else "")))
        return script

    original, calls, runs = claims.started, [], [[50, 65.26, 55], [50, 70.26, 60]]
    monkeypatch.setattr(claims, "started", started)
    Path("myFirstModel.pth").write_text("the user's own")
    conclusions, text, curves = claims.images(1, 3, tmp_path)
    # an epoch is two batches and a test; "as published", from epoch 2 on, in evaluation mode (F: training is False)
    assert "".join(call[0] for call in calls) == "TTF" "FFF" "FFF" "FFTT" + "TTF" "TTF" "TTF" "FFTT"
    assert calls[9:13] == calls[22:] == ["F2", "F2", "T2", "T2"]  # the checkpoint of epoch 2, in both modes
    assert curves == {("as published", 0): [50, 65.26, 55], ("as fixed", 0): [50, 70.26, 60]}
    assert "\n| seed 0, as published | 50.00 | 65.26 | 55.00 |\n" in text
    assert re.search(r"\n\| seed 0, as fixed \| 70\.26 \| \S+ \| \S+ \| \d+ \| \d+ \|\n", text)
    assert "has 70.3 % (mean of 1 seeds), and without it 65.3 %: 5.0 points more (5.0 to 5.0)." in conclusions
    classes = [int(tables(text)[name][1]) for name in list(claims.CLASSES_PUBLISHED)[2:]]
    evaluated, in_training = map(float, tables(text)["seed 0, as fixed"][1:3])
    assert evaluated == mean(classes) and f"as fixed lose {evaluated - in_training:.1f} points in" in conclusions
    assert "61.0 %, which is outside that range" in conclusions
    assert Path("myFirstModel.pth").read_text() == "the user's own"
    script = original("DataClassifier.py", 3, tmp_path)
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
