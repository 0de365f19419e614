"""What the README shows is true and runs: commands, options, messages, numbers, blocks, and code pasted into ours."""
import ast
import builtins
import re
import sys
from pathlib import Path

import claims
import PyTorchTraining
import pytest
import torch
from conftest import IMAGES, IRIS, ROOT, the_line

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "tests" / "results.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w*\n(.*?)^```$", README, re.M | re.S)
MAP = re.findall(r"^\|(\d)\. (\w+)\|\[(.*)\]\((\w+\.py)#L(\d+)-L(\d+)\)\|([\d, ]*)\|(.*)\|$", README, re.M)
assert len(MAP) == 13  # a row that the pattern misses would not be tested
TEXTS = {script.name: script.read_text(encoding="utf-8") for script in (IMAGES, IRIS)}


def block_with(words):
    """Return the one block of the README that has these words."""
    block, = [block for block in BLOCKS if words in block]
    return block


def our_block(script, number):
    """Return our lines of that number in the map, which may have several rows; 0 is all above the first heading."""
    if number == 0:
        return TEXTS[script].partition("\n# --- ")[0]
    return "".join("".join(TEXTS[script].splitlines(True)[int(row[4]) - 1:int(row[5])])
                   for row in MAP if (row[0], row[3]) == (str(number), script))


def test_the_commands_name_what_exists_and_the_options_have_their_defaults(run, capsys):
    for word in re.findall(r"[\w/]+\.(?:py|txt)\b", " ".join(re.findall(r"python3? .*", README))):
        assert (ROOT / word).exists() or f"this as `{word}`" in README
    assert all((ROOT / "tests" / name).exists() for name in re.findall(r"`(test_\w+\.py)`", RESULTS))
    for script in (IMAGES, IRIS):
        the_line(run, script, "--help", status=0)
    text = capsys.readouterr().out
    assert set(re.findall(r"--[a-z]+", text)) - {"--help"} == set(re.findall(r"(?<![\w-])--[a-z]+", README))
    assert re.findall(r"\(default:\s+(\d+)\)", text) == ["5", "0", "10", "0"]
    assert "it is 5 for the images and 10 for Iris" in README and "If not given, it is 0." in README


def test_the_messages_and_addresses_are_those_of_the_scripts(run, archive):
    archive.unlink()
    lines = [the_line(run, IMAGES), the_line(run, IRIS, "--epochs", "0")]
    Path("NetModel.pth").write_text("damaged")
    lines.append(the_line(run, IRIS, "--epochs", "0"))
    quoted = [text for text in re.findall(r"\*\*`([^`]+)`\*\*", README) if text.startswith(("The CIFAR", "./"))]
    assert len(quoted) == 3 and all(any(line.startswith(text) for line in lines) for text in quoted)
    assert re.findall(r"\((\S+cifar-10-python\.tar\.gz)\)", README) == PyTorchTraining.servers


@pytest.mark.parametrize("number, title, cell, script, first, last, needs, extra", MAP,
                         ids=[row[3] + " " + row[1] for row in MAP])
def test_a_row_of_the_map_has_its_lines_and_all_that_the_block_needs(
        monkeypatch, number, title, cell, script, first, last, needs, extra):
    def run_with(numbers):
        names = {"__name__": "__main__", "__file__": str(ROOT / script)}
        for other in [0, *numbers, int(number)]:
            exec(compile(our_block(script, other), f"block {other}", "exec"), names)
        if "model" in names:
            torch.save(names["model"].state_dict(), names["path"])
        for name in defined:
            if re.match("train$|test|save|image", name) and callable(names[name]):
                names[name](*{"train": [1], "imageshow": [torch.zeros(3, 2, 2)]}.get(name, []))
        return names

    monkeypatch.setattr(sys, "argv", [script, "--epochs", "1", *(["--dummy"] if script == IMAGES.name else [])])
    defined, needed = re.findall(r"`(\w+)`", cell), [int(need) for need in re.findall(r"\d", needs)]
    assert set(defined) <= set(run_with(needed))
    for need in needed:
        with pytest.raises((NameError, AttributeError)):  # without our `input` there is Python's
            run_with([other for other in needed if other != need])

    # "Names": what the block takes from elsewhere, but for what the tutorial's script has, too
    lines, first, last = ["", *TEXTS[script].splitlines(), ""], int(first), int(last)
    assert [bool(lines[each]) for each in (first - 1, first, last, last + 1)] == [False, True, True, False]
    nodes = list(ast.walk(ast.parse("\n".join(lines[first:last + 1]))))
    made = {getattr(node, "name", getattr(node, "arg", None)) for node in nodes}
    made |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    taken = {node.id for node in nodes if isinstance(node, ast.Name)} - made - set(dir(builtins)) - {
        "__name__", "__file__", *"torch nn F torchvision Adam plt np DataLoader TensorDataset random_split".split()}
    assert set(defined) <= made
    assert extra == "see above" or set(re.findall(r"`(\w+)`", extra)) == taken - set(
        re.findall(r"`(\w+)`", " ".join(row[2] for row in MAP if row[3] == script)))


@pytest.mark.parametrize("fixture, name, names, shape", [
    ("images", "ImageClassifier.onnx", ["modelInput", "modelOutput"], (3, 32, 32)),
    ("iris", "Network.onnx", ["input", "output"], (4,))])
def test_the_blocks_write_onnx_that_computes_what_the_model_does(request, folder, capsys, fixture, name, names, shape):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    script = request.getfixturevalue(fixture)
    script.model.train()(torch.rand(8, *shape))  # so that the running statistics are not those of a new network
    script.saveModel()
    exec(block_with(f'"{name}"'), {"__name__": "__main__"})
    assert capsys.readouterr().out.endswith(f"Saved {name}\n")
    assert sorted(path.name for path in folder.iterdir()) == sorted([script.path[2:], name])  # a single file
    assert [(opset.domain, opset.version) for opset in onnx.load(name).opset_import] == [("", 9)]
    session = onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"])
    assert [session.get_inputs()[0].name, session.get_outputs()[0].name] == names
    for size in (1, 7):
        batch = torch.rand(size, *shape) * 2 - 1
        output, = session.run(None, {names[0]: batch.numpy()})
        assert torch.allclose(torch.from_numpy(output), script.model.eval()(batch), rtol=1e-3, atol=1e-5)


PASTED = {IMAGES.name: block_with("batch_size, number_of_labels") + '''
transform = torchvision.transforms.Compose([torchvision.transforms.ToTensor()])
test_loader = DataLoader(CIFAR10("./data", False, transform, download=True), batch_size=5)
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
''', IRIS.name: '''
train_set, validate_set, test_set = random_split(data, [train_split, validate_split, test_split])
train_loader = DataLoader(train_set, batch_size=train_batch_size, shuffle=True)
validate_loader, test_loader = DataLoader(validate_set, batch_size=1), DataLoader(test_set, batch_size=1)
model = Network(input_size, output_size)
optimizer = Adam(model.parameters(), lr=0.001, weight_decay=0.0001)
train(2)
saveModel()
model.load_state_dict(torch.load("NetModel.pth"))
inputs, outputs = next(iter(test_loader))
print(list(labels.keys())[torch.max(model(inputs), 1)[1]])
test()
test_species()
'''}


@pytest.mark.parametrize("under", [False, True], ids=["in place of our main", "under our main"])
@pytest.mark.parametrize("script", [IMAGES.name, IRIS.name])
def test_code_that_works_as_the_tutorials_do_runs_with_our_names_in_a_notebook_without_common(
        archive, monkeypatch, capsys, script, under):
    monkeypatch.setattr(sys, "argv", ["ipykernel", "-f", "kernel.json"])
    (archive.parent / "iris.csv").write_bytes((ROOT / "data" / "iris.csv").read_bytes())
    text = re.sub("from common import .*", lambda _: block_with("get_device ="), TEXTS[script])
    main = our_block(script, 6)
    text = text.replace(main, (main if under else "") + PASTED[script])
    exec(compile(block_with("sys.argv") + text, script, "exec"), {"__name__": "__main__"})
    output = capsys.readouterr().out
    last = output[output.rindex("\nThe model will" if script == IMAGES.name else "\nBegin training"):]
    assert len(re.findall("^(?:For epoch|Completed training batch) [12] ", last, re.M)) == 2
    assert re.findall("Accuracy (?:of|to predict) +(?:truck|Iris-virginica)", last)
    assert output.count("Finished Training\n") == under


def test_the_numbers_are_those_of_the_results():
    prose = re.sub(r"```.*?```|\(http\S+\)", "", README, flags=re.S)
    numbers = re.findall(r"\d+\.\d+(?= (?:%|points|to))", prose)
    assert len(numbers) > 6 and set(numbers) <= set(re.findall(r"\d+\.\d+", RESULTS))
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in re.findall(r"^\|.*\|$", RESULTS, re.M)]
    tutorial, ours = [{row[0]: row[column] for row in rows if len(row) == 5} for column in (1, 2)]
    for name, value in {**claims.CLASSES_PUBLISHED, **claims.IRIS_PUBLISHED}.items():
        assert tutorial[name] == str(value)
    for published in (claims.EPOCHS_PUBLISHED, claims.TESTS_PUBLISHED):
        assert ["the tutorial", *map(str, published)] in rows

    iris, images = block_with("Iris-setosa : "), block_with("Real labels: ")
    assert re.findall(r": +(\d+) %$", iris, re.M) == [ours[name] for name in list(claims.IRIS_PUBLISHED)[-4:]]
    assert re.findall(r"^Accuracy .*: +(\d+) %$", images, re.M) == [
        ours[name] for name in list(claims.CLASSES_PUBLISHED)[2:]]
    (*_, last), (best, _, _, right, _) = [row[1:] for row in rows if row[0] == "seed 0, as fixed"]
    assert (f"[5,  5000] loss: {ours['last loss']}\nFor epoch 5 the test accuracy over the whole test set is "
            f"{int(float(last))} %\n" in images) and f"has a test accuracy of {int(float(best))} %\n" in images
    real, predicted = [line.split()[-10:] for line in images.splitlines() if re.match("Real|Pred", line)]
    assert sum(map(str.__eq__, real, predicted)) == int(right)
