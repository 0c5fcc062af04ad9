"""From the map of a graph to a heat map and boxes: strips and windows of a large radiograph, regions.

What is done here is what `detectors.patches` and `detectors.segmentation` do in PyTorch.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from detectors.caps import grown, raised
from detectors.maps.regions import BoxExtractionConfig, find_regions
from detectors.runtime.boxes import Found, tile_starts

Run = Callable[[np.ndarray], np.ndarray]
STRIP_PIXELS = 2**21  # of a radiograph that goes through a graph of windows in one piece


class MapDecoder:
    """What the decoders of both kinds of maps share: from the value of every pixel to boxes.

    Args:
        run: from images float32 [N, 1, H, W] to the map of the graph.
        decoding: of the card; `regions` are the fields of `BoxExtractionConfig`.

    """

    def __init__(self, run: Run, decoding: Mapping[str, Any]) -> None:
        self.run = run
        self.decoding = decoding
        self.regions = BoxExtractionConfig.model_validate(decoding["regions"])
        self.detections_asked_for: int | None = None

    def detection_cap(self, height: int, width: int) -> int:
        """Return the most detections of a radiograph of this size in pixels."""
        return raised(grown(self.regions.max_regions, height, width), self.detections_asked_for)

    def heat_map(self, pixels: np.ndarray) -> np.ndarray:
        """Return the defect probability of every pixel, float32 [H, W], of a radiograph float32 [H, W]."""
        raise NotImplementedError

    def __call__(self, pixels: np.ndarray) -> tuple[Found, np.ndarray]:
        """Return the detections of one radiograph float32 [H, W] in [0, 1], best first, and its heat map."""
        values = self.heat_map(pixels)
        inside = None
        if self.decoding["object_mask"]:
            from data.part_mask import segment_test_object  # which needs OpenCV

            inside = segment_test_object(pixels)
        boxes, scores = find_regions(values, self.regions, inside, self.detection_cap(*pixels.shape))
        return {"boxes": boxes, "scores": scores, "labels": np.ones(len(boxes), np.int64)}, values


class WindowMapDecoder(MapDecoder):
    """Of a graph with one value a window; `decoding` has `stride`, `offset` and `context`, in pixels."""

    def heat_map(self, pixels: np.ndarray) -> np.ndarray:
        """Return the defect probability of every pixel, interpolated between the windows' centers."""
        height, width = pixels.shape
        values = self.windows(pixels)
        return interpolate(values, self.decoding["stride"], self.decoding["offset"], height, width)

    def windows(self, pixels: np.ndarray) -> np.ndarray:
        """Return the value of every window, float32 [h, w]; a large radiograph goes through the graph in strips."""
        height, width = pixels.shape
        stride, offset = self.decoding["stride"], self.decoding["offset"]
        rows = max(1, math.ceil((height - offset) / stride))
        margin = -(-self.decoding["context"] // stride)  # rows of windows that see the end of a strip
        step = max(1, STRIP_PIXELS // (width * stride) - 2 * margin)
        strips = []
        for first in range(0, rows, step):
            last = min(first + step, rows)
            top = max(0, first - margin)
            bottom = height if last + margin >= rows else (last + margin) * stride
            values = self.run(pixels[None, None, top * stride : bottom])
            strips.append(values[first - top : last - top])
        return np.concatenate(strips)


class PixelMapDecoder(MapDecoder):
    """Of a graph with one value a pixel; `decoding` has `tile` (`size`, `overlap`, `batch`) and `most_pixels`."""

    def heat_map(self, pixels: np.ndarray) -> np.ndarray:
        """Return the defect probability of every pixel; a large radiograph in windows blended without seams."""
        if pixels.size <= self.decoding["most_pixels"]:
            return self.run(pixels[None, None])[0]
        tile = self.decoding["tile"]
        size, overlap, batch = tile["size"], tile["overlap"], tile["batch"]
        height, width = pixels.shape
        pixels = _at_least(pixels, size)
        tops, lefts = (tile_starts(length, size, size - overlap) for length in pixels.shape)
        across = _axis_weights(pixels.shape[1], lefts, size, overlap)
        down = _axis_weights(pixels.shape[0], tops, size, overlap)
        blended = np.empty(pixels.shape, np.float32)
        band = np.zeros((size, pixels.shape[1]))
        for top, following, weights in zip(tops, [*tops[1:], pixels.shape[0]], down, strict=True):
            row = pixels[top : top + size]
            for first in range(0, len(lefts), batch):
                some = lefts[first : first + batch]
                values = self.run(np.stack([row[:, left : left + size] for left in some])[:, None])
                for left, value, share in zip(some, values, across[first : first + batch], strict=True):
                    band[:, left : left + size] += value * weights[:, None] * share
            done = following - top
            blended[top:following] = band[:done]
            band = np.concatenate([band[done:], np.zeros_like(band[:done])])
        return blended[:height, :width]


def interpolate(values: np.ndarray, stride: float, offset: float, height: int, width: int) -> np.ndarray:
    """Return a map [h, w] at every pixel, float32 [height, width], bilinear between its cells."""
    for axis, length in enumerate((height, width)):
        cells = values.shape[axis]
        place = ((np.arange(length, dtype=np.float32) + 0.5 - offset) / stride).clip(0, cells - 1)
        low = np.minimum(np.floor(place).astype(np.int64), max(cells - 2, 0))
        share = (place - low).astype(np.float32)
        share = share[:, None] if axis == 0 else share
        high = np.minimum(low + 1, cells - 1)
        values = values.take(low, axis) * (1 - share) + values.take(high, axis) * share
    return values.astype(np.float32, copy=False)


def _axis_weights(length: int, starts: list[int], size: int, overlap: int) -> np.ndarray:
    """Return the weights of windows along one axis, float64 [windows, size]; they sum to 1 at every pixel."""
    inside = np.arange(size) + 0.5
    distance = np.minimum(inside, size - inside)
    ramp = np.sin(math.pi / 2 * np.minimum(distance / overlap, 1)) ** 2 if overlap else np.ones_like(distance)
    total = np.zeros(length)
    for start in starts:
        total[start : start + size] += ramp
    return np.stack([ramp / total[start : start + size] for start in starts])


def _at_least(pixels: np.ndarray, size: int) -> np.ndarray:
    """Return pixels continued to the right and downwards to `size` a side."""
    for axis in (1, 0):
        length = pixels.shape[axis]
        missing = size - length
        if missing > 0:
            after = ((0, missing), (0, 0)) if axis == 0 else ((0, 0), (0, missing))
            pixels = np.pad(pixels, after, mode="reflect" if missing < length else "edge")
    return pixels
