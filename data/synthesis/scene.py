"""One simulated radiograph of a part nobody has seen: random solids, a random acquisition, visible defects.

The strength of a defect is drawn as a contrast-to-noise ratio against the local noise, from barely visible to plain,
and never as a share of the gray value: a detector taught by 3 % of a gray value fires on noise in the dark.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from data.synthesis.acquisition import (
    Acquisition,
    AcquisitionConfig,
    acquire,
    draw_acquisition,
    ideal_signal,
    sensitivity,
    visibility,
)
from data.synthesis.canvas import Shape, log_uniform, smooth_noise
from data.synthesis.defect_shapes import cluster, crack, dendritic_shrinkage, pore, sponge_shrinkage
from data.synthesis.solids import make_part

MASK_THRESHOLD = 0.25  # a pixel belongs to a defect where its contrast exceeds this share of the defect's peak
LEAST_DETECTABILITY = 14.0  # of an ideal observer who knows shape and place; Rose asks for 5, annotators see more
LEAST_PEAK = 2.5 / 255
LARGEST_FRAME = 3.5  # of a part, over the sides of the view
FLAT = 0.03  # of the open beam; a view that varies less is laid out once more
DEEPEST = 0.85  # largest share of the metal that a defect may take
DEFECT_FREE_SHARE = 0.34


def cavity(rng: np.random.Generator, size: float) -> np.ndarray:
    """Return the chord of a large, irregular cavity: a smooth outline, a rough floor."""
    side = int(np.ceil(size * 1.5)) // 2 * 2 + 3
    u = (np.arange(side, dtype=np.float32) - side // 2) / np.float32(size / 2)
    turn, squash = rng.uniform(0, np.pi), rng.uniform(0.35, 1.0)
    x, y = np.cos(turn) * u[None] + np.sin(turn) * u[:, None], np.cos(turn) * u[:, None] - np.sin(turn) * u[None]
    radius = np.hypot(x, y / squash) * (1 + rng.uniform(0.05, 0.3) * smooth_noise(rng, (side, side), size / 5))
    body = np.clip(1 - radius**2, 0, None) ** rng.uniform(0.25, 0.8)
    rough = 1 + rng.uniform(0.05, 0.4) * smooth_noise(rng, (side, side), max(size / 12, 1.5))
    return (body * np.clip(rough, 0.1, None)).astype(np.float32)


def chain(rng: np.random.Generator, size: float) -> np.ndarray:
    """Return the chords of a row of pores."""
    side = int(np.ceil(size * 1.3)) // 2 * 2 + 3
    chord = np.zeros((side, side), np.float32)
    number, turn = int(rng.integers(3, 8)), rng.uniform(0, np.pi)
    for k in range(number):
        along = (k / (number - 1) - 0.5) * size * 0.8
        across = rng.normal(0, size * 0.04)
        small = pore(rng, max(size / number * rng.uniform(0.5, 1.1), 3.0)) * np.float32(rng.uniform(0.5, 1))
        x = int(side / 2 + along * np.cos(turn) - across * np.sin(turn) - small.shape[1] / 2)
        y = int(side / 2 + along * np.sin(turn) + across * np.cos(turn) - small.shape[0] / 2)
        x, y = max(min(x, side - small.shape[1]), 0), max(min(y, side - small.shape[0]), 0)
        here = chord[y : y + small.shape[0], x : x + small.shape[1]]
        np.maximum(here, small[: here.shape[0], : here.shape[1]], out=here)
    return chord


@dataclass(frozen=True)
class SceneDefect:
    """How often a kind of defect is drawn, and its sizes in pixels."""

    shape: Callable[[np.random.Generator, float], np.ndarray]
    share: float
    sizes: tuple[float, float]


SCENE_DEFECTS = {
    "pore": SceneDefect(pore, 0.34, (5, 60)),
    "cavity": SceneDefect(cavity, 0.26, (12, 150)),
    "cluster": SceneDefect(cluster, 0.10, (16, 140)),
    "sponge_shrinkage": SceneDefect(sponge_shrinkage, 0.12, (16, 150)),
    "dendritic_shrinkage": SceneDefect(dendritic_shrinkage, 0.08, (30, 200)),
    "chain": SceneDefect(chain, 0.06, (20, 110)),
    "crack": SceneDefect(crack, 0.04, (18, 110)),
}


def draw_shape(rng: np.random.Generator, scale: float, largest: float) -> tuple[str, np.ndarray]:
    """Return a kind of defect and relative chords float32 [h, w]; sizes are multiplied by `scale`, up to `largest`."""
    names = list(SCENE_DEFECTS)
    shares = np.array([kind.share for kind in SCENE_DEFECTS.values()])
    kind = names[int(rng.choice(len(names), p=shares / shares.sum()))]
    low, high = SCENE_DEFECTS[kind].sizes
    size = float(np.clip(log_uniform(rng, low, high) * scale, low, min(high, max(largest, low))))
    return kind, SCENE_DEFECTS[kind].shape(rng, size)


@dataclass(frozen=True)
class PlantedDefect:
    """One labeled defect: `kind`, tight `box` x1 y1 x2 y2 in pixels, mask bool [h, w] at the box's corner.

    `peak` is its largest contrast in display units, `cnr` that over the local noise, `detectability` the
    signal-to-noise ratio of a matched filter; `depth` its largest optical thickness, NaN where it is not known.
    """

    kind: str
    box: tuple[int, int, int, int]
    mask: np.ndarray
    peak: float
    cnr: float
    detectability: float
    depth: float = float("nan")


def claim(mask: np.ndarray, left: int, top: int, taken: np.ndarray
          ) -> tuple[tuple[int, int, int, int], np.ndarray] | None:  # fmt: skip
    """Return the tight box x1 y1 x2 y2 of a defect and its mask inside it, and note the place in `taken`.

    Args:
        mask: bool [h, w], its first pixel at (`left`, `top`) of the radiograph.
        left: see there.
        top: see there.
        taken: [ceil(H / 4), ceil(W / 4)], not 0 where a defect lies already; changed in place.

    Returns None for a defect under 4 px, and where another one lies.

    """
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x1, y1, x2, y2 = (int(v) for v in (left + xs[0], top + ys[0], left + xs[-1] + 1, top + ys[-1] + 1))
    busy = taken[y1 // 4 : y2 // 4 + 1, x1 // 4 : x2 // 4 + 1]
    if x2 - x1 < 4 or y2 - y1 < 4 or busy.any():
        return None
    busy[...] = 1
    return (x1, y1, x2, y2), mask[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1].copy()


@dataclass(frozen=True)
class Scene:
    """A radiograph float32 [H, W] in [0, 1], its `twin` without defects (same part, other noise), its defects."""

    pixels: np.ndarray
    twin: np.ndarray
    defects: list[PlantedDefect]
    acquisition: Acquisition

    @property
    def boxes(self) -> np.ndarray:
        """Tight boxes float32 [N, 4], x1 y1 x2 y2."""
        return np.array([d.box for d in self.defects], np.float32).reshape(-1, 4)


def make_scene(rng: np.random.Generator, shape: Shape, config: AcquisitionConfig | None = None,
               per_image: tuple[int, int] = (1, 6), leading: str | None = None) -> Scene:  # fmt: skip
    """Return one simulated radiograph of `shape` (height, width) with its twin; every choice from `rng`.

    `leading` names the wall that is in front, one of `data.synthesis.solids.WALLS`.
    """
    config = config or AcquisitionConfig()
    thickness = make_part(rng, shape, leading, LARGEST_FRAME)
    if float(np.ptp(np.quantile(np.exp(-thickness[::8, ::8]), [0.05, 0.95]))) < FLAT:  # a close-up of nothing
        thickness = make_part(rng, shape, leading, LARGEST_FRAME)
    blur = log_uniform(rng, *config.blur)
    blurs = (blur * rng.uniform(1.0, 1.3), blur)
    scatter, glare = rng.uniform(0, config.scatter), rng.uniform(0, config.glare)
    hardening = rng.uniform(0, 0.12)
    signal = ideal_signal(thickness, blurs, scatter * 0.2, glare * 0.5, hardening)
    acquisition = draw_acquisition(rng, signal, config, blurs, scatter, glare)
    weight = sensitivity(shape, acquisition)
    signal = signal * weight
    clean = signal.copy()
    defects: list[PlantedDefect] = []
    if rng.random() >= DEFECT_FREE_SHARE:
        number = int(rng.integers(per_image[0], per_image[1] + 1))
        _implant(
            rng, thickness, signal, acquisition, weight * visibility(shape, acquisition), number, hardening, defects
        )
    return Scene(acquire(signal, acquisition, rng), acquire(clean, acquisition, rng), defects, acquisition)


def _implant(rng: np.random.Generator, thickness: np.ndarray, signal: np.ndarray, acquisition: Acquisition,
             weight: np.ndarray, number: int, hardening: float, defects: list[PlantedDefect]) -> None:  # fmt: skip
    """Put up to `number` visible defects into `signal` in place, and append them to `defects`."""
    height, width = signal.shape
    display = acquisition.display(signal[::4, ::4])
    span = acquisition.white - acquisition.black
    level = (display - acquisition.black) / span
    metal = (thickness[::4, ::4] > 0.08) & (weight[::4, ::4] > 0.3) & (level < 0.93)
    usable = np.argwhere(metal & (level > 0.02))
    dark = np.argwhere(metal & (level <= 0.02))  # strong defects show even where the picture is black
    if len(usable) == 0:
        return
    slope = cv2.GaussianBlur(np.abs(cv2.Laplacian(display, cv2.CV_32F)), (0, 0), 2.0)[usable[:, 0], usable[:, 1]]
    near = (slope + 1e-5) / float((slope + 1e-5).sum())
    taken = np.zeros((height // 4 + 2, width // 4 + 2), np.uint8)
    scale = log_uniform(rng, 0.5, 2.2)  # defects of one part are alike
    for _ in range(number * 4):
        if len(defects) >= number:
            return
        kind, chord = draw_shape(rng, scale, 0.45 * min(height, width))
        spots = dark if len(dark) and rng.random() < 0.1 else usable
        pick = (
            int(rng.choice(len(usable), p=near))
            if spots is usable and rng.random() < 0.5
            else int(rng.integers(len(spots)))
        )
        y, x = spots[pick] * 4 + rng.integers(0, 4, 2)
        defect = _implant_one(rng, kind, chord, (int(x), int(y)), thickness, signal, acquisition, weight, taken,
                              hardening)  # fmt: skip
        if defect is not None:
            defects.append(defect)


def _implant_one(rng: np.random.Generator, kind: str, chord: np.ndarray, center: tuple[int, int],
                 thickness: np.ndarray, signal: np.ndarray, acquisition: Acquisition, weight: np.ndarray,
                 taken: np.ndarray, hardening: float) -> PlantedDefect | None:  # fmt: skip
    """Put one defect into `signal` in place, or return None where it cannot be seen or another one lies."""
    pad = int(3 * max(acquisition.blur_x, acquisition.blur_y)) + 2
    chord = np.pad(chord, pad)
    x0, y0 = center[0] - chord.shape[1] // 2, center[1] - chord.shape[0] // 2
    left, top = max(x0, 0), max(y0, 0)
    right, bottom = min(x0 + chord.shape[1], signal.shape[1]), min(y0 + chord.shape[0], signal.shape[0])
    if right - left < 4 or bottom - top < 4:
        return None
    chord = chord[top - y0 : bottom - y0, left - x0 : right - x0]
    here = np.s_[top:bottom, left:right]
    metal, local, seen = thickness[here], signal[here], weight[here]
    chord = chord * (metal > 0.03)
    if chord.max() <= 0:
        return None
    primary = np.exp(-metal / (1 + np.float32(hardening) * metal))
    base = acquisition.display(local)

    def effect(depth: float) -> tuple[np.ndarray, np.ndarray]:
        left_over = metal - np.minimum(chord * np.float32(depth), metal * np.float32(DEEPEST))
        change = (np.exp(-left_over / (1 + np.float32(hardening) * left_over)) - primary) * seen
        change = acquisition.blurred(change)
        return change, acquisition.display(local + change) - base

    core = chord > 0.5 * chord.max()
    sigma = acquisition.sigma(float(local[core].mean()))
    wanted = log_uniform(rng, max(LEAST_PEAK, 1.5 * sigma), min(0.65, 0.12 + 14 * sigma))
    depth = 0.1
    for _ in range(5):
        change, shown = effect(depth)
        peak = float(shown.max())
        if peak <= 1e-4:
            depth *= 4
        elif 0.8 < peak / wanted < 1.25:
            break
        else:
            depth *= float(np.clip(wanted / peak, 0.2, 5.0))
    change, shown = effect(depth)
    peak = float(shown.max())
    mask = shown > MASK_THRESHOLD * peak
    detectability = float(np.sqrt((shown**2).sum())) / (sigma * acquisition.noise_growth())
    if peak < max(LEAST_PEAK, 1.0 * sigma) or detectability < LEAST_DETECTABILITY or mask.sum() < 6:
        return None
    gradient = cv2.Sobel(base, cv2.CV_32F, 1, 0, scale=0.125) ** 2 + cv2.Sobel(base, cv2.CV_32F, 0, 1, scale=0.125) ** 2
    if peak < 1.5 * float(np.sqrt(np.median(gradient[mask]))):
        return None
    place = claim(mask, left, top, taken)
    if place is None:
        return None
    local += change
    return PlantedDefect(kind, *place, peak, peak / sigma, detectability,
                         float(np.minimum(chord * depth, metal * DEEPEST).max()))  # fmt: skip
