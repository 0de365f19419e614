"""Time PyTorchTraining.py side by side with the tutorial's own way: `python tests/benchmark.py`.

It takes about two minutes; nothing else should run meanwhile. The images are those in ./data if CIFAR-10 is there,
else random bytes of the same shape. The ways take turns, so that a machine that slows down slows all of them.
"""
import argparse
import contextlib
import io
import platform
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from statistics import median
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.optim import Adam  # noqa: E402
from torch.utils.data import DataLoader, Subset  # noqa: E402
from torchvision.datasets import CIFAR10  # noqa: E402
from torchvision.transforms import Compose, Normalize, ToTensor  # noqa: E402

import PyTorchTraining as ours  # noqa: E402

ROUNDS = 30
STEPS, TESTS = 75, 40  # batches of ten in a turn; an epoch has 5,000 and 1,000
model = ours.Network()
optimizer = Adam(model.parameters(), lr=0.001, weight_decay=0.0001)


def tutorial_train(batches):
    model.train()
    running_loss = 0.0
    for images, labels in batches:
        optimizer.zero_grad()
        loss = ours.loss_fn(model(images), labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()


def tutorial_test(batches):
    model.eval()
    accuracy = total = 0.0
    with torch.no_grad():
        for images, labels in batches:
            _, predicted = torch.max(model(images).data, 1)
            total += labels.size(0)
            accuracy += (predicted == labels).sum().item()
    return 100 * accuracy / total


def our_train(batches):  # without what train() does once an epoch: test and save
    with patch.multiple(ours, create=True, train_loader=batches, testAccuracy=lambda: 0.0, saveModel=lambda: None):
        ours.train(1)


def our_test(batches):
    with patch.multiple(ours, create=True, test_loader=batches):
        return ours.testAccuracy()


def bare_train(batches):  # the same step on one batch, with no loading and no counting
    images, labels = batches
    ours.model.train()
    for _ in range(STEPS):
        ours.optimizer.zero_grad()
        ours.loss_fn(ours.model(images), labels).backward()
        ours.optimizer.step()


def tutorial_data(train):
    return CIFAR10("./data", train, Compose([ToTensor(), Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))]))


def our_data(train):
    return ours.FastCIFAR10("./data", train)


def random_images(self, root, train, transform=None):
    """Take the place of CIFAR10.__init__() where the data set is not there."""
    size, random = 50000 if train else 10000, np.random.default_rng(0)
    self.data = random.integers(0, 256, (size, 32, 32, 3), dtype=np.uint8)
    self.targets = random.integers(0, 10, size).tolist()
    self.transform, self.target_transform = transform, None


def endless(loader):
    while True:
        yield from loader


WAYS = {"tutorial": (tutorial_data, tutorial_train, tutorial_test), "ours": (our_data, our_train, our_test)}


def loaders(whose):
    """Return training batches, which never end, and a loader of the first TESTS test batches."""
    data, _, _ = WAYS[whose]
    return (endless(DataLoader(data(True), batch_size=10, shuffle=True)),
            DataLoader(Subset(data(False), range(10 * TESTS)), batch_size=10))


def seconds(function, *arguments):
    """Return how long a call takes; what it prints is dropped."""
    with contextlib.redirect_stdout(io.StringIO()):
        start = time.perf_counter()
        function(*arguments)
        return time.perf_counter() - start


def one_round(batches):
    """Let each way have its turn; return {(way, what): seconds} of a training step and of an epoch."""
    turn = {}
    for whose, (_, train, test) in WAYS.items():
        train_batches, test_batches = batches[whose]
        turn[whose, "step"] = seconds(train, islice(train_batches, STEPS)) / STEPS
        turn[whose, "epoch"] = 5000 * turn[whose, "step"] + 1000 * seconds(test, test_batches) / TESTS
    turn["bare", "step"] = seconds(bare_train, next(batches["ours"][0])) / STEPS
    return turn


def main():
    batches = {whose: loaders(whose) for whose in WAYS}
    one_round(batches)  # to warm up
    rounds = [one_round(batches) for _ in range(ROUNDS)]
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, {platform.platform()}")
    print(f"Medians of {ROUNDS} rounds: both times, and their ratio (with the least and greatest of a round)")
    for text, one, other, scale, unit in (
            ("an epoch: the tutorial's, ours", ("tutorial", "epoch"), ("ours", "epoch"), 1, "s "),
            ("a training step: ours, a bare one", ("ours", "step"), ("bare", "step"), 1000, "ms")):
        times = [scale * median(turn[way] for turn in rounds) for way in (one, other)]
        ratios = sorted(turn[one] / turn[other] for turn in rounds)
        print("%-34s %7.2f %s %7.2f %s  %.2f (%.2f to %.2f)" % (
            text, times[0], unit, times[1], unit, median(ratios), ratios[0], ratios[-1]))
    if Path("/proc/self/status").exists():
        peaks = [int(subprocess.run([sys.executable, __file__, "--memory", whose], check=True,
                                    stdout=subprocess.PIPE).stdout.split()[-1]) for whose in ("ours", "tutorial")]
        print("%-34s %7d MB %7d MB  %.2f" % ("peak memory: ours, the tutorial's", *peaks, peaks[0] / peaks[1]))
    else:
        print("peak memory: not measured on this system")


def print_memory(whose):
    """Load all images, train and test a little, and print the peak memory of this process in MB (Linux only)."""
    train_batches, test_batches = loaders(whose)
    _, train, test = WAYS[whose]
    train(islice(train_batches, STEPS))
    test(test_batches)
    print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Time PyTorchTraining.py side by side with the tutorial's own way.")
    parser.add_argument("--memory", choices=WAYS, help="only print the peak memory of one way, in MB (on Linux)")
    options = parser.parse_args()
    ours.get_device = lambda: torch.device("cpu")  # the tutorial's code runs nowhere else
    try:
        CIFAR10("./data", train=False)
    except (OSError, RuntimeError):  # not there
        CIFAR10.__init__ = random_images
    print_memory(options.memory) if options.memory else main()
