"""Time PyTorchTraining.py side by side with the tutorial's plain way: `python tests/benchmark.py`.

It takes about two minutes. The images are those in ./data if CIFAR-10 is there, else random bytes of
the same shape. Both ways take turns, so that a machine that slows down slows both.
"""
import contextlib
import io
import platform
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from PIL import Image
from torch.optim import Adam
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset
from torchvision import transforms

import PyTorchTraining as ours

ROUNDS = 30
STEPS, TESTS = 75, 40  # batches of ten in a turn; an epoch has 5,000 and 1,000


class RandomCIFAR10:
    """Random bytes, held in memory and decoded one by one as torchvision.datasets.CIFAR10 does it."""

    def __init__(self, root, train=True, transform=None, download=False):
        random = np.random.default_rng(0)
        parts = [random.integers(0, 256, (10000, 3072), dtype=np.uint8) for _ in range(5 if train else 1)]
        self.data = np.vstack(parts).reshape(-1, 3, 32, 32).transpose((0, 2, 3, 1))
        self.targets = random.integers(0, 10, len(self.data)).tolist()
        self.transform = transform

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


def tutorial_loaders():
    """Return the tutorial's training and test loader."""
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])
    return [DataLoader(ours.CIFAR10("./data", train=train, transform=transform), batch_size=10, shuffle=train)
            for train in (True, False)]


def tutorial_train(model, optimizer, loader):
    """Train as the tutorial does."""
    model.train()
    running_loss = 0.0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = ours.loss_fn(model(images), labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()


def tutorial_test(model, loader):
    """Return the accuracy as the tutorial does."""
    model.eval()
    accuracy = total = 0.0
    with torch.no_grad():
        for images, labels in loader:
            _, predicted = torch.max(model(images).data, 1)
            total += labels.size(0)
            accuracy += (predicted == labels).sum().item()
    return 100 * accuracy / total


def our_train(batches):
    """Train over `batches` with our train(), without what it does once an epoch: test and save."""
    kept = ours.train_loader, ours.testAccuracy, ours.saveModel
    ours.train_loader, ours.testAccuracy, ours.saveModel = batches, lambda: 0.0, lambda: None
    ours.train(1)
    ours.train_loader, ours.testAccuracy, ours.saveModel = kept


def our_test(batches):
    """Run our testAccuracy() over `batches`."""
    kept, ours.test_loader = ours.test_loader, batches
    ours.testAccuracy()
    ours.test_loader = kept


def bare_steps(images, labels):
    """Do our training step, STEPS times, on one batch that is there: the limit of any training loop."""
    ours.model.train()
    for _ in range(STEPS):
        ours.optimizer.zero_grad()
        ours.loss_fn(ours.model(images), labels).backward()
        ours.optimizer.step()


def seconds(function, *arguments):
    """Return how long a call takes; what it prints is dropped."""
    with contextlib.redirect_stdout(io.StringIO()):
        start = time.perf_counter()
        function(*arguments)
        return time.perf_counter() - start


def print_peak_memory(whose):
    """Load all images, train a little, test over the whole test set and print the peak memory in MB."""
    if whose == "ours":
        ours.load_data()
        our_train(islice(ours.train_loader, STEPS))
        ours.testAccuracy()
    else:
        train_loader, test_loader = tutorial_loaders()
        tutorial_train(ours.model, Adam(ours.model.parameters()), islice(train_loader, STEPS))
        tutorial_test(ours.model, test_loader)
    status = Path("/proc/self/status").read_text()
    print(int(status.split("VmHWM:")[1].split()[0]) // 1024)


def peak_memory(whose):
    """Return what print_peak_memory() prints in a process of its own, in MB."""
    output = subprocess.run([sys.executable, __file__, whose], text=True, check=True, stdout=subprocess.PIPE)
    return int(output.stdout.split()[-1])


def main():
    ours.load_data()
    batch = next(iter(ours.train_loader))
    sized = {size: DataLoader(TensorDataset(*ours.train_set[:size]), batch_size=None, collate_fn=ours.to_floats,
                              sampler=BatchSampler(RandomSampler(range(size)), 10, drop_last=False))
             for size in (1000, 10000, 50000)}
    model = ours.Network()
    optimizer = Adam(model.parameters(), lr=0.001, weight_decay=0.0001)
    train_loader, test_loader = tutorial_loaders()

    # a turn goes on where the last one stopped: the start of an epoch comes once in 5,000 batches
    theirs, mine = iter(train_loader), iter(ours.train_loader)
    rounds = []
    for number in range(ROUNDS + 1):
        turn = {
            "their step": seconds(tutorial_train, model, optimizer, islice(theirs, STEPS)) / STEPS,
            "our step": seconds(our_train, islice(mine, STEPS)) / STEPS,
            "limit": seconds(bare_steps, *batch) / STEPS,
            "their test": seconds(tutorial_test, model, islice(test_loader, TESTS)) / TESTS,
            "our test": seconds(our_test, islice(ours.test_loader, TESTS)) / TESTS}
        turn.update((size, seconds(our_train, islice(loader, 50)) / 500) for size, loader in sized.items())
        turn["their epoch"] = 5000 * turn["their step"] + 1000 * turn["their test"]
        turn["our epoch"] = 5000 * turn["our step"] + 1000 * turn["our test"]
        turn["bare epoch"] = 5000 * turn["limit"] + 1000 * turn["our test"]
        if number:  # the first round warms up
            rounds.append(turn)

    def line(text, one, other, scale, unit):
        times = [scale * median(turn[name] for turn in rounds) for name in (one, other)]
        ratios = sorted(turn[one] / turn[other] for turn in rounds)
        print("%-40s %7.2f %s %7.2f %s  %.2f (%.2f to %.2f)" % (
            text, times[0], unit, times[1], unit, median(ratios), ratios[0], ratios[-1]))

    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, {platform.platform()}")
    print(f"Medians of {ROUNDS} rounds: both times, and their ratio (with the least and greatest of a round)")
    line("an epoch: the tutorial's, ours", "their epoch", "our epoch", 1, "s ")
    line("an epoch: the tutorial's, of bare steps", "their epoch", "bare epoch", 1, "s ")
    line("a training step: ours, a bare one", "our step", "limit", 1000, "ms")
    line("a test pass: the tutorial's, ours", "their test", "our test", 1000, "s ")
    line("an image of 10,000 and of 1,000", 10000, 1000, 1e6, "us")
    line("an image of 50,000 and of 1,000", 50000, 1000, 1e6, "us")
    if Path("/proc/self/status").exists():
        peaks = peak_memory("ours"), peak_memory("tutorial's")
        print("%-40s %7d MB %7d MB  %.2f" % ("peak memory: ours, the tutorial's", *peaks, peaks[0] / peaks[1]))
    else:
        print("peak memory: not measured on this system")


if __name__ == "__main__":
    try:
        ours.CIFAR10("./data", train=False)
    except RuntimeError:  # not there
        ours.CIFAR10 = RandomCIFAR10
    with TemporaryDirectory() as folder:
        ours.checkpoint = str(Path(folder, "benchmark.pth"))  # the reader's own stays as it is
        print_peak_memory(sys.argv[1]) if sys.argv[1:] else main()
