"""What the README shows exists and runs: commands, options, messages, numbers, the blocks, and code pasted into ours."""
import re
import sys
from pathlib import Path

import common
import DataClassifier
import PyTorchTraining
import pytest
import torch
from conftest import IMAGES, IRIS, ROOT, copy_of, the_line
from torchvision.datasets import CIFAR10

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "tests" / "results.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)
PYTHON = [block for language, block in BLOCKS if language == "python"]
COMMANDS = re.findall(r"^python3? .*|(?<=`)python3? [^`\n]+", README, re.M)
MAP = re.findall(r"^\| (\d)\. .* \| \[(.*)\]\((\w+).py#L(\d+)-L(\d+)\) \| ([\d, ]*)\| (.*?)\|$", README, re.M)


def names_in(cell):
    return re.findall(r"`(\w+)`", cell)


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_a_command_names_what_exists(command):
    for word in re.findall(r"\S+\.(?:py|txt)\b", command):
        assert (ROOT / word).exists() or f"Save this as `{word}`" in README or f"this as `{word}`" in README


def test_the_options_and_defaults_are_those_of_the_scripts(run, capsys):
    for script in (IMAGES, IRIS):
        the_line(run, script, "--help", status=0)
    text = capsys.readouterr().out
    assert set(re.findall(r"--[a-z]+", text)) - {"--help"} == set(re.findall(r"^- `(--[a-z]+)", README, re.M))
    assert re.findall(r"\(default:\s+(\d+)\)", text) == ["5", "0", "10", "0"]
    assert "5 for the images and 10 for Iris" in README and "If not given, it is 0." in README


def test_the_messages_are_those_of_the_scripts(run, archive, images):
    archive.unlink()
    lines = [the_line(run, IMAGES), the_line(run, IRIS, "--epochs", "0")]
    Path("NetModel.pth").write_text("damaged")
    lines.append(the_line(run, IRIS, "--epochs", "0"))
    Path("NetModel.pth").chmod(0o444)
    lines.append(the_line(run, IRIS))
    Path("NetModel.pth").chmod(0o644)
    quoted = [text for text in re.findall(r"\*\*`([^`]+)`\*\*", README) if text.startswith(("The CIFAR", "./"))]
    assert len(quoted) == 4 and all(any(line.startswith(text) for line in lines) for text in quoted)
    assert all(url in README for url in PyTorchTraining.servers)


def namespace(name):
    """Return globals in which a block of a script can run, and the lines of that script."""
    return {"__name__": "__main__", "__file__": str(ROOT / f"{name}.py")}, (
        ROOT / f"{name}.py").read_text(encoding="utf-8").splitlines(keepends=True)


def use(names, script):
    """Call each function of a block once."""
    torch.save(script["model"].state_dict(), script["path"])
    for name in names:
        if callable(script[name]) and re.match("(train|test|save|image)", name):
            script[name](*{"train": [1], "imageshow": [torch.zeros(3, 2, 2)]}.get(name, []))


@pytest.mark.parametrize("number, cell, name, first, last, needs, extra", MAP)
def test_a_block_of_the_map_is_where_it_says_and_runs_with_the_blocks_that_it_needs(
        monkeypatch, number, cell, name, first, last, needs, extra):
    monkeypatch.setattr(sys, "argv", [name, "--epochs", "1", *(["--dummy"] if name == "PyTorchTraining" else [])])

    def run_blocks(numbers):
        script, lines = namespace(name)
        heading = next(place for place, line in enumerate(lines) if line.startswith("# --- "))
        exec("".join(lines[:heading]), script)
        before = set(script)
        for other in MAP:
            if other[2] == name and other[0] in numbers and other[0] < number:
                exec("".join(lines[int(other[3]) - 1:int(other[4])]), script)
        exec(compile("".join(lines[int(first) - 1:int(last)]), name, "exec"), script)
        assert set(names_in(cell)) <= set(script) - before
        use(names_in(cell), {**script} if "model" in script else {**script, "model": torch.nn.Linear(1, 1)})

    needed = needs.replace(",", "").split()
    run_blocks(needed)
    for missing in needed:
        with pytest.raises(NameError):
            run_blocks([other for other in needed if other != missing])
