"""Masks of COCO files, checked and decoded without native code: run lengths in NumPy, polygons within bounds.

Native decoders trust what they get: a run-length string one character short reads for ever, a malformed one writes
where it should not, and a polygon far outside of its image asks for gigabytes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

FARTHEST = 1.0  # sizes of the image that a polygon may reach beyond it
LONGEST_OUTLINE = 10**6  # pixels; the outline is drawn in steps of a fifth


def mask_runs(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Return the pixels of a COCO segmentation as runs int64 [N, 2]: start and end, counted down the columns.

    Args:
        segmentation: run lengths `{"size": [height, width], "counts": list | str | bytes}`, or a list of polygons,
            each x1, y1, x2, y2 ... of three points or more. Runs of several polygons may overlap.
        height: of the image.
        width: of the image.

    Raises ValueError, in words, for anything else.

    """
    if isinstance(segmentation, dict):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        if size is not None and list(size) != [height, width]:
            raise ValueError(f"run lengths are for an image of {str(size)[:60]} (height, width), not {[height, width]}")
        return _runs(run_lengths(counts), height, width)
    if isinstance(segmentation, list | tuple) and segmentation:
        return np.concatenate([_polygon_runs(points, height, width) for points in segmentation])
    raise ValueError("neither run lengths nor polygons")


def run_lengths(counts: Any) -> np.ndarray:
    """Return run lengths int64 [N] of a list of whole numbers, or of COCO's compressed string.

    Raises ValueError for anything else, and for what the string cannot mean.
    """
    if isinstance(counts, list):
        if not all(isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 2**40 for count in counts):
            raise ValueError("run lengths hold something other than whole numbers of at least 0")
        return np.array(counts, dtype=np.int64)
    if isinstance(counts, str):
        if not counts.isascii():
            raise ValueError("compressed run lengths hold characters that are not ASCII")
        counts = counts.encode("ascii")
    if not isinstance(counts, bytes):
        raise ValueError(f"run lengths are {type(counts).__name__}, not a list or a string")
    return _decompressed(counts)


def _decompressed(text: bytes) -> np.ndarray:
    """Return the run lengths of COCO's string: five bits a character, low bits first, later ones as differences."""
    digits = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not len(digits):
        return np.zeros(0, np.int64)
    if digits.min() < 0 or digits.max() > 63:
        raise ValueError("compressed run lengths hold a character that none are written with")
    last = (digits & 0x20) == 0  # of a number; the others say that more follows
    if not last[-1]:
        raise ValueError("compressed run lengths end in the middle of a number: cut short")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 8:
        raise ValueError("compressed run lengths hold a number too large for any image")
    place = np.arange(len(digits)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((digits & 0x1F) << (5 * place), starts)
    numbers -= np.where(digits[ends] & 0x10, np.int64(1) << (5 * lengths), 0)  # the sign goes on upwards
    # Each number from the fourth on is the difference from the one before the last.
    for first in (1, 2):
        numbers[first::2] = np.cumsum(numbers[first::2])
    return numbers


def _runs(counts: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the runs of alternating lengths, the first one of background."""
    if (counts < 0).any():
        raise ValueError("run lengths hold a negative number")
    if counts.sum() != height * width:
        raise ValueError(f"run lengths add up to {int(counts.sum())}, not {height} x {width}")
    turns = np.cumsum(counts)
    ends = turns[1::2]
    runs = np.column_stack([turns[0::2][: len(ends)], ends])
    return runs[runs[:, 1] > runs[:, 0]]


def _polygon_runs(points: Any, height: int, width: int) -> np.ndarray:
    """Return the runs of one polygon, drawn as pycocotools does."""
    problem = polygon_problem(points, height, width)
    if problem:
        raise ValueError(problem)
    found = coco_mask.frPyObjects([[float(value) for value in points]], height, width)[0]
    return _runs(_decompressed(found["counts"]), height, width)


def polygon_problem(points: Sequence[float] | Any, height: int, width: int) -> str | None:
    """Return what is wrong with a polygon x1, y1, x2, y2 ... of an image, None when nothing is."""
    if not isinstance(points, list | tuple) or len(points) < 6 or len(points) % 2:
        return "a polygon is not x, y, x, y ... of three points or more"
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in points):
        return "a polygon holds something other than numbers"
    try:
        corners = np.array(points, dtype=np.float64).reshape(-1, 2)
    except OverflowError:
        return "a polygon holds a number that is too large"
    size = np.array([width, height], dtype=np.float64)
    outside = ~((corners >= -FARTHEST * size) & (corners <= (1 + FARTHEST) * size)).all(axis=1)
    if outside.any():
        x, y = corners[outside][0]
        return f"a polygon has the corner {x:g}, {y:g}, far outside of the {width} x {height} image"
    length = np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum()
    if length > max(LONGEST_OUTLINE, 50 * (height + width)):
        return f"a polygon has an outline of {length:.0f} pixels; write it as run lengths"
    return None


def paint(labels: np.ndarray, runs: np.ndarray, value: int) -> None:
    """Set the pixels of runs [N, 2] in `labels` [W, H], contiguous: the image with its columns as rows."""
    if not len(runs):
        return
    flat = labels.reshape(-1)
    order = np.argsort(runs[:, 0], kind="stable")
    starts, ends = runs[order, 0], np.maximum.accumulate(runs[order, 1])
    starts = np.maximum(starts, np.concatenate([[0], ends[:-1]]))  # overlapping runs of polygons count once
    first, last = int(starts[0]), int(ends[-1])
    lengths = np.column_stack([starts - np.concatenate([[first], ends[:-1]]), ends - starts]).ravel()
    inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    flat[first:last][inside] = value
