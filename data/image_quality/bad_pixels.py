"""Dead and stuck pixels: those that stand out from their neighbors in the same way on several radiographs.

ASTM E2597 names the kinds. One radiograph cannot tell a bad pixel from dust or a defect: three or more are needed, of
different places or parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.errors import InputError

LEAST_IMAGES = 3
STANDS_OUT = 6.0  # noises from the median of the neighbors
ALWAYS = 0.9  # of the radiographs on which it does
MOST = 0.01  # of the pixels; more are no bad pixels but a picture that repeats itself


@dataclass(frozen=True)
class BadPixels:
    """Pixels that stand out on all radiographs, int [N, 2] as x, y.

    Attributes:
        dead: at the lowest gray value throughout.
        stuck: at one other gray value throughout, while their neighbors change.
        deviating: brighter or darker than their neighbors throughout.

    """

    dead: np.ndarray
    stuck: np.ndarray
    deviating: np.ndarray


def find_bad_pixels(images: Sequence[np.ndarray]) -> BadPixels:
    """Return the bad pixels of a detector by at least three radiographs float [H, W] in [0, 1] of one size.

    Raises InputError for fewer, for other sizes, and where the radiographs are so alike that nothing can be told.
    """
    if len(images) < LEAST_IMAGES:
        raise InputError(f"{len(images)} radiographs cannot tell bad pixels from defects; give {LEAST_IMAGES} or more")
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        sizes = ", ".join(f"{width} x {height}" for height, width in sorted(shapes))
        raise InputError(f"radiographs of {sizes} pixels are not of one detector; give those of one size")
    above, below = np.zeros(images[0].shape, np.int32), np.zeros(images[0].shape, np.int32)
    changes = np.zeros(images[0].shape, np.float32)
    first = _neighbors(images[0])
    for image in images:
        middle = _neighbors(image)
        rest = image - middle
        noise = max(1.4826 * float(np.median(np.abs(rest))), 1 / 1024)
        above += rest > STANDS_OUT * noise
        below += rest < -STANDS_OUT * noise
        changes = np.maximum(changes, np.abs(middle - first))
    always = np.maximum(above, below) >= ALWAYS * len(images)
    if always.mean() > MOST:
        raise InputError(
            f"{100 * always.mean():.1f} % of the pixels stand out alike on all radiographs: they show the same "
            "structure; give radiographs of different places or parts"
        )
    stack = np.stack([image[always] for image in images])
    places = np.argwhere(always)[:, ::-1]
    same = np.ptp(stack, axis=0) < 1e-6
    dead = same & (stack[0] <= min(float(image.min()) for image in images) + 1e-6)
    stuck = same & ~dead & (changes[always] > 1 / 512)
    return BadPixels(places[dead], places[stuck], places[~dead & ~stuck])


def _neighbors(image: np.ndarray) -> np.ndarray:
    """Return the median of the eight neighbors of each pixel, edges repeated."""
    padded = np.pad(image, 1, mode="edge")
    height, width = image.shape
    around = [
        padded[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3) if (dy, dx) != (1, 1)
    ]  # fmt: skip
    median: np.ndarray = np.median(np.stack(around), axis=0)
    return median
