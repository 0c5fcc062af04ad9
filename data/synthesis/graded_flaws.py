"""Simulated flaws of a wanted size and contrast-to-noise ratio at a wanted place, whether they can be seen or not.

`visible_defects` leaves out what nobody could see, as training wants it. A probability of detection needs the rest.
"""

import cv2
import numpy as np

from data.synthesis.defect_shapes import pore
from data.synthesis.scene import MASK_THRESHOLD, PlantedDefect, claim
from data.synthesis.visible_defects import RadiographSurvey

LEAST_SEEN = 0.8  # of the wanted contrast, that saturation must leave
EXTRA_LIGHT = 0.1  # display units, so that a flaw shows in the dark, too
CHANGED = 0.2  # gray levels; what changes less stays as it is


def plant_flaw(
    image: np.ndarray,
    offer: RadiographSurvey,
    rng: np.random.Generator,
    size: float,
    contrast_to_noise: float,
    center: tuple[int, int],
    taken: np.ndarray,
    levels: int = 255,
) -> PlantedDefect | None:
    """Put one pore into a radiograph, in place.

    Args:
        image: float32 [H, W] in [0, 1], changed.
        offer: what `survey` says of it.
        rng: draws the shape.
        size: of the pore in pixels, before the radiograph's own blur.
        contrast_to_noise: wanted peak over the local noise.
        center: x, y in pixels.
        taken: bool [ceil(H / 4), ceil(W / 4)], where flaws lie already; changed.
        levels: gray levels of the radiograph, to which changed pixels are rounded.

    Returns the flaw with its tight box and the ratio that it has, or None where another flaw, the frame or saturation
    leaves no room for it.

    """
    chord = np.pad(pore(rng, size), int(3 * offer.blur) + 2)
    chord = cv2.GaussianBlur(chord, (0, 0), max(offer.blur, 0.3))
    left, top = center[0] - chord.shape[1] // 2, center[1] - chord.shape[0] // 2
    right, bottom = left + chord.shape[1], top + chord.shape[0]
    if left < 0 or top < 0 or right > image.shape[1] or bottom > image.shape[0]:
        return None
    local = image[top:bottom, left:right]
    smooth = cv2.GaussianBlur(local, (0, 0), max(offer.blur, 1.5))
    shape = (np.maximum(smooth - np.float32(offer.black), 0) + np.float32(EXTRA_LIGHT)) * chord
    sigma = float(np.median(offer.noise[top // 4 : bottom // 4 + 1, left // 4 : right // 4 + 1]))
    change = shape * np.float32(contrast_to_noise * sigma / max(float(shape.max()), 1e-9))
    seen = np.clip(smooth + change, offer.black, offer.white) - smooth
    peak = float(seen.max())
    if peak < LEAST_SEEN * contrast_to_noise * sigma:
        return None
    place = claim(change > MASK_THRESHOLD * float(change.max()), left, top, taken)
    if place is None:
        return None
    changes = np.abs(change) > CHANGED / levels
    dither = rng.uniform(-0.5, 0.5, local.shape).astype(np.float32)
    rounded = np.round((local + change) * levels + dither) / levels
    local[...] = np.where(changes, np.clip(rounded, offer.black, offer.white), local)
    detectability = float(np.sqrt((np.maximum(seen, 0) ** 2).sum())) / (sigma * offer.growth)
    return PlantedDefect("pore", *place, peak, peak / sigma, detectability)
