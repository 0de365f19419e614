"""What both scripts share: the device and the checkpoints.

The checkpoint helpers end the script (SystemExit, exit status 1) with one line if a file cannot be used.
"""
import errno
import io
import os
import stat
import sys
import textwrap
import zipfile
from contextlib import suppress
from pathlib import Path

import torch


def get_device():
    """Return the torch.device to train on: cuda:0 if PyTorch finds an NVIDIA GPU, else cpu."""
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def save_checkpoint(model, path):
    """Save the state dict of `model` as the file `path`.

    A whole new file takes the place of the old one, so a stop never leaves half a file. A read-only file stays.
    """
    state = io.BytesIO()  # in memory first: into a file, torch.save() reports a full disk as a RuntimeError
    torch.save(model.state_dict(), state)
    target = Path(path).resolve()  # if `path` is a symbolic link, the file behind it
    temporary = Path(f"{target}.{os.getpid()}.tmp")  # so that two runs in one folder do not share it
    try:
        if target.exists() and not (target.is_file() and target.stat().st_mode & stat.S_IWUSR):
            raise PermissionError(errno.EACCES, "It is read-only or not a file")
        with temporary.open("wb") as file:
            file.write(state.getbuffer())
            file.flush()
            os.fsync(file.fileno())  # on the disk before it gets its name, in case the power fails
        temporary.replace(target)
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
        content = Path(path).read_bytes()
    except OSError as error:
        sys.exit(f"{path} cannot be read: {error.strerror}. {advice}")
    try:
        # torch.save() writes a zip file with checksums, which torch.load() does not compare
        if zipfile.is_zipfile(io.BytesIO(content)):
            damaged = zipfile.ZipFile(io.BytesIO(content)).testzip()
            if damaged:
                raise ValueError(f"wrong checksum of {damaged}")
        # weights_only: no code that somebody put into the file is run
        model.load_state_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    except Exception as error:  # of a type that depends on the damage
        # the first sentence only: the next ones advise to turn weights_only off
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}".split(". ")[0]
        sys.exit(f"{path} is damaged or of another network ({textwrap.shorten(reason, 300)}). {advice}")
