"""What the scripts share: the device and the checkpoints.

Where a file cannot be used, SystemExit is raised: the script ends with one line.
"""
import io
import os
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import torch


def get_device():
    """Return the torch.device to run on: the first GPU, "cuda:0", or else the CPU."""
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def write_file(content, path):
    """Write the bytes `content` to the file `path`, or raise SystemExit.

    Even if the script is killed, the file is the old or the new one, never a half.
    """
    temporary = Path(f"{path}.{os.getpid()}.tmp")  # each running script has a number
    try:
        temporary.write_bytes(content)
        for seconds in (0.1, 0.3, 0.6, 1.0):
            try:
                temporary.replace(path)
                return
            except PermissionError:  # Windows: a virus scanner can hold a new file
                time.sleep(seconds)
        temporary.replace(path)  # the last try
    except OSError as error:
        sys.exit(f"{path} cannot be saved: {error.strerror}. Start the script in a folder "
                 "with space where you can write. An old file is unchanged.")
    finally:
        with suppress(OSError):  # after a success, it is there no more
            temporary.unlink()


def read_file(path):
    """Return the bytes in the file `path`, or raise SystemExit."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        sys.exit(f"{path} cannot be read: {error.strerror}. Train first, in this folder.")


def keep_checkpoint(path):
    """Copy the checkpoint `path`, if any, to `path`.old, or raise SystemExit."""
    if Path(path).exists():
        write_file(read_file(path), f"{path}.old")


def save_checkpoint(model, path):
    """Save the state dict of `model` as the file `path`, or raise SystemExit."""
    state = io.BytesIO()  # to memory, so that write_file() writes all of it or nothing
    torch.save(model.state_dict(), state)
    write_file(state.getbuffer(), path)


def load_checkpoint(model, path):
    """Load the state dict in the file `path` into `model`, or raise SystemExit."""
    file = io.BytesIO(read_file(path))
    try:
        # PyTorch does not compare the checksums in its zip files: testzip() returns the
        # name of the first damaged part, if there is one
        if zipfile.is_zipfile(file) and zipfile.ZipFile(file).testzip():
            raise ValueError("wrong checksum")
        file.seek(0)  # back to its start
        # "cpu": it may come from a GPU; weights_only: refuse a file with code in it
        state = torch.load(file, map_location="cpu", weights_only=True)
        model.load_state_dict(state)
    except Exception as error:  # of a type that depends on the damage
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        # the first sentence: the next ones can advise to turn weights_only off
        reason = reason.split(". ")[0][:300]
        sys.exit(f"{path} is damaged or of another network ({reason}). Train again.")
