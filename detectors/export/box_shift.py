"""How far rounding moves a detector's boxes, which shows long before average precision changes.

At one threshold of overlap, average precision is decided by the few boxes that lie near it: on a hundred radiographs it
may not change at all, or by a hundredth. How far boxes move is measured by all of them.
"""

from collections.abc import Iterable

import numpy as np

from detectors.export.parity import Boxes, overlaps


def box_shift(pairs: Iterable[tuple[Boxes, Boxes]]) -> float:
    """Return how far the boxes of one model lie from those of another: 1 - IoU, the median weighted by scores.

    Args:
        pairs: detections of both (`boxes` [M, 4], `scores` [M], `labels` [M]), one pair a radiograph. Each of the first
            model is compared with the nearest of its label; where there is none, 1 - IoU is 1.

    Returns a value in [0, 1]; 0 where the first model finds nothing.

    """
    shifts: list[float] = []
    weights: list[float] = []
    for one, other in pairs:
        for box, score, label in zip(one["boxes"], one["scores"], one["labels"], strict=True):
            shifts.append(1 - overlaps(box, other["boxes"][other["labels"] == label]).max(initial=0.0))
            weights.append(score)
    if not shifts:
        return 0.0
    order = np.argsort(shifts)
    weight = np.cumsum(np.array(weights, np.float64)[order])
    return float(np.array(shifts)[order][np.searchsorted(weight, weight[-1] / 2)])
