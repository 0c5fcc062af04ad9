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
    sizes, boxes, histograms = _describe(cells, labels)
    neighbors = _neighbors(labels)
    heap = [(-_similarity(sizes, boxes, histograms, a, b, cells.size), a, b)
            for a, others in enumerate(neighbors) for b in others if a < b]  # fmt: skip
    heapq.heapify(heap)
    alive = [True] * len(sizes)
    while heap:
        _, a, b = heapq.heappop(heap)
        if not (alive[a] and alive[b]):
            continue
        new = len(sizes)
        alive[a] = alive[b] = False
        alive.append(True)
        sizes.append(sizes[a] + sizes[b])
        boxes.append(_joined(boxes[a], boxes[b]))
        histograms.append((sizes[a] * histograms[a] + sizes[b] * histograms[b]) / sizes[new])
        around = {c for c in neighbors[a] | neighbors[b] if alive[c]}
        neighbors.append(around)
        for c in around:
            neighbors[c].add(new)
            heapq.heappush(heap, (-_similarity(sizes, boxes, histograms, new, c, cells.size), new, c))
    return np.array(boxes, dtype=np.float64)


def _describe(cells: np.ndarray, labels: np.ndarray) -> tuple[list[int], list[tuple], list[np.ndarray]]:
    """Return size in cells, box (x1, y1, x2, y2 in cells) and normalized histogram of each region."""
    count = int(labels.max()) + 1
    sizes = np.bincount(labels.ravel(), minlength=count)
    rows, columns = np.indices(labels.shape)
    boxes = np.empty((count, 4), dtype=np.int64)
    for axis, position in enumerate((columns, rows)):
        boxes[:, axis], boxes[:, axis + 2] = max(labels.shape), 0
        np.minimum.at(boxes[:, axis], labels.ravel(), position.ravel())
        np.maximum.at(boxes[:, axis + 2], labels.ravel(), position.ravel() + 1)
    bins = (cells.clip(0, 1) * BINS).astype(np.int64).clip(0, BINS - 1)
    histograms = np.bincount((labels * BINS + bins).ravel(), minlength=count * BINS).reshape(count, BINS)
    return sizes.tolist(), list(map(tuple, boxes.tolist())), list(histograms / sizes[:, None])


def _neighbors(labels: np.ndarray) -> list[set[int]]:
    """Return the regions that share a side with each region."""
    across = np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()])
    down = np.stack([labels[:-1].ravel(), labels[1:].ravel()])
    pairs = np.concatenate([across, down], axis=1)
    pairs = np.unique(np.sort(pairs[:, pairs[0] != pairs[1]], axis=0), axis=1)
    neighbors: list[set[int]] = [set() for _ in range(int(labels.max()) + 1)]
    for a, b in pairs.T.tolist():
        neighbors[a].add(b)
        neighbors[b].add(a)
    return neighbors


def _similarity(sizes: list[int], boxes: list[tuple], histograms: list[np.ndarray], a: int, b: int, area: int
                ) -> float:  # fmt: skip
    """Return how alike two regions are: heat, smallness and fit, each in [0, 1]."""
    x1, y1, x2, y2 = _joined(boxes[a], boxes[b])
    size = sizes[a] + sizes[b]
    heat = float(np.minimum(histograms[a], histograms[b]).sum())
    return heat + (1 - size / area) + (1 - ((x2 - x1) * (y2 - y1) - size) / area)


def _joined(a: tuple, b: tuple) -> tuple:
    """Return the box around two boxes."""
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])
