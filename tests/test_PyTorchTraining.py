"""The image classifier: its functions, and how it gets its images from ./data, from servers, or synthetic ones."""
import copy
import io
import pickle
import re
import shutil
from http.client import BadStatusLine
from pathlib import Path
from urllib.error import HTTPError, URLError

import PyTorchTraining
import pytest
import torch
from conftest import IMAGES, Hostile, copy_of, own_epoch, printed, same, the_line, use_model
from torch import nn
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset
from torchvision import transforms
from torchvision.datasets import CIFAR10


def predictions(model, pictures):
    """Return the predicted labels in evaluation mode."""
    return copy.deepcopy(model).eval()(pictures).argmax(1)


def use_tests(monkeypatch, images, pictures, labels):
    """Give the script another test set."""
    monkeypatch.setattr(images, "test_loader", DataLoader(TensorDataset(pictures, labels), batch_size=3))


def test_the_network_the_loss_and_the_optimizer_are_the_tutorials(images):
    model, batch = images.model, torch.rand(4, 3, 32, 32)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    assert {name: shape for name, shape in shapes.items() if "weight" in name} == {
        "conv1.weight": (12, 3, 5, 5), "bn1.weight": (12,), "conv2.weight": (12, 12, 5, 5), "bn2.weight": (12,),
        "conv4.weight": (24, 12, 5, 5), "bn4.weight": (24,), "conv5.weight": (24, 24, 5, 5), "bn5.weight": (24,),
        "fc1.weight": (10, 2400)}
    assert len(shapes) == 18  # each of them has a bias
    layers = [model.conv1, model.bn1, nn.ReLU(), model.conv2, model.bn2, nn.ReLU(), nn.MaxPool2d(2, 2), model.conv4,
              model.bn4, nn.ReLU(), model.conv5, model.bn5, nn.ReLU(), nn.Flatten(), model.fc1]
    model(batch)  # so that the running statistics differ
    assert torch.allclose(model.eval()(batch), nn.Sequential(*layers)(batch), atol=1e-6)
    expected = Adam(model.parameters(), lr=0.001, weight_decay=0.0001, fused=True)
    assert type(images.optimizer) is Adam and images.optimizer.defaults == expected.defaults
    assert type(images.loss_fn) is nn.CrossEntropyLoss


@pytest.mark.filterwarnings("error")  # PyTorch warns of a loss whose history is kept
def test_training_is_the_five_steps_and_prints_the_mean_losses_and_the_accuracies(images, monkeypatch):
    model = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, 10))
    twin, tests = copy.deepcopy(model), images.test_loader.dataset.tensors
    batches = [(torch.rand(2, 3, 32, 32), torch.randint(0, 10, (2,))) for _ in range(1050)]
    use_model(monkeypatch, images, model)
    monkeypatch.setattr(images, "train_loader", batches)
    lines = printed(monkeypatch, images.train, 2)
    optimizer = Adam(twin.parameters(), lr=0.001, weight_decay=0.0001)
    for epoch, loss_line, accuracy_line in zip((1, 2), lines[1::2], lines[2::2]):
        losses, _, right = own_epoch(twin, optimizer, batches, tests)
        assert re.fullmatch(rf"\[{epoch},  1000\] loss: \d+\.\d{{3}}", loss_line)
        assert float(loss_line.split()[-1]) == pytest.approx(sum(losses[:1000]) / 1000, abs=0.001)
        assert accuracy_line == f"For epoch {epoch} the test accuracy over the whole test set is {100 * right // 7} %"
    assert lines[0] == "The model will be running on cpu device" and len(lines) == 5
    assert same(model, twin.state_dict())  # it trained in training mode and tested in evaluation mode


@pytest.mark.parametrize("accuracies, saved", [([10.0, 30.9, 20.0, 30.9], 1), ([0.0, 0.0], 0)])
def test_the_first_of_the_best_epochs_is_saved(images, monkeypatch, accuracies, saved):
    Path("myFirstModel.pth").write_text("an older file")
    weights = []
    monkeypatch.setattr(images, "testAccuracy", lambda: weights.append(
        images.model.fc1.weight.detach().clone()) or accuracies[len(weights) - 1])
    images.train(len(accuracies))
    state = torch.load("./myFirstModel.pth")
    assert [torch.equal(state["fc1.weight"], each) for each in weights].index(True) == saved


@pytest.mark.parametrize("right", [0, 1, 6, 7])
def test_testAccuracy_is_the_percentage_of_right_predictions_over_test_loader(images, monkeypatch, right):
    pictures = torch.rand(7, 3, 32, 32)
    labels = predictions(images.model, pictures)
    labels[right:] = (labels[right:] + 1) % 10
    use_tests(monkeypatch, images, pictures, labels)
    assert images.testAccuracy() == pytest.approx(100 * right / 7)


@pytest.mark.parametrize("name", ["testAccuracy", "testBatch", "testClassess"])
def test_testing_changes_nothing_and_keeps_no_gradients(images, name):
    before, gradients = copy.deepcopy(images.model.state_dict()), []
    images.model.train().register_forward_hook(lambda module, _, output: gradients.append(output.requires_grad))
    getattr(images, name)()
    assert same(images.model, before) and gradients and not any(gradients)


@pytest.mark.parametrize("window", ["no window", "a window", "no file"])
def test_testBatch_prints_labels_and_predictions_and_shows_or_saves_the_picture(images, monkeypatch, capsys, window):
    pictures, shown = torch.stack([torch.full((3, 32, 32), value) for value in (-1.0, 0.0, 1.0)]), []
    pictures[0, 0, 1:] = 1.0  # all but the first row of it red
    use_tests(monkeypatch, images, pictures, torch.tensor([3, 8, 0]))
    names = " ".join("%5s" % images.classes[label] for label in predictions(images.model, pictures))
    if window == "a window":
        monkeypatch.setattr(images.plt, "get_backend", lambda: "TkAgg")
        monkeypatch.setattr(images.plt, "show", lambda: shown.append("shown"))
    elif window == "no file":
        Path("testBatch.png").mkdir()
    images.testBatch()
    *lines, real, predicted = capsys.readouterr().out.splitlines()
    assert (real, predicted) == ("Real labels:    cat  ship plane", "Predicted:  " + names)
    picture = images.plt.gca().images[-1].get_array()  # 3 images in a row, with a border of 2 pixels
    assert [picture[18, column].tolist() for column in (18, 52, 86)] == [[1, 0, 0], [0.5, 0.5, 0.5], [1, 1, 1]]
    assert picture[2, 18].tolist() == [0, 0, 0] and picture.shape == (36, 104, 3)
    if window == "a window":
        assert shown == ["shown"] and not lines and not Path("testBatch.png").exists()
    elif window == "no file":
        assert lines[0].startswith("No window can be opened, and the picture cannot be saved: ") and len(lines) == 1
    else:
        assert lines == ["No window can be opened: the picture is saved as ./testBatch.png"]
        assert Path("testBatch.png").read_bytes().startswith(b"\x89PNG")


def test_testClassess_counts_every_image_and_names_absent_classes(images, monkeypatch, capsys):
    pictures = torch.rand(7, 3, 32, 32)
    predicted = predictions(images.model, pictures).tolist()
    right, wrong = predicted[0], (predicted[0] + 1) % 10
    use_tests(monkeypatch, images, pictures, torch.tensor([right] * 6 + [wrong]))
    images.testClassess()
    lines = ["Accuracy of %5s : no images" % name for name in images.classes]
    lines[right] = "Accuracy of %5s : %2d %%" % (images.classes[right], 100 * predicted[:6].count(right) / 6)
    lines[wrong] = "Accuracy of %5s : %2d %%" % (images.classes[wrong], 100 * (predicted[6] == wrong))
    assert capsys.readouterr().out.splitlines() == lines


class Response(io.BytesIO):
    """What a server sends; an exception `then` is raised after it."""

    def __init__(self, body, then=None):
        super().__init__(body)
        self.url, self.length, self.then = None, 1000, then

    def read(self, size):
        part = super().read(size)
        if self.then and not part:
            raise self.then
        return part


@pytest.fixture
def run_with(archive, run, monkeypatch):
    """A function that runs one epoch; each server answers with an exception or a Response of these arguments."""
    def run_with(*answers):
        def urlopen(request):
            answer = answers[urls.index(request.full_url)]
            if isinstance(answer, Exception):
                raise answer
            return Response(*answer)

        urls = [f"http://server{number}/" for number in range(len(answers))]
        script = copy_of(IMAGES, lambda text: re.sub(r"(?ms)^servers = \[.*?\]$", f"servers = {urls}", text))
        monkeypatch.setattr("urllib.request.urlopen", urlopen)
        monkeypatch.setattr("socket.setdefaulttimeout", timeouts.append)
        run(script, "--epochs", "1")
        assert timeouts[-1] == 30

    timeouts, run_with.good = [], [archive.read_bytes()]
    archive.unlink()
    return run_with


ERRORS = {"down": URLError("refused"), "missing": HTTPError("", 404, "Not Found", {}, io.BytesIO()),
          "odd": ValueError("Invalid IPv6 URL"), "no HTTP": BadStatusLine("this is\r\nno HTTP"), "wrong": [bytes(1000)],
          "silent": TimeoutError("timed out"), "breaks off": [bytes(500), ConnectionResetError("reset")]}
NEVER = AssertionError("a server was asked for nothing")


@pytest.mark.parametrize("fault", [*ERRORS, "half"])
def test_after_a_server_that_fails_the_next_one_is_asked(run_with, archive, capsys, fault):
    run_with(ERRORS.get(fault, [run_with.good[0][:500]]), run_with.good, NEVER)
    start, _, rest = capsys.readouterr().out.partition("The number of images in a training set is:  20\n")
    assert rest and archive.read_bytes() == run_with.good[0] and ["0", "1"] == re.findall(
        r"^Downloading CIFAR-10 \(170 MB\) from http://server(\d)/ to data.cifar-10-python.tar.gz$", start, re.M)


@pytest.mark.parametrize("last, reason", [("down", "refused"), ("missing", "404"), ("no HTTP", "no HTTP"),
                                          ("wrong", "corrupted"), ("odd", "IPv6")])
def test_if_all_servers_fail_one_line_tells_the_last_reason_and_what_to_do(run_with, last, reason):
    start, _, cures = the_line(run_with, [run_with.good[0][:500]], ERRORS["silent"], ERRORS[last]).partition("). ")
    assert start.startswith("The CIFAR-10 images could neither be read from ./data nor downloaded (")
    assert reason in start
    for cure in ("Delete ./data/cifar-10-batches-py", "--dummy", f"{CIFAR10.filename} (MD5 {CIFAR10.tgz_md5})"):
        assert cure in cures
    run_with(run_with.good)  # what was left of the downloads is no harm


def test_what_is_in_data_needs_no_server_but_a_damaged_archive_is_told_and_replaced(run_with, archive, capsys):
    archive.write_bytes(run_with.good[0])
    run_with(NEVER)  # the archive alone
    archive.unlink()
    run_with(NEVER)  # its folder alone
    assert "Downloading" not in capsys.readouterr().out
    shutil.rmtree(archive.parent / CIFAR10.base_folder)
    archive.write_bytes(run_with.good[0][:-10])
    run_with(run_with.good)
    assert re.match(r"\S+.tar.gz is damaged \(its MD5 is not " + CIFAR10.tgz_md5, capsys.readouterr().out)
    assert archive.read_bytes() == run_with.good[0]


@pytest.mark.parametrize("error, status, words", [
    (KeyboardInterrupt(), 130, r"Stopped\. If the download is too slow, run with --dummy.*; or put .* \(MD5 \w+\)"),
    (OSError(28, "No space left on device"), 1, r"The CIFAR-10 images .* \(.*No space left on device\)")])
def test_ctrl_c_and_a_full_disk_end_the_download_and_the_next_start_works(run_with, capsys, error, status, words):
    line = the_line(run_with, [bytes(500), error], NEVER, status=status)
    assert re.match(words, line if status == 1 else capsys.readouterr().err.splitlines()[-1])
    run_with(run_with.good)


def test_data_are_never_unpickled_before_their_checksum_was_verified(archive, run):
    run(IMAGES, "--epochs", "1")
    archive.unlink()
    for file in list(Path("data", CIFAR10.base_folder).iterdir()):
        whole = file.read_bytes()
        file.write_bytes(pickle.dumps(Hostile()))
        the_line(run, IMAGES)
        assert not Path("executed").exists()
        file.write_bytes(whole)
    run(IMAGES, "--epochs", "0")


def test_a_programming_error_keeps_its_traceback(run, monkeypatch):
    monkeypatch.setattr(CIFAR10, "__init__", lambda self, wrong: None)
    with pytest.raises(TypeError):
        run(IMAGES)


def test_the_images_are_those_of_the_tutorial_and_transforms_get_them_as_floats(archive, run):
    script = run(IMAGES, "--epochs", "1")
    assert CIFAR10.url == script["servers"][0]
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])
    flip = transforms.RandomHorizontalFlip(p=1.0), lambda label: -label
    for train, ours in ((True, script["train_set"]), (False, script["test_set"])):
        changed = PyTorchTraining.FastCIFAR10("./data", train, *flip)
        for (image, label), theirs, (flipped, negative) in zip(ours, CIFAR10("./data", train, transform), changed):
            assert torch.equal(image, theirs[0]) and label == theirs[1]
            assert torch.equal(image.flip(2), flipped) and -label == negative
    assert [images.shape for images, _ in script["train_loader"]] == 2 * [(10, 3, 32, 32)]
    orders = [torch.cat([labels for _, labels in script["train_loader"]]).tolist() for _ in range(2)]
    assert orders[0] != orders[1]  # shuffled in each epoch
    assert torch.cat([labels for _, labels in script["test_loader"]]).tolist() == list(range(10))


def test_the_dummy_images_can_be_told_apart_and_are_the_same_with_every_seed(run):
    script = run(IMAGES, "--dummy", "--epochs", "1", "--seed", "1")
    assert script["testAccuracy"]() > 90
    (images, labels), (test_images, test_labels) = script["train_set"].tensors, script["test_set"].tensors
    assert images.shape == (1000, 3, 32, 32) and images.dtype == torch.float32 and labels.dtype == torch.int64
    assert images.min() == -1 and images.max() == 1
    assert labels.bincount().tolist() == 10 * [100] and test_labels.bincount().tolist() == 10 * [20]
    distances = torch.cdist(test_images.flatten(1), images.flatten(1))
    assert distances.min() > 10  # nothing is both trained on and tested, and noise makes the patterns no trifle
    assert torch.equal(images, run(IMAGES, "--dummy", "--epochs", "0", "--seed", "2")["train_set"].tensors[0])
