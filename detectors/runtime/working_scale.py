"""The scale that a noisy radiograph is detected at, in NumPy; see `detectors.boxes.working_scale`."""

import numpy as np

SATURATED = (18 / 255, 238 / 255)  # as there
FEWEST_PIXELS = 1000
FULL_SCALE = 20
"""Scales are whole numbers of twentieths."""


def working_scale(pixels: np.ndarray, noise_limit: float, coarsest: float) -> int:
    """Return the scale, in twentieths, at which pixels float32 [H, W] in [0, 1] have about `noise_limit` of noise.

    The noise is in gray levels of 255. A `noise_limit` of 0 keeps every radiograph at its size.
    """
    if noise_limit == 0 or coarsest == 1:
        return FULL_SCALE
    distances = _distances(pixels)
    middle = (len(distances) - 1) // 2  # of an even number the lower one, as in PyTorch
    if len(distances) < FEWEST_PIXELS or np.count_nonzero(distances * 255 <= noise_limit) > middle:
        return FULL_SCALE
    noise = float(np.partition(distances, middle)[middle]) * 255
    return round(min(max(noise_limit / noise, coarsest), 1.0) * FULL_SCALE)


def _distances(pixels: np.ndarray) -> np.ndarray:
    """Return how far the pixels that are not saturated lie from the mean of their 3 x 3 neighborhood."""
    padded = np.pad(pixels, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    mean = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) * np.float32(1 / 9)
    # A pixel counts where none of the 5 x 5 around it is saturated.
    usable = (pixels > SATURATED[0]) & (pixels < SATURATED[1])
    wide = np.pad(usable, 2, constant_values=True)
    usable = wide[:-4] & wide[1:-3] & wide[2:-2] & wide[3:-1] & wide[4:]
    usable = usable[:, :-4] & usable[:, 1:-3] & usable[:, 2:-2] & usable[:, 3:-1] & usable[:, 4:]
    return np.abs(pixels - mean)[usable]
