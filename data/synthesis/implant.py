"""One defect put into a radiograph in the making, and labeled, where it can be seen.

The rule of visibility is checked on the blurred contrast that the defect really leaves: an invisible defect is made
deeper, and if it would need more metal than there is, it is left out of image and labels alike.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from data.synthesis.gradient import gradient_magnitude
from data.synthesis.physics import Exposure, noise_kernel, transmission

MASK_THRESHOLD = 0.2  # a pixel belongs to a defect where its contrast exceeds this fraction of the defect's peak
PEAK_TO_NOISE = 1.5  # least peak contrast over the noise of one pixel
MATCHED_TO_NOISE = 6.0  # least signal-to-noise ratio of a matched filter (Rose's criterion asks for 5)
PEAK_TO_SLOPE = 2.0  # least peak contrast over the change of the background from one pixel to the next
DEEPEST = 0.75  # largest fraction of the wall that a defect may take
MAX_TRIALS = 4  # depths tried before a defect is given up
DEEPER = 1.35  # factor from one trial to the next
TOO_STRONG = 1.3  # peak over wanted contrast from which the first depth is corrected


@dataclass(frozen=True)
class Defect:
    """One labeled defect: kind, mask bool [h, w] with its corner (x0, y0) in pixels, largest chord in mm."""

    kind: str
    x0: int
    y0: int
    mask: np.ndarray
    depth_mm: float


@dataclass(frozen=True)
class Scene:
    """A radiograph in the making.

    Attributes:
        thickness_mm: float32 [H, W], metal along the ray.
        signal: float32 [H, W], detector signal after blur and scatter, without noise; defects are put into it.
        exposure: the exposure that made `signal`.
        weight: float32 [H, W] in [0, 1], the detector's sensitivity; 0 where nothing is seen.

    """

    thickness_mm: np.ndarray
    signal: np.ndarray
    exposure: Exposure
    weight: np.ndarray


@dataclass(frozen=True)
class _Site:
    """The window of a scene that one defect can change, and what decides whether the defect shows there.

    `chord`, `metal`, `local`, `weight` and `primary` are float32 [h, w]; `local` is a view of the scene's signal. The
    other lengths are in mm, `sigma`, `noise`, `gradient` and `level_above_black` in display units.
    """

    left: int
    top: int
    chord: np.ndarray
    metal: np.ndarray
    local: np.ndarray
    weight: np.ndarray
    primary: np.ndarray
    curve: Callable[[np.ndarray], np.ndarray]
    exposure: Exposure
    wall: float
    slope: float
    sigma: float
    noise: float
    gradient: float
    level_above_black: float


@dataclass(frozen=True)
class _Trial:
    """What a defect of one depth leaves: change of signal and of display, float32 [h, w], mask [h, w], depth in mm."""

    change: np.ndarray
    shown: np.ndarray
    mask: np.ndarray
    depth_mm: float

    @property
    def peak(self) -> float:
        return float(self.shown.max())


def implant(scene: Scene, chord: np.ndarray, kind: str, corner: tuple[int, int], contrast: float,
            pixel_to_clutter: float = 0.0) -> Defect | None:  # fmt: skip
    """Put one defect into the scene's signal (in place) and return it, or None if it cannot be made visible there.

    Args:
        scene: the radiograph so far.
        chord: float32 [h, w], relative chord lengths, negative for added metal; see `defect_shapes`.
        kind: the label.
        corner: x, y of the chord's first pixel, inside the radiograph.
        contrast: wanted peak contrast on the display, relative to the display level above black.
        pixel_to_clutter: least mean contrast of the defect's own pixels over what else varies there, the noise of
            one pixel and the structure of the background on the scale of the defect's width. A box needs a defect
            that shows as a whole; where every pixel gets a label, the pixels must show too.

    """
    site = _site(scene, chord, corner)
    if site is None:
        return None
    wanted = contrast * site.level_above_black
    deepest = DEEPEST * site.wall / float(np.abs(site.chord).max())
    depth, trials = min(_first_depth(site, wanted), deepest), MAX_TRIALS
    trial = _impression(site, depth)
    if trial.peak > TOO_STRONG * wanted:  # a steep curve gives more than its slope promised
        depth, trials = depth * (wanted / trial.peak), trials - 1
        trial = _impression(site, depth)
    while not _is_visible(site, trial, pixel_to_clutter):
        trials -= 1
        if trials == 0 or depth >= deepest:
            return None
        depth = min(depth * DEEPER, deepest)
        trial = _impression(site, depth)
    return _commit(site, trial, kind)


def _site(scene: Scene, chord: np.ndarray, corner: tuple[int, int]) -> _Site | None:
    """Return the window that a defect and its blur cover, None where there is no metal or the display is saturated."""
    exposure = scene.exposure
    pad = int(3 * max(exposure.blur_x, exposure.blur_y)) + 2
    chord = np.pad(chord, pad)
    x0, y0 = corner[0] - pad, corner[1] - pad
    left, top = max(x0, 0), max(y0, 0)
    right, bottom = min(x0 + chord.shape[1], scene.signal.shape[1]), min(y0 + chord.shape[0], scene.signal.shape[0])
    here = np.s_[top:bottom, left:right]
    metal, local = scene.thickness_mm[here], scene.signal[here]
    chord = chord[top - y0 : bottom - y0, left - x0 : right - x0] * (metal > 0.5)
    size = np.abs(chord)
    if size.size == 0 or size.max() <= 0:
        return None
    core = size > 0.5 * size.max()
    wall, level = float(metal[core].mean()), float(local[core].mean())
    slope, sigma = exposure.slope(level), exposure.display_sigma(level)
    if slope <= 0 or level <= 0 or wall < 1:
        return None
    curve = transmission(exposure.material, exposure.kilovolts)
    return _Site(
        left=left, top=top, chord=chord, metal=metal, local=local, weight=scene.weight[here], primary=curve(metal),
        curve=curve, exposure=exposure, wall=wall, slope=slope, sigma=sigma, noise=sigma * _noise_growth(exposure),
        gradient=float(np.percentile(gradient_magnitude(local)[core], 75)) * slope,
        level_above_black=max(float(exposure.display(np.array([level], np.float32))[0]) - exposure.black, 0.02),
    )  # fmt: skip


def _first_depth(site: _Site, wanted: float) -> float:
    """Return the depth, a factor on the chord in mm, that gives the wanted contrast as far as slopes can tell."""
    blurred = _blur(np.abs(site.chord), site.exposure)
    per_depth = _absorption(site.curve, site.wall) * float((blurred * site.primary * site.weight).max())
    return wanted / site.slope / (per_depth + 1e-9)


def _impression(site: _Site, depth: float) -> _Trial:
    """Return what the defect leaves when its chord is multiplied by `depth`."""
    missing = np.minimum(site.chord * np.float32(depth), site.metal * np.float32(DEEPEST))
    change = _blur((site.curve(site.metal - missing) - site.primary) * site.weight, site.exposure)
    shown = np.abs(site.exposure.display(site.local + change) - site.exposure.display(site.local))
    return _Trial(change, shown, shown > MASK_THRESHOLD * float(shown.max()), float(np.abs(missing).max()))


def _is_visible(site: _Site, trial: _Trial, pixel_to_clutter: float) -> bool:
    """Return whether a defect stands out from the noise, the slope and, where asked for, the structure around it."""
    matched = float(np.sqrt((trial.shown**2).sum()))
    if trial.peak < PEAK_TO_NOISE * site.sigma or matched < MATCHED_TO_NOISE * site.noise:
        return False
    if pixel_to_clutter > 0:
        clutter = float(np.hypot(site.sigma, _structure(site.exposure.display(site.local), trial.mask)))
        if float(trial.shown[trial.mask].mean()) < pixel_to_clutter * clutter:
            return False
    return trial.peak >= PEAK_TO_SLOPE * site.gradient


def _commit(site: _Site, trial: _Trial, kind: str) -> Defect:
    """Add the change to the scene's signal and return the labeled defect."""
    rows, columns = np.flatnonzero(trial.mask.any(1)), np.flatnonzero(trial.mask.any(0))
    site.local[...] += trial.change
    mask = trial.mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    return Defect(kind, int(site.left + columns[0]), int(site.top + rows[0]), mask, trial.depth_mm)


def _blur(image: np.ndarray, exposure: Exposure) -> np.ndarray:
    """Blur a window whose rim is free of the defect."""
    return cv2.GaussianBlur(image, (0, 0), exposure.blur_x, sigmaY=exposure.blur_y)


def _absorption(curve: Callable[[np.ndarray], np.ndarray], wall: float) -> float:
    """Return -d ln(signal) / d thickness at `wall`, in 1/mm."""
    near = curve(np.array([wall - 0.5, wall + 0.5], np.float32))
    return float(np.log(near[0] / max(near[1], 1e-12)))


def _noise_growth(exposure: Exposure) -> float:
    """Return by how much the noise's correlation raises the noise of a sum of pixels."""
    across = noise_kernel(exposure.noise_reach_x, exposure.mottle).sum()
    return float(across * noise_kernel(exposure.noise_reach_y, exposure.mottle).sum())


def _structure(image: np.ndarray, mask: np.ndarray) -> float:
    """Return how far a background float32 [h, w] departs from its mean over a defect's width, RMS over its mask."""
    width = 2 * float(cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 3).max())
    rest = image - cv2.GaussianBlur(image, (0, 0), width, borderType=cv2.BORDER_REFLECT)
    return float(np.sqrt(np.mean(rest[mask] ** 2)))
