"""Small changes to good files: of bytes, and of the values in nested lists and mappings."""

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

LANDMARKS = (
    *(0, 1, 2, 3, 4, 5, 8, 9, 10, 12, 15, 16, 17, 24, 31, 32, 33, 63, 64, 100, 127, 128, 254, 255, 256, 257),
    *(1000, 4095, 4096, 32767, 32768, 65535, 65536, 2**20, 2**24 - 1, 2**27, 2**27 + 1, 2**30, 2**31 - 1),
    *(2**31, 2**32 - 1),
)  # fmt: skip
"""Numbers near which formats and programs change their behavior."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 255, 0.5, -0.5, 1e-7, 1e-320, 1e6, -1e6, 3e8, 1e300, -1e300),
    *(float("nan"), float("inf"), float("-inf"), 2**31, -(2**31), 2**53 + 1, 2**63, 2**64, 10**30),
    *("", " ", "0", "1", "nan", "abc", "..", "../../a.png", "/dev/zero", "a\0b", "\ud800", "\u0661"),
    *("z" * 260, "[bold]"),
    *("$x_{$", "=1+1", "<script>", "a\nb", "\u202e", ".", "C:\\a.png", "~/a"),
    *([], {}, [[]], [0], [1, 2], [1, 2, 3, 4], [None] * 4, ["a"], [[1]], {"a": 1}, {"size": 1}, {"0": 0}),
)  # fmt: skip
"""What may stand where something else is expected."""


def changed_bytes(content: bytes, rng: np.random.Generator, head: int | None = None, most: int = 4) -> bytes:
    """Return `content` with 1 to `most` changes; two in three lie in the first `head` bytes."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, most + 1))):
        if not data:
            break
        reach = len(data) if head is None or rng.random() < 1 / 3 else min(head, len(data))
        change_at(data, int(rng.integers(reach)), rng)
    return bytes(data)


def change_at(data: bytearray, at: int, rng: np.random.Generator) -> None:
    """Change, remove, double, insert or overwrite some bytes at a place."""
    match int(rng.integers(9)):
        case 0:
            data[at] ^= 1 << int(rng.integers(8))
        case 1:
            data[at] = int(rng.integers(256))
        case 2:
            del data[at : at + int(rng.integers(1, 50))]
        case 3:
            data[at:at] = rng.bytes(int(rng.integers(1, 50)))
        case 4:
            del data[at:]
        case 5:
            length = int(rng.integers(1, 50))
            data[at:at] = data[at : at + length]
        case 6:
            length = int(rng.integers(1, 9))
            data[at : at + length] = bytes([int(rng.choice([0, 255]))]) * length
        case _:
            width = int(rng.choice([1, 2, 4, 8]))
            number = LANDMARKS[int(rng.integers(len(LANDMARKS)))] % (1 << 8 * width)
            data[at : at + width] = number.to_bytes(width, "big" if rng.random() < 0.5 else "little")


def paths_into(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value inside nested mappings and lists."""
    keys: Sequence[Any] = (
        list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    )
    for key in keys:
        yield (*path, key)
        yield from paths_into(value[key], (*path, key))


def changed_values(content: Any, rng: np.random.Generator, most: int = 3, values: Sequence[Any] = VALUES) -> Any:
    """Return a copy of nested mappings and lists with 1 to `most` values replaced, removed, doubled or moved."""
    content = copy.deepcopy(content)
    for _ in range(int(rng.integers(1, most + 1))):
        paths = list(paths_into(content))
        if not paths:
            break
        path = paths[int(rng.integers(len(paths)))]
        owner = value_at(content, path[:-1])
        match int(rng.integers(7)):
            case 0:
                del owner[path[-1]]
            case 1 if isinstance(owner, list):
                owner.insert(int(rng.integers(len(owner) + 1)), copy.deepcopy(owner[path[-1]]))
            case 2:
                other = paths[int(rng.integers(len(paths)))]
                owner[path[-1]] = copy.deepcopy(value_at(content, other))
            case _:
                owner[path[-1]] = copy.deepcopy(values[int(rng.integers(len(values)))])
    return content


def value_at(content: Any, path: Sequence[Any]) -> Any:
    """Return the value at a path of keys and positions."""
    for key in path:
        content = content[key]
    return content


def changed_json(content: Any, rng: np.random.Generator) -> bytes:
    """Return a JSON file with changed values, and one time in five with changed bytes, too."""
    data = json.dumps(changed_values(content, rng)).encode()
    return changed_bytes(data, rng) if rng.random() < 0.2 else data
