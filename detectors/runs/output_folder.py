"""The folder that a prediction writes: whole or not at all, and no name twice."""

import os
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from data.errors import InputError
from data.locks import FolderLock

LONGEST = 200  # characters of a picture's name, which file systems bound
YOUNG = 2.0  # seconds, in which another process may not yet have locked the folder that it has just made


@contextmanager
def staged_folder(out: Path, last: str, optional: Collection[str] = ()) -> Iterator[Path]:
    """Yield an empty folder beside `out`; put its files into `out` when the block ends without an exception.

    Files of `out` with other names stay, but for those of `optional`, which are removed where the new ones have no
    such file. `last` is the file that says that all is there: it is removed first and comes last, so that a process
    that is killed leaves no old one beside new files. What killed processes left beside `out` is removed. Raises
    InputError where `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, where the folder of the results should be; choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{out.name[:100]}-radiograph-"
    _remove_stale(out.parent, prefix)
    folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=prefix))
    lock = FolderLock(folder)
    try:
        yield folder
        _move(folder, out, last, optional)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def picture_names(files: Sequence[Path]) -> list[str]:
    """Return the name of a picture for each file, no two alike.

    It is the stem; files of one stem get the folders in front that tell them apart, and a number where that does not.
    """
    stems = Counter(file.stem for file in files)
    double = [file for file in files if stems[file.stem] > 1]
    common = Path(os.path.commonpath([file.absolute().parent for file in double])) if double else Path()
    taken: set[str] = set()
    names = []
    for file in files:
        base = file.stem
        if stems[file.stem] > 1:
            base = "_".join(file.absolute().relative_to(common).parts)
        base = base[-LONGEST:]
        name, number = base, 2
        while name in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name)
        names.append(f"{name}.png")
    return names


def _remove_stale(parent: Path, prefix: str) -> None:
    """Remove staging folders that no process holds any more."""
    pattern = re.compile(re.escape(prefix) + "[a-z0-9_]{8}")
    for path in parent.iterdir():
        if not pattern.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
            continue
        if time.time() - path.stat().st_mtime < YOUNG:
            continue
        try:
            lock = FolderLock(path)
        except OSError:  # a process is at it, or has just removed it
            continue
        if lock.certain:
            shutil.rmtree(path, ignore_errors=True)
        lock.release()


def _move(folder: Path, out: Path, last: str, optional: Collection[str]) -> None:
    """Put every file of a folder to its place in `out`, over what is there, and remove optional files that it lacks."""
    mask = os.umask(0)
    os.umask(mask)
    folder.chmod(0o777 & ~mask)
    if not out.exists():
        try:
            os.rename(folder, out)
        except OSError:  # made by somebody else just now
            pass
        else:
            return
    (out / last).unlink(missing_ok=True)
    for name in optional:
        if not (folder / name).is_file():
            (out / name).unlink(missing_ok=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for file in sorted(files, key=lambda file: file == folder / last):
        target = out / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, target)
