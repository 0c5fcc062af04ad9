"""The files of a folder tree of any size, in order, in memory that does not grow with their number."""

import heapq
import json
import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

HELD = 200_000  # strings that are held in memory; more are sorted through temporary files


def sorted_strings(strings: Iterable[str], held: int = HELD) -> Iterator[str]:
    """Yield strings in ascending order of their characters; `held` of them at a time lie in memory.

    Raises OSError where there is no room for the temporary files of many strings.
    """
    rest = iter(strings)
    chunk = sorted(islice(rest, held))
    if len(chunk) < held:
        yield from chunk
        return
    with ExitStack() as stack:
        spilled = []
        while chunk:
            file = stack.enter_context(tempfile.TemporaryFile("w+", encoding="ascii"))
            file.writelines(json.dumps(text) + "\n" for text in chunk)
            file.seek(0)
            spilled.append(map(json.loads, file))
            chunk = sorted(islice(rest, held))
        yield from heapq.merge(*spilled)


def files_in(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and its sub-folders, hidden ones left out. Raises OSError.

    The files of a folder come by name, and its sub-folders after them. Folders behind links come last and each
    once, so that a file which can be reached in two ways has the name without a link.
    """
    seen: set[str] = set()
    waiting = deque([str(folder)])
    while waiting:
        start = waiting.popleft()
        if os.path.realpath(start) in seen:
            continue
        stack = [start]
        while stack:
            name = stack.pop()
            seen.add(os.path.realpath(name))
            folders: list[str] = []
            links: list[str] = []
            for inner in sorted_strings(_shown_files(name, folders, links)):
                yield Path(name, inner)
            waiting += [os.path.join(name, inner) for inner in sorted(links)]
            stack += [os.path.join(name, inner) for inner in sorted(folders, reverse=True)]


def _shown_files(name: str, folders: list[str], links: list[str]) -> Iterator[str]:
    """Yield the names of a folder's files as the disk gives them; put those of its sub-folders into the lists."""
    with os.scandir(name) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            linked = entry.is_symlink()  # one that leads nowhere, or in a circle, is neither file nor folder
            if os.path.isdir(entry.path) if linked else entry.is_dir():
                (links if linked else folders).append(entry.name)
            elif os.path.isfile(entry.path) if linked else entry.is_file():
                yield entry.name
