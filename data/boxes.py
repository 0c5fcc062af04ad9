"""The one rule for how small a box may be, for checking, reading and training alike."""

from collections.abc import Sequence

import numpy as np

MIN_BOX_SIDE = 0.01
"""Pixels; a box with a shorter side inside its image shows nothing. (Augmentation works in float32 shares of the
image's sides, which are no finer.)"""


def trim_bbox(bbox: list[float], width: float, height: float) -> list[float]:
    """Return x, y, width, height in pixels without what lies beyond the image; the same list where nothing does."""
    x, y, w, h = bbox
    if x >= 0 and y >= 0 and x + w <= width and y + h <= height:
        return bbox
    left, top = max(x, 0), max(y, 0)
    return [left, top, min(x + w, width) - left, min(y + h, height) - top]


def clip_box(bbox: Sequence[float], width: float, height: float) -> np.ndarray:
    """Return x, y, width, height in pixels as x1, y1, x2, y2 clipped to the image, float32 [4]."""
    x, y, w, h = bbox
    return np.array([max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)], dtype=np.float32)


def has_area(boxes: np.ndarray) -> np.ndarray:
    """Return whether boxes [..., 4] x1, y1, x2, y2 are `MIN_BOX_SIDE` or more in both directions; NaN is not."""
    return (boxes[..., 2:] - boxes[..., :2] >= MIN_BOX_SIDE).all(axis=-1)
