"""Measure the results again: `python tests/claims.py`; `images` or `iris` alone, or fewer seeds or epochs, only print.

It trains with the scripts' own functions, as started with the seeds 0, 1, 2 and so on. "As published" is our script
with the fixes taken back. A whole run writes results.md and accuracy.svg beside this file; it needs CIFAR-10 in
./data or a download, half an hour, and a computer that does nothing else.
"""
import argparse
import contextlib
import datetime
import io
import platform
import re
import subprocess
import sys
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import torch
import torchvision

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
KEPT = "## Repeated runs\n"
sys.path.insert(0, str(ROOT))

KINDS = "as published", "as fixed"
# what the tutorials' pictures show: accuracies in percent
EPOCHS_PUBLISHED = [62, 64, 69, 70, 70]
TESTS_PUBLISHED = [70, "", "61.0", "", 6]
CLASSES_PUBLISHED = {"first loss": "1.782", "last loss": "0.758", "plane": 76, "car": 80, "bird": 51, "cat": 58,
                     "deer": 55, "dog": 30, "frog": 50, "horse": 68, "ship": 77, "truck": 65}
IRIS_PUBLISHED = {"epoch 1, training loss": "1.0394", "epoch 1, validation loss": "1.0383", "epoch 1, accuracy": 60,
                  "last epoch, training loss": "0.0755", "last epoch, validation loss": "0.0999",
                  "last epoch, accuracy": 100, "test set": 95, "Iris-setosa": 100, "Iris-versicolor": 94,
                  "Iris-virginica": 93}


def output(function, *arguments):
    """Return what a call prints."""
    with contextlib.redirect_stdout(io.StringIO()) as text:
        function(*arguments)
    return text.getvalue()


def started(name, seed, folder):
    """Return the globals of a script that was started with `--seed SEED`, but not its main block."""
    code = (ROOT / name).read_text(encoding="utf-8").rpartition('if __name__ == "__main__":')[0]
    script = {"__name__": "__main__", "__file__": str(ROOT / name)}
    sys.argv = [name, "--seed", str(seed)]
    output(exec, compile(code, name, "exec"), script)
    script["path"] = str(Path(folder, "claims.pth"))  # the user's own checkpoint stays
    script["imageshow"] = lambda img: None
    return script


def keep_mode(model, mode):
    """Set training mode (True) or evaluation mode (False), and let later calls of train() and eval() do nothing."""
    torch.nn.Module.train(model, mode)
    model.train = lambda mode=True: model  # eval() calls train(False)


def table(heading, rows):
    """Return a Markdown table."""
    return "".join("| " + " | ".join(map(str, row)) + " |\n" for row in [heading, ["---"] * len(heading), *rows]) + "\n"


def images(seeds, epochs, folder):
    """Train the images as published and as fixed; return (conclusions, tables, {(kind, seed): accuracies})."""
    curves, tests, classes = {}, {}, {"the tutorial": CLASSES_PUBLISHED}
    console = sys.stdout
    for seed in range(seeds):
        for kind in KINDS:
            script = started("PyTorchTraining.py", seed, folder)
            model, testAccuracy, accuracies = script["model"], script["testAccuracy"], []

            def noted():
                accuracies.append(testAccuracy())
                print(f"images, seed {seed}, {kind}, epoch {len(accuracies)}: {accuracies[-1]:.2f} %",
                      file=console, flush=True)
                if kind == "as published":
                    keep_mode(model, False)
                return accuracies[-1]

            script["testAccuracy"] = noted
            losses = re.findall(r"loss: (\S+)", output(script["train"], epochs))
            curves[kind, seed] = accuracies
            for mode in (False, True):  # where nothing calls eval(), a new Network() is in training mode
                keep_mode(model, mode)
                model.load_state_dict(torch.load(script["path"]))
                real, predicted = [line.split()[-10:] for line in output(script["testBatch"]).splitlines()]
                each = {name: int(percent) for name, percent in
                        re.findall(r"^Accuracy of +(\S+) : +(\d+) %", output(script["testClassess"]), re.M)}
                tests[kind, seed, mode] = mean(each.values()), sum(map(str.__eq__, real, predicted))
                if kind == "as fixed" and not mode:
                    classes[f"seed {seed}"] = dict(zip(CLASSES_PUBLISHED, losses[:1] + losses[-1:])) | each

    best = {kind: [max(curves[kind, seed]) for seed in range(seeds)] for kind in KINDS}
    more = [fixed - published for published, fixed in zip(*best.values())]
    ten = {kind: [[tests[kind, seed, mode][0] for seed in range(seeds)] for mode in (False, True)] for kind in KINDS}
    (published, in_training), (fixed, fixed_in_training) = ten.values()
    within = "within" if min(in_training) <= float(TESTS_PUBLISHED[2]) <= max(in_training) else "outside"
    conclusions = (
        f"- **Training mode.** With `model.train()` in each epoch, the best of {epochs} epochs of the image classifier "
        f"has {mean(best['as fixed']):.1f} % (mean of {seeds} seeds), and without it {mean(best['as published']):.1f} %"
        f": {mean(more):.1f} points more ({min(more):.1f} to {max(more):.1f}).\n"
        f"- **Evaluation mode.** The models trained as published have {mean(published):.1f} % in evaluation mode (mean "
        f"of the ten classes), and {mean(in_training):.1f} % in training mode ({min(in_training):.1f} to "
        f"{max(in_training):.1f}): {mean(published) - mean(in_training):.1f} points less. The ten classes in the "
        f"tutorial's picture have {TESTS_PUBLISHED[2]} %, which is {within} that range. The models trained as fixed "
        f"lose {mean(fixed) - mean(fixed_in_training):.1f} points in training mode.\n")
    tables = table(["accuracy of the test set in percent", *(f"epoch {i + 1}" for i in range(epochs))], [
        ["the tutorial", *EPOCHS_PUBLISHED],
        *([f"seed {seed}, {kind}", *(f"{value:.2f}" for value in values)] for (kind, seed), values in curves.items())])
    rows = [["the tutorial", *TESTS_PUBLISHED]]
    for (kind, seed), values in curves.items():
        (evaluated, right), (trained_mode, right_mode) = tests[kind, seed, False], tests[kind, seed, True]
        rows.append([f"seed {seed}, {kind}", f"{max(values):.2f}", f"{evaluated:.1f}", f"{trained_mode:.1f}", right,
                     right_mode])
    tables += table(["", "best epoch", "ten classes, evaluation mode", "ten classes, training mode",
                     "right of ten, evaluation mode", "right of ten, training mode"], rows)
    tables += table(["as fixed", *classes], [[name, *(column.get(name, "") for column in classes.values())]
                                             for name in CLASSES_PUBLISHED])
    return conclusions, tables, curves


def iris(seeds, epochs, folder):
    """Train the Iris classifier with both learning rates; return (conclusions, tables)."""
    columns, accuracies = {"the tutorial": IRIS_PUBLISHED}, {0.001: [], 0.01: []}
    for rate, measured in accuracies.items():
        for seed in range(seeds):
            script = started("DataClassifier.py", seed, folder)
            script["optimizer"].param_groups[0]["lr"] = rate
            text = output(script["train"], epochs)
            numbers = re.findall(r"Loss is: (\S+) .* Loss is: (\S+) Accuracy is (\d+) %", text)
            text = output(script["test"]) + output(script["test_species"])
            printed = [*numbers[0], *numbers[-1], *re.findall(r": +(\d+) %$", text, re.M)]
            if rate == 0.01 and seed < 3:
                columns[f"seed {seed}"] = dict(zip(IRIS_PUBLISHED, printed))
            script["model"].load_state_dict(torch.load(script["path"]))
            inputs, outputs = script["test_set"][:]
            measured.append(100 * (script["model"].cpu()(inputs).argmax(1) == outputs).float().mean().item())
            print(f"iris, seed {seed}, learning rate {rate}: {measured[-1]:.1f} %", flush=True)
    conclusions = (
        f"- **Learning rate.** With 0.01, {mean(accuracies[0.01]):.1f} % of the test flowers are recognized (mean of "
        f"{seeds} seeds; {min(accuracies[0.01]):.1f} to {max(accuracies[0.01]):.1f}), and with 0.001 "
        f"{mean(accuracies[0.001]):.1f} % ({min(accuracies[0.001]):.1f} to {max(accuracies[0.001]):.1f}).\n")
    tables = table(["here with learning rate 0.01", *columns], [[name, *(column[name] for column in columns.values())]
                                                      for name in IRIS_PUBLISHED])
    tables += table(["accuracy of the test set in percent", f"mean of {seeds} seeds", "least", "greatest"], [
        [f"learning rate {rate}", *(f"{function(values):.1f}" for function in (mean, min, max))]
        for rate, values in accuracies.items()])
    return conclusions, tables


def chart(curves, file):
    """Draw the accuracy after each epoch as an SVG file; the same numbers make the same bytes."""
    with plt.rc_context({"svg.hashsalt": "accuracy", "axes.grid": True, "grid.alpha": 0.4}):
        figure, axes = plt.subplots(figsize=(7, 4))
        for (kind, seed), values in curves.items():
            line, color = {"as fixed": ("-", "tab:blue"), "as published": ("--", "tab:orange")}[kind]
            axes.plot(range(1, len(values) + 1), values, line, color=color,
                      label=f"{kind}, {len(curves) // 2} seeds" if seed == 0 else None)
        axes.plot(range(1, 6), EPOCHS_PUBLISHED, "ko", label="the tutorial's picture")
        axes.set(xlabel="epoch", ylabel="accuracy of the test set in percent", xticks=range(1, len(values) + 1))
        axes.legend(loc="lower right")
        figure.savefig(file, format="svg", metadata={"Date": None}, bbox_inches="tight")
        plt.close(figure)


def measured_on():
    """Return when, on which commit and on what the code runs, in words."""
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True, stdout=subprocess.PIPE)
    return (f"{datetime.date.today()}, commit {git.stdout.strip() or 'unknown'}, PyTorch {torch.__version__}, "
            f"NumPy {np.__version__}, torchvision {torchvision.__version__}, Python {platform.python_version()}, "
            f"{platform.platform()}, {torch.get_num_threads()} threads, "
            f"{'a' if torch.cuda.is_available() else 'no'} GPU")


def write(folder, where, images, iris, speed):
    """Write accuracy.svg and the measured part of results.md; the part from KEPT on, written by hand, stays."""
    chart(images[2], folder / "accuracy.svg")
    results = folder / "results.md"
    kept = results.read_text(encoding="utf-8").partition(KEPT)[2]
    results.write_bytes(f"""# Results
`python tests/claims.py` measured and wrote what stands above "Repeated runs": {where}.

## What the fixes are worth
{images[0]}{iris[0]}
"As published" is our script with two fixes taken back: from epoch 2 on, it trains in evaluation mode, and its models
are tested in training mode, too. The faster images and the fused Adam stay. "As fixed" is our script as it is.

## Image classifier
![Accuracy of the test set after each epoch, as published and as fixed](accuracy.svg)

In the second table, "ten classes" is the mean of what `testClassess` prints for the model of the best epoch. Each class
is cut to whole percents, so the mean is 0 to 0.9 lower than the accuracy. "Right of ten" are the images of `testBatch`.
An empty cell: not published. The third table is in evaluation mode.

{images[1]}## Iris
The test set has 45 flowers, the same ones for every seed: one flower is 2.2 %. The tutorial's text has the learning
rate 0.01 and its code 0.001; with which one its picture was made is not known.

{iris[1]}## Speed
`python tests/benchmark.py` compares the tutorial's way and ours, which take turns. An epoch is calculated from 75
training steps and 40 test batches a round, the tutorial's in the right modes, too. A "bare" step is our step again and
again on one batch that is there already: the limit for this network, this batch size and this arithmetic, not for any
training. A ratio is the median of the ratios of all rounds, therefore not always the quotient of the two times.

```
{speed}```

{KEPT}{kept}""".encode())


def main():
    parser = argparse.ArgumentParser(description="Measure the results again. Without arguments, write them, too.")
    parser.add_argument("script", nargs="?", choices=["images", "iris"], help="which one (default: both)")
    parser.add_argument("--seeds", type=int, metavar="N", help="number of seeds (default: 3 for images, 40 for iris)")
    parser.add_argument("--epochs", type=int, metavar="N", help="number of epochs (default: 5 for images, 10 for iris)")
    options = parser.parse_args()
    if any(number is not None and number < 1 for number in (options.seeds, options.epochs)):
        parser.error("--seeds and --epochs must be 1 or more")
    where, results = measured_on(), {}
    with TemporaryDirectory() as folder:
        for measure, seeds, epochs in ((iris, 40, 10), (images, 3, 5)):
            if options.script in (None, measure.__name__):
                results[measure.__name__] = measure(options.seeds or seeds, options.epochs or epochs, folder)
    for conclusions, tables, *_ in results.values():
        print("", conclusions, tables, sep="\n")
    if (options.script, options.seeds, options.epochs) == (None, None, None):
        speed = subprocess.run([sys.executable, HERE / "benchmark.py"], text=True, check=True, stdout=subprocess.PIPE)
        write(HERE, where, results["images"], results["iris"], speed.stdout)
        print(f"Written: {HERE / 'results.md'} and {HERE / 'accuracy.svg'}")


if __name__ == "__main__":
    main()
