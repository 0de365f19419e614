"""Time PyTorchTraining.py side by side with the tutorial's own way: `python tests/benchmark.py`.

It takes about two minutes. The images are those in ./data if CIFAR-10 is there, else random bytes of the
same shape. The ways take turns, so that a machine that slows down slows all of them.
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

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.optim import Adam  # noqa: E402
from torch.utils.data import DataLoader, Subset  # noqa: E402
from torchvision import transforms  # noqa: E402
from torchvision.datasets import CIFAR10  # noqa: E402

import PyTorchTraining as ours  # noqa: E402

ROUNDS = 30
STEPS, TESTS = 75, 40  # batches of ten in a turn; an epoch has 5,000 and 1,000


def random_images(self, root, train=True, transform=None):
    """Take the place of CIFAR10.__init__() where the data set is not there."""
    size = 50000 if train else 10000
    random = np.random.default_rng(0)
    self.data = random.integers(0, 256, (size, 32, 32, 3), dtype=np.uint8)
    self.targets = random.integers(0, 10, size).tolist()
    self.transform, self.target_transform = transform, None


def tutorial_loaders():
    """Return the tutorial's training and test loader."""
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])
    return [DataLoader(CIFAR10("./data", train=train, transform=transform), batch_size=10, shuffle=train)
            for train in (True, False)]


def tutorial_train(model, optimizer, batches):
    """Train as the tutorial does."""
    model.train()
    running_loss = 0.0
    for images, labels in batches:
        optimizer.zero_grad()
        loss = ours.loss_fn(model(images), labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()


def tutorial_test(model, batches):
    """Return the accuracy as the tutorial does."""
    model.eval()
    accuracy = total = 0.0
    with torch.no_grad():
        for images, labels in batches:
            _, predicted = torch.max(model(images).data, 1)
            total += labels.size(0)
            accuracy += (predicted == labels).sum().item()
    return 100 * accuracy / total


def our_train(batches):
    """Train over `batches` with our train(), without what it does once an epoch: test and save."""
    kept = ours.testAccuracy, ours.saveModel
    ours.train_loader, ours.testAccuracy, ours.saveModel = batches, lambda: 0.0, lambda: None
    ours.train(1)
    ours.testAccuracy, ours.saveModel = kept


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
        train_set, ours.test_set = [ours.FastCIFAR10("./data", train=train) for train in (True, False)]
        our_train(islice(DataLoader(train_set, batch_size=10, shuffle=True), STEPS))
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
    ours.get_device = lambda: torch.device("cpu")  # the tutorial's code runs nowhere else
    train_set, test_set = [ours.FastCIFAR10("./data", train=train) for train in (True, False)]
    our_loader = DataLoader(train_set, batch_size=10, shuffle=True)
    ours.test_set = Subset(test_set, range(10 * TESTS))
    batch = next(iter(our_loader))
    model = ours.Network()
    optimizer = Adam(model.parameters(), lr=0.001, weight_decay=0.0001)
    train_loader, test_loader = tutorial_loaders()

    # a turn goes on where the last one stopped: the start of an epoch comes once in 5,000 batches
    theirs, mine = iter(train_loader), iter(our_loader)
    rounds = []
    for number in range(ROUNDS + 1):
        turn = {
            "their step": seconds(tutorial_train, model, optimizer, islice(theirs, STEPS)) / STEPS,
            "our step": seconds(our_train, islice(mine, STEPS)) / STEPS,
            "bare step": seconds(bare_steps, *batch) / STEPS,
            "their test": seconds(tutorial_test, model, islice(test_loader, TESTS)) / TESTS,
            "our test": seconds(ours.testAccuracy) / TESTS}
        turn["their epoch"] = 5000 * turn["their step"] + 1000 * turn["their test"]
        turn["our epoch"] = 5000 * turn["our step"] + 1000 * turn["our test"]
        if number:  # the first round warms up
            rounds.append(turn)

    def line(text, one, other, scale, unit):
        times = [scale * median(turn[name] for turn in rounds) for name in (one, other)]
        ratios = sorted(turn[one] / turn[other] for turn in rounds)
        print("%-34s %7.2f %s %7.2f %s  %.2f (%.2f to %.2f)" % (
            text, times[0], unit, times[1], unit, median(ratios), ratios[0], ratios[-1]))

    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, {platform.platform()}")
    print(f"Medians of {ROUNDS} rounds: both times, and their ratio (with the least and greatest of a round)")
    line("an epoch: the tutorial's, ours", "their epoch", "our epoch", 1, "s ")
    line("a training step: ours, a bare one", "our step", "bare step", 1000, "ms")
    if Path("/proc/self/status").exists():
        peaks = peak_memory("ours"), peak_memory("tutorial's")
        print("%-34s %7d MB %7d MB  %.2f" % ("peak memory: ours, the tutorial's", *peaks, peaks[0] / peaks[1]))
    else:
        print("peak memory: not measured on this system")


if __name__ == "__main__":
    try:
        CIFAR10("./data", train=False)
    except RuntimeError:  # not there
        CIFAR10.__init__ = random_images
    print_peak_memory(sys.argv[1]) if sys.argv[1:] else main()
