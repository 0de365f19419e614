"""Code of the tutorials' pages, as it stands there but for the comments, runs in and under ours."""
import re

import PyTorchTraining
import pytest
import torch
from conftest import IMAGES, IRIS, copy_of, put

DATA_STEP = '''
from torchvision.datasets import CIFAR10
from torchvision.transforms import transforms
from torch.utils.data import DataLoader

transformations = transforms.Compose([
    transforms.ToTensor(),
    transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
])
batch_size = 10
number_of_labels = 10
train_set =CIFAR10(root="./data",train=True,transform=transformations,download=True)
train_loader = DataLoader(train_set, batch_size=batch_size, shuffle=True, num_workers=0)
print("The number of images in a training set is: ", len(train_loader)*batch_size)
test_set = CIFAR10(root="./data", train=False, transform=transformations, download=True)
test_loader = DataLoader(test_set, batch_size=batch_size, shuffle=False, num_workers=0)
print("The number of images in a test set is: ", len(test_loader)*batch_size)
print("The number of batches per epoch is: ", len(train_loader))
classes = ('plane', 'car', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
'''

FUNCTIONS = '''
from torch.autograd import Variable

def train(num_epochs):
    best_accuracy = 0.0
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    print("The model will be running on", device, "device")
    model.to(device)
    for epoch in range(num_epochs):
        running_loss = 0.0
        for i, (images, labels) in enumerate(train_loader, 0):
            images = Variable(images.to(device))
            labels = Variable(labels.to(device))
            optimizer.zero_grad()
            outputs = model(images)
            loss = loss_fn(outputs, labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            if i % 1000 == 999:
                print('[%d, %5d] loss: %.3f' %
                      (epoch + 1, i + 1, running_loss / 1000))
                running_loss = 0.0
        accuracy = testAccuracy()
        print('For epoch', epoch+1,'the test accuracy over the whole test set is %d %%' % (accuracy))
        if accuracy > best_accuracy:
            saveModel()
            best_accuracy = accuracy

def testBatch():
    images, labels = next(iter(test_loader))
    imageshow(torchvision.utils.make_grid(images))
    print('Real labels: ', ' '.join('%5s' % classes[labels[j]]
                               for j in range(batch_size)))
    outputs = model(images)
    _, predicted = torch.max(outputs, 1)
    print('Predicted: ', ' '.join('%5s' % classes[predicted[j]]
                              for j in range(batch_size)))

def testClassess():
    class_correct = list(0. for i in range(number_of_labels))
    class_total = list(0. for i in range(number_of_labels))
    with torch.no_grad():
        for data in test_loader:
            images, labels = data
            outputs = model(images)
            _, predicted = torch.max(outputs, 1)
            c = (predicted == labels).squeeze()
            for i in range(batch_size):
                label = labels[i]
                class_correct[label] += c[i].item()
                class_total[label] += 1

    for i in range(number_of_labels):
        print('Accuracy of %5s : %2d %%' % (
            classes[i], 100 * class_correct[i] / class_total[i]))
'''

MAIN = '''
if __name__ == "__main__":
    train(2)
    print('Finished Training')
    testAccuracy()
    model = Network()
    path = "myFirstModel.pth"
    model.load_state_dict(torch.load(path))
    testBatch()
    testClassess()
'''

IRIS_MAIN = '''
if __name__ == "__main__":
    num_epochs = 2
    train(num_epochs)
    print('Finished Training\\n')
    test()
    test_species()
'''
ONNX = """
import torch.onnx

def Convert_ONNX():
    model.eval()
    dummy_input = torch.randn(1, 3, 32, 32, requires_grad=True)
    torch.onnx.export(model,
         dummy_input,
         "ImageClassifier.onnx",
         export_params=True,
         opset_version=10,
         do_constant_folding=True,
         input_names = ['modelInput'],
         output_names = ['modelOutput'],
         dynamic_axes={'modelInput' : {0 : 'batch_size'},
                                'modelOutput' : {0 : 'batch_size'}}, dynamo=False)
    print(" ")
    print('Model has been converted to ONNX')
"""
HEADING = "# --- Define a Convolution Neural Network ---\n"
OUR_DATA = re.compile(r"^# --- Prepare the data ---\n.*?(?=^# --- Define)", re.M | re.S)
OUR_MAIN = re.compile(r'^if __name__ == "__main__":\n    try:\n.*', re.M | re.S)
PASTES = {  # what is pasted, and how often an epoch 2 is trained
    "its main in place of ours": (lambda ours: OUR_MAIN.sub(lambda _: MAIN, ours), 1),
    "its main under ours": (lambda ours: ours + MAIN, 2),
    "its data step in place of ours": (lambda ours: OUR_DATA.sub(lambda _: DATA_STEP, ours), 1),
    "its data step under ours": (lambda ours: ours.replace(HEADING, DATA_STEP + HEADING), 1),
    "its functions in place of our main": (lambda ours: OUR_MAIN.sub(lambda _: FUNCTIONS + MAIN, ours), 1),
    "its functions under ours": (lambda ours: ours + FUNCTIONS + MAIN, 2),
}


@pytest.mark.parametrize("paste", PASTES)
def test_code_of_the_image_tutorial_runs(archive, run, capsys, paste):
    put(archive)
    torch.save(PyTorchTraining.Network().state_dict(), "myFirstModel.pth")  # its train() saves none with nothing right
    change, trainings = PASTES[paste]
    script = copy_of(IMAGES, change)
    assert script.read_text(encoding="utf-8") != IMAGES.read_text(encoding="utf-8")
    run(script, "--epochs", "2")
    text = capsys.readouterr().out
    assert "The number of batches per epoch is:  2\n" in text
    assert text.count("For epoch 2 the test accuracy over the whole test set is ") == trainings
    assert text.count("Finished Training\n") == text.count("Accuracy of truck : ") == trainings


def test_the_conversion_of_the_next_page_runs_with_the_size_of_the_images(archive, run, capsys, folder):
    pytest.importorskip("onnx")
    put(archive)
    run(copy_of(IMAGES, lambda ours: OUR_MAIN.sub(lambda _: ONNX + MAIN + "    Convert_ONNX()\n", ours)))
    assert capsys.readouterr().out.endswith("Model has been converted to ONNX\n")
    assert (folder / "ImageClassifier.onnx").stat().st_size > 4 * 50000  # the network has 50,326 parameters


@pytest.mark.parametrize("change, trainings", [
    (lambda ours: OUR_MAIN.sub(lambda _: IRIS_MAIN, ours), 1), (lambda ours: ours + IRIS_MAIN, 2)],
    ids=["in place of ours", "under ours"])
def test_the_main_of_the_iris_tutorial_runs(run, capsys, change, trainings):
    run(copy_of(IRIS, change))
    text = capsys.readouterr().out
    assert text.count("Completed training batch 2 ") == text.count("Accuracy to predict Iris-virginica : ") == trainings
