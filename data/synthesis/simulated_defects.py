"""Simulated defects in real radiographs: fresh ones for every training sample, or written to files once."""

from typing import NamedTuple

import cv2
import numpy as np

from data.coco import read_coco
from data.synthesis.blending import change_cavity, read_changes
from data.synthesis.casting_parts import texture
from data.synthesis.ellipsoid import Cavity, Ellipsoids, Projection, project, random_rotations
from data.synthesis.gradient import gradient_magnitude
from data.synthesis.inpainting import Patch, inpaint_boxes
from data.synthesis.placement import box_sizes, draw_place, room_map, slope_map
from data.synthesis.simulation_config import SimulationConfig
from data.synthesis.superposition import (
    GrayLaw,
    estimate_unsharpness,
    matching_noise,
    noise_level,
    reach_of,
    window_of,
)

INPAINT_MARGIN = 1.0  # pixels around an annotated box; annotators leave some already
PLACES = 6  # places and strengths tried for a defect before it is given up
EDGE_SHARE = 0.6  # of the longest half axis that has to lie on the test object: walls and edges have defects too
PEAK_TO_NOISE = 3.0  # least peak contrast over the noise of one pixel
PEAK_TO_SLOPE = 1.0  # least peak contrast over the background's change from one pixel to the next
BRIGHTER = {"brighter": True, "darker": False, "either": None}


class Background(NamedTuple):
    """What a radiograph offers: `room` and `slope` (see `placement`), unsharpness in pixels, covers of real defects."""

    room: np.ndarray
    slope: np.ndarray
    sigma: float
    patches: list[Patch]


class SimulatedMask(NamedTuple):
    """The pixels of one simulated defect: bool `[h, w]`, its first pixel at (`x0`, `y0`)."""

    x0: int
    y0: int
    mask: np.ndarray

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The tight box x1 y1 x2 y2 in pixels."""
        return self.x0, self.y0, self.x0 + self.mask.shape[1], self.y0 + self.mask.shape[0]


class Simulated(NamedTuple):
    """Pixels float32 `[H, W]` in [0, 1], the defects' tight boxes float32 `[N, 4]` xyxy and their N masks."""

    pixels: np.ndarray
    boxes: np.ndarray
    masks: list[SimulatedMask]


def cover(pixels: np.ndarray, patches: list[Patch]) -> np.ndarray:
    """Return a copy float32 [H, W] of a radiograph with the covers of its real defects laid over them."""
    image = np.array(pixels, dtype=np.float32)
    for patch in patches:
        height, width = patch.values.shape
        image[patch.y0 : patch.y0 + height, patch.x0 : patch.x0 + width] = patch.values
    return image


class DefectSimulator:
    """Puts simulated defects into radiographs; it holds no random state and can be sent to worker processes.

    Raises InputError for a `sizes_from` file that is none or has no boxes, and a `patches_from` without defects.
    """

    def __init__(self, config: SimulationConfig) -> None:
        self.config = config
        self._changes = read_changes(config.patches_from, BRIGHTER[config.polarity]) if config.patches_from else []
        self._sizes = box_sizes(read_coco(config.sizes_from), config.sizes_margin) if config.sizes_from else None

    def study(self, pixels: np.ndarray, boxes: np.ndarray) -> Background:
        """Return what a radiograph float32 `[H, W]` with real defects `boxes` `[N, 4]` xyxy offers.

        It is the slow part (about 0.1 s for 768 x 572 pixels), needed once a radiograph.
        """
        config = self.config
        patches = inpaint_boxes(pixels, boxes, INPAINT_MARGIN) if config.real_defects == "inpaint" else []
        sigma = estimate_unsharpness(pixels) if config.blur == "auto" else 0.0
        return Background(room_map(pixels, boxes, config.clearance), slope_map(pixels), sigma, patches)

    def __call__(
        self,
        pixels: np.ndarray,
        background: Background,
        rng: np.random.Generator,
        count: int | None = None,
        levels: int | None = None,
    ) -> Simulated:
        """Return the radiograph with fresh defects, every random choice from `rng`; `pixels` is left as it is.

        `count` overrules share and number. With `levels` (255 for 8 bits) what changes is rounded to whole gray
        levels, as a digitiser does.
        """
        image = cover(pixels, background.patches)
        if count is None:
            count = int(rng.integers(*self.config.per_image, endpoint=True)) if rng.random() < self.config.share else 0
        sigma = background.sigma if self.config.blur == "auto" else float(rng.uniform(*self.config.blur))
        masks: list[SimulatedMask] = []
        for _ in range(count):
            mask = self._plant(image, background, sigma, masks, rng, levels)
            if mask is not None:
                masks.append(mask)
        return Simulated(image, np.array([mask.box for mask in masks], dtype=np.float32).reshape(-1, 4), masks)

    def _plant(self, image: np.ndarray, background: Background, sigma: float, others: list[SimulatedMask],
               rng: np.random.Generator, levels: int | None) -> SimulatedMask | None:  # fmt: skip
        """Put one defect into the image, in place; return None where none shows."""
        taken = np.array([mask.box for mask in others], dtype=np.float64).reshape(-1, 4)
        half = self._half_axes(rng)
        weight = background.slope if rng.random() < self.config.near_walls else None
        for _ in range(PLACES):
            place = draw_place(background.room, EDGE_SHARE * float(half.max()), taken, rng, weight)
            if place is None:  # no room for this size
                half = half * 0.7
                continue
            cavity = self._cavity(half, place, image.shape, rng)
            if not cavity.chord.any():
                continue
            patch, chord = window_of(image, cavity, sigma)
            change = self._change(patch, chord, sigma, rng)
            if change is None:
                continue
            mask = _footprint(change, cavity, sigma, self.config.box_share)
            _add(patch, change, self.config.noise, levels, rng)
            return mask
        return None

    def _half_axes(self, rng: np.random.Generator) -> np.ndarray:
        """Return the three half axes of an ellipsoid in pixels."""
        config = self.config
        rest = rng.uniform(*config.flatness, 2)
        if self._sizes is not None:
            longest = float(rng.choice(self._sizes)) * rng.uniform(0.9, 1.1) / 2 / float(np.sqrt(rest.mean()))
        else:
            longest = config.half_axis.draw(rng) / (config.pixel_mm or 1.0)
        return longest * np.array([1.0, *rest])

    def _cavity(self, half: np.ndarray, place: tuple[float, float], shape: tuple[int, int],
                rng: np.random.Generator) -> Cavity:  # fmt: skip
        """Return a cavity around a place: one ellipsoid, or a few grown together, or the shape out of a patch."""
        if self._changes and rng.random() < self.config.patch_share:
            change = self._changes[int(rng.integers(len(self._changes)))]
            return change_cavity(change, place, shape, 2 * float(half.max()), rng.uniform(0, 360), rng.random() < 0.5)
        members = int(rng.integers(2, 5)) if rng.random() < self.config.clusters else 1
        shares = np.r_[1.0, rng.uniform(0.35, 0.8, members - 1)]
        if members > 1:
            shares = shares * 0.75  # the union is about as large as the one
        offsets = rng.normal(0, 0.45 * float(half.mean()), (members, 3))
        offsets[0] = 0
        axes = half * shares[:, None] * rng.uniform(0.8, 1.0, (members, 3))
        pixel = self.config.pixel_mm or 1.0
        centers = (np.array([*place, 0.0]) + offsets) * pixel
        ellipsoids = Ellipsoids(axes * pixel, random_rotations(rng, members), centers)
        (cavity,) = project(ellipsoids, Projection(pixel), shape, groups=[0] * members)
        if self.config.irregularity > 0 and min(cavity.chord.shape, default=0) > 4:
            grain = texture(rng, cavity.chord.shape, float(max(half.mean() / 2, 2)))
            cavity = Cavity(cavity.x0, cavity.y0,
                            cavity.chord * np.maximum(1 + self.config.irregularity * grain, 0.1))  # fmt: skip
        return cavity

    def _change(self, patch: np.ndarray, chord: np.ndarray, sigma: float,
                rng: np.random.Generator) -> np.ndarray | None:  # fmt: skip
        """Return what the cavity adds to the patch, float32 of its shape; None if it could not be seen."""
        config = self.config
        brighter = config.polarity == "brighter" or (config.polarity == "either" and rng.random() < 0.5)
        smooth = cv2.GaussianBlur(patch, (0, 0), max(sigma, 1.0))
        if config.law is not None:
            law = GrayLaw.from_darkest(config.law.mu, config.law.xmax, 1.0, brighter)
            change = law.change(smooth, chord).astype(np.float32)
        else:
            change = smooth * chord
        if sigma > 0:
            change = cv2.GaussianBlur(change, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
        peak = float(np.abs(change).max())
        if peak <= 0:  # a black background
            return None
        core = np.abs(change) > 0.5 * peak
        slope = float(np.median(gradient_magnitude(smooth)[core]))
        least = max(PEAK_TO_NOISE * noise_level(patch), PEAK_TO_SLOPE * slope, 1 / 255)
        if config.law is None:
            level = float(smooth[core].mean())
            wanted = max(config.contrast.draw(rng) * level, least)
            if wanted > 2 * config.contrast.high * level:
                return None
            change *= np.float32(wanted / peak if brighter else -wanted / peak)
        # Where the radiograph is saturated a defect leaves nothing.
        seen = np.clip(smooth + change, 0, 1) - smooth
        return change if float(np.abs(seen).max()) >= max(least, 0.6 * float(np.abs(change).max())) else None


def _footprint(change: np.ndarray, cavity: Cavity, sigma: float, share: float) -> SimulatedMask:
    """Return where a change, over the window that `window_of` gives, exceeds a share of its peak."""
    pad = reach_of(sigma) if sigma > 0 else 0
    x0, y0 = max(cavity.x0 - pad, 0), max(cavity.y0 - pad, 0)
    size = np.abs(change)
    mask = size > share * size.max()
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    own = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return SimulatedMask(x0 + int(columns[0]), y0 + int(rows[0]), own)


def _add(patch: np.ndarray, change: np.ndarray, noise: bool, levels: int | None, rng: np.random.Generator) -> None:
    """Add a change to its patch in place, with noise, rounding and saturation."""
    if noise:
        gain = 1 + change / np.maximum(patch, 1 / 255)
        change = change + matching_noise(patch, gain, rng)
    if levels is not None:
        # The gray value before rounding is unknown: any within half a level is alike likely. It keeps weak changes
        # from showing steps; where nothing changes, it must not show.
        dither = rng.uniform(-0.5, 0.5, patch.shape) * np.minimum(np.abs(change) * (4 * levels), 1)
        change = np.rint(change * levels + dither) / levels
    np.clip(patch + change, 0, 1, out=patch, casting="unsafe")
