"""Train a classifier of Iris flowers, as the Windows ML tutorial does.

Start it with `python DataClassifier.py` or F5. The model of the best epoch is saved
as ./NetModel.pth.

The main differences from the tutorial: the optimizer gets `learning_rate`, model and
flowers are on one device, the table is a text file that needs no pandas, and the same
flowers test every model.
"""
import argparse
import csv
import sys
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset, random_split

from common import get_device, keep_checkpoint, load_checkpoint, save_checkpoint

path = "./NetModel.pth"  # the checkpoint, the file of the trained model
torch.manual_seed(0)  # the same random numbers at every run, unless --seed is given

if __name__ == "__main__":  # not when another file imports this one
    parser = argparse.ArgumentParser(description="Train a classifier of Iris flowers.")
    parser.add_argument("--epochs", type=int, default=10,
                        help="passes through the training set; 0: test only (default: 10)")
    parser.add_argument("--seed", type=int, default=0,
                        help="another number, other random numbers (default: 0)")
    options = parser.parse_args()
    torch.manual_seed(options.seed)


# --- Prepare the data ---

columns = ["sepal length in cm", "sepal width in cm",
           "petal length in cm", "petal width in cm"]
labels = {"Iris-setosa": 0, "Iris-versicolor": 1, "Iris-virginica": 2}
input = []  # the tutorial's name; it hides Python's input()
output = []
table = Path(__file__).parent / "data" / "iris.csv"
try:
    # -sig: Excel can write an invisible mark first; QUOTE_NONE: a quotation mark has no
    # special meaning, so one that is never closed does not swallow the next lines
    lines = table.read_text(encoding="utf-8-sig").splitlines()
    rows = csv.DictReader(lines, quoting=csv.QUOTE_NONE)
    for row in rows:
        lengths = [float(row[column]) for column in columns]
        if not all(0 < length < 1000 for length in lengths):
            raise ValueError  # a typo, or nan
        input.append(lengths)
        output.append(labels[row["Iris_Type"]])
except (OSError, UnicodeError, csv.Error) as error:
    sys.exit(f"{table} cannot be read: {error}. Save it as text in UTF-8, or copy "
             "it from the repository again.")
except (KeyError, TypeError, ValueError):  # no such name, a short line, no number
    found = lines[rows.line_num - 1][:200]
    sys.exit(f"{table}, line {rows.line_num}: found {found!r}. Expected four numbers above 0 "
             f"and below 1000, and one of {list(labels)}, separated by commas. Line 1 has to "
             f"name their columns: {columns} and 'Iris_Type'.")
if len(output) < 5:  # with fewer, there is none for the validation
    sys.exit(f"{table} has {len(output)} flowers. At least five are needed: add some.")

print("Our dataset has the following values to predict:")
for species, label in labels.items():
    print("%-15s    %d" % (species, output.count(label)))

input = torch.tensor(input)
print("\nInput format: ", input.shape, input.dtype)
output = torch.tensor(output)
print("Output format: ", output.shape, output.dtype)
data = TensorDataset(input, output)

train_batch_size = 10
number_rows = len(input)
test_split = int(number_rows * 0.3)
validate_split = int(number_rows * 0.2)
train_split = number_rows - test_split - validate_split
# the split has random numbers of its own: the same flowers test every model
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
print("The model will be running on", device, "device\n")
model.to(device)  # a new model is on the CPU


def saveModel():
    """Save the state dict of the model (its weights) as the file `path`."""
    save_checkpoint(model, path)


# --- Define a loss function ---

# the loss is small where the right species has by far the highest score
loss_fn = nn.CrossEntropyLoss()
# weight_decay: keeps the weights small
optimizer = Adam(model.parameters(), lr=learning_rate, weight_decay=0.0001)


# --- Train the model on the training data ---

def train(num_epochs):
    """Train for `num_epochs` passes through the training set; save the best model.

    Print both mean losses and the validation accuracy of each epoch (in the printed
    line, "training batch" is the epoch). The best accuracy chooses the model.
    """
    best_accuracy = -1.0  # so that the first epoch is always saved

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
            # predict: the scores of each flower
            predicted_outputs = model(inputs)
            # compute the loss, one number: how far the scores are from the real species
            train_loss = loss_fn(predicted_outputs, outputs)
            # backpropagate: find how the loss grows with each weight, its gradient
            train_loss.backward()
            # adjust each weight a little, in the direction in which the loss falls
            optimizer.step()

            running_train_loss += train_loss.item()

        train_loss_value = running_train_loss / len(train_loader)

        model.eval()  # for networks with BatchNorm or Dropout; here it changes nothing
        with torch.no_grad():  # a test needs no gradients
            for inputs, outputs in validate_loader:
                inputs, outputs = inputs.to(device), outputs.to(device)
                predicted_outputs = model(inputs)
                val_loss = loss_fn(predicted_outputs, outputs)

                # the highest score (not needed), and its species: the prediction
                _, predicted = torch.max(predicted_outputs, 1)
                running_vall_loss += val_loss.item()
                total += outputs.size(0)
                # how many are right
                running_accuracy += (predicted == outputs).sum().item()

        val_loss_value = running_vall_loss / len(validate_loader)
        accuracy = 100 * running_accuracy / total

        if accuracy > best_accuracy:
            saveModel()
            best_accuracy = accuracy

        # flush: the line appears now, not when many are ready
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
            # the highest score (not needed), and its species: the prediction
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
            # the highest score (not needed), and its species: the prediction
            _, predicted = torch.max(predicted_outputs, 1)
            for real, guess in zip(outputs.tolist(), predicted.tolist()):
                labels_total[real] += 1
                if guess == real:
                    labels_correct[real] += 1

    label_list = list(labels.keys())
    for i in range(output_size):
        if labels_total[i] > 0:
            print("Accuracy to predict %5s : %2d %%" % (
                label_list[i], 100 * labels_correct[i] / labels_total[i]))


if __name__ == "__main__":
    num_epochs = options.epochs  # 10 by default
    if num_epochs > 0:
        keep_checkpoint(path)  # the model of an earlier run may be better
        train(num_epochs)
        print("Finished Training\n")

    test()
    test_species()
    print("The model is saved as", path)
