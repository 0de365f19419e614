"""Both scripts as a user starts them."""
import os
import re
import runpy
import subprocess
import sys

import PyTorchTraining
import pytest
import torch
from conftest import IMAGES, IRIS, VISIBLE_GPUS, copy_of, one_line
from torch.optim import Adam

SCRIPTS = pytest.mark.parametrize("script, arguments", [(IMAGES, ["--dummy"]), (IRIS, [])], ids=["images", "iris"])


def start(*arguments, **variables):
    """Start `python ARGUMENTS` in the current folder, without a display; return the Popen."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment.update(MPLBACKEND="agg" if os.name == "nt" or sys.platform == "darwin" else "", **variables)
    return subprocess.Popen([sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env=environment)


def outputs(processes):
    """Return the output of each process; check that it ends with status 0."""
    texts = []
    for process in processes:
        text, error = process.communicate()
        assert process.returncode == 0, error
        texts.append(text)
    return texts


def test_both_scripts_run_from_any_folder_without_a_display_and_print_plain_ascii(folder):
    (folder / "myFirstModel.pth").write_text("of a real run")
    iris, images = outputs([start(IRIS, PYTHONIOENCODING="ascii"), start(IMAGES, "--dummy", PYTHONIOENCODING="ascii")])
    assert len(re.findall(r"^Completed training batch \d+ Training Loss is: \d+\.\d{4} "
                          r"Validation Loss is: \d+\.\d{4} Accuracy is \d+ %$", iris, re.M)) == 10
    assert re.search(r"^Finished Training\n\nAccuracy of the model based on the test set of 45 inputs is: \d+ %\n"
                     r"Accuracy to predict Iris-setosa : +\d+ %\nAccuracy to predict Iris-versicolor : +\d+ %\n"
                     r"Accuracy to predict Iris-virginica : +\d+ %\nThe best model is saved as ./NetModel.pth\n\Z",
                     iris, re.M)
    assert "The number of batches per epoch is:  100\nThe model will be running on cpu device\nFor epoch 1 " in images
    assert images.count("\nFor epoch ") == 5
    assert "Finished Training\nThe best model is saved as ./dummyModel.pth; its test accuracy is " in images
    assert images.count("Accuracy of ") == 10
    assert sorted(os.listdir(folder)) == ["NetModel.pth", "dummyModel.pth", "myFirstModel.pth", "testBatch.png"]
    assert (folder / "myFirstModel.pth").read_text() == "of a real run"


def test_both_scripts_run_on_a_gpu_if_there_is_one(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if VISIBLE_GPUS is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", VISIBLE_GPUS)
    probe = start("-c", "import torch; torch.ones(1, device='cuda') + 1")
    probe.communicate()
    if probe.returncode:
        pytest.skip("there is no GPU that PyTorch can use")
    for text in outputs([start(IRIS), start(IMAGES, "--dummy", "--epochs", "2")]):
        assert "The model will be running on cuda:0 device\n" in text and "The best model is saved as" in text


@SCRIPTS
def test_the_seed_decides_the_numbers_and_an_import_has_those_of_seed_0(run, monkeypatch, script, arguments):
    def parameters(result):
        return torch.cat([parameter.detach().flatten() for parameter in result["model"].parameters()])

    default, first, second = [parameters(run(script, *arguments, "--epochs", "1", *seed))
                              for seed in ([], ["--seed", "0"], ["--seed", "1"])]
    assert torch.allclose(default, first, atol=1e-3) and not torch.allclose(first, second, atol=1e-1)
    monkeypatch.setattr(Adam, "step", lambda self: None)  # the model stays as it is made
    imported = runpy.run_path(str(script), run_name="imported")
    assert torch.equal(parameters(run(script, *arguments, "--epochs", "1")), parameters(imported))
    assert script == IRIS or "train_set" not in imported  # it loads no images


def test_the_dummy_images_can_be_told_apart_and_leave_the_seed_alone(run, monkeypatch):
    script = run(IMAGES, "--dummy", "--epochs", "1", "--seed", "1")
    images, labels = script["train_set"].tensors
    assert script["testAccuracy"]() > 90 and len(script["test_set"]) == 200
    assert images.shape == (1000, 3, 32, 32) and images.dtype == torch.float32 and labels.dtype == torch.int64
    assert images.min() == -1 and images.max() == 1
    means = torch.stack([images[labels == label].mean(0) for label in range(10)])
    assert means.view(10, 3, 4, 8, 4, 8).std((3, 5)).max() < 0.1  # 4 by 4 areas of one color each
    assert (images - means[labels]).abs().mean() < 0.5  # noise, through which they are seen
    for label in range(10):
        assert all((means[label] - means[other]).abs().mean() > 0.2 for other in range(label))

    monkeypatch.setattr(Adam, "step", lambda self: None)  # the model stays as it is made
    script = run(IMAGES, "--dummy", "--epochs", "1", "--seed", "2")
    assert torch.equal(images, script["train_set"].tensors[0])
    torch.manual_seed(2)
    assert torch.equal(script["model"].fc1.weight, PyTorchTraining.Network().fc1.weight)


@SCRIPTS
@pytest.mark.parametrize("option, value, words", [
    ("--epochs", "0", "must be 1 or more"), ("--epochs", "-1", "must be 1 or more"), ("--epochs", "x", "'x'"),
    ("--seed", "-1", "must be from 0"), ("--seed", "4294967296", "must be from 0"), ("--seed", "1.5", "'1.5'")])
def test_a_wrong_option_is_told_before_anything_is_done(run, capsys, folder, script, arguments, option, value, words):
    with pytest.raises(SystemExit) as exit:
        run(script, *arguments, option, value)
    text, error = capsys.readouterr()
    assert (exit.value.code, text) == (2, "") and f"argument {option}: " in error and words in error
    assert not os.listdir(folder)


@SCRIPTS
def test_ctrl_c_in_training_is_one_line_and_status_130_and_leaves_the_best_epoch(
        run, capsys, monkeypatch, script, arguments):
    steps, step = [], Adam.step

    def ctrl_c_in_epoch_2(self):
        steps.append(1)
        if len(steps) > (100 if script == IMAGES else 8):
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(Adam, "step", ctrl_c_in_epoch_2)
    with pytest.raises(SystemExit) as exit:
        run(script, *arguments)
    text, error = capsys.readouterr()
    assert exit.value.code == 130 and "Finished" not in text
    path = "./dummyModel.pth" if script == IMAGES else "./NetModel.pth"
    assert error == f"Stopped. If this run has saved an epoch, the best one so far is in {path}.\n"
    assert len(torch.load(path)) > 5


@SCRIPTS
def test_with_the_call_of_train_commented_out_the_script_tests_the_saved_model(run, capsys, script, arguments):
    untrained = copy_of(script, lambda text: re.sub(r"^        train\(.*\)$", "        pass", text, flags=re.M))
    with pytest.raises(SystemExit) as exit:
        run(untrained, *arguments)
    assert "Train first: " in one_line(exit)
    capsys.readouterr()
    run(script, *arguments, "--epochs", "1")
    trained = capsys.readouterr().out.partition("Finished Training\n")[2]
    run(untrained, *arguments)
    assert trained and trained == capsys.readouterr().out.partition("Finished Training\n")[2]
