"""Simulated defects in real radiographs: on the fly for every training sample, or written to files once."""

from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np

from data.coco import read_coco
from data.noise_level import noise_level
from data.synthesis.blending import change_cavity, read_changes
from data.synthesis.casting_parts import texture
from data.synthesis.ellipsoid import Cavity, Ellipsoids, Projection, project, random_rotations
from data.synthesis.gradient import gradient_magnitude
from data.synthesis.inpainting import InpaintedRegion, inpaint_boxes
from data.synthesis.placement import box_sizes, clearance_map, edge_strength, sample_position
from data.synthesis.simulation_config import SimulationConfig
from data.synthesis.superposition import (
    AttenuationModel,
    estimate_unsharpness,
    matching_noise,
    reach_of,
    window_of,
)

INPAINT_PADDING = 1.0  # pixels around an annotated box; annotators leave some already
MAX_ATTEMPTS = 6  # positions and strengths tried for a defect before it is given up
CLEAR_FRACTION = 0.6  # of the longest semi-axis that has to lie on the test object: walls and edges have defects too
PEAK_TO_NOISE = 3.0  # least peak contrast over the noise of one pixel
PEAK_TO_SLOPE = 1.0  # least peak contrast over the background's change from one pixel to the next
DISPLAY_LEVEL = 1 / 255  # the least contrast, and the darkest background, where values are no whole gray levels
BRIGHTER = {"brighter": True, "darker": False, "either": None}


class Background(NamedTuple):
    """What a radiograph offers: maps of clearance and edges (see `placement`), blur in pixels, inpainted defects."""

    clearance: np.ndarray
    edges: np.ndarray
    sigma: float
    inpainted: list[InpaintedRegion]


class SimulatedMask(NamedTuple):
    """The pixels of one simulated defect: bool `[h, w]`, its first pixel at (`x0`, `y0`).

    `contrast_to_noise` is its peak contrast over the local noise, None where it was not measured.
    """

    x0: int
    y0: int
    mask: np.ndarray
    contrast_to_noise: float | None = None

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The tight box x1 y1 x2 y2 in pixels."""
        return self.x0, self.y0, self.x0 + self.mask.shape[1], self.y0 + self.mask.shape[0]


class Simulated(NamedTuple):
    """Pixels float32 `[H, W]` in [0, 1], the defects' tight boxes float32 `[N, 4]` xyxy and their N masks."""

    pixels: np.ndarray
    boxes: np.ndarray
    masks: list[SimulatedMask]


def with_inpainted(pixels: np.ndarray, regions: list[InpaintedRegion]) -> np.ndarray:
    """Return a copy float32 [H, W] of a radiograph with the inpainted regions laid over its real defects."""
    image = np.array(pixels, dtype=np.float32)
    for region in regions:
        height, width = region.values.shape
        image[region.y0 : region.y0 + height, region.x0 : region.x0 + width] = region.values
    return image


class Simulator(Protocol):
    """What puts simulated defects into radiographs; it holds no random state and can be sent to worker processes.

    The background that `analyze` finds out belongs to the simulator: each has its own.
    """

    def analyze(self, pixels: np.ndarray, boxes: np.ndarray, levels: int | None = None) -> Any:
        """Return what a radiograph float32 `[H, W]` with real defects `boxes` `[N, 4]` xyxy offers."""
        ...

    def __call__(
        self,
        pixels: np.ndarray,
        background: Any,
        rng: np.random.Generator,
        count: int | None = None,
        levels: int | None = None,
    ) -> Simulated:
        """Return the radiograph with simulated defects, every random choice from `rng`."""
        ...


class DefectSimulator:
    """Puts simulated defects into radiographs; it holds no random state and can be sent to worker processes.

    Raises InputError for a `sizes_from` file that is not COCO or has no boxes, and a `patches_from` without defects.
    """

    def __init__(self, config: SimulationConfig) -> None:
        self.config = config
        self._changes = read_changes(config.patches_from, BRIGHTER[config.polarity]) if config.patches_from else []
        self._sizes = box_sizes(read_coco(config.sizes_from), config.sizes_padding) if config.sizes_from else None

    def analyze(self, pixels: np.ndarray, boxes: np.ndarray, levels: int | None = None) -> Background:
        """Return what a radiograph float32 `[H, W]` with real defects `boxes` `[N, 4]` xyxy offers.

        `levels` is its full scale in whole gray levels, if its values are such. It is the slow part (about 0.1 s for
        768 x 572 pixels), needed once a radiograph.
        """
        config = self.config
        inpainted = inpaint_boxes(pixels, boxes, INPAINT_PADDING) if config.real_defects == "inpaint" else []
        sigma = estimate_unsharpness(pixels) if config.blur == "auto" else 0.0
        edges = edge_strength(pixels, _one_level(levels))
        return Background(clearance_map(pixels, boxes, config.clearance), edges, sigma, inpainted)

    study = analyze  # its former name

    def __call__(
        self,
        pixels: np.ndarray,
        background: Background,
        rng: np.random.Generator,
        count: int | None = None,
        levels: int | None = None,
    ) -> Simulated:
        """Return the radiograph with simulated defects, every random choice from `rng`; `pixels` is left as it is.

        `count` overrules the configured numbers. With `levels` (255 for 8 bits) what changes is rounded to whole gray
        levels, as a digitizer does.
        """
        image = with_inpainted(pixels, background.inpainted)
        if count is None:
            chosen = rng.random() < self.config.image_fraction
            count = int(rng.integers(*self.config.per_image, endpoint=True)) if chosen else 0
        sigma = background.sigma if self.config.blur == "auto" else float(rng.uniform(*self.config.blur))
        masks: list[SimulatedMask] = []
        for _ in range(count):
            mask = self._implant(image, background, sigma, masks, rng, levels)
            if mask is not None:
                masks.append(mask)
        return Simulated(image, np.array([mask.box for mask in masks], dtype=np.float32).reshape(-1, 4), masks)

    def _implant(self, image: np.ndarray, background: Background, sigma: float, others: list[SimulatedMask],
                 rng: np.random.Generator, levels: int | None) -> SimulatedMask | None:  # fmt: skip
        """Put one defect into the image, in place; return None where none shows."""
        taken = np.array([mask.box for mask in others], dtype=np.float64).reshape(-1, 4)
        semi_axes = self._semi_axes(rng)
        weight = background.edges if rng.random() < self.config.edge_bias else None
        for _ in range(MAX_ATTEMPTS):
            position = sample_position(
                background.clearance, CLEAR_FRACTION * float(semi_axes.max()), taken, rng, weight
            )
            if position is None:  # no room for this size
                semi_axes = semi_axes * 0.7
                continue
            cavity = self._cavity(semi_axes, position, (image.shape[0], image.shape[1]), rng)
            if not cavity.chord.any():
                continue
            patch, chord = window_of(image, cavity, sigma)
            change = self._change(patch, chord, sigma, rng, _one_level(levels))
            if change is None:
                continue
            mask = _footprint(change, cavity, sigma, self.config.mask_threshold)
            _add(patch, change, self.config.noise, levels, rng)
            return mask
        return None

    def _semi_axes(self, rng: np.random.Generator) -> np.ndarray:
        """Return the three semi-axes of an ellipsoid in pixels."""
        config = self.config
        rest = rng.uniform(*config.axis_ratio, 2)
        if self._sizes is not None:
            longest = float(rng.choice(self._sizes)) * rng.uniform(0.9, 1.1) / 2 / float(np.sqrt(rest.mean()))
        else:
            longest = config.semi_axis.sample(rng) / (config.pixel_mm or 1.0)
        return longest * np.array([1.0, *rest])

    def _cavity(self, semi_axes: np.ndarray, position: tuple[float, float], shape: tuple[int, int],
                rng: np.random.Generator) -> Cavity:  # fmt: skip
        """Return a cavity around a position: one ellipsoid, or a few grown together, or the shape out of a patch."""
        if self._changes and rng.random() < self.config.patch_fraction:
            change = self._changes[int(rng.integers(len(self._changes)))]
            return change_cavity(
                change, position, shape, 2 * float(semi_axes.max()), rng.uniform(0, 360), rng.random() < 0.5
            )
        members = int(rng.integers(2, 5)) if rng.random() < self.config.cluster_fraction else 1
        scales = np.r_[1.0, rng.uniform(0.35, 0.8, members - 1)]
        if members > 1:
            scales = scales * 0.75  # the union is about as large as the one
        offsets = rng.normal(0, 0.45 * float(semi_axes.mean()), (members, 3))
        offsets[0] = 0
        axes = semi_axes * scales[:, None] * rng.uniform(0.8, 1.0, (members, 3))
        pixel = self.config.pixel_mm or 1.0
        centers = (np.array([*position, 0.0]) + offsets) * pixel
        ellipsoids = Ellipsoids(axes * pixel, random_rotations(rng, members), centers)
        (cavity,) = project(ellipsoids, Projection(pixel), shape, groups=[0] * members)
        if self.config.depth_noise > 0 and min(cavity.chord.shape, default=0) > 4:
            grain = texture(rng, cavity.chord.shape, float(max(semi_axes.mean() / 2, 2)))
            cavity = Cavity(cavity.x0, cavity.y0,
                            cavity.chord * np.maximum(1 + self.config.depth_noise * grain, 0.1))  # fmt: skip
        return cavity

    def _change(self, patch: np.ndarray, chord: np.ndarray, sigma: float, rng: np.random.Generator,
                one_level: float) -> np.ndarray | None:  # fmt: skip
        """Return what the cavity adds to the patch, float32 of its shape; None if it could not be seen.

        `one_level` is the least change that the radiograph's depth can show.
        """
        config = self.config
        brighter = config.polarity == "brighter" or (config.polarity == "either" and rng.random() < 0.5)
        smooth = cv2.GaussianBlur(patch, (0, 0), max(sigma, 1.0))
        change: np.ndarray
        if config.attenuation is not None:
            mu, thickest = config.attenuation.mu, config.attenuation.max_thickness_mm
            model = AttenuationModel.from_darkest(mu, thickest, 1.0, brighter)
            change = model.change(smooth, chord).astype(np.float32)
        else:
            change = smooth * chord
        if sigma > 0:
            change = cv2.GaussianBlur(change, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
        peak = float(np.abs(change).max())
        if peak <= 0:  # a black background
            return None
        core = np.abs(change) > 0.5 * peak
        slope = float(np.median(gradient_magnitude(smooth)[core]))
        least = max(PEAK_TO_NOISE * noise_level(patch), PEAK_TO_SLOPE * slope, one_level)
        if config.attenuation is None:
            level = float(smooth[core].mean())
            wanted = max(config.contrast.sample(rng) * level, least)
            if wanted > 2 * config.contrast.high * level:
                return None
            change *= np.float32(wanted / peak if brighter else -wanted / peak)
        # Where the radiograph is saturated a defect leaves nothing.
        seen = np.clip(smooth + change, 0, 1) - smooth
        return change if float(np.abs(seen).max()) >= max(least, 0.6 * float(np.abs(change).max())) else None


def _one_level(levels: int | None) -> float:
    """Return the step from one gray value to the next, in [0, 1]."""
    return DISPLAY_LEVEL if levels is None else 1 / levels


def _footprint(change: np.ndarray, cavity: Cavity, sigma: float, threshold: float) -> SimulatedMask:
    """Return where a change, over the window that `window_of` gives, exceeds a fraction of its peak."""
    pad = reach_of(sigma) if sigma > 0 else 0
    x0, y0 = max(cavity.x0 - pad, 0), max(cavity.y0 - pad, 0)
    size = np.abs(change)
    mask = size > threshold * size.max()
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    own = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return SimulatedMask(x0 + int(columns[0]), y0 + int(rows[0]), own)


def _add(patch: np.ndarray, change: np.ndarray, noise: bool, levels: int | None, rng: np.random.Generator) -> None:
    """Add a change to its patch in place, with noise, rounding and saturation."""
    if noise:
        gain = 1 + change / np.maximum(patch, _one_level(levels))
        change = change + matching_noise(patch, gain, rng)
    if levels is not None:
        # The gray value before rounding is unknown: any within half a level is alike likely. It keeps weak changes
        # from showing steps; where nothing changes, it must not show.
        dither = rng.uniform(-0.5, 0.5, patch.shape) * np.minimum(np.abs(change) * (4 * levels), 1)
        change = np.rint(change * levels + dither) / levels
    np.clip(patch + change, 0, 1, out=patch, casting="unsafe")
