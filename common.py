"""What both scripts share: the device, the checkpoints, and an early end without a traceback."""
import errno
import io
import os
import sys
from pathlib import Path

import torch

saved = None  # the checkpoint that this run has written, if any


def get_device():
    """Return the torch.device to train on: cuda:0 if there is an NVIDIA GPU, else cpu."""
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def check_writable(path):
    """Raise SystemExit with one line if the folder of the checkpoint `path` cannot be written."""
    try:
        Path(f"{path}.tmp").touch()
        Path(f"{path}.tmp").unlink()
    except OSError as error:
        sys.exit(f"{path} cannot be saved: {error.strerror}. Start the script where you can write.")


def save_checkpoint(model, path):
    """Save the state dict of `model` as the file `path`; SystemExit with one line if that fails."""
    global saved
    state, temporary = io.BytesIO(), Path(f"{path}.tmp")
    torch.save(model.state_dict(), state)
    try:
        with temporary.open("wb") as file:
            file.write(state.getbuffer())
            file.flush()
            os.fsync(file.fileno())  # on the disk before it gets its name, in case the power fails
        temporary.replace(path)  # one move: at every moment `path` is whole, the old file or the new
    except OSError as error:
        temporary.unlink(missing_ok=True)
        sys.exit(f"{path} cannot be saved: {error.strerror}. A file that was there is as it was.")
    saved = path


def load_checkpoint(model, path):
    """Load the state dict in the file `path`, saved on any device, into `model`, on any device.

    No code in the file is run. SystemExit with one line if it is missing, damaged or of another network.
    """
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # of a kind that depends on the damage
        missing = isinstance(error, FileNotFoundError)
        fault = "does not exist" if missing else f"is damaged or of another network ({type(error).__name__})"
        sys.exit(f"{path} {fault}. Train first: run the script with its call of train().")


def end_quietly():
    """From here on, Ctrl-C (exit status 130) and a closed pipe (1) end the script without a traceback."""
    def hook(kind, error, trace):
        if kind is KeyboardInterrupt:
            best = f"The best checkpoint so far is {saved}." if saved else "No checkpoint was saved yet."
            print("Stopped.", best, file=sys.stderr)
            sys.exit(130)
        windows_pipe = (os.name == "nt" and isinstance(error, OSError)
                        and error.errno == errno.EINVAL and not error.filename)
        if isinstance(error, BrokenPipeError) or windows_pipe:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is not yet written
            sys.exit(1)
        sys.__excepthook__(kind, error, trace)

    sys.excepthook = hook
    if hasattr(sys.stdout, "reconfigure"):  # not in IDLE
        sys.stdout.reconfigure(line_buffering=True)
