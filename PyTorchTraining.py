"""Train an image classifier on CIFAR-10: the Windows ML tutorial in one script, under its headings.

Start it with `python PyTorchTraining.py` or F5. The first run downloads CIFAR-10 (170 MB) to ./data.
The best model is saved as ./myFirstModel.pth.
"""
import argparse
import http.client
import socket
import sys
from itertools import islice

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from torch.optim import Adam
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset
from torchvision.datasets import CIFAR10

from common import check_writable, end_quietly, get_device, load_checkpoint, save_checkpoint

torch.manual_seed(0)  # the same numbers at every run; change or delete it to see others
batch_size = 10
number_of_labels = 10
classes = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
checkpoint = "./myFirstModel.pth"


# --- Prepare the data ---

def to_floats(batch):
    """Return the batch (images, labels) with its images, bytes from 0 to 255, as floats from -1 to 1.

    The values are those of ToTensor() and Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), bit for bit.
    """
    images, labels = batch
    return images / 127.5 - 1, labels


def load_data(dummy=False):
    """Make train_loader and test_loader: batches of images (10, 3, 32, 32) and labels (10,).

    With `dummy` the images are synthetic and the checkpoint is another file. SystemExit with one line
    if CIFAR-10 cannot be had.
    """
    global train_set, train_loader, test_set, test_loader, checkpoint
    if dummy:
        checkpoint = "./dummyModel.pth"
        random = torch.Generator().manual_seed(0)
        patterns = torch.randint(80, 177, (number_of_labels, 3, 32, 32), generator=random)
        noise = torch.randint(-128, 129, (1200, 3, 32, 32), generator=random)
        labels = torch.arange(1200) % number_of_labels
        images = (patterns[labels] + noise).clamp(0, 255).byte()
        train_set = TensorDataset(images[:1000], labels[:1000])
        test_set = TensorDataset(images[1000:], labels[1000:])
    else:
        try:
            train_set = CIFAR10("./data", train=True, download=True)
            test_set = CIFAR10("./data", train=False)
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            sys.exit(f"CIFAR-10 can neither be read from ./data nor downloaded: {error}. Delete "
                     f"./data/{CIFAR10.base_folder} if it is there, put a copy of {CIFAR10.filename} "
                     f"(MD5 {CIFAR10.tgz_md5}) into ./data, or run with --dummy, which needs none.")
        # CIFAR10 has all images in memory, as bytes; these sets are views of them, not copies
        train_set, test_set = (TensorDataset(torch.from_numpy(part.data).permute(0, 3, 1, 2),
                                             torch.tensor(part.targets)) for part in (train_set, test_set))

    # batch_size=None: a sampler gives the ten indices of a batch, so that it is taken in one operation
    train_batches = BatchSampler(RandomSampler(train_set), batch_size, drop_last=False)
    train_loader = DataLoader(train_set, sampler=train_batches, batch_size=None, collate_fn=to_floats)
    print("The number of images in a training set is: ", len(train_set))
    test_batches = BatchSampler(SequentialSampler(test_set), batch_size, drop_last=False)
    test_loader = DataLoader(test_set, sampler=test_batches, batch_size=None, collate_fn=to_floats)
    print("The number of images in a test set is: ", len(test_set))
    print("The number of batches per epoch is: ", len(train_loader))


if __name__ == "__main__":  # a file that imports this one loads nothing
    parser = argparse.ArgumentParser(description="Train an image classifier on CIFAR-10.")
    parser.add_argument("--epochs", type=int, default=5, metavar="N",
                        help="number of passes through the training set (default: 5)")
    parser.add_argument("--dummy", action="store_true",
                        help="train on a small synthetic data set: no download, done in seconds")
    options = parser.parse_args()
    if options.epochs < 1:
        parser.error("argument --epochs: must be 1 or more")
    end_quietly()
    socket.setdefaulttimeout(60)  # seconds: a host that stops answering is an error
    load_data(options.dummy)


# --- Define a Convolution Neural Network ---

class Network(nn.Module):
    def __init__(self):
        super(Network, self).__init__()

        self.conv1 = nn.Conv2d(in_channels=3, out_channels=12, kernel_size=5, stride=1, padding=1)
        self.bn1 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(in_channels=12, out_channels=12, kernel_size=5, stride=1, padding=1)
        self.bn2 = nn.BatchNorm2d(12)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv4 = nn.Conv2d(in_channels=12, out_channels=24, kernel_size=5, stride=1, padding=1)
        self.bn4 = nn.BatchNorm2d(24)
        self.conv5 = nn.Conv2d(in_channels=24, out_channels=24, kernel_size=5, stride=1, padding=1)
        self.bn5 = nn.BatchNorm2d(24)
        self.fc1 = nn.Linear(24 * 10 * 10, 10)

    def forward(self, input):
        """Return the scores of the classes, (N, 10), for images (N, 3, 32, 32)."""
        output = F.relu(self.bn1(self.conv1(input)))   # (N, 12, 30, 30)
        output = F.relu(self.bn2(self.conv2(output)))  # (N, 12, 28, 28)
        output = self.pool(output)                     # (N, 12, 14, 14)
        output = F.relu(self.bn4(self.conv4(output)))  # (N, 24, 12, 12)
        output = F.relu(self.bn5(self.conv5(output)))  # (N, 24, 10, 10)
        output = output.view(-1, 24 * 10 * 10)
        output = self.fc1(output)

        return output


model = Network()


# --- Define a loss function ---

loss_fn = nn.CrossEntropyLoss()
optimizer = Adam(model.parameters(), lr=0.001, weight_decay=0.0001, fused=True)  # fused: one operation


# --- Train the model on the training data ---

def saveModel():
    """Save the state dict of the model as `checkpoint`; SystemExit with one line if that fails."""
    save_checkpoint(model, checkpoint)


def testAccuracy():
    """Return the accuracy over the whole test set in percent. Evaluation mode stays on."""
    model.eval()
    accuracy = 0.0
    total = 0.0
    device = next(model.parameters()).device  # the model's own, whether there is a GPU or not

    with torch.no_grad():
        batches = iter(test_loader)
        while group := list(islice(batches, 10)):  # 10 batches at once: faster, the same result
            images, labels = (torch.cat(parts) for parts in zip(*group))
            outputs = model(images.to(device))
            # the class with the highest score is the prediction
            _, predicted = torch.max(outputs, 1)
            total += labels.size(0)
            accuracy += (predicted == labels.to(device)).sum().item()

    return 100 * accuracy / total


def train(num_epochs):
    """Train for `num_epochs` passes through the training set; save the model of the best.

    Prints the mean loss of each 1,000 batches and the test accuracy after each epoch. SystemExit with
    one line if the checkpoint cannot be saved.
    """
    best_accuracy = -1.0  # below 0: the first epoch is saved even if it gets nothing right

    device = get_device()
    print("The model will be running on", device, "device")
    model.to(device)
    check_writable(checkpoint)

    for epoch in range(num_epochs):
        model.train()  # testAccuracy() has left evaluation mode on, in which BatchNorm does not learn
        running_loss = torch.zeros((), dtype=torch.float64, device=device)

        for i, (images, labels) in enumerate(train_loader, 0):
            images = images.to(device)
            labels = labels.to(device)

            optimizer.zero_grad()
            outputs = model(images)
            loss = loss_fn(outputs, labels)
            loss.backward()
            optimizer.step()

            running_loss += loss.detach()  # not item(), which makes the CPU wait for a GPU each time
            if i % 1000 == 999:
                print("[%d, %5d] loss: %.3f" % (epoch + 1, i + 1, running_loss.item() / 1000))
                running_loss.zero_()

        accuracy = testAccuracy()
        print("For epoch", epoch + 1, "the test accuracy over the whole test set is %d %%" % accuracy)

        if accuracy > best_accuracy:
            saveModel()
            best_accuracy = accuracy


# --- Test the model on the test data ---

def imageshow(img):
    """Show the picture `img`, (3, height, width) from -1 to 1; without a display, save it."""
    img = img / 2 + 0.5  # from 0 to 1, as Matplotlib takes it
    npimg = np.transpose(img.numpy(), (1, 2, 0))
    try:
        plt.imshow(npimg)
    except ImportError:  # Matplotlib is set up for windows, but there are none here
        plt.switch_backend("agg")
        plt.imshow(npimg)
    if plt.get_backend().lower() == "agg":  # its own choice where there is no display
        plt.savefig("./testBatch.png")
        print("There is no display: the picture is saved as ./testBatch.png")
    else:
        plt.show()


def testBatch():
    """Show the first batch of the test set; print its labels and the model's predictions."""
    images, labels = next(iter(test_loader))
    imageshow(torchvision.utils.make_grid(images))
    print("Real labels: ", " ".join("%5s" % classes[label] for label in labels))

    model.eval()  # in training mode a prediction depends on the other images of the batch
    with torch.no_grad():
        outputs = model(images.to(next(model.parameters()).device))
    _, predicted = torch.max(outputs, 1)
    print("Predicted: ", " ".join("%5s" % classes[label] for label in predicted))


def testClassess():
    """Print the accuracy over each class of the test set in percent."""
    class_correct = [0] * number_of_labels
    class_total = [0] * number_of_labels
    device = next(model.parameters()).device
    model.eval()  # as in testBatch()
    with torch.no_grad():
        for images, labels in test_loader:
            _, predicted = torch.max(model(images.to(device)), 1)
            for label, correct in zip(labels.tolist(), (predicted == labels.to(device)).tolist()):
                class_correct[label] += correct
                class_total[label] += 1

    for name, correct, total in zip(classes, class_correct, class_total):
        print("Accuracy of %5s :" % name, "%2d %%" % (100 * correct / total) if total else "no images")


if __name__ == "__main__":
    train(options.epochs)
    print("Finished Training")
    print("The test accuracy over the whole test set is %d %%" % testAccuracy())  # of the last epoch

    load_checkpoint(model, checkpoint)  # of the best epoch
    testBatch()
    testClassess()
