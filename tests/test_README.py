"""What the README shows exists and runs: its commands, options, map, and the blocks to copy."""
import re

import common
import pytest
import torch
from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)
PYTHON = [block for language, block in BLOCKS if language == "python"]
INLINE = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", README, flags=re.S))
COMMANDS = sorted({line for text in [*(block for _, block in BLOCKS), *INLINE] for line in text.splitlines()
                   if re.match(r"python3? \S*[a-z]", line)})


@pytest.fixture
def help_of(run, capsys):
    """A function that returns the --help of a script."""
    def help_of(script):
        with pytest.raises(SystemExit) as exit:
            run(ROOT / script, "--help")
        assert not exit.value.code
        return capsys.readouterr().out

    return help_of


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_what_exists(command):
    words = command.split()
    if words[1] == "-c":
        compile(re.search('"(.*)"', command)[1], "command", "exec")
    elif words[1] == "-m":
        assert "-r" not in words or (ROOT / words[words.index("-r") + 1]).exists()
    elif words[1] != "export.py":  # the reader's own file
        assert (ROOT / words[1]).exists()


def test_the_options_are_those_of_the_scripts(help_of):
    assert {"python DataClassifier.py", "python PyTorchTraining.py", "python -m pytest",
            "python -m pip install -r requirements.txt"} <= set(COMMANDS)
    options = {option for script in ("PyTorchTraining.py", "DataClassifier.py", "tests/claims.py")
               for option in re.findall(r"--[a-z]+", help_of(script))} - {"--help"}
    assert options == {option for text in INLINE for option in re.findall(r"(?<!\S)--[a-z]+", text)}


def test_the_map_names_the_blocks_in_their_order():
    for script in ("PyTorchTraining.py", "DataClassifier.py"):
        table = re.search(r"^\|[^\n]*\| In `%s` \|[^\n]*\n\|---\|---\|---\|\n((?:\|.*\|\n)+)" % re.escape(script),
                          README, re.M)[1]
        code = (ROOT / script).read_text(encoding="utf-8")
        names = re.findall(r"`(\w+)`", "".join(row.split("|")[2] for row in table.splitlines()))
        places = [re.search(r"^ *(?:def |class )?(?:\w+, )*%s\b(?:, \w+)*(?: = |\()" % name, code, re.M).start()
                  for name in names]
        assert len(names) > 10 and places == sorted(places)


def test_the_lines_that_replace_common_do_the_same(folder):
    block, = [block for block in PYTHON if block.startswith("get_device")]
    names = {"torch": torch}
    exec(block, names)
    assert names["get_device"]() == common.get_device()
    model, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    names["save_checkpoint"](model, "model.pth")
    names["load_checkpoint"](other, "model.pth")
    assert torch.equal(model.weight, other.weight)


@pytest.mark.parametrize("fixture, name, names, shape", [
    ("images", "ImageClassifier.onnx", ["modelInput", "modelOutput"], (3, 32, 32)),
    ("iris", "Network.onnx", ["input", "output"], (4,))])
def test_the_blocks_write_onnx_that_computes_what_the_model_does(request, folder, capsys, fixture, name, names, shape):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    script = request.getfixturevalue(fixture)
    script.model.train()(torch.rand(8, *shape))  # so that the running statistics are not those of a new network
    script.saveModel()
    block, = [block for block in PYTHON if f'"{name}"' in block]
    exec(block, {"__name__": "__main__"})
    assert capsys.readouterr().out.endswith(f"Saved {name}\n")
    assert sorted(path.name for path in folder.iterdir()) == sorted([script.path[2:], name])  # a single file
    onnx.checker.check_model(onnx.load(name))
    assert [(opset.domain, opset.version) for opset in onnx.load(name).opset_import] == [("", 9)]
    session = onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"])
    assert [session.get_inputs()[0].name, session.get_outputs()[0].name] == names
    for size in (1, 7):
        batch = torch.rand(size, *shape) * 2 - 1
        expected = script.model.eval()(batch).detach()
        output, = session.run(None, {names[0]: batch.numpy()})
        assert torch.allclose(torch.from_numpy(output), expected, rtol=1e-3, atol=1e-5)
