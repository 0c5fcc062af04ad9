"""A simulated computed tomography scan: projections of a polychromatic beam, and their filtered back-projection."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.sparse
import xraydb
from numpy.typing import NDArray

from data.errors import InputError
from data.synthesis.physics import tube_spectrum

Floats = NDArray[np.float32]

ALLOYS: dict[str, tuple[dict[str, float], float, float, float]] = {
    # Shares by mass, density in g/cm3, tube voltage, copper filter in mm.
    "Al": ({"Al": 0.91, "Si": 0.09}, 2.68, 160, 0.2),
    "Ti": ({"Ti": 0.90, "Al": 0.06, "V": 0.04}, 4.43, 160, 0.5),
    "CoCr": ({"Co": 0.65, "Cr": 0.29, "Mo": 0.06}, 8.4, 200, 1.0),
    "steel": ({"Fe": 0.68, "Cr": 0.17, "Ni": 0.12, "Mo": 0.03}, 7.95, 200, 1.0),
}
"""AlSi9, TiAl6V4, CoCr and 316L."""

NOISE_PHOTONS = (40_000.0, 10_000.0, 3_000.0)
"""Photons a detector pixel and projection in the open beam, by grade of noise."""

HARDENING_LEFT = (0.1, 0.5, 1.0)
"""Share of the beam hardening that the scanner's correction leaves, by grade."""

RING_SIGMA = (0.0005, 0.003, 0.008)
"""Relative error of a detector pixel's gain, by grade of rings."""


@dataclass(frozen=True)
class Scan:
    """How a part is scanned. `voxel_mm` is the side of a voxel, and of a detector pixel at the part.

    `noise`, `hardening` and `rings` are grades 0, 1, 2. `blur` is the detector's and the focal spot's Gaussian, sigma
    in pixels; `scatter` the share of scattered light in the signal. `axis_offset` is the error of the axis of rotation
    and `wobble` the standard deviation of each projection's shift, both in pixels. `exposure` multiplies the photons.
    `cone` is how far towards the first and last slices a cone beam degrades the reconstruction, 0 to 1 (`fade_ends`).
    """

    material: str
    voxel_mm: float
    projections: int = 240
    noise: int = 1
    hardening: int = 1
    rings: int = 1
    blur: float = 0.7
    scatter: float = 0.06
    axis_offset: float = 0.0
    wobble: float = 0.0
    exposure: float = 1.0
    cone: float = 0.0


@lru_cache(maxsize=16)
def beam(material: str) -> tuple[Floats, Floats, float]:
    """Return thickness in mm [T], minus the logarithm of the transmission [T], and 1/mm of thin layers.

    Raises InputError for a material that is not one of `ALLOYS`.
    """
    if material not in ALLOYS:
        raise InputError(f"material {material!r} of a scan is unknown; choose one of {sorted(ALLOYS)}")
    parts, density, kilovolts, copper = ALLOYS[material]
    energies, share = tube_spectrum(kilovolts, copper_mm=copper, bins=24)
    mu = sum(weight * xraydb.mu_elam(name, energies * 1000) for name, weight in parts.items()) * density / 10
    thickness = np.linspace(0, 14 / mu.min(), 8192)
    signal = np.exp(-thickness[:, None] * mu) @ share
    return thickness.astype(np.float32), -np.log(signal).astype(np.float32), float((mu * share).sum())


def project(lengths: Floats, scan: Scan, rng: np.random.Generator) -> Floats:
    """Return log attenuation [Z, A, U] as a scanner measures it, from path lengths in voxels of the same shape.

    Beer-Lambert over the spectrum, blur, scatter, Poisson noise, gain errors a pixel, logarithm; then the correction
    of beam hardening, as far as it goes. The longest path keeps a signal of one photon at least.
    """
    thickness, attenuation, thin = beam(scan.material)
    step = float(thickness[1])
    signal = np.exp(-_look_up(lengths * np.float32(scan.voxel_mm / step), attenuation))
    planes, _, width = signal.shape
    small = (max(width // 8, 1), max(planes // 8, 1))
    for index in range(signal.shape[1]):
        image = signal[:, index]
        if scan.scatter:
            far = cv2.GaussianBlur(cv2.resize(np.ascontiguousarray(image), small, interpolation=cv2.INTER_AREA),
                                   (0, 0), 4.0, borderType=cv2.BORDER_REFLECT)  # fmt: skip
            image = image + np.float32(scan.scatter) * cv2.resize(far, (width, planes))
        if scan.blur:
            image = cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), scan.blur, borderType=cv2.BORDER_REPLICATE)
        signal[:, index] = image / np.float32(1 + scan.scatter)
    photons = NOISE_PHOTONS[scan.noise] * scan.exposure
    # A Gaussian of the Poisson distribution's variance: these are tens of photons and more, and it takes a fifth of
    # the time.
    signal *= np.float32(photons)
    signal += np.sqrt(signal) * rng.standard_normal(signal.shape, dtype=np.float32)
    gain = 1 + RING_SIGMA[scan.rings] * rng.standard_normal((planes, 1, width), dtype=np.float32)
    signal *= gain / np.float32(photons)
    measured = -np.log(np.maximum(signal, np.float32(1 / photons)))
    if scan.hardening < 2 or HARDENING_LEFT[scan.hardening] < 1:
        # The correction reads the thickness off the curve, and puts the straight line in its place.
        position = np.clip(measured, 0, attenuation[-1] - 1e-3)
        table = np.interp(np.linspace(0, attenuation[-1], 8192), attenuation, thickness * thin).astype(np.float32)
        straight = _look_up(position * np.float32(8191 / attenuation[-1]), table)
        straight += np.minimum(measured, 0)
        measured += np.float32(1 - HARDENING_LEFT[scan.hardening]) * (straight - measured)
    return measured


def _look_up(position: Floats, table: Floats) -> Floats:
    """Return the table's values at fractional places, linear between them."""
    position = np.clip(position, 0, len(table) - 1.001)
    low = position.astype(np.int32)
    values = table[low]
    return values + (table[low + 1] - values) * (position - low).astype(np.float32)


def reconstruct(projections: Floats, angles: Floats, offsets: Floats, side: Floats) -> Floats:
    """Return attenuation a voxel [Z, N, N] from log attenuation [Z, A, U] by filtered back-projection.

    Ramp filter with a Hann window, parallel beams, linear interpolation between pixels.

    Args:
        projections: log attenuation, angles over half a turn.
        angles: radians [A].
        offsets: of the detector's pixels in voxels [U], equally spaced.
        side: y and x of the voxel centers [N].

    """
    planes, count, width = projections.shape
    length = scipy.fft.next_fast_len(2 * width, real=True)
    kernel = np.zeros(length)
    # The ramp's own samples in space (Kak and Slaney): those of |frequency| would shift the level.
    odd = np.arange(1, width, 2)
    kernel[0] = 0.25
    kernel[odd] = kernel[-odd] = -1 / (np.pi * odd) ** 2
    ramp = np.real(scipy.fft.rfft(kernel)) * (0.5 + 0.5 * np.cos(np.pi * np.linspace(0, 1, length // 2 + 1)))
    spectrum = scipy.fft.rfft(projections, length, axis=2)
    spectrum *= ramp.astype(np.float32)
    filtered = scipy.fft.irfft(spectrum, length, axis=2)[:, :, :width].astype(np.float32)
    columns = np.ascontiguousarray(filtered.reshape(planes, -1).T)  # [A U, Z]
    image = np.zeros((len(side) ** 2, planes), dtype=np.float32)
    for first in range(0, count, 24):
        last = min(first + 24, count)
        image += _smear(tuple(angles[first:last].tolist()), offsets, side) @ columns[first * width : last * width]
    image *= np.float32(np.pi / count / (offsets[1] - offsets[0]))
    return np.ascontiguousarray(image.T).reshape(planes, len(side), len(side))


def fade_ends(field: Floats, cone: float) -> Floats:
    """Return a reconstruction [Z, N, N] with what an oblique beam does to slices away from the middle one.

    Circular orbits leave out data there: gray values fall and flat faces smear along the axis, the more the farther
    from the middle. A stand-in for a cone-beam reconstruction, which rises with the square of the distance: at the
    first and the last slice gray values have lost the share `cone` / 2, and `cone` of them are blurred over 3 voxels.
    """
    if not cone:
        return field
    share = (cone * np.linspace(-1, 1, len(field)) ** 2).astype(np.float32)[:, None, None]
    blurred = scipy.ndimage.gaussian_filter1d(field, 3.0, axis=0, mode="nearest")
    faded: Floats = (field + share * (blurred - field)) * (1 - share / 2)
    return faded


def _smear(angles: tuple[float, ...], offsets: Floats, side: Floats) -> scipy.sparse.csr_array:
    """Return the matrix [N N, A U] that puts each ray's value back on its voxels."""
    turns = np.array(angles, dtype=np.float32)
    width, spacing = len(offsets), float(offsets[1] - offsets[0])
    y, x = np.meshgrid(side, side, indexing="ij")
    position = (y.reshape(-1, 1) * np.sin(turns) + x.reshape(-1, 1) * np.cos(turns) - offsets[0]) / spacing
    low = np.clip(np.floor(position), 0, width - 2).astype(np.int32)
    part = (position - low).astype(np.float32)
    outside = (position < 0) | (position > width - 1)
    columns = np.stack([low, low + 1], axis=-1) + (np.arange(len(turns), dtype=np.int32) * width)[None, :, None]
    weights = np.stack([1 - part, part], axis=-1)
    weights[outside] = 0
    rows = np.arange(0, columns.size + 1, 2 * len(turns), dtype=np.int32)
    return scipy.sparse.csr_array((weights.ravel(), columns.ravel(), rows), shape=(len(y) ** 2, len(turns) * width))
