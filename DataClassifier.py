"""Train a classifier of Iris flowers, as the Windows ML tutorial does.

Start it with `python DataClassifier.py` or F5. The model of the epoch with the best
validation accuracy is saved as ./NetModel.pth.

The main differences from the tutorial: the optimizer gets `learning_rate`, model and
flowers are on one device, the table is a text file that needs no pandas, and every run
tests with the same flowers.
"""
import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset, random_split

from common import get_device, keep_checkpoint, load_checkpoint, save_checkpoint

path = "./NetModel.pth"  # the checkpoint: the file of the trained model

if __name__ == "__main__":  # not when another program imports this file
    parser = argparse.ArgumentParser(description="Train a classifier of Iris flowers.")
    parser.add_argument("--epochs", type=int, default=10, help="default: 10; 0: only test")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    options = parser.parse_args()
    torch.manual_seed(options.seed)  # the same seed, the same random numbers


# --- Load the data ---

labels = {"Iris-setosa": 0, "Iris-versicolor": 1, "Iris-virginica": 2}

# which columns of the table to read, counted from 0: four lengths in cm, and last the
# species (column 0 is the number of the flower: the table is sorted, so it would give
# the species away)
columns = (1, 2, 3, 4, 5)
# skiprows: the first line has only names; converters: a species becomes its label;
# quotechar and comments: words may be in quotation marks, and contain a #
table = np.loadtxt(Path(__file__).parent / "data" / "iris.csv", delimiter=",", skiprows=1,
                   usecols=columns, converters={columns[-1]: lambda name: labels[name]},
                   quotechar='"', comments=None, encoding="utf-8-sig")
# the lengths, and the labels (the name `input` hides Python's input())
input = torch.tensor(table[:, :-1], dtype=torch.float32)
output = torch.tensor(table[:, -1], dtype=torch.int64)

if __name__ == "__main__":
    print("Our dataset has the following values to predict:")
    for species, label in labels.items():
        print("%-15s    %d" % (species, (output == label).sum()))
    print("\nInput format: ", input.shape, input.dtype)
    print("Output format: ", output.shape, output.dtype)

data = TensorDataset(input, output)

train_batch_size = 10
number_rows = len(input)
test_split = int(number_rows * 0.3)
validate_split = int(number_rows * 0.2)
train_split = number_rows - test_split - validate_split
# 75 flowers train the model, 30 choose the best epoch, and 45 test it; each run makes
# the same split, whatever its seed: no model is tested on flowers that trained it
train_set, validate_set, test_set = random_split(
    data, [train_split, validate_split, test_split],
    generator=torch.Generator().manual_seed(0))

train_loader = DataLoader(train_set, batch_size=train_batch_size, shuffle=True)
validate_loader = DataLoader(validate_set, batch_size=1)
test_loader = DataLoader(test_set, batch_size=1)


# --- Define a neural network ---

input_size = list(input.shape)[1]  # 4 lengths
learning_rate = 0.01  # how far a step goes; with 0.001, ten epochs are often too few
output_size = len(labels)  # 3 species


class Network(nn.Module):
    def __init__(self, input_size, output_size):
        super(Network, self).__init__()

        self.layer1 = nn.Linear(input_size, 24)
        self.layer2 = nn.Linear(24, 24)
        self.layer3 = nn.Linear(24, output_size)

    def forward(self, x):
        """Return the scores, (N, output_size), of N flowers, (N, input_size)."""
        x1 = F.relu(self.layer1(x))
        x2 = F.relu(self.layer2(x1))
        x3 = self.layer3(x2)
        return x3


model = Network(input_size, output_size)

device = get_device()
model.to(device)


def saveModel():
    """Save the state dict of the model (its weights) to the file `path`."""
    save_checkpoint(model, path)


# --- Define a loss function ---

# the loss is small when the right species has by far the highest score;
# CrossEntropyLoss contains the softmax, so the network returns plain scores
loss_fn = nn.CrossEntropyLoss()
# weight_decay: pulls the weights a little towards 0
optimizer = Adam(model.parameters(), lr=learning_rate, weight_decay=0.0001)


# --- Train the model on the training data ---

def train(num_epochs):
    """Train for `num_epochs` passes through the training set; save the best model.

    Print the mean losses of training and validation, and the validation accuracy of
    each epoch (the printed "training batch"). The best accuracy chooses the model.
    """
    best_accuracy = 0.0

    print("Begin training...")
    for epoch in range(1, num_epochs + 1):
        running_train_loss = 0.0
        running_accuracy = 0.0
        running_vall_loss = 0.0
        total = 0

        model.train()  # the validation below leaves the model in evaluation mode
        for inputs, outputs in train_loader:  # outputs: the real species, as numbers
            inputs, outputs = inputs.to(device), outputs.to(device)

            # clear the gradients of the previous batch: backward() adds to them
            optimizer.zero_grad()
            # predict: the scores of each flower (the call runs forward())
            predicted_outputs = model(inputs)
            # compute the loss, one number: how far the scores are from the real species
            train_loss = loss_fn(predicted_outputs, outputs)
            # backpropagate: compute how the loss changes with each weight: its gradient
            train_loss.backward()
            # adjust each weight a little, so that the loss falls
            optimizer.step()

            running_train_loss += train_loss.item()

        train_loss_value = running_train_loss / len(train_loader)

        model.eval()  # it matters for networks with BatchNorm or Dropout
        with torch.no_grad():  # a test needs no gradients
            for inputs, outputs in validate_loader:
                inputs, outputs = inputs.to(device), outputs.to(device)
                predicted_outputs = model(inputs)
                val_loss = loss_fn(predicted_outputs, outputs)

                # _: the highest score of a flower; predicted: the species that has it
                _, predicted = torch.max(predicted_outputs, 1)
                running_vall_loss += val_loss.item()
                total += outputs.size(0)
                # how many are right
                running_accuracy += (predicted == outputs).sum().item()

        val_loss_value = running_vall_loss / len(validate_loader)
        accuracy = 100 * running_accuracy / total

        if accuracy >= best_accuracy:  # if equal, the later one: it has trained longer
            saveModel()
            best_accuracy = accuracy

        # flush: show the line now
        print("Completed training batch", epoch,
              "Training Loss is: %.4f" % train_loss_value,
              "Validation Loss is: %.4f" % val_loss_value,
              "Accuracy is %d %%" % accuracy, flush=True)


# --- Test the model on the test data ---

def test():
    """Print the accuracy of the saved model over the test set in percent."""
    # a new network, on the CPU as the flowers are; the trained one stays as it is
    model = Network(input_size, output_size)
    load_checkpoint(model, path)
    model.eval()

    running_accuracy = 0
    total = 0
    with torch.no_grad():  # a test needs no gradients
        for inputs, outputs in test_loader:  # outputs: the real species, as numbers
            predicted_outputs = model(inputs)
            # _: the highest score of a flower; predicted: the species that has it
            _, predicted = torch.max(predicted_outputs, 1)
            total += outputs.size(0)
            # how many are right
            running_accuracy += (predicted == outputs).sum().item()

    print("Accuracy of the model based on the test set of", total,
          "inputs is: %d %%" % (100 * running_accuracy / total))


def test_species():
    """Print the accuracy of the saved model for each species that it is tested on."""
    # a new network, on the CPU as the flowers are; the trained one stays as it is
    model = Network(input_size, output_size)
    load_checkpoint(model, path)
    model.eval()

    labels_correct = [0] * len(labels)
    labels_total = [0] * len(labels)
    with torch.no_grad():  # a test needs no gradients
        for inputs, outputs in test_loader:  # outputs: the real species, as numbers
            predicted_outputs = model(inputs)
            # _: the highest score of a flower; predicted: the species that has it
            _, predicted = torch.max(predicted_outputs, 1)
            for real, guess in zip(outputs.tolist(), predicted.tolist()):
                labels_total[real] += 1
                if guess == real:
                    labels_correct[real] += 1

    for species, label in labels.items():
        if labels_total[label] > 0:
            print("Accuracy to predict %5s : %2d %%" % (
                species, 100 * labels_correct[label] / labels_total[label]))


if __name__ == "__main__":
    print("The model will be running on", device, "device\n")
    num_epochs = options.epochs
    if num_epochs > 0:
        keep_checkpoint(path)  # the model of an earlier run may be better
        train(num_epochs)
        print("Finished Training\n")

    test()
    test_species()
    print("The model is saved as", path)
