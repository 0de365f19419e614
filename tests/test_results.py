"""Promises of the programs that measure, and of the numbers in the README."""
import difflib
import re
from pathlib import Path

import claims
import pytest

repository = Path(__file__).parents[1]
readme = (repository / "README.md").read_text(encoding="utf-8")
results = (repository / "tests" / "results.md").read_text(encoding="utf-8")


def cells(row, printed):
    """The cells after the first one, `row`, in a printed table."""
    return re.search(rf"^\| {row} \| (.*) \|$", printed, re.M)[1].split(" | ")


@pytest.mark.parametrize("script, gone", [
    ("PyTorchTraining.py", ["model.train()", "model.eval()", "model.eval()"]),
    ("DataClassifier.py", ["lr=learning_rate", "model.train()", "model.eval()", "model.eval()"])])
def test_as_published_is_our_script_without_the_fixes(script, gone):
    fixed = (repository / script).read_text(encoding="utf-8")
    changes = difflib.ndiff(fixed.splitlines(), claims.as_published(fixed).splitlines())
    changed_lines = [line for line in changes if line.startswith("- ")]
    assert len(changed_lines) == len(gone)
    for line, words in zip(changed_lines, gone):
        assert words in line


def test_claims_prints_the_accuracies_of_the_image_script(run, cifar):
    printed = run("tests/claims.py", "images", "--seeds", "1", "--epochs", "3").printed
    assert not Path("myFirstModel.pth").exists()  # the user's own files stay
    script = run("PyTorchTraining.py", "--epochs", "3").printed
    expected = [accuracy + ".00" for accuracy in re.findall(r"For epoch .* (\d+) %", script)]
    assert cells("as_fixed, seed 0", printed) == expected
    assert cells("as_published, seed 0", printed)[0] == expected[0]
    assert "as published" in Path("accuracy.svg").read_text()


def test_claims_prints_the_accuracy_of_the_iris_script(run):
    printed = run("tests/claims.py", "iris", "--seeds", "1", "--epochs", "9").printed
    script = run("DataClassifier.py", "--epochs", "9").printed
    accuracy = re.search(r"inputs is: (\d+) %", script)[1]
    assert [cell.split(".")[0] for cell in cells("as_fixed", printed)] == [accuracy] * 3
    assert cells("as_published", printed) != cells("as_fixed", printed)


def test_benchmark_prints_the_ratios_of_its_times(run):
    printed = run("tests/benchmark.py", "--rounds", "1", "--steps", "5").printed
    rows = re.findall(r" +([\d.]+) +([\d.]+) +([\d.]+) \(", printed)
    assert len(rows) == 2
    for one, other, ratio in rows:
        assert abs(float(one) / float(other) - float(ratio)) < 0.02


def test_the_numbers_of_the_readme_are_those_of_the_results():
    numbers = re.findall(r"\d+\.\d+(?= %)|(?<=: )\d\.\d+", readme)
    assert len(numbers) >= 8
    for number in numbers:
        assert number in results
