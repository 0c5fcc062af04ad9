"""Contrast-to-noise ratio at a marked place: what lies in a box against the ring around it (ISO 17636-2)."""

from dataclasses import dataclass

import numpy as np

from data.errors import InputError

RING = 0.75  # width of the ring in sides of the box, 4 px at least
GAP = 2  # pixels between box and ring


@dataclass(frozen=True)
class Contrast:
    """Contrast of a marked place.

    Attributes:
        contrast: mean gray value inside less that of the background, a plane through the ring.
        noise: standard deviation of the ring around that plane.
        ratio: contrast over noise, signed; None where the ring has no noise.

    """

    contrast: float
    noise: float
    ratio: float | None


def contrast_at(pixels: np.ndarray, box: tuple[int, int, int, int]) -> Contrast:
    """Return the contrast of a box x1 y1 x2 y2 in pixels in gray values float [H, W].

    Raises InputError for a box that is not inside, or that leaves no ring around it.
    """
    height, width = pixels.shape
    x1, y1, x2, y2 = box
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise InputError(f"place {x1},{y1},{x2},{y2} is not inside of {width} x {height} pixels; mark it anew")
    ring = max(4, int(RING * max(x2 - x1, y2 - y1)))
    left, top, right, bottom = (
        max(x1 - GAP - ring, 0),
        max(y1 - GAP - ring, 0),
        min(x2 + GAP + ring, width),
        min(y2 + GAP + ring, height),
    )
    window = pixels[top:bottom, left:right].astype(np.float64)
    around = np.ones(window.shape, bool)
    around[max(y1 - GAP - top, 0) : y2 + GAP - top, max(x1 - GAP - left, 0) : x2 + GAP - left] = False
    if around.sum() < 16:
        raise InputError(f"place {x1},{y1},{x2},{y2} leaves no background around it; mark a smaller one")
    y, x = np.indices(window.shape)
    plane = np.stack([np.ones(window.size), x.ravel(), y.ravel()], axis=1)
    fitted = np.linalg.lstsq(plane[around.ravel()], window[around], rcond=None)[0]
    rest = window - (plane @ fitted).reshape(window.shape)
    noise = float(rest[around].std(ddof=3))
    inside = rest[y1 - top : y2 - top, x1 - left : x2 - left]
    contrast = float(inside.mean())
    return Contrast(contrast, noise, contrast / noise if noise > 1e-12 else None)
