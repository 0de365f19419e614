"""tests/claims.py on tiny data: the tables, the fixes that it takes back, and the user's files."""
import re

import pytest
from conftest import ROOT, one_line, put

CLAIMS = ROOT / "tests" / "claims.py"


def table(text):
    """Return [[cell, ...], ...] of each line of the Markdown tables in `text`."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]


def test_it_measures_both_scripts_as_published_and_as_fixed(archive, run, capsys, folder):
    put(archive)
    (folder / "myFirstModel.pth").write_text("the user's own")
    run(CLAIMS, "--seeds", "2", "--epochs", "2")
    text = capsys.readouterr().out
    progress = re.findall(r"^images, seed (\d), (as published|as fixed), epoch (\d): \d+\.\d\d %$", text, re.M)
    assert progress == [(seed, kind, epoch) for seed in "01" for kind in ("as published", "as fixed") for epoch in "12"]
    assert len(re.findall(r"^iris, seed \d, learning rate 0\.0+1: \d+\.\d %$", text, re.M)) == 4
    rows = table(text)
    headings = [row[1:] for row in rows if not row[0]]
    assert headings == [["the tutorial", "seed 0", "seed 1"], ["learning rate 0.001", "learning rate 0.01"],
                        ["the tutorial", "seed 0", "seed 1"],
                        ["seed 0, as published", "seed 0, as fixed", "seed 1, as published", "seed 1, as fixed"]]
    values = {row[0]: row[1:] for row in rows}
    assert float(values["mean of 2 seeds (%)"][0]) < float(values["mean of 2 seeds (%)"][1])
    assert values["test accuracy after epoch 2"][0] == "64 %" and values["truck"][0] == "65 %"
    assert all(re.fullmatch(r"\d+ %", cell) for cell in values["truck"] + values["Iris-virginica"])
    for row in ("the best epoch (%)", "mean of the ten classes, training mode (%)"):
        assert all(0 <= float(cell) <= 100 for cell in values[row])
    for first, second in (("test accuracy after epoch 1 (%)", 0), ("test accuracy after epoch 1 (%)", 2)):
        assert values[first][second] == values[first][second + 1]  # in the first epoch nothing is taken back
    assert sorted(path.name for path in folder.iterdir()) == ["data", "myFirstModel.pth"]
    assert (folder / "myFirstModel.pth").read_text() == "the user's own"


def test_without_cifar10_it_ends_with_the_line_of_the_script(archive, run, folder):
    with pytest.raises(SystemExit) as exit:
        run(CLAIMS, "images")
    assert one_line(exit).startswith("The CIFAR-10 images could neither be read from ./data nor downloaded (")
    assert not [path for path in folder.iterdir() if path.name != "data"]
