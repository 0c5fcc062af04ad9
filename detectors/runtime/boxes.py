"""From the candidates of a graph to detections: thresholds, suppression, tiles of a large radiograph.

Arrays are NumPy's. A dict of detections has `boxes` float32 [M, 4] (x1 y1 x2 y2 in pixels), `scores` float32 [M] and
`labels` int64 [M]. What is done here is what the models do in PyTorch (`detectors.tiles`, torchvision's suppression).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.caps import grown, raised
from detectors.nms import nms
from detectors.runtime.working_scale import working_scale

Found = dict[str, np.ndarray]

CUT_MARGIN = 4  # as in detectors.tiles
MAX_CANDIDATES = 5000


class BoxDecoder:
    """Runs a graph whose outputs are boxes, over a radiograph or its tiles.

    Args:
        run: from images float32 [N, 1, H, W] and the numbers that the graph asks for to boxes [N, n, 4],
            scores [N, n], labels [N, n] and features [2 C].
        decoding: of the card: `counts` (names and numbers for 768 x 572 pixels), `detections_per_image`,
            `grows_with_area`, `score_threshold`, `least_side`, `nms_iou`, `tile` with `size`, `stride`, `batch`, and
            where the model has them `scale` (`noise_limit`, `coarsest`) and `resize` (`min_size`, `max_size`).

    """

    def __init__(
        self, run: Callable[[np.ndarray, Mapping[str, int]], list[np.ndarray]], decoding: Mapping[str, Any]
    ) -> None:
        self.run = run
        self.decoding = decoding
        self.detections_asked_for: int | None = None

    def detection_cap(self, height: int, width: int) -> int:
        """Return the most detections of a radiograph of this size in pixels."""
        cap = self.decoding["detections_per_image"]
        return raised(grown(cap, height, width) if self.decoding["grows_with_area"] else cap, self.detections_asked_for)

    def __call__(self, pixels: np.ndarray) -> tuple[Found, NDArray[np.float64]]:
        """Return the detections of one radiograph float32 [H, W] in [0, 1], best first, and its features [2 C].

        Those of a radiograph in tiles are the mean over its batches.
        """
        tile = self.decoding["tile"]
        height, width = pixels.shape
        cap = self.detection_cap(height, width)
        if tile is None:
            per_image = self.decoding["detections_per_image"]
            counts = {name: -(-number * cap // per_image) for name, number in self.decoding["counts"].items()}
            if self.decoding.get("scale"):
                counts["scale"] = working_scale(pixels, **self.decoding["scale"])
            if self.decoding.get("resize"):
                counts |= scaled_size(height, width, **self.decoding["resize"])
            (found,), features = self._candidates(pixels[None, None], counts)
            return suppress(clip(found, height, width), self.decoding["nms_iou"], cap), features
        counts = {name: max(n, self.detections_asked_for or 0) for name, n in self.decoding["counts"].items()}
        parts, seen = [], []
        size = tile["size"]
        padded = np.pad(pixels, ((0, max(0, size - height)), (0, max(0, size - width))), mode="edge")
        corners = [
            (x, y) for y in tile_starts(height, size, tile["stride"]) for x in tile_starts(width, size, tile["stride"])
        ]
        for first in range(0, len(corners), tile["batch"]):
            group = corners[first : first + tile["batch"]]
            tiles = np.stack([padded[y : y + size, x : x + size] for x, y in group])[:, None]
            candidates, features = self._candidates(tiles, counts)
            seen.append(features)
            for (x, y), found in zip(group, candidates, strict=True):
                inner = (x > 0, y > 0, x + size < width, y + size < height)
                parts.append(_place(clip(found, size, size), x, y, inner, size))
        merged = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        best = np.argsort(-merged["scores"], kind="stable")[: max(grown(MAX_CANDIDATES, height, width), 4 * cap)]
        merged = take(merged, best)
        merged = take(merged, ~_gives_way(merged))
        del merged["cut"]
        return suppress(clip(merged, height, width), self.decoding["nms_iou"], cap), np.mean(seen, axis=0)

    def _candidates(self, images: np.ndarray, counts: Mapping[str, int]) -> tuple[list[Found], NDArray[np.float64]]:
        """Return what of each image's candidates scores enough and is no sliver, and the features of all of them."""
        boxes, scores, labels, features = self.run(images, counts)
        found = []
        for box, score, label in zip(boxes, scores, labels, strict=True):
            sides = (box[:, 2:] - box[:, :2]).min(axis=1, initial=np.inf)
            keep = np.logical_and(score > self.decoding["score_threshold"], sides >= self.decoding["least_side"])
            found.append({"boxes": box[keep], "scores": score[keep], "labels": label[keep]})
        return found, features.astype(np.float64)


def scaled_size(height: int, width: int, min_size: int, max_size: int) -> dict[str, int]:
    """Return the size that a radiograph is scaled to, as torchvision rounds it.

    The shorter side becomes `min_size`, unless the longer one would exceed `max_size`.
    """
    scale = min(min_size / min(height, width), max_size / max(height, width))
    return {"scaled_height": math.floor(height * scale), "scaled_width": math.floor(width * scale)}


def take(detections: Found, rows: np.ndarray) -> Found:
    """Return some rows of detections."""
    return {name: value[rows] for name, value in detections.items()}


def clip(detections: Found, height: int, width: int) -> Found:
    """Return the detections cut at the border of an image; what lies outside or has no area is left out."""
    boxes = np.clip(detections["boxes"], 0, np.array([width, height] * 2, np.float32))
    has_area = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    return take(detections | {"boxes": boxes}, np.flatnonzero(has_area))


def suppress(detections: Found, nms_iou: float, limit: int) -> Found:
    """Return what survives one non-maximum suppression a label, best first, at most `limit`."""
    return take(detections, nms(detections["boxes"], detections["scores"], nms_iou, detections["labels"], limit))


def tile_starts(length: int, size: int, stride: int) -> list[int]:
    """Return where windows of `size` pixels start along an axis of `length`, the last flush with the end."""
    last = length - size
    return [0] if last <= 0 else [*range(0, last, stride), last]


def _place(found: Found, x: int, y: int, inner: tuple[bool, bool, bool, bool], tile: int) -> Found:
    """Move a tile's boxes to their place in the radiograph and mark those that an inner edge cuts."""
    boxes = found["boxes"]
    near = np.concatenate([boxes[:, :2] < CUT_MARGIN, boxes[:, 2:] > tile - CUT_MARGIN], axis=1)
    return {
        "boxes": boxes + np.array([x, y, x, y], np.float32),
        "scores": found["scores"],
        "labels": found["labels"],
        "cut": (near & np.array(inner)).any(axis=1),
    }


def _gives_way(merged: Found) -> np.ndarray:
    """Return which boxes are cut and give way to a whole or larger one of a neighbor; see `detectors.tiles`."""
    cut, boxes, scores, labels = merged["cut"], merged["boxes"], merged["scores"], merged["labels"]
    lost = np.zeros(len(cut), dtype=bool)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    for rows in _neighborhoods(boxes, cut):
        frame = np.concatenate([boxes[rows, :2].min(axis=0), boxes[rows, 2:].max(axis=0)])
        others = np.flatnonzero(((boxes[:, :2] < frame[2:]) & (boxes[:, 2:] > frame[:2])).all(axis=1))
        x1, y1, x2, y2 = boxes[rows].T[:, :, None]
        left, top, right, bottom = boxes[others].T
        wide = np.maximum(np.minimum(x2, right) - np.maximum(x1, left), 0)
        high = np.maximum(np.minimum(y2, bottom) - np.maximum(y1, top), 0)
        fraction = wide * high / areas[rows, None]
        larger = cut[others] & (areas[others] > areas[rows, None]) & (fraction >= 0.75)
        covers = (~cut[others] & (fraction >= 0.5)) | larger
        alike = labels[rows, None] == labels[others]
        sure = scores[others] >= 0.25 * scores[rows, None]
        lost[rows] = (covers & alike & sure).any(axis=1)
    return lost


def _neighborhoods(boxes: np.ndarray, chosen: np.ndarray, side: int = 128, most: int = 500) -> Iterator[np.ndarray]:
    """Yield the numbers of the chosen boxes, those whose corners lie in one square of `side` pixels together."""
    rows = np.flatnonzero(chosen)
    squares = np.floor(boxes[rows, :2] / side)
    for square in np.unique(squares, axis=0):
        inside = rows[(squares == square).all(axis=1)]
        for first in range(0, len(inside), most):
            yield inside[first : first + most]
