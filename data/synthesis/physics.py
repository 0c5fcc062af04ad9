"""X-ray physics of a simulated radiograph: tube spectrum, attenuation, blur, scatter, noise, detector."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from data.errors import InputError

DENSITY_G_CM3 = {"Al": 2.70, "Fe": 7.87}
_TABLE_LENGTH = 4096


def attenuation(material: str, energies_kev: np.ndarray) -> np.ndarray:
    """Return the linear attenuation coefficients of `material` in 1/mm.

    Args:
        material: "Al" or "Fe"; an element stands for its casting or weld alloys.
        energies_kev: float array [E], photon energies in keV, 1 to 800.

    Returns:
        float64 [E], 1/mm (aluminum at 80 keV: 0.0545).

    Raises:
        InputError: the material is not one of `DENSITY_G_CM3`.

    """
    if material not in DENSITY_G_CM3:
        raise InputError(f"material {material!r} is unknown; choose one of {sorted(DENSITY_G_CM3)}")
    import xraydb  # takes most of a second, which `--help` does not have

    energies_ev = np.atleast_1d(np.asarray(energies_kev, dtype=np.float64)) * 1000
    return xraydb.mu_elam(material, energies_ev) * DENSITY_G_CM3[material] / 10


def tube_spectrum(kilovolts: float, copper_mm: float = 0.2, bins: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Return energies in keV [bins] and the fraction of the detected signal that each carries (sum 1).

    Kramers' bremsstrahlung, hardened by 2 mm of aluminum and by copper, then weighted with the energy
    that 0.4 mm of cesium iodide absorbs (an image intensifier's input screen).
    """
    import xraydb

    edges = np.linspace(15.0, kilovolts, bins + 1)
    energies = (edges[:-1] + edges[1:]) / 2
    photons = (kilovolts - energies) / energies
    copper = xraydb.mu_elam("Cu", energies * 1000) * 8.96 / 10
    photons = photons * np.exp(-attenuation("Al", energies) * 2.0 - copper * copper_mm)
    signal = photons * energies * iodide_absorption(energies)
    return energies, signal / signal.sum()


def iodide_absorption(energies_kev: np.ndarray) -> np.ndarray:
    """Return the fraction of photons float64 [E] that 0.4 mm of cesium iodide (4.51 g/cm3) absorbs."""
    import xraydb

    iodide = xraydb.mu_elam("Cs", energies_kev * 1000) * 0.51 + xraydb.mu_elam("I", energies_kev * 1000) * 0.49
    return 1 - np.exp(-iodide * 0.451 * 0.4)


@dataclass(frozen=True)
class Transmission:
    """Detected signal behind a thickness, relative to the open beam: Beer-Lambert at each energy, summed."""

    step_mm: float
    table: np.ndarray

    def __call__(self, thickness_mm: np.ndarray) -> np.ndarray:
        """Return float32 transmission in (0, 1] for a float thickness in mm, any shape."""
        position = np.clip(thickness_mm, 0, self.step_mm * (len(self.table) - 1.001)) / self.step_mm
        low = position.astype(np.int32)
        values = self.table[low]
        return values + (self.table[low + 1] - values) * (position - low).astype(np.float32)


@lru_cache(maxsize=32)
def transmission(material: str, kilovolts: float) -> Transmission:
    """Return the transmission curve of `material` at a tube voltage.

    The table ends where the strongest part of the beam is down by exp(-12), beyond any exposure's reach.
    """
    energies, share = tube_spectrum(kilovolts, copper_mm=0.2 if material == "Al" else 1.0)
    mu = attenuation(material, energies)
    longest = 12.0 / mu.min()
    thickness = np.linspace(0, longest, _TABLE_LENGTH)
    table = np.exp(-thickness[:, None] * mu[None]) @ share
    return Transmission(float(thickness[1]), table.astype(np.float32))


@dataclass(frozen=True)
class Exposure:
    """One setting of tube, detector and digitizer.

    `display = black + (white - black) * clip(gain * signal - offset, 0, 1) ** gamma`, the signal being 1 in the
    open beam. Lengths are in pixels, noise is relative to the open beam, `display` is in [0, 1].
    """

    material: str
    kilovolts: float
    gain: float
    offset: float
    gamma: float
    black: float
    white: float
    film: bool  # film darkens with dose and shows bright metal; a detector shows dark metal
    blur_x: float
    blur_y: float
    scatter: float
    glare: float
    photons: float
    electronic: float
    display_noise: float
    line_noise: float
    noise_reach_x: float
    noise_reach_y: float
    mottle: float
    field: tuple[float, float, float] | None  # center x, center y, radius of the image intensifier
    vignetting: float

    def display(self, signal: np.ndarray) -> np.ndarray:
        """Return display values in [0, 1] of a signal (1 = open beam)."""
        level = np.clip(self.gain * signal - self.offset, 0.0, 1.0)
        level = np.power(level, np.float32(self.gamma))
        if self.film:
            level = 1.0 - level
        return (self.black + (self.white - self.black) * level).astype(np.float32)

    def slope(self, signal: float) -> float:
        """Return the magnitude of d display / d signal at one signal value; 0 where saturated."""
        level = self.gain * signal - self.offset
        if not 0.0 < level < 1.0:
            return 0.0
        return self.gain * self.gamma * level ** (self.gamma - 1) * (self.white - self.black)

    def display_sigma(self, signal: float) -> float:
        """Return the standard deviation of the noise in display units where the signal is `signal`.

        Rounding to 8 bits is counted, because most radiographs are stored so.
        """
        quantum = np.sqrt(max(signal, 0.0) / self.photons + self.electronic**2) * self.slope(signal)
        return float(np.sqrt(quantum**2 + self.display_noise**2 + (1 / 255) ** 2 / 12))


def blur(image: np.ndarray, exposure: Exposure) -> np.ndarray:
    """Blur float32 [H, W] with the focal spot and the detector (a Gaussian, sigma in pixels)."""
    return cv2.GaussianBlur(image, (0, 0), exposure.blur_x, sigmaY=exposure.blur_y, borderType=cv2.BORDER_REFLECT)


def scatter_and_glare(signal: np.ndarray, exposure: Exposure) -> np.ndarray:
    """Return the slowly varying part float32 [H, W]: object scatter and the screen's veiling glare."""
    height, width = signal.shape
    small = cv2.resize(signal, (max(width // 8, 1), max(height // 8, 1)), interpolation=cv2.INTER_AREA)
    # Bright windows bleed into the metal beside them: a short reach for glare, a long one for scatter.
    near = cv2.GaussianBlur(small, (0, 0), 2.5, borderType=cv2.BORDER_REFLECT)
    far = cv2.GaussianBlur(small, (0, 0), 12.0, borderType=cv2.BORDER_REFLECT)
    light = exposure.glare * near + exposure.scatter * far
    return cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR)


def vignetting(shape: tuple[int, int], exposure: Exposure) -> tuple[np.ndarray, np.ndarray]:
    """Return sensitivity and visibility, both float32 [H, W] in [0, 1].

    Sensitivity falls towards the edge (vignetting); visibility is 0 outside the round field of view.
    """
    height, width = shape
    x = np.arange(width, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    center_x, center_y, radius = exposure.field or (width / 2, height / 2, 0.6 * float(np.hypot(width, height)))
    squared = ((x - np.float32(center_x)) ** 2 + (y - np.float32(center_y)) ** 2) / np.float32(radius**2)
    sensitivity = np.maximum(1 - np.float32(exposure.vignetting) * squared, np.float32(0.05))
    if exposure.field is None:
        return sensitivity, np.ones(shape, np.float32)
    distance = (1 - np.sqrt(squared)) * np.float32(radius)
    return sensitivity, np.clip(distance / 2.5 + 0.5, 0, 1)


def noise_kernel(reach: float, mottle: float) -> np.ndarray:
    """Return the float32 [K] filter that correlates white noise along one axis; its squares sum to 1.

    `reach` is the correlation of neighbors that a video line leaves (one-sided, exponential), `mottle` the sigma
    in pixels of the grain of a screen or an enlargement. The filter's sum is the growth of low frequencies.
    """
    lag = np.power(max(reach, 1e-6), np.arange(7))
    grain = np.exp(-0.5 * (np.arange(-5, 6) / max(mottle, 0.05)) ** 2)
    kernel = np.convolve(np.concatenate([np.zeros(6), lag]), grain)
    return (kernel / np.sqrt((kernel**2).sum())).astype(np.float32)


def correlated_noise(shape: tuple[int, int], reach_x: float, reach_y: float, rng: np.random.Generator,
                     mottle: float = 0.0) -> np.ndarray:  # fmt: skip
    """Return Gaussian noise float32 [H, W] of unit variance, correlated as `noise_kernel` says (all 0 = white)."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    if max(reach_x, reach_y, mottle) < 0.02:
        return noise
    across, down = noise_kernel(reach_x, mottle), noise_kernel(reach_y, mottle)
    return cv2.sepFilter2D(noise, -1, across, down, borderType=cv2.BORDER_REFLECT)


def ideal_signal(thickness_mm: np.ndarray, exposure: Exposure) -> np.ndarray:
    """Return the noise-free detector signal float32 [H, W] behind a thickness map float32 [H, W] in mm.

    1 is the open beam without scatter; the fall of sensitivity towards the edge is not yet applied.
    """
    primary = transmission(exposure.material, exposure.kilovolts)(thickness_mm)
    return blur(primary, exposure) + scatter_and_glare(primary, exposure)


def acquire(signal: np.ndarray, visible: np.ndarray, exposure: Exposure, rng: np.random.Generator) -> np.ndarray:
    """Return the radiograph float32 [H, W] in [0, 1]: a signal with noise, digitizer and dark surroundings.

    Args:
        signal: float32 [H, W], noise-free, sensitivity applied.
        visible: float32 [H, W] in [0, 1], 0 outside the field of view.
        exposure: the detector's settings.
        rng: source of the noise.

    """
    noise = correlated_noise(signal.shape, exposure.noise_reach_x, exposure.noise_reach_y, rng, exposure.mottle)
    noise *= np.sqrt(signal * np.float32(1 / exposure.photons) + np.float32(exposure.electronic**2))
    image = exposure.display(signal + noise)
    if exposure.field is not None:
        image = visible * image + (1 - visible) * _outside_field_of_view(signal.shape, exposure, rng)
    image += np.float32(exposure.display_noise) * correlated_noise(signal.shape, 0.3, 0.0, rng)
    image += np.float32(exposure.line_noise) * rng.standard_normal((signal.shape[0], 1), dtype=np.float32)
    return np.clip(image, 0, 1)


def _outside_field_of_view(shape: tuple[int, int], exposure: Exposure, rng: np.random.Generator) -> np.ndarray:
    """Return what lies outside a round field, dark: reflected rings of the housing, scratches, specks, noise."""
    center_x, center_y, radius = exposure.field or (0.0, 0.0, 1.0)
    dark = correlated_noise(shape, exposure.noise_reach_x, exposure.noise_reach_y, rng, exposure.mottle)
    dark *= np.float32(rng.uniform(0.0, 1.0) / 255)
    dark += np.float32(exposure.black * rng.uniform(0.6, 1.0))
    flaws = np.zeros(shape, np.float32)
    for _ in range(rng.integers(0, 60)):  # they look like pores, but there is no metal here
        place = rng.uniform(0, shape[1]), rng.uniform(0, shape[0])
        end = (int(place[0] + rng.normal(0, 12)), int(place[1] + rng.normal(0, 12)))
        start = (int(place[0]), int(place[1]))
        # Most dust is one or two gray levels of 255; the eye passes over it, a detector has to learn to.
        depth = float(np.exp(rng.uniform(np.log(0.003), np.log(0.08))) * rng.choice([1, 1, 1, -0.3]))
        cv2.line(flaws, start, end if rng.random() < 0.4 else start, depth, int(rng.integers(1, 7)))
    dark += cv2.GaussianBlur(flaws, (0, 0), float(rng.uniform(0.7, 2.0)))
    for _ in range(rng.integers(0, 3)):
        ring = np.zeros(shape, np.float32)
        shift = rng.normal(0, 8, 2)
        center = (int(center_x + shift[0]), int(center_y + shift[1]))
        axes = (int(radius * rng.uniform(1.03, 1.25)), int(radius * rng.uniform(1.03, 1.25)))
        cv2.ellipse(ring, center, axes, 0.0, 0.0, 360.0, float(rng.uniform(0.02, 0.08)), int(rng.integers(2, 7)))
        dark += cv2.GaussianBlur(ring, (0, 0), 2.0)
    return dark
