"""Defects put into a real radiograph, their strength drawn as a contrast-to-noise ratio.

Nothing is known of the part but its picture: a cavity adds a share of the local gray value, blurred by the
radiograph's own unsharpness, and where the picture is saturated it leaves nothing. What is labeled is what shows.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from data.part_mask import segment_test_object
from data.synthesis.canvas import log_uniform
from data.synthesis.gradient import gradient_magnitude
from data.synthesis.inpainting import InpaintedRegion, inpaint_boxes
from data.synthesis.scene import LEAST_DETECTABILITY, LEAST_PEAK, MASK_THRESHOLD, PlantedDefect, claim, draw_shape
from data.synthesis.simulated_defects import INPAINT_PADDING, Simulated, SimulatedMask, with_inpainted
from data.synthesis.simulation_config import SimulationConfig
from data.synthesis.superposition import estimate_unsharpness

SATURATION_MARGIN = 3 / 255
MAX_TRIALS = 5  # places tried a defect


@dataclass(frozen=True)
class RadiographSurvey:
    """What a radiograph offers to simulated defects.

    Attributes:
        black: the display value where it saturates at the lower end.
        white: the same at the upper end.
        blur: the unsharpness, sigma in pixels.
        noise: float32 [ceil(H / 4), ceil(W / 4)], standard deviation of the local noise in display units.
        growth: by how much the noise's correlation raises the noise of a sum of pixels.
        usable: the rows and columns int64 [K, 2] on that grid where a defect could show.
        near: float64 [K], the probability of each where defects are drawn near walls; sums to 1.

    """

    black: float
    white: float
    blur: float
    noise: np.ndarray
    growth: float
    usable: np.ndarray
    near: np.ndarray


def survey(pixels: np.ndarray, forbidden: np.ndarray | None = None) -> RadiographSurvey:
    """Return what a radiograph float32 [H, W] in [0, 1] offers; `forbidden` boxes [N, 4] stay clear of defects."""
    black, white = float(pixels.min()), float(pixels.max())
    rough = pixels - cv2.GaussianBlur(pixels, (0, 0), 2.0)
    saturated = (pixels <= black + SATURATION_MARGIN) | (pixels >= white - SATURATION_MARGIN)
    weight = (~saturated & segment_test_object(pixels)).astype(np.float32)
    # Edges are no noise: what is steep counts little.
    calm = cv2.GaussianBlur(pixels, (0, 0), 2.0)
    weight *= 1 / (1 + (gradient_magnitude(calm) * 255 / 1.5) ** 2)
    power = cv2.GaussianBlur(rough * rough * weight, (0, 0), 12.0) / np.maximum(
        cv2.GaussianBlur(weight, (0, 0), 12.0), 1e-4
    )
    noise = np.sqrt(np.maximum(power, (0.3 / 255) ** 2))[::4, ::4].copy()
    usable = np.argwhere(cv2.GaussianBlur(weight, (0, 0), 3.0)[::4, ::4] > 0.02)
    if forbidden is not None and len(forbidden) and len(usable):
        x, y = usable[:, 1, None] * 4, usable[:, 0, None] * 4
        inside = (
            (x > forbidden[:, 0] - 8)
            & (x < forbidden[:, 2] + 8)
            & (y > forbidden[:, 1] - 8)
            & (y < forbidden[:, 3] + 8)
        )
        usable = usable[~inside.any(1)]
    slope = gradient_magnitude(cv2.GaussianBlur(pixels, (0, 0), 4.0))[::4, ::4][usable[:, 0], usable[:, 1]] + 2e-4
    rest = rough[~saturated]
    energy = float((rough[:, 1:] * rough[:, :-1])[~saturated[:, 1:]].mean()) if len(rest) > 100 else 0.0
    across = float(np.clip(energy / max(float((rest * rest).mean()) if len(rest) else 1.0, 1e-9), 0, 0.9))
    # Noise makes edges look sharp; what is noisy was blurred before the noise came.
    blur = max(estimate_unsharpness(pixels), min(1.0, float(np.median(noise)) * 255 / 3))
    return RadiographSurvey(black, white, blur, noise, 1 + across, usable, slope / slope.sum())


def implant_visible(
    pixels: np.ndarray,
    offer: RadiographSurvey,
    rng: np.random.Generator,
    number: int,
    levels: int = 255,
) -> tuple[np.ndarray, list[PlantedDefect]]:
    """Return the radiograph float32 [H, W] with up to `number` fresh defects, and the defects.

    What changes is rounded to whole gray levels of `levels`; `pixels` is left as it is.
    """
    image = np.array(pixels, np.float32)
    defects: list[PlantedDefect] = []
    taken = np.zeros(offer.noise.shape, bool)
    if not len(offer.usable):
        return image, defects
    blur = float(offer.blur * log_uniform(rng, 0.8, 2.2))
    scale = log_uniform(rng, 0.5, 2.2)
    for _ in range(number * MAX_TRIALS):
        if len(defects) == number:
            break
        kind, chord = draw_shape(rng, scale, 0.45 * min(pixels.shape))
        pick = rng.choice(len(offer.usable), p=offer.near) if rng.random() < 0.5 else rng.integers(len(offer.usable))
        y, x = offer.usable[int(pick)] * 4 + rng.integers(0, 4, 2)
        defect = _implant_one(image, offer, rng, kind, chord, (int(x), int(y)), blur, taken, levels)
        if defect is not None:
            defects.append(defect)
    return image, defects


def _implant_one(image: np.ndarray, offer: RadiographSurvey, rng: np.random.Generator, kind: str, chord: np.ndarray,
                 center: tuple[int, int], blur: float, taken: np.ndarray, levels: int
                 ) -> PlantedDefect | None:  # fmt: skip
    """Put one defect into `image` in place, or return None where it cannot be seen or another one lies."""
    chord = np.pad(chord, int(3 * blur) + 2)
    x0, y0 = center[0] - chord.shape[1] // 2, center[1] - chord.shape[0] // 2
    left, top = max(x0, 0), max(y0, 0)
    right, bottom = min(x0 + chord.shape[1], image.shape[1]), min(y0 + chord.shape[0], image.shape[0])
    if right - left < 6 or bottom - top < 6:
        return None
    chord = cv2.GaussianBlur(chord[top - y0 : bottom - y0, left - x0 : right - x0], (0, 0), max(blur, 0.3))
    if chord.max() <= 0:
        return None
    here = np.s_[top:bottom, left:right]
    local = image[here]
    smooth = cv2.GaussianBlur(local, (0, 0), max(blur, 1.5))
    # What a cavity adds follows the transmitted light: the display value above black, and some more.
    light = np.maximum(smooth - np.float32(offer.black), 0) + np.float32(rng.uniform(0.02, 0.3))
    shape = light * chord
    core = chord > 0.5 * chord.max()
    sigma = float(np.median(offer.noise[top // 4 : bottom // 4 + 1, left // 4 : right // 4 + 1]))
    wanted = log_uniform(rng, max(LEAST_PEAK, 1.2 * sigma), min(0.65, 0.12 + 14 * sigma))
    change = shape * np.float32(wanted / max(float(shape[core].mean()), 1e-6))
    seen = np.clip(smooth + change, offer.black, offer.white) - smooth
    seen = np.where((smooth <= offer.black + SATURATION_MARGIN) & (rng.random() < 0.7), 0, seen)
    change = np.where(seen > 0, change, 0)
    peak = float(seen.max())
    mask = seen > MASK_THRESHOLD * peak
    detectability = float(np.sqrt((np.maximum(seen, 0) ** 2).sum())) / (sigma * offer.growth)
    if peak < max(LEAST_PEAK, sigma) or detectability < LEAST_DETECTABILITY or mask.sum() < 6:
        return None
    if peak < 1.2 * float(np.median(gradient_magnitude(smooth)[mask])):
        return None
    place = claim(mask, left, top, taken)
    if place is None:
        return None
    dither = rng.uniform(-0.5, 0.5, local.shape).astype(np.float32)
    changed = np.round((local + change) * levels + np.where(np.abs(change) > 0.2 / levels, dither, 0)) / levels
    local[...] = np.where(np.abs(change) > 0.2 / levels, np.clip(changed, offer.black, offer.white), local)
    return PlantedDefect(kind, *place, peak, peak / sigma, detectability)


class VisibleDefectSimulator:
    """Puts defects of varied shapes into radiographs; used as `data.synthesis.simulated_defects.DefectSimulator` is."""

    def __init__(self, config: SimulationConfig) -> None:
        self.config = config

    def analyze(
        self, pixels: np.ndarray, boxes: np.ndarray, levels: int | None = None
    ) -> tuple[RadiographSurvey, list[InpaintedRegion]]:
        """Return what a radiograph float32 [H, W] with real defects `boxes` [N, 4] xyxy offers, and their covers."""
        regions = inpaint_boxes(pixels, boxes, INPAINT_PADDING) if self.config.real_defects == "inpaint" else []
        return survey(pixels, boxes), regions

    def __call__(
        self,
        pixels: np.ndarray,
        background: tuple[RadiographSurvey, list[InpaintedRegion]],
        rng: np.random.Generator,
        count: int | None = None,
        levels: int | None = None,
    ) -> Simulated:
        """Return the radiograph with simulated defects, every random choice from `rng`; `pixels` is left as it is."""
        offer, regions = background
        image = with_inpainted(pixels, regions)
        if count is None:
            chosen = rng.random() < self.config.image_fraction
            count = int(rng.integers(*self.config.per_image, endpoint=True)) if chosen else 0
        image, defects = implant_visible(image, offer, rng, count, levels or 65535)
        masks = [SimulatedMask(d.box[0], d.box[1], d.mask, d.cnr) for d in defects]
        return Simulated(image, np.array([d.box for d in defects], np.float32).reshape(-1, 4), masks)
