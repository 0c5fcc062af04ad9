"""The folder of a run: made once, locked while it is trained, cleared of what a killed process left."""

import re
from datetime import datetime
from pathlib import Path

from data.errors import InputError
from data.locks import FolderLock

ATTEMPTS = 1000
# What an atomic write leaves behind where the process is killed: ".last-abcdefgh.ckpt".
_LEFTOVER = re.compile(r"\.(best|last|config|log|metrics|detections|ground_truth|matches)-[a-z0-9_]{8}\.[a-z]+")
_LEFTOVER_PICTURE = re.compile(r"\.[a-z_]+-[a-z0-9_]{8}\.png")


def new_run_folder(parent: Path) -> Path:
    """Make and return `parent/<time>`, or `<time>-2`, ... where another run has started in the same second.

    Raises InputError where no folder can be made.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    for number in range(1, ATTEMPTS):
        folder = parent / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError as error:
            if not parent.is_dir():
                raise InputError(f"{parent}: is a file, where the folder of runs should be; set output") from error
        except OSError as error:
            raise InputError(f"{folder}: cannot be made ({error.strerror}); set output to another folder") from error
        else:
            return folder
    raise InputError(f"{parent}: {ATTEMPTS} runs started in this second; start again")


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that a killed process left in a run's folder. The caller holds its lock."""
    for path in folder.iterdir():
        if _LEFTOVER.fullmatch(path.name) and path.is_file():
            path.unlink()
    for path in (folder / "plots").glob(".*.png"):
        if _LEFTOVER_PICTURE.fullmatch(path.name):
            path.unlink()


def lock_run(folder: Path) -> FolderLock:
    """Hold a run's folder against a second training of the same run. Raises InputError where another is at it."""
    try:
        return FolderLock(folder)
    except BlockingIOError as error:
        raise InputError(f"{folder}: another process is training this run; wait for it, or stop it") from error
