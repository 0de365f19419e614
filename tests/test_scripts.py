"""Promises of both scripts as they are started: options, files and what is printed."""
import os
import re
from pathlib import Path

import pytest
import torch

repository = Path(__file__).parents[1]
both = pytest.mark.parametrize("script, path", [
    ("DataClassifier.py", "NetModel.pth"), ("PyTorchTraining.py", "myFirstModel.pth")])


def without_numbers(lines):
    """The lines, with # in place of each number that the training decides."""
    return [re.sub(r" [\d.]+(?= %| Valid| Acc)", " #", line) for line in lines]


def test_DataClassifier_runs_from_another_folder(start):
    lines = start("DataClassifier.py")
    epoch = "Completed training batch %d Training Loss is: # Validation Loss is: # Accuracy is # %%"
    assert without_numbers(lines) == [
        "Our dataset has the following values to predict:",
        "Iris-setosa        50", "Iris-versicolor    50", "Iris-virginica     50", "",
        "Input format:  torch.Size([150, 4]) torch.float32",
        "Output format:  torch.Size([150]) torch.int64",
        "The model will be running on cpu device", "",
        "Begin training...", *(epoch % number for number in range(1, 11)), "Finished Training", "",
        "Accuracy of the model based on the test set of 45 inputs is: # %",
        "Accuracy to predict Iris-setosa : # %", "Accuracy to predict Iris-versicolor : # %",
        "Accuracy to predict Iris-virginica : # %", "The model is saved as ./NetModel.pth"]
    assert int(re.search(r"inputs is: (\d+) %", lines[22])[1]) > 80
    assert os.listdir() == ["NetModel.pth"]


def test_PyTorchTraining_runs_from_another_folder_without_a_display(start):
    lines = start("PyTorchTraining.py", "--dummy", "--epochs", "1")
    assert without_numbers(lines[:9]) == [
        "The number of images in a training set is:  1000",
        "The number of images in a test set is:  200",
        "The number of batches per epoch is:  100",
        "The model will be running on cpu device",
        "For epoch 1 the test accuracy over the whole test set is # %",
        "Finished Training", "The model saved as ./dummyModel.pth has a test accuracy of # %",
        "No window can be opened: the picture is saved as ./testBatch.png",
        "Real labels:  plane   car  bird   cat  deer   dog  frog horse  ship truck"]
    assert lines[9].startswith("Predicted:  ")
    assert re.findall(r"Accuracy of +(\w+) :", "".join(lines[10:])) == lines[8].split()[2:]
    assert int(re.search(r"test accuracy of (\d+) %", lines[6])[1]) > 90
    assert sorted(os.listdir()) == ["dummyModel.pth", "testBatch.png"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("script, options", [
    ("DataClassifier.py", []), ("PyTorchTraining.py", ["--dummy", "--epochs", "1"])])
def test_a_real_gpu_is_used(start, monkeypatch, script, options):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert "The model will be running on cuda:0 device" in start(script, *options)


def test_PyTorchTraining_downloads_and_trains_5_epochs_by_default(run, internet, archive):
    internet.answers = {"zenodo.org": [archive]}
    names = run("PyTorchTraining.py")
    assert re.findall(r"For epoch (\d+)", names.printed) == ["1", "2", "3", "4", "5"]
    first = torch.cat([images for images, _ in names.train_loader])
    second = torch.cat([images for images, _ in names.train_loader])
    assert first.shape == (20, 3, 32, 32)
    assert not torch.equal(first, second)  # the training images are shuffled
    assert [labels.tolist() for _, labels in names.test_loader] == [list(range(10))]


@both
def test_with_epochs_0_the_script_tests_only(run, cifar, script, path):
    with pytest.raises(SystemExit, match="Train first"):
        run(script, "--epochs", "0")
    trained = run(script, "--epochs", "1").printed.partition("Finished Training")[2]
    saved = Path(path).read_bytes()
    for epochs in ("0", "-1"):
        tested = run(script, "--epochs", epochs).printed
        assert tested.endswith(trained.strip() + "\n")
        assert "epoch 1 " not in tested and "Begin" not in tested
    assert Path(path).read_bytes() == saved
    assert not Path(path + ".old").exists()


@both
def test_the_seed_decides_and_the_model_of_the_run_before_is_kept_as_old(run, cifar, script, path):
    saved = []
    for options in (["--seed", "1"], [], ["--seed", "1"], ["--seed", "0"]):
        run(script, "--epochs", "1", *options)
        saved.append(Path(path).read_bytes())
    assert saved[0] == saved[2] != saved[1] == saved[3]
    assert Path(path + ".old").read_bytes() == saved[2]


def test_an_imported_model_has_the_first_weights_of_seed_0(training, iris):
    torch.manual_seed(0)
    assert torch.equal(training.model.fc1.weight, training.Network().fc1.weight)
    torch.manual_seed(0)
    assert torch.equal(iris.model.layer1.weight, iris.Network(4, 3).layer1.weight)
    assert not hasattr(training, "train_set")  # an import loads no images


def test_dummy_images_are_the_same_for_every_seed(run, internet):
    one = run("PyTorchTraining.py", "--dummy", "--epochs", "1", "--seed", "1")
    two = run("PyTorchTraining.py", "--dummy", "--epochs", "0", "--seed", "2")
    assert torch.equal(one.images, two.images)
    assert torch.equal(one.train_set[999][0], one.images[999])
    assert torch.equal(one.test_set[0][0], one.images[1000])
    assert sorted(os.listdir()) == ["dummyModel.pth", "testBatch.png"]
    assert internet.asked == []


CODE_OF_THE_TUTORIALS = {"PyTorchTraining.py": '''
test_set = CIFAR10("./data", train=False, transform=torchvision.transforms.ToTensor())
test_loader = DataLoader(test_set, batch_size=batch_size, shuffle=False, num_workers=0)
train(2)
testAccuracy()
model = Network()
path = "myFirstModel.pth"
model.load_state_dict(torch.load(path))
testBatch()
testClassess()
''', "DataClassifier.py": '''
train_set, validate_set, test_set = random_split(data, [train_split, validate_split, test_split])
test_loader = DataLoader(test_set, batch_size=1)
train(2)
test()
test_species()
'''}


@pytest.mark.parametrize("script, last_line", [
    ("PyTorchTraining.py", "Accuracy of truck : "),
    ("DataClassifier.py", "Accuracy to predict Iris-virginica : ")])
def test_code_of_the_tutorial_runs_under_ours(run, cifar, table, script, last_line):
    ours = (repository / script).read_text(encoding="utf-8")
    Path(script).write_text(ours + CODE_OF_THE_TUTORIALS[script], encoding="utf-8")
    printed = run(Path(script).absolute(), "--epochs", "1").printed
    assert printed.count(last_line) == 2
