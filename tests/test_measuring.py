"""tests/claims.py and tests/benchmark.py on tiny data: what they print is what they measured."""
import re
import subprocess
import sys
from itertools import count
from pathlib import Path
from statistics import mean

import benchmark
import claims
import pytest
import torch
from conftest import ROOT, the_line
from torch.nn.modules.module import register_module_forward_pre_hook
from torchvision.datasets import CIFAR10


def tables(text):
    """Return {row: [cells]} of all Markdown tables in `text`."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\| ?\S?.*\|$", text, re.M)]
    return {row[0]: row[1:] for row in rows}


def test_the_images_are_measured_as_published_and_as_fixed(archive, monkeypatch, tmp_path):
    modes, means = [], {}
    monkeypatch.setattr(sys, "argv", ["claims.py"])
    hook = register_module_forward_pre_hook(lambda module, _: modes.append(
        (module.training, torch.is_grad_enabled())) if hasattr(module, "conv1") else None)
    try:
        conclusions, text, curves = claims.images(2, 3, tmp_path)
    finally:
        hook.remove()
    published = [(True, True)] * 2 + [(False, False)] + 2 * ([(False, True)] * 2 + [(False, False)])
    fixed = 3 * ([(True, True)] * 2 + [(False, False)])
    tested = [(False, False)] * 2 + [(True, False)] * 2  # testBatch() and testClassess(), in both modes
    assert modes == 2 * (published + tested + fixed + tested)
    rows = tables(text)
    for (kind, seed), accuracies in curves.items():
        best = [float(value) for value in rows[f"seed {seed}, {kind}"][:1]]
        assert best == [max(accuracies)] and len(accuracies) == 3
        means.setdefault(kind, []).append(best[0])
    assert curves["as published", 0][0] == curves["as fixed", 0][0]  # in epoch 1 nothing is taken back
    difference = mean(means["as fixed"]) - mean(means["as published"])
    assert f"{mean(means['as fixed']):.1f} % (mean of 2 seeds)" in conclusions and f": {difference:.1f} points more" in conclusions
