"""Errors of a reconstruction without those that its blur makes at surfaces (Iuso et al. 2024, section 3.4).

An autoencoder draws surfaces softer than they are, and its error is large there although nothing is wrong. It follows
the gradient of the reconstruction, which is therefore blurred and subtracted:

    D = |dv/dz| + |dv/dy| + |dv/dx|,    A_pores = max(0, A - strength * blur(D, sigma)),

with the strength (lambda in the paper) and the sigma of the least mean of |A - strength * blur(D, sigma)|. For one
sigma the best strength is a weighted median of A / blur(D), with the weights blur(D); only sigma is searched.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Floats = NDArray[np.float32]
Rows = Callable[[int, int], Floats]
"""Slices of a volume from a first up to a last, float32 [D, Y, X]."""

SIGMAS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Blurs in voxels that are tried."""

SLAB = 32
MOST_SLABS = 8
"""Slabs, spread over the depth, that the fit looks at."""

MOST_VOXELS = 2_000_000
"""Voxels that the fit looks at, drawn evenly from its slabs."""

REACH = 4.0
"""Sigmas after which the blur ends."""


@dataclass(frozen=True)
class Correction:
    """What is subtracted: `strength` times the gradient blurred by `sigma` voxels; `residual` is the mean left over."""

    strength: float
    sigma: float
    residual: float


def blurred_gradient(reconstruction: Rows, depth: int, first: int, last: int, sigma: float) -> Floats:
    """Return the blurred sum of the absolute derivatives of slices `first` up to `last`, float32 [D, Y, X].

    They are those of the whole volume of `depth` slices: as many slices more are read as the blur reaches.
    """
    margin = int(REACH * sigma + 0.5) + 1
    low, high = max(first - margin, 0), min(last + margin, depth)
    values = reconstruction(low, high)
    total = np.zeros_like(values)
    for axis in range(3):
        if values.shape[axis] > 1:
            total += np.abs(np.gradient(values, axis=axis))
    blurred: Floats = gaussian_filter(total, sigma, mode="nearest", truncate=REACH)
    return blurred[first - low : last - low]


def weighted_median(values: NDArray[np.floating], weights: NDArray[np.floating]) -> float:
    """Return the value at which the sum of weights [N] reaches half of all, for values [N]; 0 without any weight."""
    order = np.argsort(values)
    sums = weights[order].astype(np.float64).cumsum()
    if not len(sums) or not sums[-1] > 0:
        return 0.0
    return float(values[order[np.searchsorted(sums, sums[-1] / 2)]])


def fit_correction(error: Rows, reconstruction: Rows, depth: int, sigmas: tuple[float, ...] = SIGMAS) -> Correction:
    """Return the correction with the least mean absolute difference between error and blurred gradient.

    Args:
        error: slices of |x - reconstruction|.
        reconstruction: slices of it, 0 ... 1.
        depth: slices of the volume.
        sigmas: blurs in voxels to choose from.

    """
    starts = list(range(0, depth, SLAB))
    if len(starts) > MOST_SLABS:
        starts = [starts[k] for k in np.linspace(0, len(starts) - 1, MOST_SLABS).round().astype(int)]
    slabs = [(first, min(first + SLAB, depth)) for first in starts]
    rng = np.random.default_rng(0)
    picked, errors = [], []
    for first, last in slabs:
        values = error(first, last).ravel()
        most = MOST_VOXELS // len(slabs)
        places = np.arange(len(values)) if len(values) <= most else rng.choice(len(values), most, replace=False)
        picked.append(places)
        errors.append(values[places])
    left = np.concatenate(errors)
    best = Correction(0.0, sigmas[0], math.inf)
    for sigma in sigmas:
        blurred = [
            blurred_gradient(reconstruction, depth, first, last, sigma).ravel()[places]
            for (first, last), places in zip(slabs, picked, strict=True)
        ]
        gradient = np.concatenate(blurred)
        steep = gradient > 0
        strength = weighted_median(left[steep] / gradient[steep], gradient[steep])
        residual = float(np.abs(left - strength * gradient).mean(dtype=np.float64))
        if residual < best.residual:
            best = Correction(strength, sigma, residual)
    return best


def corrected_slabs(
    error: Rows, reconstruction: Rows, depth: int, correction: Correction | None, first: int = 0
) -> Iterator[Floats]:
    """Yield the errors less the correction, from 0 on, in slabs from slice `first` on; without one, the errors."""
    for start in range(first, depth, SLAB):
        end = min(start + SLAB, depth)
        values = error(start, end)
        if correction is not None:
            values = values - np.float32(correction.strength) * blurred_gradient(
                reconstruction, depth, start, end, correction.sigma
            )
        yield np.clip(values, 0, 1)
