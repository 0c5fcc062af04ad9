"""Stored gray levels of a radiograph: one channel, whole numbers, and which of them are used."""

from dataclasses import dataclass

import numpy as np

from data.errors import InputError
from data.held_file import AnyFile

BODY = (2.0, 98.0)  # percentiles between which what is used is spread
FAR = 8.0  # spreads from there: neither noise nor a defect, but a caption, a marker or padding
MOST_FAR = 0.1  # of the pixels; more are part of the radiograph
SAMPLE = 2**16  # pixels that the levels are estimated from


@dataclass(frozen=True, eq=False)
class FileWindow:
    """The window that a file asks to be shown with, in its stored levels after inversion.

    Levels up to `low` are black, from `high` on white, and linear between; `table` float32 [2**depth] in [0, 1]
    gives the gray value of every level instead where it is not linear. `name` says it in the file's own words.
    """

    low: float
    high: float
    table: np.ndarray | None = None
    name: str = ""


@dataclass(frozen=True, eq=False)
class StoredImage:
    """An image as its file holds it, before anything is scaled.

    `values` is uint8 or uint16 [H, W], `depth` the bits that the file states for them; with `inverted`, larger is
    darker. `pixel_size_mm` is (row, column).
    """

    values: np.ndarray
    depth: int
    inverted: bool = False
    pixel_size_mm: tuple[float, float] | None = None
    file_window: FileWindow | None = None

    def upright_levels(self, depth: int, path: AnyFile) -> np.ndarray:
        """Return the levels 0 ... 2**depth - 1, larger is brighter; inverted as whole numbers.

        Raises InputError for no pixels and for levels that `depth` bits cannot hold.
        """
        if self.values.size == 0:
            raise InputError(f"{path}: no pixels")
        top = 2**depth - 1
        highest = int(self.values.max())
        if highest > top:
            raise InputError(
                f"{path}: value {highest} is above {top}, the most that {depth} bits hold; give the right bit_depth "
                f"({highest.bit_length()} or more)"
            )
        return np.subtract(self.values.dtype.type(top), self.values) if self.inverted else self.values


@dataclass(frozen=True)
class UsedLevels:
    """Which levels a radiograph uses, but for a caption burnt into it.

    `low` and `high` hold what is asked for of its pixels between them. `far` is the share of pixels far outside, such
    as a caption's, of which more than a third lie at the one level `caption` (None: no such level).
    """

    low: int
    high: int
    far: float = 0.0
    caption: int | None = None


def gray_channel(values: np.ndarray, path: AnyFile) -> np.ndarray:
    """Return the one channel uint8 or uint16 of [H, W], or of [H, W, C] whose colors are all equal and opaque."""
    if values.dtype == bool:
        values = values.astype(np.uint8)
    if values.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{path}: samples are {values.dtype}; expected unsigned integers of up to 16 bits: convert the file"
        )
    if values.ndim == 2:
        return values
    if values.ndim != 3 or not 1 <= values.shape[2] <= 4:
        raise InputError(f"{path}: an array of shape {list(values.shape)}; expected one gray image")
    channels = values.shape[2]
    if channels in (2, 4) and values.size and values[..., -1].min() != np.iinfo(values.dtype).max:
        raise InputError(f"{path}: has transparent pixels; a radiograph has one gray channel")
    gray = values[..., 0]
    if any((values[..., k] != gray).any() for k in range(1, channels - (channels in (2, 4)))):
        raise InputError(f"{path}: a color image; a radiograph has one gray channel")
    return np.ascontiguousarray(gray)


def used_levels(levels: np.ndarray, percentiles: tuple[float, float] = (0.1, 99.9)) -> UsedLevels:
    """Return the levels that a radiograph uses, estimated from every n-th pixel of every n-th row.

    Levels far from the body of all others are left out, as long as few pixels have them. `levels` is unsigned [H, W].
    """
    step = max(1, int(np.sqrt(levels.size / SAMPLE)))
    counts = np.bincount(levels[::step, ::step].ravel())
    total = int(counts.sum())
    occupied = np.flatnonzero(counts)
    body = counts.copy()
    if len(occupied) > 2:
        body[[occupied[0], occupied[-1]]] = 0  # a caption, air or padding may be more than the percentiles leave out
    low, high = _percentiles(body, BODY)
    spread = max(high - low, 1)
    inside = counts.copy()
    inside[: max(int(low - FAR * spread), 0)] = 0
    inside[int(high + FAR * spread) + 1 :] = 0
    far = 1 - inside.sum() / total
    if not 0 < far <= MOST_FAR:
        return UsedLevels(*_percentiles(counts, percentiles))
    outside = counts - inside
    caption = int(outside.argmax())
    is_caption = outside[caption] > outside.sum() / 3
    return UsedLevels(*_percentiles(inside, percentiles), float(far), caption if is_caption else None)


def _percentiles(counts: np.ndarray, percentiles: tuple[float, float]) -> tuple[int, int]:
    """Return the levels at two percentiles of a histogram."""
    heaped = np.cumsum(counts)
    low, high = (np.searchsorted(heaped, heaped[-1] * share / 100, side="left") for share in percentiles)
    first = np.flatnonzero(counts)[0]
    return int(max(low, first)), int(min(max(high, first), len(counts) - 1))
