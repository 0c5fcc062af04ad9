"""Defects: their shapes as chord lengths along the ray, where they lie, how strong they are, what is labeled.

The rule of visibility, checked on the blurred contrast that the defect really leaves: an invisible defect is made
deeper, and if it would need more metal than there is, it is left out of image and labels alike.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from data.synthesis.casting_parts import texture
from data.synthesis.physics import Exposure, noise_kernel, transmission

BOX_SHARE = 0.2  # a pixel belongs to a defect where its contrast exceeds this share of the defect's peak
PEAK_TO_NOISE = 1.5  # least peak contrast over the noise of one pixel
MATCHED_TO_NOISE = 6.0  # least signal-to-noise ratio of a matched filter (Rose's criterion asks for 5)
PEAK_TO_SLOPE = 2.0  # least peak contrast over the change of the background from one pixel to the next
DEEPEST = 0.75  # largest share of the wall that a defect may take


@dataclass(frozen=True)
class Defect:
    """One labeled defect: kind, mask bool [h, w] with its corner (x0, y0) in pixels, largest chord in mm."""

    kind: str
    x0: int
    y0: int
    mask: np.ndarray
    depth_mm: float


def pore(rng: np.random.Generator, size: float) -> np.ndarray:
    """Return the chord of a gas pore: one ellipsoid, or a few grown together."""
    side = _side(size * 1.5)
    chord = np.zeros((side, side), np.float32)
    lobes = 1 if rng.random() < 0.55 else int(rng.integers(2, 5))
    for lobe in range(lobes):
        share = 1.0 if lobe == 0 else rng.uniform(0.35, 0.8)
        offset = (0.0, 0.0) if lobe == 0 else rng.normal(0, size * 0.25, 2)
        axes = (size / 2 * share, size / 2 * share * rng.uniform(0.55, 1.0))
        chord = np.maximum(chord, share * _ellipsoid(side, offset, axes, rng.uniform(0, np.pi)))
    return chord


def cluster(rng: np.random.Generator, size: float) -> np.ndarray:
    """Return the chords of a dense nest of gas pores."""
    side = _side(size * 1.6)
    chord = np.zeros((side, side), np.float32)
    squash, turn = rng.uniform(0.4, 1.0), rng.uniform(0, np.pi)
    for _ in range(int(rng.integers(4, 26))):
        a, b = rng.normal(0, size / 4, 2) * (1, squash)
        offset = (a * np.cos(turn) - b * np.sin(turn), a * np.sin(turn) + b * np.cos(turn))
        radius = max(size * rng.uniform(0.05, 0.14), 1.2)
        axes = (radius, radius * rng.uniform(0.6, 1))
        chord += rng.uniform(0.4, 1) * _ellipsoid(side, offset, axes, rng.uniform(0, 3))
    return np.minimum(chord, 1.5)


def sponge(rng: np.random.Generator, size: float) -> np.ndarray:
    """Return the chords of sponge shrinkage: a fog of small cavities inside an irregular outline."""
    side = _side(size * 1.5)
    outline = _ellipsoid(side, (0, 0), (size / 2, size / 2 * rng.uniform(0.35, 1)), rng.uniform(0, np.pi))
    fine = texture(rng, (side, side), rng.uniform(1.5, 4))
    coarse = texture(rng, (side, side), max(size / 4, 3))
    return np.maximum(fine + coarse * 0.8 + rng.uniform(0, 0.8), 0) * outline * np.clip(1 + coarse, 0, 1)


def dendrite(rng: np.random.Generator, size: float) -> np.ndarray:
    """Return the chords of dendritic shrinkage: worm-like channels that branch."""
    side = _side(size * 1.3)
    chord = np.zeros((side, side), np.float32)
    thickness = max(1, round(size * rng.uniform(0.03, 0.09)))
    heading = rng.uniform(0, 2 * np.pi)
    for _ in range(int(rng.integers(3, 9))):
        start = side / 2 + rng.normal(0, size * 0.12, 2)
        turned = heading + rng.normal(0, 0.9) + np.pi * rng.integers(2)
        points = random_walk(rng, start, turned, size * rng.uniform(0.2, 0.55), 0.7)
        stroke = np.zeros_like(chord)
        cv2.polylines(stroke, [np.round(points * 8).astype(np.int32)], False, 1.0, thickness, cv2.LINE_8, 3)
        chord = np.maximum(chord, stroke * np.float32(rng.uniform(0.4, 1)))
    chord = cv2.GaussianBlur(chord, (0, 0), max(thickness * 0.35, 0.6))
    return chord * np.clip(1 + 0.6 * texture(rng, chord.shape, max(size / 10, 2)), 0.1, 2)


def crack(rng: np.random.Generator, size: float) -> np.ndarray:
    """Return the chords of a crack: one thin, bent line that tapers."""
    size = max(size, 14)
    side = _side(size * 1.3)
    heading = rng.uniform(0, 2 * np.pi)
    middle = np.array([side / 2, side / 2])
    start = middle - 0.5 * size * np.array([np.cos(heading), np.sin(heading)])
    points = random_walk(rng, start, heading, size, 0.25)
    chord = np.zeros((side, side), np.float32)
    width = int(rng.integers(1, 3))
    for k in range(len(points) - 1):
        taper = float(np.sin(np.pi * (k + 1) / len(points)) ** 0.6)
        ends = np.round(points[k : k + 2] * 8).astype(np.int32)
        cv2.polylines(chord, [ends], False, taper, width, cv2.LINE_8, 3)
    return cv2.GaussianBlur(chord, (0, 0), 0.6)


def inclusion(rng: np.random.Generator, size: float) -> np.ndarray:
    """Return the added metal, as negative chords, of a dense inclusion: a small angular grain."""
    side = _side(size * 1.5)
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(5, 10))))
    radii = size / 2 * rng.uniform(0.6, 1.0, len(angles))
    points = side / 2 + np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]
    grain = np.zeros((side, side), np.float32)
    cv2.fillPoly(grain, [np.round(points * 8).astype(np.int32)], 1.0, cv2.LINE_8, 3)
    return -cv2.GaussianBlur(grain, (0, 0), max(size * 0.08, 0.6))


SHAPES: dict[str, Callable[[np.random.Generator, float], np.ndarray]] = {
    "pore": pore, "cluster": cluster, "sponge": sponge, "dendrite": dendrite, "crack": crack, "inclusion": inclusion,
}  # fmt: skip


def plant(thickness_mm: np.ndarray, signal: np.ndarray, exposure: Exposure, weight: np.ndarray, chord: np.ndarray,
          kind: str, corner: tuple[int, int], contrast: float, pixel_to_clutter: float = 0.0
          ) -> Defect | None:  # fmt: skip
    """Put one defect into `signal` (in place) and return it, or None if it cannot be made visible there.

    Args:
        thickness_mm: float32 [H, W], metal along the ray.
        signal: float32 [H, W], detector signal after blur and scatter, without noise.
        exposure: the exposure that made `signal`.
        weight: float32 [H, W] in [0, 1], the detector's sensitivity; 0 where nothing is seen.
        chord: float32 [h, w], relative chord lengths, negative for added metal; see `SHAPES`.
        kind: the label.
        corner: x, y of the chord's first pixel, inside the radiograph.
        contrast: wanted peak contrast on the display, relative to the display level above black.
        pixel_to_clutter: least mean contrast of the defect's own pixels over what else varies there, the noise of
            one pixel and the structure of the background on the scale of the defect's width. A box needs a defect
            that shows as a whole; where every pixel gets a label, the pixels must show too.

    """
    pad = int(3 * max(exposure.blur_x, exposure.blur_y)) + 2
    chord = np.pad(chord, pad)
    x0, y0 = corner[0] - pad, corner[1] - pad
    left, top = max(x0, 0), max(y0, 0)
    right, bottom = min(x0 + chord.shape[1], signal.shape[1]), min(y0 + chord.shape[0], signal.shape[0])
    chord = chord[top - y0 : bottom - y0, left - x0 : right - x0]
    here = np.s_[top:bottom, left:right]
    metal, local, seen = thickness_mm[here], signal[here], weight[here]
    curve = transmission(exposure.material, exposure.kilovolts)
    primary = curve(metal)
    chord = chord * (metal > 0.5)
    size = np.abs(chord)
    if size.size == 0 or size.max() <= 0:
        return None
    core = size > 0.5 * size.max()
    wall, level = float(metal[core].mean()), float(local[core].mean())
    slope, sigma = exposure.slope(level), exposure.display_sigma(level)
    if slope <= 0 or level <= 0 or wall < 1:
        return None
    noise = sigma * _noise_growth(exposure)
    gradient = float(np.percentile(_gradient(local)[core], 75)) * slope
    blurred = cv2.GaussianBlur(size, (0, 0), exposure.blur_x, sigmaY=exposure.blur_y)
    shade = max(float(exposure.display(np.array([level], np.float32))[0]) - exposure.black, 0.02)
    wanted = contrast * shade / slope
    depth = wanted / (_absorption(curve, wall) * float((blurred * primary * seen).max()) + 1e-9)
    most = DEEPEST * wall / float(size.max())
    for attempt in range(4):
        depth = min(depth, most)
        missing = np.minimum(chord * np.float32(depth), metal * np.float32(DEEPEST))
        change = (curve(metal - missing) - primary) * seen
        change = cv2.GaussianBlur(change, (0, 0), exposure.blur_x, sigmaY=exposure.blur_y)
        shown = np.abs(exposure.display(local + change) - exposure.display(local))
        peak = float(shown.max())
        if attempt == 0 and peak > 1.3 * contrast * shade:  # a steep curve gives more than its slope promised
            depth *= contrast * shade / peak
            continue
        matched = float(np.sqrt((shown**2).sum()))
        mask = shown > BOX_SHARE * peak
        shows = peak >= PEAK_TO_NOISE * sigma and matched >= MATCHED_TO_NOISE * noise
        if shows and pixel_to_clutter > 0:
            clutter = float(np.hypot(sigma, _structure(exposure.display(local), mask)))
            shows = float(shown[mask].mean()) >= pixel_to_clutter * clutter
        if shows and peak >= PEAK_TO_SLOPE * gradient:
            break
        if depth >= most:
            return None
        depth *= 1.35
    else:
        return None
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    local += change
    mask = mask[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1].copy()
    return Defect(kind, int(left + xs[0]), int(top + ys[0]), mask, float(np.abs(missing).max()))


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


def _gradient(image: np.ndarray) -> np.ndarray:
    """Return the gradient magnitude per pixel, float32 [H, W]."""
    dx = cv2.Sobel(image, cv2.CV_32F, 1, 0, scale=0.125)
    dy = cv2.Sobel(image, cv2.CV_32F, 0, 1, scale=0.125)
    return np.sqrt(dx * dx + dy * dy)


def _side(size: float) -> int:
    """Return an odd side in pixels that holds `size` with a pixel of air around it."""
    return int(np.ceil(size)) // 2 * 2 + 3


def _ellipsoid(side: int, offset: tuple[float, float], axes: tuple[float, float], angle: float) -> np.ndarray:
    """Return the relative chord sqrt(1 - q^2) of an ellipsoid seen on `side` x `side` pixels."""
    u = np.arange(side, dtype=np.float32) - side // 2
    x, y = u[None] - np.float32(offset[0]), u[:, None] - np.float32(offset[1])
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    a, b = (cos * x + sin * y) / np.float32(axes[0]), (cos * y - sin * x) / np.float32(axes[1])
    return np.sqrt(np.maximum(1 - a * a - b * b, 0))


def random_walk(rng: np.random.Generator, start: np.ndarray, heading: float, length: float, bend: float) -> np.ndarray:
    """Return points [K, 2] of a random walk that bends by about `bend` radians a step."""
    steps = max(int(length / 3), 4)
    headings = heading + np.cumsum(rng.normal(0, bend, steps))
    moves = np.stack([np.cos(headings), np.sin(headings)], 1) * (length / steps)
    return start + np.concatenate([np.zeros((1, 2)), np.cumsum(moves, 0)])
