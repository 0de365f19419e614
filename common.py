"""What both scripts share: the device and the checkpoints.

The checkpoint helpers end the script (SystemExit, exit status 1) with one line if a file cannot be used.
"""
import io
import os
import sys
from pathlib import Path

import torch


def get_device():
    """Return the torch.device to train on: cuda:0 if PyTorch finds an NVIDIA GPU, else cpu."""
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def save_checkpoint(model, path):
    """Save the state dict of `model` as the file `path`; at every moment `path` is a whole file, old or new."""
    state, temporary = io.BytesIO(), Path(f"{path}.{os.getpid()}.tmp")  # each run has its own temporary file
    torch.save(model.state_dict(), state)
    try:
        with temporary.open("wb") as file:
            file.write(state.getbuffer())
            file.flush()
            os.fsync(file.fileno())  # on the disk before it gets its name, in case the power fails
        temporary.replace(path)
    except OSError as error:
        sys.exit(f"{path} cannot be saved: {error.strerror}. A file that was there is unchanged.")
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(model, path):
    """Load the state dict in the file `path`, saved on any device, into `model`, on any device."""
    advice = "Train first: PyTorchTraining.py saves myFirstModel.pth, DataClassifier.py saves NetModel.pth."
    try:
        state = io.BytesIO(Path(path).read_bytes())
    except OSError as error:
        sys.exit(f"{path} cannot be read: {error.strerror}. {advice}")
    try:
        model.load_state_dict(torch.load(state, map_location="cpu", weights_only=True))  # runs no code of the file
    except Exception as error:  # of a type that depends on the damage
        reason = " ".join(str(error).split())[:200]
        if not isinstance(error, (RuntimeError, TypeError)) or "weights_only" in reason:
            reason = "it is no state dict"  # PyTorch's text is of no help here, or advises to run such code
        sys.exit(f"{path} is damaged or of another network ({reason}). {advice}")
