"""Atomic writes: a file is either the old one or the whole new one, never half of it."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: str | Path, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it to `path` when the block ends without an exception.

    The suffix is kept, because image writers choose the format by it. Parent folders are made. A `durable` file has
    reached the disk when the block ends, so that a loss of power leaves the old one or the whole new one, too; that
    takes milliseconds, too long for thousands of pictures.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{_start_of(path)}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files for the owner alone; give the usual permissions instead.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        if durable:
            _flush(temporary)
        os.replace(temporary, path)
        if durable:
            _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _start_of(path: Path) -> str:
    """Return as much of a file's stem as leaves room for a temporary name; a name has 255 bytes."""
    room = 240 - len(os.fsencode(path.suffix))
    return os.fsencode(path.stem)[: max(room, 0)].decode("utf-8", "ignore")


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; not where the file system knows no such thing."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def write_json(path: str | Path, value: Any, indent: int | None = None) -> None:
    """Write `value` as JSON, atomically. Raises ValueError for NaN or infinity, which are not JSON."""
    with atomic_path(path, durable=True) as temporary:
        temporary.write_text(json.dumps(value, indent=indent, allow_nan=False) + "\n", encoding="utf-8")


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path, durable=True) as temporary:
        temporary.write_text(text, encoding="utf-8")
