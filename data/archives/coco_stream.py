"""The lists of a COCO file, record by record: a file of any size in memory that does not grow with it."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TextIO

from data.errors import InputError

CHUNK = 2**20  # characters that are read at once
NUMBER = "0123456789.eE+-"
MOST = 2**28  # characters of one record or value; more are no COCO


def stream_records(path: Path, section: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a list such as `images` of a COCO file.

    A second list of that name is not looked for. Raises InputError for a file that is missing or no such JSON.
    """
    for _, record in stream_sections(path, [section]):
        yield record


def stream_sections(path: Path, sections: Collection[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the records of lists of a COCO file with the name of their list, in the order of the file.

    What comes after the last of these lists is not read. Raises InputError as `stream_records`.
    """
    wanted = [*sections]
    try:
        with path.open(encoding="utf-8-sig") as stream:
            text = _Text(path, stream)
            text.expect("{")
            while True:
                name = text.value()
                text.expect(":")
                if name in wanted:
                    wanted.remove(name)
                    for record in text.items():
                        if not isinstance(record, dict):
                            raise InputError(f"{path}: {name!r} holds {str(record)[:40]!r}, which is no record")
                        yield name, record
                    if not wanted:
                        return
                else:
                    text.skip()
                if text.next_of(",}") == "}":
                    raise InputError(f"{path}: not a COCO file: no list {wanted[0]!r}")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a COCO file: {error}") from error


class _Text:
    """The characters of a JSON file from the place that was reached; values are taken off the front."""

    def __init__(self, path: Path, stream: TextIO) -> None:
        self.path, self.stream = path, stream
        self.held, self.place = "", 0
        self.decoder = json.JSONDecoder()

    def next_of(self, characters: str) -> str:
        """Take one of these characters off, white space before it left out. Raises ValueError for another."""
        found = self._peek()
        if not found or found not in characters:
            raise ValueError(f"expected one of {' '.join(characters)} and found {found!r}")
        self.place += 1
        return found

    def expect(self, character: str) -> None:
        """Take this character off."""
        self.next_of(character)

    def value(self) -> Any:
        """Take a whole value off and return it."""
        while True:
            self._peek()
            try:
                value, end = self.decoder.raw_decode(self.held, self.place)
            except ValueError:
                if not self._more():
                    raise
                continue
            # A number may go on in what has not been read: of 1.5e3 there may be 1, 1. or 1.5e so far.
            cut = isinstance(value, int | float) and not self.held[end:].strip(NUMBER)
            if not cut or not self._more():
                self.place = end
                return value

    def items(self) -> Iterator[Any]:
        """Take the values of a list off, one by one."""
        self.expect("[")
        if self._peek() == "]":
            self.place += 1
            return
        yield self.value()
        while self.next_of(",]") == ",":
            yield self.value()

    def skip(self) -> None:
        """Take a value off without keeping it; the values of a list one by one."""
        if self._peek() == "[":
            for _ in self.items():
                pass
        else:
            self.value()

    def _peek(self) -> str:
        """Return the next character that is no white space, without taking it; "" at the end."""
        while True:
            while self.place < len(self.held) and self.held[self.place].isspace():
                self.place += 1
            if self.place < len(self.held) or not self._more():
                return self.held[self.place : self.place + 1]

    def _more(self) -> bool:
        """Read on; return whether there was more."""
        # As much again as a value has taken so far, or a long one would be decoded from its start again and again.
        more = self.stream.read(max(CHUNK, len(self.held) - self.place))
        self.held, self.place = self.held[self.place :] + more, 0
        if len(self.held) > MOST:
            raise ValueError(f"a record of more than {MOST} characters")
        return bool(more)
