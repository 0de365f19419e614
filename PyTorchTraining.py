"""Train an image classifier on CIFAR-10: the Windows ML tutorial in one script, under its headings and steps.

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

torch.manual_seed(0)  # the same numbers at every run and import; --seed chooses others
path = "./myFirstModel.pth"  # the checkpoint; the tutorial repeats the name where it saves and where it loads

if __name__ == "__main__":
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


# --- Prepare the data ---

batch_size = 10
number_of_labels = 10
classes = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class FastCIFAR10(CIFAR10):
    def __getitem__(self, index):
        """Return image number `index`, (3, 32, 32) from -1 to 1, and its label.

        The tutorial's ToTensor() and Normalize() make the same floats, more slowly: from a PIL image.
        """
        image = np.float32(self.data[index]).transpose(2, 0, 1) / 127.5 - 1
        return torch.from_numpy(image), self.targets[index]


if __name__ == "__main__":  # the tutorial has no such line: there, an import loads the data, too
    if options.dummy:
        path = "./dummyModel.pth"  # so that the model of a real run stays
        generator = torch.Generator().manual_seed(0)  # its own, so that the images are the same with every --seed
        mosaics = torch.rand(number_of_labels, 3, 4, 4, generator=generator) * 2 - 1  # 4 by 4 colors per class
        labels = torch.arange(1200) % number_of_labels
        images = F.interpolate(mosaics, size=(32, 32))[labels]  # the mosaic of each label
        noise = torch.randn(images.shape, generator=generator)
        images = (images + 0.5 * noise).clamp(-1, 1)
        train_set = TensorDataset(images[:1000], labels[:1000])
        test_set = TensorDataset(images[1000:], labels[1000:])
    else:
        socket.setdefaulttimeout(60)  # seconds: a host that stops answering is an error
        try:
            train_set = FastCIFAR10(root="./data", train=True, download=True)
            test_set = FastCIFAR10(root="./data", train=False, download=True)
        except (OSError, RuntimeError, http.client.HTTPException, KeyboardInterrupt) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            sys.exit(f"The CIFAR-10 images could neither be read from ./data nor downloaded ({reason}). You can: "
                     f"run with --dummy, which needs no images; delete ./data/{CIFAR10.base_folder} if it is there "
                     f"and start again; or put {CIFAR10.filename} (MD5 {CIFAR10.tgz_md5}) into ./data.")

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
        """Return the scores of the classes, (N, 10), for a batch of N images, (N, 3, 32, 32)."""
        output = F.relu(self.bn1(self.conv1(input)))   # (N, 12, 30, 30)
        output = F.relu(self.bn2(self.conv2(output)))  # (N, 12, 28, 28)
        output = self.pool(output)                     # (N, 12, 14, 14)
        output = F.relu(self.bn4(self.conv4(output)))  # (N, 24, 12, 12)
        output = F.relu(self.bn5(self.conv5(output)))  # (N, 24, 10, 10)
        output = output.view(-1, 24 * 10 * 10)         # (N, 2400)
        output = self.fc1(output)

        return output


model = Network()


# --- Define a loss function ---

loss_fn = nn.CrossEntropyLoss()
# fused is ours: faster, the same but for rounding
optimizer = Adam(model.parameters(), lr=0.001, weight_decay=0.0001, fused=True)


# --- Train the model on the training data ---

def saveModel():
    """Step 1: save the state dict of the model (its weights and the statistics of BatchNorm) as the file `path`."""
    save_checkpoint(model, path)


def testAccuracy():
    """Step 1: return the accuracy over the whole test set in percent; leave the model in evaluation mode."""
    model.eval()
    accuracy = 0.0
    total = 0.0
    device = get_device()
    model.to(device)  # the tutorial does this in train() only; here train() may be left out

    with torch.no_grad():
        for images, labels in DataLoader(test_set, batch_size=100):  # faster than the tutorial's batches of ten
            outputs = model(images.to(device))
            # the class with the highest score is the prediction
            _, predicted = torch.max(outputs, 1)
            total += labels.size(0)
            accuracy += (predicted == labels.to(device)).sum().item()

    return 100 * accuracy / total


def train(num_epochs):
    """Step 1: train for `num_epochs` passes through the training set; save the model of the best epoch.

    Print the mean loss of each 1,000 batches and the test accuracy after each epoch. As in the tutorial, the
    test set also chooses the best epoch, so the accuracy of that epoch is a little too good.
    """
    best_accuracy = -1.0  # with the tutorial's 0.0, an epoch with nothing right is not saved

    device = get_device()
    print("The model will be running on", device, "device", flush=True)
    model.to(device)

    for epoch in range(num_epochs):
        # the tutorial has no such line: from epoch 2 on, it trains in the evaluation mode of testAccuracy(),
        # in which BatchNorm uses a fixed mean and variance
        model.train()
        running_loss = 0.0

        for i, (images, labels) in enumerate(train_loader, 0):
            images = images.to(device)
            labels = labels.to(device)

            # clear the gradients of the last batch: backward() adds to them
            optimizer.zero_grad()
            # predict: ten scores for each image
            outputs = model(images)
            # compute the loss, one number: how far the scores are from the real labels
            loss = loss_fn(outputs, labels)
            # backpropagate: find the gradient of the loss for each weight
            loss.backward()
            # adjust each weight a little against its gradient
            optimizer.step()

            running_loss += loss.detach()  # the tutorial's item() makes the CPU wait for a GPU at every batch
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
    """Step 1: show the picture `img`, (3, height, width) from -1 to 1; without a display, save it.

    In a window it waits until the window is closed.
    """
    img = img / 2 + 0.5  # from 0 to 1, as Matplotlib takes it
    npimg = img.numpy()
    plt.imshow(np.transpose(npimg, (1, 2, 0)))
    if plt.get_backend().lower() == "agg":  # what Matplotlib chooses where there is no display
        plt.savefig("./testBatch.png")
        print("There is no display: the picture is saved as ./testBatch.png")
    else:
        plt.show()


def testBatch():
    """Step 1: show the first batch of the test set; print its labels and the model's predictions."""
    images, labels = next(iter(test_loader))
    imageshow(torchvision.utils.make_grid(images))
    print("Real labels: ", " ".join("%5s" % classes[label] for label in labels))

    device = get_device()
    model.to(device)
    # the tutorial has no such line: in training mode, a prediction depends on the other images of the batch
    model.eval()
    with torch.no_grad():
        outputs = model(images.to(device))
    _, predicted = torch.max(outputs, 1)
    print("Predicted: ", " ".join("%5s" % classes[label] for label in predicted))


def testClassess():
    """Step 4: print the accuracy over each class of the test set in percent."""
    class_correct = [0] * number_of_labels
    class_total = [0] * number_of_labels
    device = get_device()
    model.to(device)
    model.eval()  # as in testBatch()
    with torch.no_grad():
        for images, labels in test_loader:
            _, predicted = torch.max(model(images.to(device)), 1)
            c = predicted == labels.to(device)
            # the tutorial takes batch_size labels here, but the last batch may have fewer
            for label, correct in zip(labels.tolist(), c.tolist()):
                class_correct[label] += correct
                class_total[label] += 1

    for name, correct, total in zip(classes, class_correct, class_total):
        accuracy = "%2d %%" % (100 * correct / total) if total else "no images"
        print("Accuracy of %5s :" % name, accuracy)


if __name__ == "__main__":
    try:
        train(options.epochs)
    except KeyboardInterrupt:
        print(f"Stopped. If this run has saved an epoch, the best one so far is in {path}.", file=sys.stderr)
        sys.exit(130)
    print("Finished Training")

    # the tutorial loads the checkpoint into a new Network(), which the optimizer does not know
    load_checkpoint(model, path)
    print("The best model is saved as %s; its test accuracy is %d %%" % (path, testAccuracy()))

    testBatch()
    testClassess()
