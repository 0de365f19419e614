"""What the README shows is true and runs: commands, options, messages, numbers, blocks, and code pasted into ours."""
import ast
import builtins
import re
import sys
from pathlib import Path

import common
import PyTorchTraining
import pytest
import torch
from conftest import IMAGES, IRIS, ROOT, copy_of, the_line
from torchvision.datasets import CIFAR10

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "tests" / "results.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)
PYTHON = [block for language, block in BLOCKS if language == "python"]
COMMANDS = set(re.findall(r"^python3? .*|(?<=`)python3? [^`\n]+", README, re.M))
MAP = re.findall(r"^\| (\d)\. .* \| \[(.*)\]\((\w+\.py)#L(\d+)-L(\d+)\) \| ([\d, ]*)\| (.*?) ?\|$", README, re.M)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_command_names_what_exists(command):
    for word in re.findall(r"\S+\.(?:py|txt)\b", command):
        assert (ROOT / word).exists() or f"this as `{word}`" in README


def test_the_options_and_their_defaults_are_those_of_the_scripts(run, capsys):
    for script in (IMAGES, IRIS):
        the_line(run, script, "--help", status=0)
    text = capsys.readouterr().out
    assert set(re.findall(r"--[a-z]+", text)) - {"--help"} == {
        option for option in re.findall(r"(?<![\w-])--[a-z]+", README)}
    assert re.findall(r"\(default:\s+(\d+)\)", text) == ["5", "0", "10", "0"]
    assert "it is 5 for the images and 10 for Iris" in README and "If not given, it is 0." in README


def test_the_messages_and_addresses_are_those_of_the_scripts(run, archive):
    archive.unlink()
    lines = [the_line(run, IMAGES), the_line(run, IRIS, "--epochs", "0")]
    Path("NetModel.pth").write_text("damaged")
    lines.append(the_line(run, IRIS, "--epochs", "0"))
    Path("NetModel.pth").chmod(0o444)
    lines.append(the_line(run, IRIS))
    Path("NetModel.pth").chmod(0o644)
    quoted = [text for text in re.findall(r"\*\*`([^`]+)`\*\*", README) if text.startswith(("The CIFAR", "./"))]
    assert len(quoted) == 4 and all(any(line.startswith(text) for line in lines) for text in quoted)
    assert all(f"({server})" in README for server in PyTorchTraining.servers)


def block(number, script):
    """Return the text of our block `number` of a script, which may be several rows of the map."""
    lines = (ROOT / script).read_text(encoding="utf-8").splitlines(keepends=True)
    if number == 0:  # what stands above the first heading
        return "".join(lines[:next(place for place, line in enumerate(lines) if line.startswith("# --- "))])
    return "".join("".join(lines[int(first) - 1:int(last)]) for row, _, name, first, last, _, _ in MAP
                   if (row, name) == (str(number), script))


@pytest.mark.parametrize("number, cell, script, first, last, needs, extra", MAP, ids=[row[2][0] + row[1] for row in MAP])
def test_a_row_of_the_map_names_its_lines_and_all_that_the_block_needs(
        monkeypatch, number, cell, script, first, last, needs, extra):
    monkeypatch.setattr(sys, "argv", [script, "--epochs", "1", *(["--dummy"] if script == IMAGES.name else [])])

    def run_with(numbers):
        names = {"__name__": "__main__", "__file__": str(ROOT / script)}
        for other in [0, *numbers, int(number)]:
            exec(compile(block(other, script), f"block {other}", "exec"), names)
        if "model" in names:
            torch.save(names["model"].state_dict(), names["path"])
        for name in defined:
            if re.match("train$|test[A-Z_]|test$|save|image", name):
                names[name](*{"train": [1], "imageshow": [torch.zeros(3, 2, 2)]}.get(name, []))
        return names

    defined, needed = re.findall(r"`(\w+)`", cell), [int(need) for need in needs.replace(",", "").split()]
    own = "".join((ROOT / script).read_text(encoding="utf-8").splitlines(keepends=True)[int(first) - 1:int(last)])
    assert set(defined) <= set(run_with(needed)) and all(re.search(rf"\b{name}\b", own) for name in defined)
    for need in needed:
        with pytest.raises(NameError):
            run_with([other for other in needed if other != need])

    # the names that the block takes from elsewhere, but for those that the tutorial's script has, too
    nodes = list(ast.walk(ast.parse(own)))
    loaded = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    made = {getattr(node, "name", getattr(node, "arg", None)) for node in nodes} | {
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    tutorial = set(re.findall(r"`(\w+)`", " ".join(row[1] for row in MAP if row[2] == script))) | {
        "torch", "nn", "F", "torchvision", "Adam", "plt", "np", "DataLoader", "TensorDataset", "random_split"}
    if "above" not in extra:
        assert loaded - made - tutorial - set(dir(builtins)) - {"__name__", "__file__"} == set(
            re.findall(r"`(\w+)`", extra))


def test_the_lines_that_replace_common_do_the_same():
    lines, = [block for block in PYTHON if block.startswith("get_device")]
    names, model, other = {"torch": torch}, torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    exec(lines, names)
    assert names["get_device"]() == common.get_device()
    names["save_checkpoint"](model, "model.pth")
    names["load_checkpoint"](other, "model.pth")
    assert torch.equal(model.weight, other.weight)


def test_the_data_step_of_six_lines_runs(archive):
    lines, = [block for block in PYTHON if block.startswith("batch_size")]
    names = dict(vars(PyTorchTraining))
    exec(lines, names)
    assert lines.count("\n") == 6 and names["classes"] == PyTorchTraining.classes
    assert [len(names[name]) for name in ("train_loader", "test_loader")] == [2, 1]


def test_the_lines_for_a_notebook_let_the_whole_script_run(capsys):
    lines, = [block for block in PYTHON if "sys.argv" in block]
    names, script = {"__name__": "__main__"}, copy_of(IRIS)
    argv = sys.argv
    try:
        exec(lines, names)
        exec(script.read_text(encoding="utf-8"), names)
    finally:
        sys.argv = argv
    assert "Accuracy to predict Iris-virginica" in capsys.readouterr().out


@pytest.mark.parametrize("fixture, name, names, shape", [
    ("images", "ImageClassifier.onnx", ["modelInput", "modelOutput"], (3, 32, 32)),
    ("iris", "Network.onnx", ["input", "output"], (4,))])
def test_the_blocks_write_onnx_that_computes_what_the_model_does(request, folder, capsys, fixture, name, names, shape):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    script = request.getfixturevalue(fixture)
    script.model.train()(torch.rand(8, *shape))  # so that the running statistics are not those of a new network
    script.saveModel()
    lines, = [block for block in PYTHON if f'"{name}"' in block]
    exec(lines, {"__name__": "__main__"})
    assert capsys.readouterr().out.endswith(f"Saved {name}\n")
    assert sorted(path.name for path in folder.iterdir()) == sorted([script.path[2:], name])  # a single file
    onnx.checker.check_model(onnx.load(name))
    assert [(opset.domain, opset.version) for opset in onnx.load(name).opset_import] == [("", 9)]
    session = onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"])
    assert [session.get_inputs()[0].name, session.get_outputs()[0].name] == names
    for size in (1, 7):
        batch = torch.rand(size, *shape) * 2 - 1
        output, = session.run(None, {names[0]: batch.numpy()})
        assert torch.allclose(torch.from_numpy(output), script.model.eval()(batch), rtol=1e-3, atol=1e-5)


IMAGE_CODE = '''
transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])
batch_size = 5
train_set, test_set = [CIFAR10("./data", train, transform, download=True) for train in (True, False)]
train_loader, test_loader = [DataLoader(data, batch_size, shuffle=data is train_set) for data in (train_set, test_set)]
model = Network()
optimizer = Adam(model.parameters(), lr=0.001, weight_decay=0.0001)
train(2)
saveModel()
model = Network()
model.load_state_dict(torch.load("myFirstModel.pth"))
images, labels = next(iter(test_loader))
imageshow(torchvision.utils.make_grid(images))
outputs = model(images)  # on the CPU, as the tutorial does it
testBatch()
testClassess()
print("Done with batches of", batch_size)
'''
IRIS_CODE = '''
train_set, validate_set, test_set = random_split(data, [train_split, validate_split, test_split])
train_loader = DataLoader(train_set, batch_size=train_batch_size, shuffle=True)
validate_loader, test_loader = DataLoader(validate_set, batch_size=1), DataLoader(test_set, batch_size=1)
model = Network(input_size, output_size)
optimizer = Adam(model.parameters(), lr=0.001, weight_decay=0.0001)
train(2)
saveModel()
model = Network(input_size, output_size)
model.load_state_dict(torch.load("NetModel.pth"))
inputs, outputs = next(iter(test_loader))
print(list(labels.keys())[torch.max(model(inputs), 1)[1]])
test()
test_species()
print("Done with batches of", train_batch_size)
'''


@pytest.mark.parametrize("under", [False, True], ids=["in place of our main", "under our main"])
@pytest.mark.parametrize("script, code", [(IMAGES, IMAGE_CODE), (IRIS, IRIS_CODE)], ids=["images", "iris"])
def test_code_that_works_as_the_tutorials_do_runs_with_our_names(archive, run, capsys, script, code, under):
    main = block(6, script.name)
    code = "from torchvision import transforms\n" + code
    run(copy_of(script, lambda text: text.replace(main, main + code if under else code)), "--epochs", "1")
    text = capsys.readouterr().out
    assert re.search(r"Done with batches of \d+\n\Z", text) and text.count("Finished Training\n") == under
    assert len(re.findall("^(?:For epoch|Completed training batch) [12] ", text, re.M)) == 2 + under


def test_the_numbers_are_those_of_the_results():
    prose = re.sub(r"```.*?```|\(http\S+\)|^> .*", "", README, flags=re.S | re.M)
    numbers = set(re.findall(r"\d+\.\d+(?= (?:%|points))|\d+\.\d+ to \d+\.\d+", prose))
    assert len(numbers) > 5 and not [number for number in numbers if number not in RESULTS]
    row = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in (
        line.strip("|").split("|") for line in re.findall(r"^\|.*\|$", RESULTS, re.M))}
    iris, images = [block for _, block in BLOCKS if "Finished Training" in block]
    assert re.findall(r": +(\d+) %", iris) == [row[name][1] for name in (
        "test set", "Iris-setosa", "Iris-versicolor", "Iris-virginica")]
    best, *epochs = [float(value) for value in (row["seed 0, as fixed"][0], *EPOCHS)]
    classes = PyTorchTraining.classes
    assert re.findall(r"Accuracy of +\w+ : +(\d+) %", images) == [row[name][1] for name in classes]
