"""Promises of the recipes: each block, in the place that its recipe names."""
import re
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

repository = Path(__file__).parents[1]
recipes = (repository / ".github" / "RECIPES.md").read_text(encoding="utf-8")


def block(words):
    """Return the one block of Python in the recipes that has these words."""
    found, = [code for code in re.findall(r"```python\n(.*?)```", recipes, re.DOTALL)
              if words in code]
    return found


@pytest.fixture
def ask(monkeypatch, capsys):
    """Run the block with these words as a program; return the lines that it prints."""
    def ask(words, *arguments):
        for name in ("PyTorchTraining", "DataClassifier"):
            monkeypatch.delitem(sys.modules, name, raising=False)  # the block imports them anew
        monkeypatch.setattr(sys, "argv", ["", *arguments])
        exec(block(words), {})
        return capsys.readouterr().out.splitlines()
    return ask


def test_a_photo_has_the_three_classes_of_the_highest_scores(training, ask):
    training.saveModel()
    Image.new("RGBA", (40, 50), (255, 0, 51, 255)).save("photo.png")
    image = torch.tensor([1, -1, -0.6]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    chances, labels = training.model.eval()(image).softmax(1)[0].topk(3)
    assert ask("Image.open", "photo.png") == [
        "%5s %3d %%" % (training.classes[label], 100 * chance)
        for chance, label in zip(chances, labels)]


def save_photos(folder):
    """Save a picture that is white above on the left, the same lying on its side, and that
    one as a phone saves it: with a note that it has to be turned back."""
    folder.mkdir(parents=True, exist_ok=True)
    upright = Image.new("RGBA", (60, 40))
    upright.paste("white", (0, 0, 30, 20))
    upright.save(folder / "upright.png")
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    turned.save(folder / "turned.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the orientation
    turned.save(folder / "phone.png", exif=exif)


def test_a_photo_that_a_phone_has_turned_gives_the_same(training, ask):
    torch.nn.init.normal_(training.model.fc1.weight)  # so that another photo has other chances
    training.saveModel()
    save_photos(Path())
    expected = ask("Image.open", "upright.png")
    assert ask("Image.open", "phone.png") == expected
    assert ask("Image.open", "turned.png") != expected


def own_pictures(changed, names):
    """Make the folders of pictures; return a copy of the script, changed for them."""
    for part in ("train", "test"):
        for number, name in enumerate(names):
            folder = Path("pictures", part, name)
            save_photos(folder)
            Image.new("RGB", (40, 30 + number)).save(folder / "color.JPG")
            Image.new("L", (20, 50), 20 * number).save(folder / "gray.png")
    path = re.search(r'path = "\./\w+\.pth"', recipes)[0]
    return changed("PyTorchTraining.py",
                   (r'path = "\./myFirstModel\.pth"', path),
                   (r"classes = \(.*?\)", f"classes = {tuple(names)}"),
                   (r" +download\(\)\n.*?test_set = .*?\n", block("ImageFolder")),
                   ("shuffle=False", "shuffle=True"))


def replace(script, old, new):
    text = script.read_text(encoding="utf-8")
    assert old in text
    script.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize("names", [["cat", "dog"], list("abcdefghijkl")])
def test_own_pictures_have_the_names_of_their_folders(run, changed, ask, monkeypatch, names):
    printed = run(own_pictures(changed, names), "--epochs", "1").printed
    assert f"The number of images in a training set is:  {5 * len(names)}\n" in printed
    assert re.findall("Accuracy of +(.*) :", printed) == names
    assert list(Path().glob("*.pth")) == [Path("catsAndDogs.pth")]
    monkeypatch.syspath_prepend(Path.cwd())  # photo.py imports the changed script
    assert len(ask("Image.open", f"pictures/test/{names[0]}/phone.png")) == min(3, len(names))


@pytest.fixture
def cats_and_dogs(changed):
    return own_pictures(changed, ["cat", "dog"])


def test_wrong_names_of_own_pictures_and_missing_kinds_are_noticed(run, cats_and_dogs):
    replace(cats_and_dogs, "('cat', 'dog')", "('dog', 'cat')")
    with pytest.raises(AssertionError, match=r"\['cat', 'dog'\]"):
        run(cats_and_dogs)
    replace(cats_and_dogs, "('dog', 'cat')", "('cat', 'dog')")
    Path("pictures/test/cat").rename("pictures/cat")
    with pytest.raises(AssertionError, match=r"\['dog'\]"):
        run(cats_and_dogs)


def test_new_pictures_test_the_saved_model(run, cats_and_dogs):
    run(cats_and_dogs, "--epochs", "1")
    saved = Path("catsAndDogs.pth").read_bytes()
    save_photos(Path("pictures/new/cat"))
    save_photos(Path("pictures/new/dog"))
    replace(cats_and_dogs, "pictures/test", "pictures/new")
    printed = run(cats_and_dogs, "--epochs", "0").printed
    assert "The number of images in a test set is:  6\n" in printed
    assert Path("catsAndDogs.pth").read_bytes() == saved


def test_finer_pictures_need_the_number_of_the_error(run, cats_and_dogs):
    replace(cats_and_dogs, "32, 32", "64, 64")
    with pytest.raises(RuntimeError, match=re.search("`(10x16224 and .*?)`", recipes)[1]):
        run(cats_and_dogs)
    replace(cats_and_dogs, "24 * 10 * 10", "16224")
    assert run(cats_and_dogs, "--epochs", "1").train_set[0][0].shape == (3, 64, 64)


def test_random_changes_are_for_the_training_only_and_photos_stay_upright(run, cats_and_dogs):
    train_line, last_line = re.findall(r"`(t\w+_set = .*?)`", recipes)
    replace(cats_and_dogs, "import Resize", "import RandomHorizontalFlip, Resize")
    replace(cats_and_dogs, 'train_set = ImageFolder("pictures/train", prepare)', train_line)
    replace(cats_and_dogs, "train_set, test_set = list(train_set), list(test_set)", last_line)
    names = run(cats_and_dogs, "--epochs", "1")
    for photo in (2, 4):  # phone.png and upright.png: two points, above on the left and right
        seen = [names.train_set[photo][0][0, 5, [5, 26]].tolist() for _ in range(50)]
        assert [1, -1] in seen and [-1, 1] in seen and [-1, -1] not in seen
        assert names.test_set[photo][0][0, 5, [5, 26]].tolist() == [1, -1]


def test_a_new_flower_is_named(iris, ask):
    iris.saveModel()
    chances = iris.model(torch.tensor([[5.9, 3.0, 5.1, 1.8]])).softmax(1)[0]
    assert ask("lengths", "5.9", "3.0", "5.1", "1.8") == [
        "%-15s %3d %%" % (species, 100 * chances[label]) for species, label in iris.labels.items()]
    with pytest.raises(RuntimeError, match="is invalid for input of size 1$"):
        ask("lengths", "5.9")  # it must not stand for all four


@pytest.fixture
def wines(changed, monkeypatch):
    """A copy of the script, changed for a table with large numbers and a constant."""
    path, labels, columns, table = block("wines.csv").splitlines()
    copy = changed("DataClassifier.py",
                   (r'path = "\./NetModel\.pth"', path), (r"labels = \{.*?\}", labels),
                   (r"columns = \(.*?\)", columns), (r"table = .*?skiprows=1,", table),
                   (r"(?<=super\(Network, self\)\.__init__\(\)\n)", block("register_buffer")),
                   ("(?=        x1 = )", block("x = (x - ")))
    lines = ["alcohol;sugar;color;kind"]
    for number in range(20):
        lines += [f"1000;{number};5;Merlot", f"1001;{number};5;Pinot", f"1002;{number};5;Riesling"]
    Path("data/wines.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    monkeypatch.syspath_prepend(copy.parent)
    return copy


def test_an_own_table_is_learned_and_its_scale_is_saved(run, wines, ask):
    names = run(wines, "--epochs", "20")
    kinds = ["Merlot", "Pinot", "Riesling"]
    assert re.findall("Accuracy to predict +(.*) :", names.printed) == kinds
    assert int(re.search(r"inputs is: (\d+) %", names.printed)[1]) > 80
    rows = names.input[names.train_set.indices]
    saved = torch.load("wines.pth")
    assert torch.equal(saved["mean"], rows.mean(0))
    assert saved["spread"].tolist() == [*rows[:, :2].std(0).tolist(), 1]
    for alcohol, kind in zip(("1000", "1001", "1002"), kinds):
        lines = ask("lengths", alcohol, "3", "5")
        assert max(lines, key=lambda line: int(line.split()[1])).startswith(kind)


def test_a_table_may_have_numbers_as_kinds_in_any_column_and_no_header(run, changed):
    copy = changed("DataClassifier.py", (r"labels = \{.*?\}", 'labels = {"1": 0, "2": 1}'),
                   (r"columns = \(.*?\)", "columns = (1, 2, 0)"), ("skiprows=1", "skiprows=0"))
    Path("data/iris.csv").write_text('2,"-1.5",3,"x, y"\n"1",7e3,4,#\n' * 5, encoding="utf-8-sig")
    names = run(copy)
    assert names.input.tolist() == [[-1.5, 3], [7000, 4]] * 5
    assert names.output.tolist() == [1, 0] * 5


def test_a_curve_and_a_table_of_mistakes(run, changed):
    copy = changed("PyTorchTraining.py",
                   (r"(?=def train\()", "accuracies = []\n\n\n"),
                   (r"(?<= = testAccuracy\(\)\n)", "        accuracies.append(accuracy)\n"),
                   (r"(?=    testBatch\(\)  #)", block("accuracies.png")))
    names = run(copy, "--dummy", "--epochs", "1")
    assert names.table.sum() == 200
    correct = [100 * names.table[i, i] // names.table[i].sum() for i in range(10)]
    assert [int(n) for n in re.findall(r"Accuracy of .*: +(\d+) %", names.printed)] == correct
    Path("accuracies.png").unlink()
    run(copy, "--dummy", "--epochs", "0")
    assert not Path("accuracies.png").exists()


@pytest.fixture
def own_table(wines, iris):
    return iris


@pytest.mark.parametrize("script, file, name_in, name_out, inputs", [
    ("training", "ImageClassifier.onnx", "modelInput", "modelOutput", torch.rand(7, 3, 32, 32)),
    ("iris", "Network.onnx", "input", "output", torch.rand(7, 4)),
    ("own_table", "Network.onnx", "input", "output", torch.tensor([[1000., 3, 5], [1002, 9, 5]]))])
@pytest.mark.filterwarnings("ignore")  # the older exporter of PyTorch warns
def test_the_onnx_file_computes_the_same(request, ask, script, file, name_in, name_out, inputs):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    module = request.getfixturevalue(script)
    module.model.train()(inputs)  # BatchNorm collects from these
    module.saveModel()
    ask(file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    output, = session.run([name_out], {name_in: inputs.numpy()})
    expected = module.model.eval()(inputs)
    assert torch.allclose(torch.from_numpy(output), expected, rtol=1e-3, atol=1e-5)
