"""Train an image classifier on CIFAR-10: the Windows ML tutorial in one script, under its headings.

Start it with `python PyTorchTraining.py` or F5. The first run downloads CIFAR-10 (170 MB) to ./data.
The best model is saved as ./myFirstModel.pth.
"""
import argparse
import http.client
import socket
import sys

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import CIFAR10

from common import get_device, load_checkpoint, save_checkpoint

torch.manual_seed(0)  # the same start at every run; the option --seed chooses another
path = "./myFirstModel.pth"


# --- Prepare the data ---

batch_size = 10
number_of_labels = 10
classes = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class FastCIFAR10(CIFAR10):
    def __getitem__(self, index):
        """Return image number `index`, (3, 32, 32) from -1 to 1, and its label.

        The tutorial makes the same floats with ToTensor() and Normalize(), more slowly: through a PIL image.
        """
        return torch.from_numpy(self.data[index]).permute(2, 0, 1) / 127.5 - 1, self.targets[index]


if __name__ == "__main__":  # the tutorial has no such line here: importing its file loads the data
    parser = argparse.ArgumentParser(description="Train an image classifier on CIFAR-10.")
    parser.add_argument("--epochs", type=int, default=5, metavar="N",
                        help="number of passes through the training set (default: 5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N",
                        help="start of the random numbers: another seed, another run (default: 0)")
    parser.add_argument("--dummy", action="store_true",
                        help="check the set-up in seconds on synthetic patterns: no download, and the model, "
                             "saved as dummyModel.pth, knows nothing of real images")
    options = parser.parse_args()
    if options.epochs < 1:
        parser.error("argument --epochs: must be 1 or more")
    if not 0 <= options.seed < 2**32:
        parser.error("argument --seed: must be from 0 to 4294967295")
    torch.manual_seed(options.seed)

    if options.dummy:
        path = "./dummyModel.pth"  # the model of a real run stays
        generator = torch.Generator().manual_seed(0)  # of its own, so that the seed above is left alone
        mosaics = torch.rand(number_of_labels, 3, 4, 4, generator=generator) * 2 - 1  # 4 by 4 colors for each class
        labels = torch.arange(1200) % number_of_labels
        images = F.interpolate(mosaics, size=(32, 32))[labels]
        images = (images + 0.5 * torch.randn(images.shape, generator=generator)).clamp(-1, 1)  # with noise
        train_set = TensorDataset(images[:1000], labels[:1000])
        test_set = TensorDataset(images[1000:], labels[1000:])
    else:
        socket.setdefaulttimeout(60)  # seconds: a host that stops answering is an error
        try:
            train_set = FastCIFAR10(root="./data", train=True, download=True)
            test_set = FastCIFAR10(root="./data", train=False, download=True)
        except (OSError, RuntimeError, http.client.HTTPException, KeyboardInterrupt) as error:
            sys.exit("The CIFAR-10 images could neither be read from ./data nor downloaded "
                     f"({' '.join(str(error).split())[:200] or 'stopped'}). You can run with --dummy, which needs none; "
                     f"delete ./data/{CIFAR10.base_folder} if it is there and start again; "
                     f"or put {CIFAR10.filename} (MD5 {CIFAR10.tgz_md5}) into ./data yourself.")

    train_loader = DataLoader(train_set, batch_size=batch_size, shuffle=True)
    print("The number of images in a training set is: ", len(train_set))
    test_loader = DataLoader(test_set, batch_size=batch_size, shuffle=False)
    print("The number of images in a test set is: ", len(test_set))
    print("The number of batches per epoch is: ", len(train_loader))


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
optimizer = Adam(model.parameters(), lr=0.001, weight_decay=0.0001, fused=True)  # fused: the same result, faster


# --- Train the model on the training data ---

def saveModel():
    """Save the state dict of the model as the file `path`."""
    save_checkpoint(model, path)


def testAccuracy():
    """Return the accuracy over the whole test set in percent. It leaves the model in evaluation mode."""
    model.eval()
    accuracy = 0.0
    total = 0.0
    device = get_device()
    model.to(device)  # in the tutorial only train() does this; a model made later would stay on the CPU

    with torch.no_grad():
        for images, labels in DataLoader(test_set, batch_size=100):  # the tutorial's batches of ten are slower
            outputs = model(images.to(device))
            # the class with the highest score is the prediction
            _, predicted = torch.max(outputs, 1)
            total += labels.size(0)
            accuracy += (predicted == labels.to(device)).sum().item()

    return 100 * accuracy / total


def train(num_epochs):
    """Train for `num_epochs` passes through the training set; save the model of the best epoch.

    Prints the mean loss of each 1,000 batches and the test accuracy after each epoch.
    """
    best_accuracy = -1.0  # the tutorial's 0.0 saves nothing if nothing is right, and tests an older file

    device = get_device()
    print("The model will be running on", device, "device", flush=True)
    model.to(device)

    for epoch in range(num_epochs):
        model.train()  # the tutorial has no such line: testAccuracy() stops BatchNorm's learning for good
        running_loss = 0.0

        for i, (images, labels) in enumerate(train_loader, 0):
            images = images.to(device)
            labels = labels.to(device)

            # set the gradients of the last batch to zero: backward() adds to them
            optimizer.zero_grad()
            # predict: ten scores for each image
            outputs = model(images)
            # the loss is one number: how far the scores are from the real labels
            loss = loss_fn(outputs, labels)
            # backpropagate: find the gradient of the loss for each weight
            loss.backward()
            # adjust each weight a little against its gradient
            optimizer.step()

            running_loss += loss.detach()  # the tutorial's item() waits for a GPU at every batch
            if i % 1000 == 999:
                print("[%d, %5d] loss: %.3f" % (epoch + 1, i + 1, running_loss / 1000), flush=True)
                running_loss = 0.0

        accuracy = testAccuracy()
        print("For epoch", epoch + 1, "the test accuracy over the whole test set is %d %%" % accuracy, flush=True)

        if accuracy > best_accuracy:
            saveModel()
            best_accuracy = accuracy


# --- Test the model on the test data ---

def imageshow(img):
    """Show the picture `img`, (3, height, width) from -1 to 1. Without a display, save it."""
    img = img / 2 + 0.5  # from 0 to 1, as Matplotlib takes it
    npimg = img.numpy()
    plt.imshow(np.transpose(npimg, (1, 2, 0)))
    if plt.get_backend().lower() == "agg":  # what Matplotlib chooses where there is no display
        plt.savefig("./testBatch.png")
        print("There is no display: the picture is saved as ./testBatch.png")
    else:
        plt.show()


def testBatch():
    """Show the first batch of the test set; print its labels and the model's predictions."""
    images, labels = next(iter(test_loader))
    imageshow(torchvision.utils.make_grid(images))
    print("Real labels: ", " ".join("%5s" % classes[label] for label in labels))

    device = get_device()
    model.to(device)
    model.eval()  # the tutorial has no such line: its predictions depend on the other images of the batch
    with torch.no_grad():
        outputs = model(images.to(device))
    _, predicted = torch.max(outputs, 1)
    print("Predicted: ", " ".join("%5s" % classes[label] for label in predicted))


def testClassess():
    """Print the accuracy over each class of the test set in percent."""
    class_correct = [0] * number_of_labels
    class_total = [0] * number_of_labels
    device = get_device()
    model.to(device)
    model.eval()  # as in testBatch()
    with torch.no_grad():
        for images, labels in test_loader:
            _, predicted = torch.max(model(images.to(device)), 1)
            # the tutorial counts batch_size labels here: the last batch may have fewer
            for label, correct in zip(labels.tolist(), (predicted == labels.to(device)).tolist()):
                class_correct[label] += correct
                class_total[label] += 1

    for name, correct, total in zip(classes, class_correct, class_total):
        print("Accuracy of %5s :" % name, "%2d %%" % (100 * correct / total) if total else "no images")


if __name__ == "__main__":
    try:
        train(options.epochs)
    except KeyboardInterrupt:
        print(f"Stopped. The best epoch is saved as {path}; if none was completed, nothing was.", file=sys.stderr)
        sys.exit(130)
    print("Finished Training")

    # the tutorial loads it into a new Network(), which the optimizer does not know
    load_checkpoint(model, path)
    print("The best model is saved as %s; its test accuracy is %d %%" % (path, testAccuracy()))

    testBatch()
    testClassess()
