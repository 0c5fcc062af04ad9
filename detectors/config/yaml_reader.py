"""YAML of configurations, read with limits: a small file must neither hang the reader nor fill the memory."""

from pathlib import Path
from typing import Any

import yaml

from data.errors import InputError

MAX_BYTES = 1_000_000
MAX_NODES = 100_000  # values of a file, those that an alias repeats counted each time
MAX_DEPTH = 50
MAX_WORDS = 200  # characters of a message of the YAML reader

# What the safe loader lets through besides its own errors, for invalid dates, numbers and keys.
_NO_YAML = (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


def read_yaml(path: Path) -> Any:
    """Return the plain values of a YAML file. Raises InputError, naming the file, for anything that is not YAML."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: has {path.stat().st_size} bytes; a configuration has at most {MAX_BYTES}")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as YAML: {_words(error)}") from error
    return parse_yaml(text, str(path))


class _Loader(yaml.SafeLoader):
    """The safe loader, which stops at a nesting that no configuration has instead of following it to the end."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node and what is in it. Raises RecursionError for one that lies too deep."""
        self.depth += 1
        if self.depth > MAX_DEPTH + 1:
            raise RecursionError
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


def parse_yaml(text: str, origin: str) -> Any:
    """Return the plain values of YAML text. Raises InputError that begins with `origin`."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _size(node, {}, 0) > MAX_NODES:
                raise InputError(f"{origin}: its aliases stand for more than {MAX_NODES} values; write them out")
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except InputError:
        raise
    except RecursionError as error:
        raise InputError(f"{origin}: not readable as YAML: nested deeper than {MAX_DEPTH}") from error
    except _NO_YAML as error:
        raise InputError(f"{origin}: not readable as YAML: {_words(error)}") from error


def _size(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """Return how many values a node stands for. Raises RecursionError for one too deep, or inside itself."""
    if depth > MAX_DEPTH:
        raise RecursionError
    if id(node) not in known:
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            parts = node.value
        elif isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_size(part, known, depth + 1) for part in parts)
    return known[id(node)]


def _words(error: Exception) -> str:
    """Return an error in one short line."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= MAX_WORDS else words[:MAX_WORDS] + " ..."
