"""Files whose bytes are at hand: from a store, or from a shard of an archive."""

from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal


@dataclass(frozen=True)
class HeldFile:
    """The bytes of a file under the name that messages call it by; readers take it as they take a path.

    The end of the name says what kind of file it is, as on a disk.
    """

    name: str
    content: bytes = field(repr=False)

    def __str__(self) -> str:
        return self.name

    @property
    def suffix(self) -> str:
        """The end of the name from its last dot on, as that of a path."""
        return PurePosixPath(self.name).suffix

    def open(self, mode: Literal["rb"] = "rb") -> BinaryIO:
        """Return the bytes as a file open for reading."""
        return BytesIO(self.content)


AnyFile = Path | HeldFile
"""What radiographs are read from."""


def size_in_bytes(file: AnyFile) -> int:
    """Return the size of a file. Raises OSError."""
    return len(file.content) if isinstance(file, HeldFile) else file.stat().st_size


def for_library(file: AnyFile) -> Any:
    """Return what a library opens by itself: the path, or the bytes as an open file."""
    return file.open("rb") if isinstance(file, HeldFile) else file
