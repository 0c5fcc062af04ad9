"""Selective search (Uijlings et al. 2013) on a heat map: every box of a hierarchy of similar neighboring regions.

A radiograph has no color, and a heat map no texture: regions are similar when their heat is (histograms
overlap, means are near), when both are small, and when they fill their common box.
"""

import heapq

import cv2
import numpy as np
from skimage.segmentation import felzenszwalb

from detectors.tiles import tile_starts

BINS = 16  # of the histograms of heat

TILE, OVERLAP = 256, 64
"""Cells. A larger map is searched in tiles: a region beside hundreds of others is compared with all of them at every
merging, so that the time would grow with the square of the area."""


def propose_boxes(values: np.ndarray, cell: int, scale: float, sigma: float, min_size: int) -> np.ndarray:
    """Return the boxes of all regions of the hierarchy, int64 [M, 4] (x1, y1, x2, y2 in pixels), each once.

    Args:
        values: float32 [H, W] in [0, 1].
        cell: the search works on means over squares of this many pixels, to which boxes are then aligned.
        scale: of the initial segmentation; larger gives larger regions. A region of n cells takes in a neighbor
            that differs from it by scale / 255 / n more than its own cells do.
        sigma: blur before it, in cells.
        min_size: smallest initial region in cells.

    """
    height, width = values.shape
    cells = cv2.resize(values, (-(-width // cell), -(-height // cell)), interpolation=cv2.INTER_AREA)
    parts = []
    for top in tile_starts(cells.shape[0], TILE, TILE - OVERLAP):
        for left in tile_starts(cells.shape[1], TILE, TILE - OVERLAP):
            tile = cells[top : top + TILE, left : left + TILE]
            labels = felzenszwalb(tile, scale=scale, sigma=sigma, min_size=min_size, channel_axis=None)
            found = _hierarchy(tile, labels.astype(np.int64)) + np.array([left, top] * 2)
            parts.append(found[~_seen_better(found, top, left, cells.shape)])
    scales = np.array([width / cells.shape[1], height / cells.shape[0]] * 2)
    return np.unique(np.rint(np.concatenate(parts) * scales).astype(np.int64), axis=0)


def _seen_better(boxes: np.ndarray, top: int, left: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return which boxes of a tile, in cells of the map, end at its inner edge and lie in a neighbor whole.

    That is so where they are no longer than two tiles share.
    """
    inner = np.array([left > 0, top > 0, left + TILE < shape[1], top + TILE < shape[0]])
    cut = (boxes == np.array([left, top, left + TILE, top + TILE])) & inner
    short = boxes[:, 2:] - boxes[:, :2] <= OVERLAP
    return (cut & np.concatenate([short, short], axis=1)).any(axis=1)


def _hierarchy(cells: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the boxes [M, 4] of the initial regions and of all that come of merging the most similar ones."""
    regions = _Regions(cells, labels)
    pairs = _touching(labels)
    neighbors: list[set[int]] = [set() for _ in range(regions.count)]
    for a, b in pairs.T.tolist():
        neighbors[a].add(b)
        neighbors[b].add(a)
    heap = list(zip((-regions.similarity(*pairs)).tolist(), *pairs.tolist(), strict=True))
    heapq.heapify(heap)
    alive = [True] * regions.count
    while heap:
        _, a, b = heapq.heappop(heap)
        if not (alive[a] and alive[b]):
            continue
        new = regions.merge(a, b)
        alive[a] = alive[b] = False
        alive.append(True)
        around = [c for c in neighbors[a] | neighbors[b] if alive[c]]
        neighbors.append(set(around))
        if around:
            # All neighbors at once: one after another, this was most of the time of the search.
            likenesses = regions.similarity(new, np.array(around)).tolist()
            for c, likeness in zip(around, likenesses, strict=True):
                neighbors[c].add(new)
                heapq.heappush(heap, (-likeness, new, c))
    return regions.boxes[: regions.count].astype(np.float64)


class _Regions:
    """The regions of a tile, the initial ones and those that come of merging: at most twice as many less one.

    Attributes:
        count: of regions so far.
        sizes: float64 [2 N], cells of each.
        boxes: int64 [2 N, 4], x1, y1, x2, y2 in cells.
        histograms: float64 [2 N, BINS], normalized.

    """

    def __init__(self, cells: np.ndarray, labels: np.ndarray) -> None:
        count = int(labels.max()) + 1
        self.area = cells.size
        self.count = count
        self.sizes = np.zeros(2 * count)
        self.boxes = np.zeros((2 * count, 4), np.int64)
        self.histograms = np.zeros((2 * count, BINS))
        self.sizes[:count] = np.bincount(labels.ravel(), minlength=count)
        rows, columns = np.indices(labels.shape)
        for axis, position in enumerate((columns, rows)):
            self.boxes[:count, axis] = max(labels.shape)
            np.minimum.at(self.boxes[:, axis], labels.ravel(), position.ravel())
            np.maximum.at(self.boxes[:, axis + 2], labels.ravel(), position.ravel() + 1)
        bins = (cells.clip(0, 1) * BINS).astype(np.int64).clip(0, BINS - 1)
        counts = np.bincount((labels * BINS + bins).ravel(), minlength=count * BINS).reshape(count, BINS)
        self.histograms[:count] = counts / self.sizes[:count, None]

    def merge(self, a: int, b: int) -> int:
        """Join two regions, and return the number of the new one."""
        new = self.count
        self.count += 1
        one, other = self.sizes[a], self.sizes[b]
        self.sizes[new] = one + other
        self.boxes[new, :2] = np.minimum(self.boxes[a, :2], self.boxes[b, :2])
        self.boxes[new, 2:] = np.maximum(self.boxes[a, 2:], self.boxes[b, 2:])
        self.histograms[new] = (one * self.histograms[a] + other * self.histograms[b]) / self.sizes[new]
        return new

    def similarity(self, a: int | np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return how alike regions [P] are to others, float64 [P]: heat, smallness and fit, each in [0, 1]."""
        sizes = self.sizes[a] + self.sizes[b]
        one, other = self.boxes[a], self.boxes[b]
        sides = np.maximum(one[..., 2:], other[:, 2:]) - np.minimum(one[..., :2], other[:, :2])
        heat = np.minimum(self.histograms[a], self.histograms[b]).sum(axis=1)
        alike: np.ndarray = heat + (1 - sizes / self.area) + (1 - (sides[:, 0] * sides[:, 1] - sizes) / self.area)
        return alike


def _touching(labels: np.ndarray) -> np.ndarray:
    """Return the pairs of regions that share a side, int64 [2, P], the lower number first."""
    across = np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()])
    down = np.stack([labels[:-1].ravel(), labels[1:].ravel()])
    pairs = np.concatenate([across, down], axis=1)
    return np.unique(np.sort(pairs[:, pairs[0] != pairs[1]], axis=0), axis=1)
