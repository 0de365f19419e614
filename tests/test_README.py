"""Promises of the README: its blocks, its ways to own pictures and tables, its numbers."""
import re
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

repository = Path(__file__).parents[1]
readme = (repository / "README.md").read_text(encoding="utf-8")
results = (repository / "tests" / "results.md").read_text(encoding="utf-8")


def block(words):
    """Return the one block of Python in the README that has these words."""
    found, = [code for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
              if words in code]
    return found


def recognize(picture, monkeypatch, capsys):
    """Run the README's photo.py on a picture; return what it prints."""
    monkeypatch.setattr(sys, "argv", ["photo.py", picture])
    exec(block("Image.open"), {})
    return capsys.readouterr().out


def test_a_photo_has_the_three_classes_of_the_highest_scores(training, monkeypatch, capsys):
    training.saveModel()
    Image.new("RGBA", (40, 50), (255, 0, 51, 255)).save("photo.png")
    image = torch.tensor([1, -1, -0.6]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    chances, labels = training.model.eval()(image).softmax(1)[0].topk(3)
    assert recognize("photo.png", monkeypatch, capsys).splitlines() == [
        "%5s %3d %%" % (training.classes[label], 100 * chance)
        for chance, label in zip(chances, labels)]


def test_a_photo_that_a_phone_has_turned_gives_the_same(training, monkeypatch, capsys):
    training.saveModel()
    upright = Image.new("RGB", (60, 40))
    upright.paste("white", (0, 0, 60, 10))  # its upper part
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # the orientation: turn it back to show it
    upright.save("upright.png")
    turned.save("turned.png")
    turned.save("phone.png", exif=exif)
    expected = recognize("upright.png", monkeypatch, capsys)
    assert recognize("phone.png", monkeypatch, capsys) == expected
    assert recognize("turned.png", monkeypatch, capsys) != expected


def own_pictures(changed, names, classes):
    """Make three pictures of each name to train and to test, in folders. Change a copy of
    the script as the README says, with `classes` as its line, and return the copy."""
    for part in ("train", "test"):
        for number, name in enumerate(names):
            folder = Path("pictures", part, name)
            folder.mkdir(parents=True)
            Image.new("RGB", (40, 30 + number)).save(folder / "color.JPG")
            Image.new("L", (20, 50), 20 * number).save(folder / "gray.png")
            Image.new("RGBA", (64, 64), (9, 9, 9, 9)).save(folder / "transparent.png")
    path = re.search(r'path = "\./\w+\.pth"', readme)[0]
    return changed("PyTorchTraining.py",
                   (r'path = "\./myFirstModel\.pth"', path), (r"classes = \(.*?\)", classes),
                   (r" +download\(\)\n.*?test_set = .*?\n", block("ImageFolder")),
                   ("shuffle=False", "shuffle=True"))


@pytest.mark.parametrize("names", [["cat", "dog"], list("abcdefghijkl")])
def test_own_pictures_are_learned_under_the_names_of_their_folders(run, changed, names):
    copy = own_pictures(changed, names, f"classes = {tuple(names)}")
    printed = run(copy, "--epochs", "1").printed
    assert f"The number of images in a training set is:  {3 * len(names)}\n" in printed
    assert re.findall("Accuracy of +(.*) :", printed) == names
    assert list(Path().glob("*.pth")) == [Path("catsAndDogs.pth")]


def test_wrong_names_of_own_pictures_and_missing_kinds_are_noticed(run, changed):
    copy = own_pictures(changed, ["cat", "dog"], 'classes = ("dog", "cat")')
    with pytest.raises(AssertionError, match=r"\['cat', 'dog'\]"):
        run(copy)
    copy.write_text(copy.read_text().replace('("dog", "cat")', '("cat", "dog")'))
    Path("pictures/test/cat").rename("pictures/cat")
    with pytest.raises(AssertionError, match=r"\['dog'\]"):
        run(copy)


def test_an_own_table_is_learned(run, changed):
    standardize = re.search(r"`(input = \(input.*?)`", readme)[1]
    copy = changed("DataClassifier.py", (r"labels = \{.*?\}", 'labels = {"red": 0, "white": 1}'),
                   ("iris.csv", "wines.csv"), ('delimiter=","', 'delimiter=";"'),
                   (r"columns = \(.*?\)", "columns = (0, 2, 3)"),
                   (r"(?<=torch\.int64\)\n)", standardize + "\n"))
    lines = ["alcohol;name;sugar;kind"]
    for number in range(20):
        lines.append(f"{number};#;{-1000 * number};white")
        lines.append(f"{number + 50};b;{-1000 * number};red")
    Path("data/wines.csv").write_text("\n".join(lines))
    names = run(copy)
    assert torch.allclose(names.input.std(0), torch.ones(2))
    assert torch.allclose(names.input.mean(0), torch.zeros(2), atol=1e-5)
    assert names.output.tolist() == 20 * [1, 0]
    assert re.findall("Accuracy to predict +(.*) :", names.printed) == ["red", "white"]


@pytest.mark.parametrize("fixture, file, name_in, name_out, shape", [
    ("training", "ImageClassifier.onnx", "modelInput", "modelOutput", (3, 32, 32)),
    ("iris", "Network.onnx", "input", "output", (4,))])
@pytest.mark.filterwarnings("ignore")  # the older exporter of PyTorch warns
def test_the_onnx_file_computes_the_same(request, fixture, file, name_in, name_out, shape):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    script = request.getfixturevalue(fixture)
    script.model.train()(torch.rand(8, *shape))  # BatchNorm collects from these
    script.saveModel()
    exec(block(file), {})
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    batch = torch.rand(7, *shape)
    output, = session.run([name_out], {name_in: batch.numpy()})
    expected = script.model.eval()(batch)
    assert torch.allclose(torch.from_numpy(output), expected, rtol=1e-3, atol=1e-5)


def test_the_linked_files_exist():
    for link in re.findall(r"\]\(([\w./-]+)\)", readme):
        assert (repository / link).exists(), link


def test_the_numbers_and_printed_lines_of_the_readme_are_those_of_the_results():
    for name in ("Training mode", "Evaluation mode", "Learning rate"):
        bullet = re.compile(rf"\*\*{name}\.\*\* .*")
        in_readme = re.findall(r"([\d.]+) %", bullet.search(readme)[0])
        in_results = re.findall(r"([\d.]+) %", bullet.search(results)[0])[:2]
        assert in_readme == [f"{float(number):.1f}" for number in in_results]
    for line in re.findall(r"^(?:Completed|Accuracy|\[\d|For epoch|Real|Pred).*", readme, re.M):
        assert line in results.splitlines(), line


def test_claims_and_benchmark_print_their_tables(run, training, cifar):
    claims = run("tests/claims.py", "--seeds", "1", "--epochs", "2")
    for row in ("as_published", "as_fixed", "as_published, seed 0", "as_fixed, seed 0"):
        assert re.search(rf"^\| {row} (\| \d+\.\d\d )+\|$", claims.printed, re.MULTILINE), row
    text = claims.as_published((repository / "PyTorchTraining.py").read_text())
    assert [text.count("model.train()"), text.count("model.eval()")] == [2, 1]
    assert "lr=0.001" in claims.as_published((repository / "DataClassifier.py").read_text())
    assert "as published" in Path("accuracy.svg").read_text()
    benchmark = run("tests/benchmark.py", "--rounds", "1", "--steps", "5").printed
    for row in ("ms a batch of images", "ms a training step", "s an epoch"):
        assert re.search(rf"^\| {row} (\| \d+\.\d\d ){{3}}", benchmark, re.MULTILINE), row
