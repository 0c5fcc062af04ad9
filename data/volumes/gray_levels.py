"""The gray values of air and of metal: two numbers that bring every volume to one scale, air 0 and metal 1."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from data.errors import InputError
from data.volumes.volume import Volume

SAMPLE = 2_000_000
"""Voxels that the histogram is taken of, in slices spread over the depth."""

BINS = 512
LOW, HIGH = -0.5, 1.5
"""Normalized values are clipped to this range, so that a dense inclusion does not drown the rest."""

LEAST_SHARE = 0.002
"""Least share of voxels that a mode stands for."""

SHALLOWEST = 0.75
"""Highest count between two modes, relative to the lower of them: two hills, and not one with a ripple."""


@dataclass(frozen=True)
class GrayLevels:
    """Gray values of `air` and `metal` in the units of a volume."""

    air: float
    metal: float

    def __post_init__(self) -> None:
        if not np.isfinite([self.air, self.metal]).all() or self.metal <= self.air:
            raise InputError(f"gray levels: metal ({self.metal}) must be brighter than air ({self.air}); "
                             "invert the volume, or give the two values")  # fmt: skip

    def normalize(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return values float32 with air at 0 and metal at 1, clipped to -0.5 ... 1.5."""
        scaled = values.astype(np.float32)
        scaled -= np.float32(self.air)
        scaled /= np.float32(self.metal - self.air)
        return np.clip(scaled, LOW, HIGH, out=scaled)


def find_gray_levels(volume: Volume) -> GrayLevels:
    """Return the modes of air and metal: the highest points of the histogram on both sides of Otsu's threshold.

    Raises InputError for a volume in which only one of the two can be told (no material, or no air), for a constant
    one and for values that are no numbers.
    """
    values = sample_values(volume)
    where = volume.path or "volume"
    low, high = np.percentile(values, [0.01, 99.99])
    if not high > low:
        raise InputError(f"{where}: all gray values are {low:g}: there is no part in it; check the file")
    counts, edges = np.histogram(values, bins=BINS, range=(low, high))
    middles = (edges[1:] + edges[:-1]) / 2
    smooth = gaussian_filter1d(counts.astype(float), 4.0, mode="nearest")
    cut = otsu_bin(counts)
    air, metal = int(smooth[: cut + 1].argmax()), cut + 1 + int(smooth[cut + 1 :].argmax())
    valley = smooth[air : metal + 1].min() / min(smooth[air], smooth[metal])
    smaller = min(counts[: cut + 1].sum(), counts[cut + 1 :].sum()) / counts.sum()
    if valley > SHALLOWEST or smaller < LEAST_SHARE:
        raise InputError(
            f"{where}: its gray values have one mode and not two (air and metal): the volume has no material or no "
            "air around it; give both gray values, with --air and --metal or data.volumes.gray_levels"
        )
    return GrayLevels(float(middles[air]), float(middles[metal]))


def sample_values(volume: Volume) -> NDArray[np.float32]:
    """Return about `SAMPLE` gray values, of slices spread over the depth. Raises InputError for NaN and infinity."""
    depth, height, width = volume.shape
    count = int(np.clip(SAMPLE // max(height * width, 1), 8, 64))
    step = max(1, int(np.sqrt(max(height * width * min(count, depth) / SAMPLE, 1))))
    slices = np.unique(np.linspace(0, depth - 1, count).round().astype(int))
    return np.concatenate([volume.slab(z, z + 1)[:, ::step, ::step].ravel() for z in slices]).astype(np.float32)


def otsu_bin(counts: NDArray[Any]) -> int:
    """Return the last bin of the lower class by Otsu's criterion (the middle one among equals)."""
    counts = counts.astype(np.float64)
    places = np.arange(len(counts))
    below = counts.cumsum()[:-1]
    above = counts.sum() - below
    mean_below = (counts * places).cumsum()[:-1]
    total = (counts * places).sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (mean_below / below - (total - mean_below) / above) ** 2
    between = np.nan_to_num(between)
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return int(best[len(best) // 2])
