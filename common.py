"""What both scripts share: the device and the checkpoints.

The checkpoint helpers end the script (SystemExit, exit status 1) with one line if a file cannot be used.
"""
import io
import os
import sys
from contextlib import suppress
from pathlib import Path

import torch


def get_device():
    """Return the torch.device to train on: cuda:0 if PyTorch finds an NVIDIA GPU, else cpu."""
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def save_checkpoint(model, path):
    """Save the state dict of `model` as the file `path`.

    The tutorials write into `path` itself: a stop leaves half a file. Here a whole new file replaces the old one.
    """
    state = io.BytesIO()  # in memory first: into a file, torch.save() reports a full disk as a RuntimeError
    torch.save(model.state_dict(), state)
    temporary = Path(f"{path}.{os.getpid()}.tmp")  # so that two runs in one folder do not share it
    try:
        with temporary.open("wb") as file:
            file.write(state.getbuffer())
            file.flush()
            os.fsync(file.fileno())  # on the disk before it gets its name, in case the power fails
        temporary.replace(path)
    except OSError as error:
        sys.exit(f"{path} cannot be saved: {error.strerror}. Start the script in a folder that has space and where "
                 "you can write. The old file, if there is one, is unchanged.")
    finally:
        with suppress(OSError):  # it was moved, or could not be made
            temporary.unlink()


def load_checkpoint(model, path):
    """Load the state dict in the file `path` into `model`; it may have been saved on another device."""
    advice = "Train first: run PyTorchTraining.py for images, DataClassifier.py for Iris."
    try:
        # weights_only: no code that somebody put into the file is run
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except OSError as error:
        sys.exit(f"{path} cannot be read: {error.strerror}. {advice}")
    except Exception as error:  # of a type that depends on the damage
        # the first sentence only: the next ones advise to turn weights_only off
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}".split(". ")[0]
        sys.exit(f"{path} is damaged or of another network ({reason[:200]}). {advice}")
