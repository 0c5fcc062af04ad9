"""Folders that hold one data set: claimed by a marker, finished by their last file, safe to start again.

A process can be killed at any moment. What it leaves is a marker that says what was to be written, whole files, and
perhaps a temporary file; the next start with the same parameters goes on from there, and others are refused.
"""

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.files import write_json

_TEMPORARY = re.compile(r"\..+-[a-z0-9_]{8}(\.\w+)?")  # what `files.atomic_path` names its files


@contextmanager
def claimed(
    out: Path,
    marker: str,
    parameters: dict[str, Any],
    present: Callable[[dict[str, Any]], dict[str, Any]] = lambda recorded: recorded,
) -> Iterator[bool]:
    """Hold a folder for one data set while it is written; yield whether the set has been begun before.

    A new or empty folder gets the file `marker` with the parameters; temporary files that a killed process left are
    removed. Where another process holds the folder, this one waits for it.

    Args:
        out: the folder.
        marker: name of the marker file inside it.
        parameters: what the data set is made of, as JSON takes it.
        present: turns recorded parameters of an earlier version into those of this one.

    Raises:
        InputError: `out` holds something else, a set with other parameters, or a marker that cannot be read.
        OSError: the folder cannot be made or written.

    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: a file is in the way; choose a folder that is new or empty")
    out.mkdir(parents=True, exist_ok=True)
    folder = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # ends with the process, however it ends
        yield _begun(out, out / marker, parameters, present)
    finally:
        os.close(folder)


def _begun(
    out: Path, marker: Path, parameters: dict[str, Any], present: Callable[[dict[str, Any]], dict[str, Any]]
) -> bool:
    """Return whether the marker stands with these parameters; write it into a folder that is new or empty."""
    leftovers = [file for file in out.rglob(".*") if file.is_file() and _TEMPORARY.fullmatch(file.name)]
    if marker.is_file():
        if present(_recorded(marker)) != json.loads(json.dumps(parameters)):
            raise InputError(f"{out} holds a set made with other arguments (see {marker}); choose another folder")
        for file in leftovers:
            file.unlink()
        return True
    own = [file for file in leftovers if file.parent == out and file.name.startswith(f".{marker.stem}-")]
    if set(out.iterdir()) - set(own):
        raise InputError(f"{out} exists and holds something else; choose a folder that is new or empty")
    for file in own:  # killed while it wrote its marker
        file.unlink()
    write_json(marker, parameters)
    return False


def _recorded(marker: Path) -> dict[str, Any]:
    try:
        recorded = json.loads(marker.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{marker}: not readable: {error}; delete the folder or choose another") from error
    if not isinstance(recorded, dict):
        raise InputError(f"{marker}: holds no parameters of a data set; delete the folder or choose another")
    return recorded
