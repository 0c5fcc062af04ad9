"""Atomic writes: a file is either the old one or the whole new one, never half of it."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # a system without file locks
    fcntl = None  # type: ignore[assignment]

_SLOTS = 10  # processes that write one file at once


@contextmanager
def atomic_path(path: str | Path, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it to `path` when the block ends without an exception.

    The suffix is kept, because image writers choose the format by it. Parent folders are made. The temporary file of a
    process that was killed is removed when the same file is written again. A `durable` file has reached the disk when
    the block ends, so that a loss of power leaves the old one or the whole new one, too; that takes milliseconds, too
    long for thousands of pictures.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, handle = _claim(path)
    try:
        yield temporary
        if durable:
            _flush(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        if handle is not None:
            os.close(handle)
    if durable:
        _flush(path.parent)


def _claim(path: Path) -> tuple[Path, int | None]:
    """Make a new temporary file beside `path` and return it with the handle whose lock says that it is in use.

    Its name is the same every time, so that one left by a killed process is found by looking at one name alone. Where
    several processes write the same file, each has another number. Without locks the name is random.
    """
    if fcntl is not None:
        slots = [path.with_name(f".{_start_of(path)}-partial{number}{path.suffix}") for number in range(_SLOTS)]
        for temporary in slots[:2]:
            _remove_abandoned(temporary)
        for temporary in slots:
            try:
                handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:  # in use
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(handle).st_ino == temporary.stat().st_ino:
                    return temporary, handle
            except (BlockingIOError, FileNotFoundError):  # taken for abandoned before it could be locked
                pass
            except OSError:  # a file system without locks
                temporary.unlink(missing_ok=True)
                os.close(handle)
                break
            os.close(handle)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{_start_of(path)}-", suffix=path.suffix)
    # mkstemp makes files for the owner alone; give the usual permissions instead.
    mask = os.umask(0)
    os.umask(mask)
    os.close(handle)
    Path(name).chmod(0o666 & ~mask)
    return Path(name), None


def _remove_abandoned(temporary: Path) -> None:
    """Remove a temporary file, and whatever else has its name, unless a process holds its lock."""
    try:
        handle = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link: nothing of ours, and it must not be written through
            temporary.unlink(missing_ok=True)
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_ino == os.stat(temporary, follow_symlinks=False).st_ino:
            temporary.unlink()
    except OSError:  # in use, a folder, or just moved to its place
        pass
    finally:
        os.close(handle)


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
