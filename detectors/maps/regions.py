"""From a heat map to scored boxes: the regions that stand out, by levels (morphology) or by selective search.

Morphology follows the Xnet-II paper (Mery 2020): the score difference theta = y1 - y0 = 2 p - 1 is compared with a
level, the pixels above are dilated with a disc, those outside the test object removed, and regions of a fit size are
detections. One level would give regions without an order, and defects that touch at a low level separate only at a
higher one; so many levels are taken, whose regions form a tree, and every summit of the map becomes one region.

Selective search follows the casting paper (Ferguson et al. 2017): a hierarchy of regions of the heat map proposes
boxes, and a box whose mean exceeds one half is a defect.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from pydantic import Field, model_validator
from scipy import ndimage
from torchvision.ops import nms

from data.schema import StrictModel
from detectors.maps.selective_search import propose_boxes


class RegionConfig(StrictModel):
    """How boxes come out of a heat map.

    Both methods:
        grow: pixels added to every side of a box; negative shrinks it. A window of 32 pixels sees a defect long
            before it is centered on it, so the warm region of a patch classifier is wider than the defect: about -8
            suits such windows, and 0 or 1 a network with a probability for every pixel.
        min_area, max_area: of a region in pixels; no upper bound by default.
        nms: of two boxes that overlap by a larger IoU the one with the lower score is dropped.
        max_regions: highest scores kept.

    Morphology:
        lowest, highest, levels: the levels of probability, equally spaced.
        dilation: radius of the disc in pixels; regions that it joins are one.
        summit: how far a summit must rise above the pass to a higher one to be a region of its own.
        height: a region is the part of its summit above this share of the summit's probability (0.5: half maximum).

    Selective search:
        cell: the search works on means over squares of this many pixels.
        scale, sigma, min_size: of the initial segmentation by Felzenszwalb's method; sigma and min_size in cells.
        min_mean: lowest mean of the heat map in a box.
        surround: share of the mean around a box (a frame of half its size) that is taken off its score. Without
            it, the hottest spot inside a defect scores higher than the defect.
    """

    method: Literal["morphology", "selective_search"] = "morphology"
    grow: float = 0.0
    min_area: float = Field(16, ge=1)
    max_area: float | None = Field(None, gt=0)
    nms: float = Field(0.3, ge=0, le=1)
    max_regions: int = Field(100, ge=1)

    lowest: float = Field(0.05, ge=0, lt=1)
    highest: float = Field(0.95, ge=0, lt=1)
    levels: int = Field(31, ge=1)
    dilation: int = Field(0, ge=0)
    summit: float = Field(0.15, ge=0, le=1)
    height: float = Field(0.7, ge=0, le=1)

    cell: int = Field(4, ge=1)
    scale: float = Field(20.0, gt=0)
    sigma: float = Field(0.5, ge=0)
    min_size: int = Field(4, ge=1)
    min_mean: float = Field(0.5, ge=0, le=1)
    surround: float = Field(1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> "RegionConfig":
        if self.lowest > self.highest:
            raise ValueError(f"lowest ({self.lowest}) must not be above highest ({self.highest})")
        if self.max_area is not None and self.max_area < self.min_area:
            raise ValueError(f"max_area ({self.max_area}) must not be under min_area ({self.min_area})")
        return self


def find_regions(
    values: np.ndarray, config: RegionConfig, inside: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the regions of a heat map as boxes with scores, highest score first.

    Args:
        values: float [H, W], the probability in [0, 1] of every pixel.
        config: the method and its settings.
        inside: bool [H, W], the test object (see `data.part_mask`); everything by default.

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
        boxes, scores = _summits(values, config, inside)
    else:
        boxes, scores = _searched(values if inside is None else values * inside, config)
    return _finished(boxes, scores, values.shape, config)


def _finished(
    boxes: np.ndarray, scores: np.ndarray, shape: tuple[int, int], config: RegionConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes grown, clipped and without duplicates, best first."""
    center, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    half = np.maximum(half + config.grow, np.minimum(half, 0.5))  # a shrunken box keeps a pixel
    boxes = np.concatenate([center - half, center + half], axis=1)
    boxes = boxes.clip(0, [shape[1], shape[0]] * 2).astype(np.float32)
    scores = scores.astype(np.float32)
    keep = nms(torch.from_numpy(boxes), torch.from_numpy(scores), config.nms).numpy()[: config.max_regions]
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
class _Summit:
    """A peak of the map and the region that stands for it so far: (box, mean probability)."""

    peak: float
    region: tuple[Box, float] | None


def _summits(values: np.ndarray, config: RegionConfig, inside: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes [M, 4] and scores [M] of the map's summits, by going down level by level."""
    largest = np.inf if config.max_area is None else config.max_area
    above: _Level | None = None
    summits: list[list[_Summit]] = []  # of each region of the level above
    for value in np.linspace(config.highest, config.lowest, config.levels):
        level = _cut(values, float(value), config, inside)
        # Regions only grow on the way down, so each region above lies in exactly one region of this level.
        inner: list[list[_Summit]] = [[] for _ in level.areas]
        if above is not None:
            for parent, found in zip(level.labels.flat[above.places] - 1, summits, strict=True):
                inner[parent] += found
        summits = [_merged(found, level, k, config, largest) for k, found in enumerate(inner)]
        above = level
    regions = [summit.region for found in summits for summit in found if summit.region is not None]
    boxes = np.array([box for box, _ in regions], dtype=np.float64).reshape(-1, 4)
    return boxes, np.array([score for _, score in regions], dtype=np.float64)


def _merged(inner: list[_Summit], level: _Level, k: int, config: RegionConfig, largest: float) -> list[_Summit]:
    """Return the summits that region `k` of a level stands for, given those of the regions inside it."""
    high = [summit for summit in inner if summit.peak - level.value >= config.summit]
    if len(high) > 1:
        return high
    region = (level.boxes[k], float(level.means[k])) if level.areas[k] <= largest else None
    if not inner:
        return [_Summit(float(level.peaks[k]), region)]
    highest = max(inner, key=lambda summit: summit.peak)
    if region is not None and (highest.region is None or level.value >= config.height * highest.peak):
        highest.region = region
    return [highest]


def _cut(values: np.ndarray, value: float, config: RegionConfig, inside: np.ndarray | None) -> _Level:
    """Return the 8-connected regions above one level, dilated with a disc and inside the test object."""
    hot = (values > value).astype(np.uint8)
    if inside is not None:
        hot &= inside
    joined = hot
    if config.dilation:
        reach = np.arange(-config.dilation, config.dilation + 1)
        disc = (reach[:, None] ** 2 + reach**2 <= config.dilation**2).astype(np.uint8)
        joined = cv2.dilate(hot, disc)
        if inside is not None:
            joined &= inside
    count, labels = cv2.connectedComponents(joined, connectivity=8)
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
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(labels * hot)]
    return _Level(value, labels, boxes, areas, means, peaks, some)


def _searched(values: np.ndarray, config: RegionConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes [M, 4] and scores [M] by selective search on the heat map."""
    boxes = propose_boxes(values, config.cell, config.scale, config.sigma, config.min_size)
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
    scores = (means - config.surround * around).clip(0, 1)
    return boxes[keep].astype(np.float64), scores[keep]


def _box_sums(integral: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the sum of a map in each integer box, given its integral image [H + 1, W + 1]."""
    x1, y1, x2, y2 = boxes.T
    return integral[y2, x2] - integral[y1, x2] - integral[y2, x1] + integral[y1, x1]
