"""Measure the README's results again: `python tests/claims.py images`, `iris`, or without an argument both.

It trains with the scripts' own functions, as started with the seeds 0, 1, 2 and so on, and ends with the
tables of the README. The images take about half an hour, and need CIFAR-10 in ./data or a download. "As
published" is the script with our fixes taken back where they stand: without model.train() after the first
epoch, with training mode in testBatch() and testClassess(), with the learning rate 0.001.
"""
import argparse
import contextlib
import io
import re
import sys
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

IMAGES_PUBLISHED = {"epoch 1": "62", "epoch 2": "64", "epoch 3": "69", "epoch 4": "70", "epoch 5": "70", "best": "70",
                    "ten classes, training mode": "61.0", "right of ten, training mode": "6"}
CLASSES_PUBLISHED = {"first loss": "1.782", "last loss": "0.758", "plane": "76 %", "car": "80 %", "bird": "51 %",
                     "cat": "58 %", "deer": "55 %", "dog": "30 %", "frog": "50 %", "horse": "68 %", "ship": "77 %",
                     "truck": "65 %"}
IRIS_PUBLISHED = {"first training loss": "1.0394", "first validation loss": "1.0383", "first accuracy": "60 %",
                  "last training loss": "0.0755", "last validation loss": "0.0999", "last accuracy": "100 %",
                  "test set": "95 %", "Iris-setosa": "100 %", "Iris-versicolor": "94 %", "Iris-virginica": "93 %"}


def output(function, *arguments):
    """Return what a call prints."""
    with contextlib.redirect_stdout(io.StringIO()) as text:
        function(*arguments)
    return text.getvalue()


def started(name, seed, folder, fix="", fault=""):
    """Return the globals of a script that was started but for its main, with `fix` in its code made `fault` again."""
    code = (ROOT / name).read_text(encoding="utf-8").rpartition('if __name__ == "__main__":')[0]
    assert fix in code, f"{name} has no {fix}"
    script = {"__name__": "__main__", "__file__": str(ROOT / name)}
    sys.argv = [name, "--seed", str(seed)]
    output(exec, compile(code.replace(fix, fault), name, "exec"), script)
    script["path"] = str(Path(folder, "claims.pth"))  # the user's own checkpoint stays
    return script


def percentages(text):
    """Return {name: percentage} of the lines `Accuracy of NAME : N %` or `Accuracy to predict NAME : N %`."""
    return {name: f"{number} %" for name, number in re.findall(r"^Accuracy .*?(\S+) : +(\d+) %", text, re.M)}


def print_table(rows):
    """Print {row: {column: value}} as a Markdown table."""
    columns = list(dict.fromkeys(column for row in reversed(rows.values()) for column in row))
    print("\n| |", " | ".join(columns), "|\n|---" + "|---" * len(columns) + "|")
    for name, row in rows.items():
        print("|", name, "|", " | ".join(str(row.get(column, "")) for column in columns), "|")


def images(seeds, epochs, folder):
    """Train the image classifier as published and as fixed; print the tables."""
    rows, classes = {"the tutorial": IMAGES_PUBLISHED}, {"the tutorial": CLASSES_PUBLISHED}
    console = sys.stdout
    for seed in range(seeds):
        for kind in ("as published", "as fixed"):
            fault = ("        model.train()", "        model.train(epoch == 0)") if kind == "as published" else ()
            script = started("PyTorchTraining.py", seed, folder, *fault)
            script["imageshow"] = lambda img: None
            testAccuracy, accuracies = script["testAccuracy"], []

            def noted():
                accuracies.append(testAccuracy())
                print(f"images, seed {seed}, {kind}, epoch {len(accuracies)}: {accuracies[-1]:.2f} %",
                      file=console, flush=True)
                return accuracies[-1]

            script["testAccuracy"] = noted
            losses = re.findall(r"loss: (\S+)", output(script["train"], epochs))
            row = {f"epoch {i}": f"{accuracy:.2f}" for i, accuracy in enumerate(accuracies, 1)}
            row["best"] = f"{max(accuracies):.2f}"
            model = script["model"]
            for mode in ("evaluation mode", "training mode"):
                if mode == "training mode":
                    model.eval = model.train  # so is a new Network() in the tutorial, where nothing calls eval()
                model.load_state_dict(torch.load(script["path"]))
                real, predicted = [line.split()[-10:] for line in output(script["testBatch"]).splitlines()]
                each = percentages(output(script["testClassess"]))
                if (kind, mode) == ("as fixed", "evaluation mode"):
                    classes[f"seed {seed}"] = {**dict(zip(CLASSES_PUBLISHED, losses[:1] + losses[-1:])), **each}
                row[f"ten classes, {mode}"] = f"{mean(int(percentage.split()[0]) for percentage in each.values()):.1f}"
                row[f"right of ten, {mode}"] = sum(map(str.__eq__, real, predicted))
            rows[f"seed {seed}, {kind}"] = row
    print_table(rows)
    print_table(classes)


def iris(seeds, epochs, folder):
    """Train the Iris classifier with both learning rates; print both tables."""
    shown, compared = {"the tutorial": IRIS_PUBLISHED}, {}
    for rate in ("0.001", "0.01"):
        accuracies = []
        for seed in range(seeds):
            script = started("DataClassifier.py", seed, folder, "lr=learning_rate", f"lr={rate}")
            text = output(script["train"], epochs)
            numbers = re.findall(r"Loss is: (\S+) .* Loss is: (\S+) Accuracy is (\d+ %)", text)
            right = output(script["test"]).split()[-2:]
            species = percentages(output(script["test_species"]))
            model = script["model"]
            model.load_state_dict(torch.load(script["path"]))
            inputs, outputs = script["test_set"][:]
            accuracies.append(100 * (model.cpu()(inputs).argmax(1) == outputs).float().mean().item())
            print(f"iris, seed {seed}, learning rate {rate}: {accuracies[-1]:.1f} %", flush=True)
            if rate == "0.01" and seed < 3:
                shown[f"seed {seed}"] = {
                    **dict(zip(IRIS_PUBLISHED, [*numbers[0], *numbers[-1], " ".join(right)])), **species}
        compared[f"learning rate {rate}"] = {f"mean of {seeds} seeds": f"{mean(accuracies):.1f}",
                                             "least": f"{min(accuracies):.1f}",
                                             "greatest": f"{max(accuracies):.1f}"}
    print_table(shown)
    print_table(compared)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure the README's results again.")
    parser.add_argument("script", nargs="?", choices=["images", "iris"], help="which one (default: both)")
    parser.add_argument("--seeds", type=int, metavar="N", help="number of seeds (default: 3 for images, 40 for iris)")
    parser.add_argument("--epochs", type=int, metavar="N", help="number of epochs (default: 5 for images, 10 for iris)")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        for measure, seeds, epochs in ((iris, 40, 10), (images, 3, 5)):
            if options.script in (None, measure.__name__):
                measure(options.seeds or seeds, options.epochs or epochs, folder)
