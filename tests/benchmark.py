"""Time PyTorchTraining.py beside the tutorial's way: `python tests/benchmark.py`.

It takes two minutes, in which nothing else should run. The two ways take turns, so that
a computer that slows down slows down both. The images are random bytes. On Linux,
`--memory ours` and `--memory tutorial` print how much memory each way needs.
"""
import argparse
import platform
import sys
import time
from itertools import chain, islice, repeat
from pathlib import Path
from statistics import median
from unittest.mock import patch

import torch
from torch.optim import Adam
from torch.utils.data import DataLoader
from torchvision.datasets import CIFAR10
from torchvision.transforms import Compose, Normalize, ToTensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import PyTorchTraining as ours

device = ours.get_device()
model = ours.Network().to(device)
optimizer = Adam(model.parameters(), lr=0.001, weight_decay=0.0001)
ours.saveModel = lambda: None


def tutorial_epoch(train_batches, test_batches):
    model.train()
    running_loss = accuracy = 0
    for images, labels in train_batches:
        optimizer.zero_grad()
        loss = ours.loss_fn(model(images.to(device)), labels.to(device))
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
    model.eval()
    with torch.no_grad():
        for images, labels in test_batches:
            _, predicted = torch.max(model(images.to(device)).data, 1)
            accuracy += (predicted == labels.to(device)).sum().item()


def our_epoch(train_batches, test_batches):
    ours.train_loader, ours.test_loader = train_batches, test_batches
    ours.train(1)


def bare_steps(images, labels, steps):
    """Take our training step on one batch, without loading, counting or printing."""
    ours.model.train()
    for _ in range(steps):
        ours.optimizer.zero_grad()
        loss = ours.loss_fn(ours.model(images), labels)
        loss.backward()
        ours.optimizer.step()
    loss.item()  # waits until a GPU has done all of this


def endless_batches(kind, transform):
    """Return batches to train and batches to test, for a kind of CIFAR-10."""
    loaders = []
    for size, shuffle in ((50000, True), (10000, False)):
        images = kind.__new__(kind)  # without its files
        images.data = torch.randint(256, (size, 32, 32, 3), dtype=torch.uint8).numpy()
        images.targets = [index % 10 for index in range(size)]
        images.transform, images.target_transform = transform, None
        loaders.append(DataLoader(images, batch_size=10, shuffle=shuffle))
    return [chain.from_iterable(repeat(loader)) for loader in loaders]


def seconds(function, *arguments):
    start = time.perf_counter()
    with patch("builtins.print"):
        function(*arguments)
    return time.perf_counter() - start


def turn(way):
    """Return the seconds of a small epoch (a whole one: 5,000 steps, 1,000 tests)."""
    epoch, (train_batches, test_batches) = ways[way]
    return seconds(epoch, islice(train_batches, options.steps),
                   islice(test_batches, options.steps // 5))


def print_row(words, scale, pairs):
    ones, others, ratios = zip(*((scale * a, scale * b, a / b) for a, b in pairs))
    print("%-32s %8.2f %8.2f   %.2f (%.2f to %.2f)" % (
        words, median(ones), median(others), median(ratios), min(ratios), max(ratios)))


parser = argparse.ArgumentParser(description="Time PyTorchTraining.py.")
parser.add_argument("--rounds", type=int, default=30, help="how many turns (default: 30)")
parser.add_argument("--steps", type=int, default=75, help="of a turn (default: 75)")
parser.add_argument("--memory", choices=["ours", "tutorial"], help="only its peak, on Linux")
options = parser.parse_args()
ways = {}
if options.memory != "tutorial":
    ways["ours"] = our_epoch, endless_batches(ours.FastCIFAR10, None)
if options.memory != "ours":
    normalize = Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    ways["tutorial"] = tutorial_epoch, endless_batches(CIFAR10, Compose([ToTensor(), normalize]))
if options.memory:
    turn(options.memory)
    status = Path("/proc/self/status").read_text()
    print("peak memory:", status.split("VmHWM:")[1].split("\n")[0].strip())
    sys.exit()

epochs, steps = [], []
for _ in range(1 + options.rounds):
    epochs.append((turn("tutorial"), turn("ours")))
    with patch.object(ours, "testAccuracy", return_value=0.0):
        our_steps = turn("ours")
    batch = [tensor.to(device) for tensor in next(ways["ours"][1][0])]
    steps.append((our_steps, seconds(bare_steps, *batch, options.steps)))
name = torch.cuda.get_device_name() if device.type == "cuda" else "the CPU"
print(f"PyTorch {torch.__version__}, {platform.platform()}, {torch.get_num_threads()} threads, "
      f"on {name}; medians of {options.rounds} rounds, and their ratio (least to greatest)")
# the first round was to warm up
print_row("s an epoch: the tutorial's, ours", 5000 / options.steps, epochs[1:])
print_row("ms a step: ours, a bare one", 1000 / options.steps, steps[1:])
