"""Profiles across straight structures: pixels of a band projected onto a line, without interpolation."""

import numpy as np


def band_profile(
    pixels: np.ndarray, start: tuple[float, float], end: tuple[float, float], width: float, step: float = 0.25
) -> tuple[np.ndarray, np.ndarray]:
    """Return places in pixels along a line and the mean gray value there, over a band of a width around the line.

    Every pixel whose center lies in the band goes, as it is, into the bin of its place along the line; where the line
    crosses structures that are tilted against the pixels, the profile is therefore sampled finer than a pixel, and no
    interpolation blurs it.

    Args:
        pixels: float [H, W].
        start: x, y of the line's first end in pixels; a pixel's center lies at its index.
        end: x, y of its other end.
        width: of the band, across the line, in pixels.
        step: of the bins in pixels.

    Returns:
        Places float64 [K] from the first end, and values float64 [K]; bins without pixels are left out.

    Raises ValueError for a line of no length, and for a band that holds no pixel.

    """
    direction = np.subtract(end, start, dtype=np.float64)
    length = float(np.hypot(*direction))
    if not length > 0:
        raise ValueError("the line has no length")
    ux, uy = direction / length
    x0, x1 = sorted((start[0], end[0]))
    y0, y1 = sorted((start[1], end[1]))
    height, wide = pixels.shape
    left, right = max(int(x0 - width), 0), min(int(x1 + width) + 2, wide)
    top, bottom = max(int(y0 - width), 0), min(int(y1 + width) + 2, height)
    x = np.arange(left, right) - start[0]
    y = (np.arange(top, bottom) - start[1])[:, None]
    along, across = ux * x + uy * y, ux * y - uy * x
    inside = (np.abs(across) <= width / 2) & (along >= 0) & (along <= length)
    if not inside.any():
        raise ValueError("the band holds no pixel")
    bins = (along[inside] / step).astype(int)
    sums = np.bincount(bins, pixels[top:bottom, left:right][inside].astype(np.float64))
    counts = np.bincount(bins)
    filled = np.flatnonzero(counts)
    return (filled + 0.5) * step, sums[filled] / counts[filled]


def running_median(values: np.ndarray, width: int) -> np.ndarray:
    """Return the median of `width` (made odd) neighbors along the last axis of float [..., K]; ends are repeated."""
    half = width // 2
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(half, half)], mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=-1)
    median: np.ndarray = np.median(windows, axis=-1)
    return median


def robust_sigma(values: np.ndarray) -> float:
    """Return the standard deviation of Gaussian noise by the median absolute deviation; 0 for no values."""
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if values.size else 0.0
