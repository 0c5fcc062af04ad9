"""Kinds of parts, and the cycle in which they take turns."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Part:
    """A kind of part; `turns` are its places in the cycle in which the parts of a phantom kind take turns."""

    turns: tuple[int, ...]


def cycle_of(parts: Mapping[str, Part]) -> tuple[str, ...]:
    """Return the parts in the order of their turns.

    Raises ValueError for a part without a turn, and for a turn that two parts have or none has.
    """
    turns = sorted((turn, name) for name, part in parts.items() for turn in part.turns)
    without = [name for name, part in parts.items() if not part.turns]
    if without or [turn for turn, _ in turns] != list(range(len(turns))):
        raise ValueError(f"turns {turns} must be 0, 1, 2 ... with one part each, and each part have one: {without}")
    return tuple(name for _, name in turns)
