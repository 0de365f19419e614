"""Promises of DataClassifier.py: the flowers, the network, the training and the tests."""
import runpy
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.utils.data import random_split


def test_the_flowers_are_those_of_Fisher(iris):
    means = iris.input.view(3, 50, 4).mean(dim=1)
    published = torch.tensor([[5.006, 3.428, 1.462, 0.246],  # in his paper of 1936
                              [5.936, 2.770, 4.260, 1.326],
                              [6.588, 2.974, 5.552, 2.026]])
    assert torch.allclose(means, published, rtol=0, atol=1e-5)
    assert iris.output.tolist() == 50 * [0] + 50 * [1] + 50 * [2]


def test_quotation_marks_and_a_byte_order_mark_are_read(changed, iris):
    table = changed("DataClassifier.py").with_name("data") / "iris.csv"
    quoted = table.read_text().replace(",", '","').replace("\n", '"\n"')
    table.write_text('"' + quoted[:-1], encoding="utf-8-sig")
    names = runpy.run_path("DataClassifier.py")
    assert torch.equal(names["input"], iris.input)
    assert torch.equal(names["output"], iris.output)


@pytest.mark.parametrize("right, wrong", [("Iris-virginica", "Rose"), ("5.1", "five")])
def test_an_unknown_species_and_a_word_for_a_number_are_named(changed, right, wrong):
    table = changed("DataClassifier.py").with_name("data") / "iris.csv"
    table.write_text(table.read_text().replace(right, wrong))
    with pytest.raises(ValueError, match=wrong):
        runpy.run_path("DataClassifier.py")


def test_75_flowers_train_30_choose_and_45_test_with_every_seed(iris, run):
    expected = random_split(range(150), [75, 30, 45], torch.Generator().manual_seed(0))
    for script in (iris, run("DataClassifier.py", "--epochs", "1", "--seed", "5")):
        sets = [loader.dataset for loader in (script.train_loader, script.validate_loader,
                                              script.test_loader)]
        assert [list(flowers.indices) for flowers in sets] == [list(part) for part in expected]
    first, second = list(iris.train_loader), list(iris.train_loader)
    assert [len(labels) for _, labels in first] == 7 * [10] + [5]
    assert not torch.equal(first[0][0], second[0][0])  # in a new order


def test_the_network_is_that_of_the_tutorial(iris):
    twin = nn.Sequential(OrderedDict(
        layer1=nn.Linear(4, 24), relu1=nn.ReLU(), layer2=nn.Linear(24, 24), relu2=nn.ReLU(),
        layer3=nn.Linear(24, 3)))
    twin.load_state_dict(iris.model.state_dict())
    assert torch.equal(iris.model(iris.input), twin(iris.input))


def test_training_prints_the_mean_losses_and_the_accuracy(iris, echo, capsys):
    scores = torch.randn(24, 3)
    labels = scores.argmax(dim=1)  # what the network predicts
    labels[-1] = (labels[-1] + 1) % 3  # so that 14 of the last 15 are right
    iris.train_loader = list(zip(scores[:9].split(3), labels[:9].split(3)))
    iris.validate_loader = list(zip(scores[9:].split(5), labels[9:].split(5)))
    iris.model = echo
    iris.optimizer = torch.optim.SGD(echo.parameters(), lr=0)  # nothing changes
    iris.train(2)
    results = (f"Training Loss is: {nn.functional.cross_entropy(scores[:9], labels[:9]):.4f} "
               f"Validation Loss is: {nn.functional.cross_entropy(scores[9:], labels[9:]):.4f} "
               "Accuracy is 93 %")
    assert capsys.readouterr().out.splitlines() == [
        "Begin training...",
        f"Completed training batch 1 {results}", f"Completed training batch 2 {results}"]


@pytest.mark.parametrize("batch_size", [1, 5, 14])
def test_the_tests_count_every_flower_of_the_saved_model(iris, echo, capsys, batch_size):
    """Of 9 setosa, no versicolor and 5 virginica, 8 and 2 are right."""
    labels = torch.tensor(9 * [0] + 5 * [2])
    guesses = torch.tensor(8 * [0] + [1] + 2 * [2] + 3 * [0])
    inputs = nn.functional.one_hot(guesses, 3).float()
    iris.test_loader = list(zip(inputs.split(batch_size), labels.split(batch_size)))
    iris.Network = lambda input_size, output_size: echo
    torch.save({"weight": torch.tensor([7.0])}, iris.path)
    for test in (iris.test, iris.test_species):
        echo.train()
        echo.weight.data.fill_(-1)  # so that its results are wrong without the saved model
        test()
    assert capsys.readouterr().out.splitlines() == [
        "Accuracy of the model based on the test set of 14 inputs is: 71 %",
        "Accuracy to predict Iris-setosa : 88 %",
        "Accuracy to predict Iris-virginica : 40 %"]
    assert echo.modes == {(False, False)}  # in evaluation mode, without gradients


TUTORIAL = '''
def test():
    model = Network(input_size, output_size)
    path = "NetModel.pth"
    model.load_state_dict(torch.load(path))
    running_accuracy = 0
    total = 0
    with torch.no_grad():
        for data in test_loader:
            inputs, outputs = data
            outputs = outputs.to(torch.float32)
            predicted_outputs = model(inputs)
            _, predicted = torch.max(predicted_outputs, 1)
            total += outputs.size(0)
            running_accuracy += (predicted == outputs).sum().item()
        print('Accuracy of the model based on the test set of', test_split,
              'inputs is: %d %%' % (100 * running_accuracy / total))
'''


def test_the_tutorials_test_runs_in_the_place_of_ours(run, changed):
    copy = changed("DataClassifier.py", (r"def test\(\):.*(?=def test_species)", TUTORIAL))
    assert run(copy).printed == run("DataClassifier.py").printed
