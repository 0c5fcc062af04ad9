"""Real defects inpainted with what surrounds them, so that a radiograph can serve as a defect-free one.

What is unlike the part's background would be learned: as a defect where it is labeled, as background where it is not.
A wall that ends in a smear looks like a defect at a wall, and a detector that is shown such smears unlabeled stops
finding defects there. So the surface continues slopes and bends, not just gray values.
"""

from typing import NamedTuple

import cv2
import numpy as np
from skimage.restoration import inpaint_biharmonic

from data.synthesis.superposition import matching_noise

RING = 10  # pixels around a hole that its surface continues
CALM = 1.5  # pixels; the blur that keeps noise out of the surface
WIDEST = 48  # pixels; a wider hole is filled at a coarser scale, for the time grows with the third power of its side


class InpaintedRegion(NamedTuple):
    """Gray values float32 `[h, w]` in [0, 1] that replace those of a radiograph from (`x0`, `y0`) on."""

    x0: int
    y0: int
    values: np.ndarray


def inpaint_boxes(pixels: np.ndarray, boxes: np.ndarray, padding: float) -> list[InpaintedRegion]:
    """Return what replaces boxes `[N, 4]` xyxy, padded by `padding` pixels: their surroundings, continued, with noise.

    `pixels` is float32 `[H, W]` in [0, 1]. Boxes that touch are one region. The smoothed
    surroundings are continued by the biharmonic equation, as a bent plate would, and get noise of the same strength
    and grain; where a hole has no surroundings, for it is the whole radiograph, it gets their mean. The noise depends
    on the place alone, so that a radiograph always gets the same regions.
    """
    height, width = pixels.shape
    hole = np.zeros(pixels.shape, np.uint8)
    for x1, y1, x2, y2 in np.asarray(boxes, dtype=np.float64).reshape(-1, 4):
        left, top = max(int(x1 - padding), 0), max(int(y1 - padding), 0)
        hole[top : int(np.ceil(y2 + padding)), left : int(np.ceil(x2 + padding))] = 1
    count, _, places, _ = cv2.connectedComponentsWithStats(hole, connectivity=8)
    regions = []
    for left, top, wide, high, _ in places[1:count].tolist():
        right, bottom = left + wide, top + high
        x0, y0 = max(left - RING, 0), max(top - RING, 0)
        here = np.s_[y0 : min(bottom + RING, height), x0 : min(right + RING, width)]
        around, covered = np.ascontiguousarray(pixels[here]), np.ascontiguousarray(hole[here])
        rng = np.random.default_rng([left, top, right, bottom])
        noise = matching_noise(around, np.full(around.shape, 2.0), rng)
        values = np.where(covered > 0, _surface(around, covered) + noise, around).clip(0, 1).astype(np.float32)
        regions.append(InpaintedRegion(left, top, values[top - y0 : bottom - y0, left - x0 : right - x0]))
    return regions


def _surface(around: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Return a smooth surface float32 that continues a window float32 `[h, w]` from around a hole into it."""
    known = (hole == 0).astype(np.float32)
    if not known.any():
        return np.full(around.shape, around.mean(), np.float32)
    # What lies in the hole must not shine through the blur.
    weight = cv2.GaussianBlur(known, (0, 0), CALM)
    calm = cv2.GaussianBlur(around * known, (0, 0), CALM) / np.maximum(weight, 1e-6)
    height, width = hole.shape
    scale = max(height, width) / (WIDEST + 2 * RING)
    if scale <= 1:
        return inpaint_biharmonic(calm, hole > 0).astype(np.float32)
    size = (max(round(width / scale), 3), max(round(height / scale), 3))
    share = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(calm * known, size, interpolation=cv2.INTER_AREA) / np.maximum(share, 1e-6)
    empty = share < 0.5
    filled = inpaint_biharmonic(small, empty) if empty.any() and not empty.all() else small
    return cv2.resize(filled.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
