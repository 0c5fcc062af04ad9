"""Cavities superimposed on a radiograph: the attenuation model, unsharpness and noise.

With I = A exp(-mu x) + B for the gray value I behind the thickness x, a cavity of depth d along the ray gives
I' = (I - B) exp(mu d) + B (Mery 2001); depth 0 changes nothing. Where mu and the exposure are not known, as with
most radiographs that were stored for the eye, the cavity's shape comes from its chords alone and its strength is
stated as the peak contrast, a share of the gray value around it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from data.errors import InputError
from data.noise_level import noise_level
from data.synthesis.ellipsoid import Cavity
from data.synthesis.gradient import gradient_magnitude


@dataclass(frozen=True)
class AttenuationModel:
    """The attenuation model: `mu` in 1/mm, `offset` B in the unit of the pixels, `brighter` False for weld films.

    On film welds a cavity is darker: the exponent changes its sign.
    """

    mu: float
    offset: float
    brighter: bool = True

    @classmethod
    def from_darkest(
        cls, mu: float, max_thickness_mm: float, full: float = 1.0, brighter: bool = True
    ) -> "AttenuationModel":
        """Return the model of an image that is `full` (255 for 8 bits) at 0 mm and 0 at `max_thickness_mm`.

        B = full / (1 - exp(mu x)) with x that thickness. Raises InputError unless mu and x are above 0.
        """
        if not (mu > 0 and max_thickness_mm > 0):
            raise InputError(f"mu {mu} 1/mm and max_thickness_mm {max_thickness_mm} must be above 0")
        return cls(mu, float(-full / np.expm1(mu * max_thickness_mm)), brighter)

    def change(self, values: np.ndarray, chord: np.ndarray) -> np.ndarray:
        """Return I' - I, float64 of the same shape, for gray values I and chords in mm; exactly 0 for chord 0."""
        exponent = np.multiply(chord, self.mu if self.brighter else -self.mu, dtype=np.float64)
        np.expm1(exponent, out=exponent)
        exponent *= values - np.float64(self.offset)
        return exponent


def superimpose(
    pixels: np.ndarray, cavities: Iterable[Cavity], model: AttenuationModel, sigma: float = 0.0
) -> np.ndarray:
    """Return the radiograph with all cavities, one after the other; the argument is left as it is.

    `pixels` is `[H, W]`: float32 in [0, 1], uint8 or uint16 (of any depth up to 16 bits: saturation is at the dtype's
    full scale); `model` is in the same unit. `sigma` in pixels blurs what a cavity changes. Integers are rounded to
    the nearest level and saturate, floats are clipped to [0, 1]; pixels that no cavity touches do not change.
    """
    out = np.array(pixels)
    integer = out.dtype.kind == "u"
    full = np.iinfo(out.dtype).max if integer else 1.0
    for cavity in cavities:
        patch, chord = window_of(out, cavity, sigma)
        if not patch.size:
            continue
        change = model.change(patch, chord)
        if sigma > 0:
            change = cv2.GaussianBlur(change, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
        change += patch
        if integer:
            np.rint(change, out=change)
        np.maximum(change, 0, out=change)
        np.minimum(change, full, out=patch, casting="unsafe")
    return out


def window_of(pixels: np.ndarray, cavity: Cavity, sigma: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the view of the image `[h, w]` that a cavity blurred by `sigma` pixels touches, and its chords there."""
    x1, y1 = cavity.x0, cavity.y0
    rows, columns = cavity.chord.shape
    if sigma <= 0:
        return pixels[y1 : y1 + rows, x1 : x1 + columns], cavity.chord
    pad, (height, width) = reach_of(sigma), pixels.shape
    left, top = max(x1 - pad, 0), max(y1 - pad, 0)
    right, bottom = min(x1 + columns + pad, width), min(y1 + rows + pad, height)
    chord = np.zeros((bottom - top, right - left), np.float32)
    chord[y1 - top : y1 - top + rows, x1 - left : x1 - left + columns] = cavity.chord
    return pixels[top:bottom, left:right], chord


def reach_of(sigma: float) -> int:
    """Return how many pixels a blur of `sigma` pixels reaches."""
    return int(np.ceil(3 * sigma)) + 1


def estimate_unsharpness(pixels: np.ndarray) -> float:
    """Return the sigma in pixels of the blur of a radiograph float32 `[H, W]`, read off its sharpest edges.

    Blurring an edge of unsharpness s once more, with sigma 1, lowers its steepest slope by s / sqrt(s^2 + 1). Most
    edges are oblique walls, wider than the blur: the lowest tenth of the strong edges counts. The answer is in
    [0.4, 4], and 1.0 for an image without edges.
    """
    image = np.asarray(pixels, dtype=np.float32)
    slope, softer = (
        gradient_magnitude(cv2.GaussianBlur(image, (0, 0), sigma)) for sigma in (0.5, float(np.sqrt(1.25)))
    )
    crest = slope >= cv2.dilate(slope, np.ones((3, 3), np.uint8))
    noise = noise_level(image)
    strong = crest & (slope > max(0.5 * float(np.quantile(slope, 0.995)), 4 * noise, 1e-6))
    if strong.sum() < 20:
        return 1.0
    ratio = np.clip(softer[strong] / slope[strong], 0.05, 0.999)
    # Without the first, protecting blur, and without that of a difference over two pixels.
    variance = ratio**2 / (1 - ratio**2) - 0.25 - 1 / 3
    return float(np.clip(np.sqrt(max(float(np.quantile(variance, 0.1)), 0.0)), 0.4, 4.0))


def matching_noise(patch: np.ndarray, gain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the noise float32 `[h, w]` that a signal multiplied by `gain` adds to that of its patch.

    Quantum noise grows with the root of the signal: the patch already has noise of variance s^2, the brighter
    signal has s^2 gain, so s^2 (gain - 1) is missing. Where the signal falls nothing is added, for noise cannot be
    taken away. The grain (the correlation of neighbors) is the patch's own.
    """
    sigma = noise_level(patch)
    noise = rng.standard_normal(patch.shape, dtype=np.float32)
    grain = _grain(patch)
    if grain > 0.2:
        noise = cv2.GaussianBlur(noise, (0, 0), grain) * np.float32(_gain_of(grain))
    return noise * np.sqrt(np.maximum(gain - 1, 0)).astype(np.float32) * np.float32(sigma)


def _grain(patch: np.ndarray) -> float:
    """Return the sigma in pixels of the Gaussian that would give white noise the patch's correlation."""
    if min(patch.shape) < 8:
        return 0.0
    rest = np.asarray(patch, dtype=np.float32)
    rest = rest - cv2.GaussianBlur(rest, (0, 0), 2.0)
    variance = float(np.mean(rest * rest))
    if variance <= 0:
        return 0.0
    neighbors = float(np.mean(rest[:, 1:] * rest[:, :-1]) + np.mean(rest[1:] * rest[:-1])) / 2 / variance
    # Two Gaussians a pixel apart overlap by exp(-1 / (4 s^2)).
    return float(np.sqrt(-0.25 / np.log(min(neighbors, 0.8)))) if neighbors > 0.05 else 0.0


@lru_cache(maxsize=64)
def _kernel_sum(sigma: float) -> float:
    """Return the sum of squares of the two-dimensional Gaussian that `cv2.GaussianBlur` applies to floats."""
    kernel = cv2.getGaussianKernel(round(8 * sigma + 1) | 1, sigma)
    return float((kernel**2).sum() ** 2)


def _gain_of(sigma: float) -> float:
    """Return the factor that brings blurred white noise back to unit variance."""
    return 1 / np.sqrt(_kernel_sum(round(sigma, 2)))
