"""Windows on radiographs: where they lie, what they are labeled, and their pixels.

A window is a *defect* patch if it holds at least a third of a defect: of as much of the defect's box as fits into a
window, so that for a defect larger than the window it is a third of the window. It is a *no-defect* patch if it
holds no annotated pixel and lies on the test object. All other windows are neither, and are never used.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from data.patch_files import scaled

DEFECT, NEGATIVE, IGNORE = 1, 0, -1
ROUNDING = 1e-6  # of a window: a share of exactly a third counts in spite of rounding


class WindowPose(NamedTuple):
    """Where a window lies: radiograph, center in pixels, degrees turned, whether mirrored."""

    image: int
    x: float
    y: float
    angle: float = 0.0
    mirrored: bool = False


def label_window(
    place: WindowPose, boxes: np.ndarray, size: int, share: float = 1 / 3, ignored: np.ndarray | None = None
) -> int:
    """Return DEFECT, NEGATIVE (no annotated pixel) or IGNORE for a window of `size` pixels.

    Args:
        place: center and angle of the window.
        boxes: [N, 4] x1 y1 x2 y2 of the defects in pixels.
        size: side of the window.
        share: least part of a defect, or of as much of it as fits into a window.
        ignored: bool [N], boxes (crowds) that are no defect to learn, but no background either.

    """
    inside = _areas_inside(place, boxes, size)
    fitting = np.minimum(boxes[:, 2] - boxes[:, 0], size) * np.minimum(boxes[:, 3] - boxes[:, 1], size)
    held = inside >= share * fitting - ROUNDING * size**2
    if ignored is not None:
        held &= ~ignored
    if (held & (inside > 0)).any():
        return DEFECT
    return IGNORE if (inside > 0).any() else NEGATIVE


def cut_window(levels: np.ndarray, place: WindowPose, size: int) -> np.ndarray:
    """Return the window at `place`, float32 [size, size] in [0, 1].

    Turned windows are interpolated linearly from the radiograph around them; what lies beyond its edge is
    reflected. An upright window at whole pixels keeps its values.
    """
    left, top = place.x - size / 2, place.y - size / 2
    height, width = levels.shape
    if place.angle % 180 == 0 and left == int(left) and top == int(top):
        x, y = int(left), int(top)
        if 0 <= x <= width - size and 0 <= y <= height - size:
            patch = scaled(levels[y : y + size, x : x + size])
            patch = patch[::-1, ::-1] if place.angle % 360 else patch
            return np.ascontiguousarray(patch[:, ::-1] if place.mirrored else patch)
    reach = math.ceil(size * 0.71) + 2
    x0, y0 = max(int(place.x) - reach, 0), max(int(place.y) - reach, 0)
    around = scaled(levels[y0 : int(place.y) + reach + 1, x0 : int(place.x) + reach + 1])
    cos, sin = math.cos(math.radians(place.angle)), math.sin(math.radians(place.angle))
    sign = -1.0 if place.mirrored else 1.0
    matrix = np.array([[sign * cos, -sin, 0.0], [sign * sin, cos, 0.0]])
    matrix[:, 2] = [place.x - x0 - 0.5, place.y - y0 - 0.5] - matrix[:, :2] @ np.full(2, (size - 1) / 2)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(around, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)


def extent(size: int, angle: float) -> int:
    """Return the side, in whole pixels, of the upright square that holds a window turned by `angle` degrees."""
    radians = math.radians(angle)
    side = size * (abs(math.cos(radians)) + abs(math.sin(radians)))
    # Even or odd as the window is, so that both have the same center.
    whole = math.ceil(side - 1e-9)
    return whole + (whole - size) % 2


def _areas_inside(place: WindowPose, boxes: np.ndarray, size: int) -> np.ndarray:
    """Return the area of each box inside the window, float64 [N], in pixels squared."""
    if place.angle % 180 == 0:
        low = np.maximum(boxes[:, :2], np.array([place.x, place.y]) - size / 2)
        high = np.minimum(boxes[:, 2:], np.array([place.x, place.y]) + size / 2)
        return (high - low).clip(0).prod(axis=1)
    # About the window's own center, where float32 is exact enough.
    window = cv2.boxPoints(((0.0, 0.0), (float(size), float(size)), place.angle))
    moved = boxes - [place.x, place.y, place.x, place.y]
    quads = [np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], dtype=np.float32) for x1, y1, x2, y2 in moved]
    return np.array([cv2.intersectConvexConvex(window, quad)[0] for quad in quads], dtype=np.float64)
