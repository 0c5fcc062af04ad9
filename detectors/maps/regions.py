"""From a heat map to scored boxes: the regions that stand out, by levels (morphology) or by selective search.

Morphology follows the Xnet-II paper (Mery 2020): the score difference theta = y1 - y0 = 2 p - 1 is compared with a
level, the pixels above are dilated with a disc, those outside the test object removed, and regions of a fit size are
detections. One level would give regions without an order, and defects that touch at a low level separate only at a
higher one; so many levels are taken, whose regions form a tree, and every peak of the map becomes one region.

Selective search follows the casting paper (Ferguson et al. 2017): a hierarchy of regions of the heat map proposes
boxes, and a box whose mean exceeds one half is a defect.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, PositiveFloat, model_validator

from data.schema import StrictModel
from detectors.caps import grown
from detectors.fields import DetectionsPerImage, Fraction
from detectors.maps.components import dilate, label_components
from detectors.nms import nms


class BoxExtractionConfig(StrictModel):
    """How boxes come out of a heat map: by morphology, or by selective search."""

    former_names: ClassVar = {
        "grow": "box_padding",
        "nms": "nms_iou",
        "summit": "prominence",
        "height": "rel_height",
        "cell": "downsample",
        "surround": "background_weight",
    }

    method: Literal["morphology", "selective_search"] = Field(
        "morphology", description="morphology: the map's peaks. selective_search: boxes of a hierarchy of regions."
    )
    box_padding: float = Field(
        0.0,
        ge=-4096,
        le=4096,
        description="Pixels added to every side of a box; negative shrinks it. A window of 32 px sees a defect long "
        "before it is centered on it, so that a patch classifier's regions are wider than the defect: about -8 suits "
        "such windows, 0 or 1 a network with a probability for every pixel.",
    )
    min_area: float = Field(16, ge=1, description="Least area of a region in pixels.")
    max_area: float | None = Field(None, gt=0, description="Largest area of a region in pixels; null sets no bound.")
    nms_iou: Fraction = Field(0.3, description="IoU above which the lesser of two boxes is dropped.")
    max_regions: DetectionsPerImage = 100

    lowest: float = Field(0.05, ge=0, lt=1, description="Morphology: the lowest level of probability.")
    highest: float = Field(0.95, ge=0, lt=1, description="Morphology: the highest level of probability.")
    levels: int = Field(31, ge=1, le=1000, description="Morphology: levels, equally spaced between the two.")
    dilation: int = Field(
        0, ge=0, le=256, description="Morphology: radius in pixels of the disc that joins regions into one."
    )
    prominence: Fraction = Field(
        0.15,
        description="Morphology: how far a peak rises above the saddle to a higher one to be a region of its own.",
    )
    rel_height: Fraction = Field(
        0.7,
        description="Morphology: a region is the part of its peak above this share of the peak's probability; 0.5 is "
        "half maximum.",
    )

    downsample: int = Field(
        4, ge=1, le=256, description="Selective search: works on means over squares of this many pixels."
    )
    scale: PositiveFloat = Field(
        20.0,
        description="Selective search: of the first segmentation (Felzenszwalb's method); larger merges more.",
    )
    sigma: float = Field(0.5, ge=0, le=100, description="Selective search: blur before it, in downsampled pixels.")
    min_size: int = Field(4, ge=1, description="Selective search: least initial region, in downsampled pixels.")
    min_mean: Fraction = Field(0.5, description="Selective search: lowest mean of the heat map in a box.")
    background_weight: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Selective search: share of the mean around a box (a frame of half its size) that is taken off its "
        "score; without it, the hottest spot inside a defect scores higher than the defect.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.lowest > self.highest:
            raise ValueError(f"lowest ({self.lowest}) must not be above highest ({self.highest})")
        if self.max_area is not None and self.max_area < self.min_area:
            raise ValueError(f"max_area ({self.max_area}) must not be under min_area ({self.min_area})")
        return self


def find_regions(
    values: np.ndarray, config: BoxExtractionConfig, inside: np.ndarray | None = None, cap: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the regions of a heat map as boxes with scores, highest score first.

    Args:
        values: float [H, W], the probability in [0, 1] of every pixel.
        config: the method and its settings.
        inside: bool [H, W], the test object (see `data.part_mask`); everything by default.
        cap: most boxes; by default `max_regions`, grown with the area (`detectors.caps`).

    Returns:
        Boxes float32 [M, 4] (x1, y1, x2, y2 in pixels, within the map) and scores float32 [M] in [0, 1]. The score
        is the mean probability of the region (morphology) or of the box, less its surroundings (selective search).

    Raises ValueError for a map that is not [H, W] and for a mask of another shape.

    """
    values = np.ascontiguousarray(values, dtype=np.float32)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"a heat map is [H, W], not {list(values.shape)}")
    if inside is not None and inside.shape != values.shape:
        raise ValueError(f"the test object's mask is {list(inside.shape)}, the heat map {list(values.shape)}")
    if config.method == "morphology":
        boxes, scores = _peaks(values, config, inside)
    else:
        boxes, scores = _searched(values if inside is None else values * inside, config)
    cap = grown(config.max_regions, *values.shape) if cap is None else cap
    return _finished(boxes, scores, values.shape, config, cap)


def _finished(
    boxes: np.ndarray, scores: np.ndarray, shape: tuple[int, ...], config: BoxExtractionConfig, cap: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes padded, clipped and without duplicates, best first."""
    center, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    half = np.maximum(half + config.box_padding, np.minimum(half, 0.5))  # a shrunken box keeps a pixel
    boxes = np.concatenate([center - half, center + half], axis=1)
    boxes = boxes.clip(0, [shape[1], shape[0]] * 2).astype(np.float32)
    scores = scores.astype(np.float32)
    keep = nms(boxes, scores, config.nms_iou, limit=cap)
    return boxes[keep], scores[keep]


Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Level:
    """The regions of the map above one level that are large enough; number k is region k + 1 of `labels`.

    Attributes:
        value: the level.
        labels: int32 [H, W], 0 outside of every region.
        boxes: the R boxes of the undilated pixels, x1, y1, x2, y2.
        areas, means, peaks: [R], of the undilated pixels.
        places: int64 [R], the flat index of some pixel of each region.

    """

    value: float
    labels: np.ndarray
    boxes: list[Box]
    areas: np.ndarray
    means: np.ndarray
    peaks: np.ndarray
    places: np.ndarray


@dataclass
class _Peak:
    """A peak of the map and the region that stands for it so far: (box, mean probability)."""

    peak: float
    region: tuple[Box, float] | None


def _peaks(values: np.ndarray, config: BoxExtractionConfig, inside: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes [M, 4] and scores [M] of the map's peaks, by going down level by level."""
    largest = np.inf if config.max_area is None else config.max_area
    above: _Level | None = None
    peaks: list[list[_Peak]] = []  # of each region of the level above
    for value in np.linspace(config.highest, config.lowest, config.levels):
        level = _cut(values, float(value), config, inside)
        # Regions only grow on the way down, so each region above lies in exactly one region of this level.
        inner: list[list[_Peak]] = [[] for _ in level.areas]
        if above is not None:
            for parent, found in zip(level.labels.flat[above.places] - 1, peaks, strict=True):
                inner[parent] += found
        peaks = [_merged(found, level, k, config, largest) for k, found in enumerate(inner)]
        above = level
    regions = [peak.region for found in peaks for peak in found if peak.region is not None]
    boxes = np.array([box for box, _ in regions], dtype=np.float64).reshape(-1, 4)
    return boxes, np.array([score for _, score in regions], dtype=np.float64)


def _merged(inner: list[_Peak], level: _Level, k: int, config: BoxExtractionConfig, largest: float) -> list[_Peak]:
    """Return the peaks that region `k` of a level stands for, given those of the regions inside it."""
    high = [peak for peak in inner if peak.peak - level.value >= config.prominence]
    if len(high) > 1:
        return high
    region = (level.boxes[k], float(level.means[k])) if level.areas[k] <= largest else None
    if not inner:
        return [_Peak(float(level.peaks[k]), region)]
    highest = max(inner, key=lambda peak: peak.peak)
    if region is not None and (highest.region is None or level.value >= config.rel_height * highest.peak):
        highest.region = region
    return [highest]


def _cut(values: np.ndarray, value: float, config: BoxExtractionConfig, inside: np.ndarray | None) -> _Level:
    """Return the 8-connected regions above one level, dilated with a disc and inside the test object."""
    hot = (values > value).astype(np.uint8)
    if inside is not None:
        hot &= inside
    joined = hot
    if config.dilation:
        joined = dilate(hot, config.dilation)
        if inside is not None:
            joined &= inside
    count, labels = label_components(joined)
    places = np.flatnonzero(hot)
    regions = labels.ravel()[places]
    areas = np.bincount(regions, minlength=count)
    # Regions that are too small hold none that are not: noise is left out before anything is measured.
    large = areas >= config.min_area
    numbers = np.where(large, np.cumsum(large), 0).astype(np.int32)
    keep = large[regions]
    places, regions, labels, areas = places[keep], numbers[regions[keep]] - 1, numbers[labels], areas[large]
    found = values.ravel()[places]
    peaks, some = np.zeros(len(areas), np.float32), np.zeros(len(areas), np.int64)
    np.maximum.at(peaks, regions, found)
    some[regions] = places
    means = np.bincount(regions, found, minlength=len(areas)) / areas
    boxes = list(map(tuple, _extents(places, regions, len(areas), values.shape[1]).tolist()))
    return _Level(value, labels, boxes, areas, means, peaks, some)


def _extents(places: np.ndarray, regions: np.ndarray, count: int, width: int) -> np.ndarray:
    """Return x1, y1, x2, y2, int64 [count, 4], of the pixels at flat indices [N] that belong to regions [N]."""
    y, x = np.divmod(places, width)
    extents = np.zeros((count, 4), np.int64)
    extents[:, :2] = np.iinfo(np.int64).max
    for column, value in enumerate((x, y)):
        np.minimum.at(extents[:, column], regions, value)
        np.maximum.at(extents[:, column + 2], regions, value + 1)
    return extents


def _searched(values: np.ndarray, config: BoxExtractionConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes [M, 4] and scores [M] by selective search on the heat map."""
    import cv2

    from detectors.maps.selective_search import propose_boxes  # scikit-image, which nothing else here needs

    boxes = propose_boxes(values, config.downsample, config.scale, config.sigma, config.min_size)
    sizes = boxes[:, 2:] - boxes[:, :2]
    areas = sizes.prod(axis=1)
    integral = cv2.integral(values, sdepth=cv2.CV_64F)
    sums = _box_sums(integral, boxes)
    frames = np.concatenate([boxes[:, :2] - (sizes + 3) // 4, boxes[:, 2:] + (sizes + 3) // 4], axis=1)
    frames = frames.clip(0, [values.shape[1], values.shape[0]] * 2)
    ring = (frames[:, 2:] - frames[:, :2]).prod(axis=1) - areas
    around = (_box_sums(integral, frames) - sums) / np.maximum(ring, 1)
    means = sums / areas
    keep = (means > config.min_mean) & (areas >= config.min_area)
    if config.max_area is not None:
        keep &= areas <= config.max_area
    scores = (means - config.background_weight * around).clip(0, 1)
    return boxes[keep].astype(np.float64), scores[keep]


def _box_sums(integral: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the sum of a map in each integer box, given its integral image [H + 1, W + 1]."""
    x1, y1, x2, y2 = boxes.T
    return integral[y2, x2] - integral[y1, x2] - integral[y2, x1] + integral[y1, x1]
