"""Real defects painted over with what surrounds them, so that a radiograph can serve as one without defects."""

from typing import NamedTuple

import cv2
import numpy as np

from data.synthesis.superposition import matching_noise

RING = 8  # pixels around the hole whose noise is imitated


class Patch(NamedTuple):
    """Grey values float32 `[h, w]` in [0, 1] that replace those of a radiograph from (`x0`, `y0`) on."""

    x0: int
    y0: int
    values: np.ndarray


def inpaint_boxes(pixels: np.ndarray, boxes: np.ndarray, margin: float) -> list[Patch]:
    """Return patches that cover boxes `[N, 4]` xyxy, grown by `margin` pixels, with their surroundings and its noise.

    `pixels` is float32 `[H, W]` in [0, 1]. The surroundings are continued by the Navier-Stokes method, which carries
    edges through, then smoothed, and get noise of the same strength and grain. The noise depends on the place
    alone, so that a radiograph always gets the same patches.
    """
    height, width = pixels.shape
    patches = []
    hole = np.zeros(pixels.shape, np.uint8)
    places = []
    for x1, y1, x2, y2 in np.asarray(boxes, dtype=np.float64).reshape(-1, 4):
        left, top = max(int(x1 - margin), 0), max(int(y1 - margin), 0)
        right, bottom = min(int(np.ceil(x2 + margin)), width), min(int(np.ceil(y2 + margin)), height)
        hole[top:bottom, left:right] = 1
        places.append((left, top, right, bottom))
    for left, top, right, bottom in places:
        x0, y0 = max(left - RING, 0), max(top - RING, 0)
        here = np.s_[y0 : min(bottom + RING, height), x0 : min(right + RING, width)]
        around, mask = np.ascontiguousarray(pixels[here]), np.ascontiguousarray(hole[here])
        calm = cv2.GaussianBlur(around, (0, 0), 1.0)
        filled = cv2.inpaint(calm, mask, 3, cv2.INPAINT_NS)
        soft = cv2.GaussianBlur(filled, (0, 0), 2.0)
        rng = np.random.default_rng([left, top, right, bottom])
        noise = matching_noise(around, np.full(around.shape, 2.0), rng)
        values = np.where(mask > 0, soft + noise, around).clip(0, 1).astype(np.float32)
        patches.append(Patch(left, top, values[top - y0 : bottom - y0, left - x0 : right - x0]))
    return patches
