"""tests/claims.py on tiny data: the tables, the fixes that it takes back, and the user's files."""
import re

import pytest
import torch
from conftest import ROOT, one_line, put
from torch.nn.modules.module import register_module_forward_pre_hook

KINDS = "as published", "as fixed"
CLAIMS = ROOT / "tests" / "claims.py"


def tables(text):
    """Return {row: {column: value}} of each Markdown table in `text`."""
    found = []
    for table in re.findall(r"^\| \|.*\|$(?:\n\|.*\|$)+", text, re.M):
        heading, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        found.append({row[0]: dict(zip(heading[1:], row[1:])) for row in rows})
    return found


def test_it_measures_both_scripts_as_published_and_as_fixed(archive, run, capsys, folder):
    def note(module, arguments):
        if hasattr(module, "conv1"):
            modes.append((module.training, torch.is_grad_enabled()))

    modes = []
    put(archive)
    (folder / "myFirstModel.pth").write_text("the user's own")
    hook = register_module_forward_pre_hook(note)
    try:
        run(CLAIMS, "--seeds", "2", "--epochs", "2")
    finally:
        hook.remove()
    assert modes.count((False, True)) == 4  # as published: two batches of epoch 2 for each seed, in evaluation mode
    assert modes.count((True, False)) == 8  # testBatch() and testClassess() of all four, in training mode
    text = capsys.readouterr().out
    progress = re.findall(r"^images, seed (\d), (as published|as fixed), epoch (\d): \d+\.\d\d %$", text, re.M)
    assert progress == [(seed, kind, epoch) for seed in "01" for kind in KINDS for epoch in "12"]
    assert len(re.findall(r"^iris, seed \d, learning rate 0\.0+1: \d+\.\d %$", text, re.M)) == 4
    iris, rates, images, classes = tables(text)
    assert list(iris) == list(classes) == ["the tutorial", "seed 0", "seed 1"]
    assert list(images) == ["the tutorial", *(f"seed {seed}, {kind}" for seed in "01" for kind in KINDS)]
    slow, fast = (float(rates[f"learning rate {rate}"]["mean of 2 seeds"]) for rate in ("0.001", "0.01"))
    assert slow < fast
    assert images["the tutorial"]["epoch 2"] == "64" and classes["the tutorial"]["truck"] == "65 %"
    assert iris["the tutorial"]["Iris-virginica"] == "93 %"
    for row in (*iris.values(), *classes.values()):
        measured = [value for column, value in row.items() if column not in ("first loss", "last loss")]
        assert len(measured) == 10 and all(re.fullmatch(r"\d+ %|\d\.\d{4}", value) for value in measured)
    for seed in "01":
        published, fixed = (images[f"seed {seed}, {kind}"] for kind in KINDS)
        assert published["epoch 1"] == fixed["epoch 1"]  # in epoch 1 nothing is taken back
        assert float(fixed["best"]) == max(float(fixed["epoch 1"]), float(fixed["epoch 2"]))
        assert 0 <= float(fixed["ten classes, training mode"]) <= 100
    assert sorted(path.name for path in folder.iterdir()) == ["data", "myFirstModel.pth"]
    assert (folder / "myFirstModel.pth").read_text() == "the user's own"


def test_without_cifar10_it_ends_with_the_line_of_the_script(archive, run, folder):
    with pytest.raises(SystemExit) as exit:
        run(CLAIMS, "images")
    assert one_line(exit).startswith("The CIFAR-10 images could neither be read from ./data nor downloaded (")
    assert not [path for path in folder.iterdir() if path.name != "data"]
