"""Measure what the fixes are worth: `python tests/claims.py` (half an hour).

It runs both scripts with several seeds, as fixed and as published, with CIFAR-10 in
./data. It prints tables and draws accuracy.svg into the current folder. `images --dummy
--seeds 1 --epochs 2` shows in a minute that it works.
"""
import argparse
import contextlib
import io
import platform
import re
import runpy
import sys
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import torch

repository = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(repository))  # for common.py
plt.switch_backend("agg")  # without a window
IN_THE_PICTURE = [62, 64, 69, 70, 70]  # of the tutorial: the accuracy after each epoch


def as_fixed(text):
    return text


def as_published(text):
    """Take three fixes back: the tutorials train in evaluation mode from epoch 2 on,
    test the classes in training mode, and use another learning rate for Iris."""
    training, heading, tests = text.partition("# --- Test the model")
    training = re.sub(r"\n +model\.train\(\).*", "", training)
    training = training.replace("lr=learning_rate", "lr=0.001")
    return training + heading + tests.replace("model.eval()", "model.train()")


def run(script, change, folder, *options):
    """Run a changed copy of a script, with files in `folder`; return what it prints."""
    text = change((repository / script).read_text(encoding="utf-8"))
    text = text.replace("%2d %%", "%.2f %%").replace("%d %%", "%.2f %%")
    text = text.replace("Path(__file__).parent", f"Path({str(repository)!r})")
    for name in ("myFirstModel.pth", "dummyModel.pth", "NetModel.pth", "testBatch.png"):
        text = text.replace(f'"./{name}"', repr(str(Path(folder, name))))
    copy = Path(folder, script)
    copy.write_text(text, encoding="utf-8")
    sys.argv = [script, *map(str, options)]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        runpy.run_path(str(copy), run_name="__main__")
    plt.close("all")
    return printed.getvalue()


def numbers(words, text):
    return [float(number) for number in re.findall(rf"^{words}.* ([\d.]+) %$", text, re.M)]


def print_table(heading, rows):
    for row in (heading, ["---"] * len(heading), *rows):
        print("|", " | ".join(f"{x:.2f}" if isinstance(x, float) else str(x) for x in row), "|")
    print()


def iris(seeds, epochs):
    rows = []
    for change in (as_published, as_fixed):
        accuracies = []
        for seed in range(seeds):
            with TemporaryDirectory() as folder:
                text = run("DataClassifier.py", change, folder, "--epochs", epochs, "--seed", seed)
            accuracies += numbers("Accuracy of the model", text)
            print(change.__name__, "Iris, seed", seed, accuracies[-1], file=sys.stderr)
        rows.append([change.__name__, mean(accuracies), min(accuracies), max(accuracies)])
    print_table([f"Iris, {seeds} seeds", "mean accuracy", "least", "greatest"], rows)


def images(seeds, epochs, dummy):
    script = "PyTorchTraining.py"
    epoch_rows, test_rows = [["the tutorial", *IN_THE_PICTURE[:epochs]]], []
    for change in (as_published, as_fixed):
        for seed in range(seeds):
            name = f"{change.__name__}, seed {seed}"
            with TemporaryDirectory() as folder:
                text = run(script, change, folder, "--epochs", epochs, "--seed", seed, *dummy)
                epoch_rows.append([name, *numbers("For epoch", text)])
                test_rows.append([name])
                for mode in (as_fixed, as_published):  # the same model in both modes
                    text = run(script, mode, folder, "--epochs", 0, *dummy)
                    test_rows[-1].append(mean(numbers("Accuracy of", text)))
            print(*epoch_rows[-1], *test_rows[-1][1:], file=sys.stderr)
    print_table(["images, accuracy", *(f"epoch {i + 1}" for i in range(epochs))], epoch_rows)
    print_table(["best model", "in evaluation mode", "in training mode"], test_rows)
    draw(epoch_rows)


def draw(rows):
    """Draw the accuracies as accuracy.svg; the same numbers make the same file."""
    plt.rc("svg", hashsalt="accuracy")
    styles = {"the tutorial": "ko", "as_published": "--C1", "as_fixed": "-C0"}
    for name, *values in rows:
        kind, _, seed = name.partition(", seed ")
        plt.plot(range(1, len(values) + 1), values, styles[kind],
                 label=kind.replace("_", " ") if seed in ("", "0") else None)
    plt.gca().set(xlabel="epoch", ylabel="accuracy of the test set in percent",
                  xticks=range(1, len(values) + 1))
    plt.grid(alpha=0.4)
    plt.legend(loc="lower right")
    plt.savefig("accuracy.svg", metadata={"Date": None}, bbox_inches="tight")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure what the fixes are worth.")
    parser.add_argument("which", nargs="?", choices=["images", "iris"], help="one script only")
    parser.add_argument("--seeds", type=int, help="how many (default: images 3, Iris 40)")
    parser.add_argument("--epochs", type=int, help="of each run (default: images 5, Iris 10)")
    parser.add_argument("--dummy", action="store_true", help="synthetic images")
    options = parser.parse_args()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(f"PyTorch {torch.__version__}, {platform.platform()}, {torch.get_num_threads()} threads, "
          f"{gpu}\n")
    if options.which != "images":
        iris(options.seeds or 40, options.epochs or 10)
    if options.which != "iris":
        images(options.seeds or 3, options.epochs or 5, ["--dummy"] * options.dummy)
