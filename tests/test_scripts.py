"""Both scripts started as a user starts them: from another folder, without a display, with plain ASCII."""
import os
import re
import runpy
import signal
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, copy_scripts, same

ENVIRONMENT = {name: value for name, value in os.environ.items()
               if name not in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND", "PYTHONUNBUFFERED")}
ENVIRONMENT["PYTHONIOENCODING"] = "ascii"  # a character that is not ASCII is an error
ENVIRONMENT["OMP_NUM_THREADS"] = "1"  # so that two runs at a time do not wait for each other


def start(*arguments, **options):
    """Start `python ARGUMENTS` in the current folder, a new and empty one; return the Popen."""
    return subprocess.Popen([sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env=ENVIRONMENT, **options)


def finish(process):
    """Return the exit status of `process`, its output and its error output."""
    output, error = process.communicate(timeout=80)
    return process.returncode, output, error


def test_iris(empty_folder):
    status, output, error = finish(start(ROOT / "DataClassifier.py"))
    assert (status, error) == (0, "")
    lines = output.splitlines()
    epochs = [line for line in lines if re.fullmatch(
        r"Completed training batch \d+ Training Loss is: \d\.\d{4} Validation Loss is: \d\.\d{4} Accuracy is \d+ %",
        line)]
    assert len(epochs) == 10
    after = lines[lines.index("Finished Training"):]
    assert after[1] == "" and re.fullmatch(
        r"Accuracy of the model based on the test set of 45 inputs is: \d+ %", after[2])
    assert [re.sub(r" *\d+ %", "", line) for line in after[3:]] == [
        "Accuracy to predict Iris-setosa :", "Accuracy to predict Iris-versicolor :",
        "Accuracy to predict Iris-virginica :"]
    assert os.listdir(empty_folder) == ["NetModel.pth"]


def test_dummy_images_twice_the_same(empty_folder):
    folders = empty_folder / "one", empty_folder / "two"
    for folder in folders:
        folder.mkdir()
        (folder / "myFirstModel.pth").write_text("of a real run")
    runs = [start(ROOT / "PyTorchTraining.py", "--dummy", "--epochs", "2", cwd=folder) for folder in folders]
    first, second = map(finish, runs)
    assert first == second
    states = [torch.load(folder / "dummyModel.pth") for folder in folders]
    assert same(*states)
    status, output, error = first
    assert (status, error) == (0, "")
    lines = [re.sub(r" *\d+ %$", "", line) for line in output.splitlines()]
    assert lines[3] in ("The model will be running on cpu device", "The model will be running on cuda:0 device")
    assert lines[4:10] == [
        "For epoch 1 the test accuracy over the whole test set is",
        "For epoch 2 the test accuracy over the whole test set is",
        "Finished Training",
        "The test accuracy over the whole test set is",
        "There is no display: the picture is saved as ./testBatch.png",
        "Real labels:  plane   car  bird   cat  deer   dog  frog horse  ship truck"]
    assert re.fullmatch("Predicted: ( [ a-z]{5}){10}", lines[10])
    assert lines[11:] == ["Accuracy of %5s :" % name for name in lines[9].split()[2:]]
    for folder in folders:
        assert sorted(os.listdir(folder)) == ["dummyModel.pth", "myFirstModel.pth", "testBatch.png"]
        assert (folder / "myFirstModel.pth").read_text() == "of a real run"


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to the whole console")
def test_ctrl_c_says_where_the_best_checkpoint_is(empty_folder):
    process = start(ROOT / "PyTorchTraining.py", "--dummy", "--epochs", "1000")
    for line in process.stdout:
        if line.startswith("For epoch 2"):
            break
    process.send_signal(signal.SIGINT)
    status, _, error = finish(process)
    assert (status, error) == (130, "Stopped. The best checkpoint so far is ./dummyModel.pth.\n")
    assert (empty_folder / "dummyModel.pth").stat().st_size > 50326 * 4


def test_a_closed_pipe_is_no_traceback():
    processes = start(ROOT / "DataClassifier.py"), start("-u", ROOT / "DataClassifier.py")
    processes[1].stdout.readline()
    for process in processes:
        process.stdout.close()
    for process in processes:
        with process.stderr:
            assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 1


@pytest.mark.parametrize("script", ["PyTorchTraining.py", "DataClassifier.py"])
@pytest.mark.parametrize("epochs", ["0", "-1", "x", "1.5"])
def test_usage_error(script, epochs, monkeypatch, capsys, empty_folder):
    monkeypatch.setattr(sys, "argv", [script, "--epochs", epochs])
    with pytest.raises(SystemExit) as exit:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    output, error = capsys.readouterr()
    assert (exit.value.code, output) == (2, "")
    assert "argument --epochs: " in error and ("must be 1 or more" in error or repr(epochs) in error)
    assert not os.listdir(empty_folder)


def test_without_training_the_scripts_say_to_train_first(empty_folder):
    """As the tutorial's next page wants it: with the call of train() commented out."""
    copy_scripts(empty_folder)
    for script in ("PyTorchTraining.py", "DataClassifier.py"):
        text = (ROOT / script).read_text()
        assert len(re.findall(r"^    train\(", text, re.M)) == 1
        (empty_folder / script).write_text(re.sub(r"^    train\(", "    #train(", text, flags=re.M))
    processes = start("PyTorchTraining.py", "--dummy"), start("DataClassifier.py")
    for process, checkpoint in zip(processes, ("./dummyModel.pth", "./NetModel.pth")):
        status, _, error = finish(process)
        assert status == 1 and error.startswith(f"{checkpoint} does not exist. Train first")
        assert error.count("\n") == 1


def test_bad_data_is_one_line_and_status_1(empty_folder, monkeypatch):
    copy_scripts(empty_folder)
    table = empty_folder / "data" / "iris.csv"
    table.write_text(table.read_text().replace("51,7.0,3.2", "51,,3.2"))
    for proxy in ("http_proxy", "https_proxy"):
        monkeypatch.setitem(ENVIRONMENT, proxy, "http://127.0.0.1:9")  # no network
    iris, image = start("DataClassifier.py"), start("PyTorchTraining.py")
    status, output, error = finish(iris)
    assert (status, output) == (1, "") and "iris.csv, line 52: " in error and error.count("\n") == 1
    status, output, error = finish(image)
    assert (status, output) == (1, "") and error.count("\n") == 1
    assert error.startswith("CIFAR-10 can neither") and "refused" in error


def test_imports():
    """Importing the image script loads no data; the Iris script imports nothing that it does not use."""
    code = (f"import sys; sys.path.insert(0, {str(ROOT)!r}); import DataClassifier; "
            "assert not {'torchvision', 'matplotlib', 'PIL'} & set(sys.modules), sys.modules; "
            "import PyTorchTraining; assert not hasattr(PyTorchTraining, 'train_loader')")
    status, output, error = finish(start("-c", code))
    assert (status, error) == (0, "")
    assert "images" not in output and not os.listdir()
