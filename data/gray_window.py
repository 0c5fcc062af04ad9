"""From stored gray levels to gray values in [0, 1]: the full depth, or a window of it.

A detector of 16 bits may use 130 of 65,536 levels. Scaled by the full depth such a radiograph is black, to the eye and
to a model. A `GrayWindow` says which levels become black and white; it is part of a run and repeated wherever the run
meets a radiograph. Ordinary radiographs keep the full depth, bit for bit.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from data.errors import InputError
from data.gray_levels import FileWindow, UsedLevels, used_levels

WindowKind = Literal["auto", "full", "fitted", "file", "percentiles", "levels"]

SLIVER = 1 / 16
"""Share of the scale: a radiograph of more than 8 bits that uses less is rescued by `auto`. 12 bits stored in 16 do."""
MARGIN = 0.25  # of the used levels, left on either side of them: a defect may be brighter than all else
WIDEST_FILE_WINDOW = 16.0  # times the levels used; a wider one shows as little as the full depth
FINEST = 2**16 - 1  # gray values of a curved window are whole multiples of 1 / FINEST


@dataclass(frozen=True, eq=False)
class LevelMap:
    """What one radiograph's levels become: gray value = (level - low) / (high - low), within 0 and 1.

    `table` float32 [2**depth] gives the gray value of every level instead, where the window is curved or its ends are
    not whole levels. All gray values are whole multiples of 1 / `full_scale`. `source` is where the window comes from.
    """

    low: float
    high: float
    full_scale: int
    source: Literal["full", "file", "used", "percentiles", "levels"] = "full"
    table: np.ndarray | None = None

    @classmethod
    def full(cls, depth: int) -> "LevelMap":
        """Return the map of the full depth: level / (2**depth - 1)."""
        return cls(0, 2**depth - 1, 2**depth - 1)

    @classmethod
    def between(cls, low: float, high: float, depth: int, source: Literal["file", "used", "percentiles", "levels"],
                ) -> "LevelMap":  # fmt: skip
        """Return a linear map; whole levels stay apart by whole steps."""
        if float(low).is_integer() and float(high).is_integer() and high - low <= FINEST:
            return cls(int(low), int(high), int(high - low), source)
        levels = np.arange(2**depth, dtype=np.float64)
        return cls(low, high, FINEST, source, _rounded(np.clip((levels - low) / (high - low), 0, 1)))

    def __call__(self, levels: np.ndarray) -> np.ndarray:
        """Return the gray values float32 [H, W] in [0, 1] of unsigned levels [H, W]."""
        if self.table is not None:
            return np.take(self.table, levels)
        gray = levels.astype(np.float32)  # which holds every level exactly
        if self.source != "full":
            gray -= np.float32(self.low)
            np.clip(gray, 0, self.full_scale, out=gray)
        gray /= np.float32(self.full_scale)  # in place: one float array is enough
        return gray

    def levels_of(self, gray: np.ndarray) -> np.ndarray:
        """Return the levels int64 whose gray values come nearest to `gray`, any shape, in [0, 1]."""
        if self.table is None:
            return np.rint(np.asarray(gray, np.float64) * self.full_scale + self.low).astype(np.int64)
        order = np.argsort(self.table, kind="stable")
        ascending = self.table[order]
        above = np.searchsorted(ascending, gray).clip(1, len(order) - 1)
        nearer_below = gray - ascending[above - 1] < ascending[above] - gray
        return np.asarray(order[above - nearer_below], np.int64)


@dataclass(frozen=True)
class GrayWindow:
    """Which levels of a radiograph become black and white.

    Kinds:
        auto: the full depth; but `fitted` where more than 8 bits are stored and the levels used are a sliver of the
            scale (under a 16th).
        full: the full depth, whatever is used of it.
        fitted: for every radiograph the window that its file states, if it fits the levels used, else the levels used
            and a margin.
        file: the window that the file states (VOI: linear, sigmoid or look-up table), an InputError without one.
        percentiles: between the percentiles `low` and `high` of each radiograph, a burnt-in caption left out.
        levels: between the stored levels `low` and `high`, the same in all radiographs.

    `bit_depth` is the number of bits that hold the stored levels, where a file does not state it rightly.
    `trained_on` is the range of gray values (after the window) of the radiographs that a run was trained on.

    Raises InputError for `low` and `high` that do not fit the kind.
    """

    kind: WindowKind = "auto"
    low: float | None = None
    high: float | None = None
    bit_depth: int | None = None
    trained_on: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        problem = window_problem(self.kind, self.low, self.high)
        if problem:
            raise InputError(f"gray window {self.kind} {self.low} to {self.high}: {problem}")

    def fit(self, levels: np.ndarray, depth: int, file_window: FileWindow | None, path: object = "") -> LevelMap:
        """Return what the levels of one radiograph become. A radiograph of one value keeps the full depth."""
        if self.kind == "levels":
            return LevelMap.between(self._low, self._high, depth, "levels")
        if self.kind == "file":
            if file_window is None:
                raise InputError(
                    f"{path}: states no window of its own (VOI), but data.window.kind is 'file'; use 'auto', "
                    "'percentiles' or 'levels'"
                )
            return file_map(file_window, depth)
        if self.kind == "percentiles":
            return self._percentiles(levels, depth)
        if self.kind == "fitted" or (self.kind == "auto" and depth > 8):
            used = used_levels(levels)
            if is_sliver(used, depth) or (self.kind == "fitted" and used.high > used.low):
                return fitted(used, depth, file_window)
        return LevelMap.full(depth)

    def of_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Return gray values of the full depth, float [H, W] in [0, 1], through this window, float32.

        They count as levels of 8 bits where they are whole ones, else of 16 (or `bit_depth`).
        """
        for depth in (self.bit_depth,) if self.bit_depth else (8, 16):
            full = np.float32(2**depth - 1)
            levels = np.rint(pixels * full).astype(np.uint8 if depth <= 8 else np.uint16)
            if np.array_equal(levels.astype(np.float32) / full, pixels):
                break
        shown = self.fit(levels, depth, None, "pixels")
        return np.asarray(pixels, np.float32) if shown.source == "full" else shown(levels)

    @property
    def _low(self) -> float:
        return 0.0 if self.low is None else self.low

    @property
    def _high(self) -> float:
        return 0.0 if self.high is None else self.high

    def _percentiles(self, levels: np.ndarray, depth: int) -> LevelMap:
        used = used_levels(levels, (self._low, self._high))
        if used.far:
            low, high = used.low, used.high
        else:
            low, high = (int(level) for level in np.rint(np.percentile(levels, (self._low, self._high))))
        return LevelMap.between(low, high, depth, "percentiles") if high > low else LevelMap.full(depth)

    def with_bit_depth(self, bit_depth: int | None) -> "GrayWindow":
        """Return the window with another depth of the stored levels, itself for None."""
        return self if bit_depth is None else replace(self, bit_depth=bit_depth)


def window_problem(kind: str, low: float | None, high: float | None) -> str | None:
    """Return what is wrong with the ends of a window of a kind, None when nothing is."""
    if kind not in ("percentiles", "levels"):
        return None if low is None and high is None else "takes no low and high; use 'percentiles' or 'levels'"
    if low is None or high is None or not 0 <= low < high:
        return "needs 0 <= low < high"
    if kind == "percentiles" and high > 100:
        return "percentiles need 0 <= low < high <= 100"
    if kind == "levels" and (high > FINEST or low != int(low) or high != int(high)):
        return f"levels are whole numbers from 0 to {FINEST}"
    return None


AUTO = GrayWindow()
"""The window of pictures, and of runs that state none: ordinary radiographs as they are, empty-looking ones rescued."""


def is_sliver(used: UsedLevels, depth: int) -> bool:
    """Return whether so little of the scale is used that a radiograph of more than 8 bits looks empty."""
    return depth > 8 and 0 < used.high - used.low < SLIVER * 2**depth


def fitted(used: UsedLevels, depth: int, file_window: FileWindow | None) -> LevelMap:
    """Return the window of the file if it fits the levels used, else one around those."""
    if file_window is not None and fits(file_window, used):
        return file_map(file_window, depth)
    margin = round(MARGIN * (used.high - used.low))
    low, high = max(used.low - margin, 0), min(used.high + margin, 2**depth - 1)
    return LevelMap.between(low, high, depth, "used")


def fits(window: FileWindow, used: UsedLevels) -> bool:
    """Return whether a file's window shows most of the levels used, and not as a sliver again."""
    shown = min(window.high, used.high) - max(window.low, used.low)
    span = used.high - used.low
    return shown >= span / 2 and window.high - window.low <= WIDEST_FILE_WINDOW * span


def file_map(window: FileWindow, depth: int) -> LevelMap:
    """Return the map of a file's own window."""
    if window.table is not None:
        return LevelMap(window.low, window.high, FINEST, "file", _rounded(window.table))
    return LevelMap.between(window.low, window.high, depth, "file")


def _rounded(table: np.ndarray) -> np.ndarray:
    """Return gray values as the nearest whole multiples of 1 / FINEST, float32."""
    return (np.rint(np.asarray(table, np.float64) * FINEST) / np.float64(FINEST)).astype(np.float32)
