"""Non-maximum suppression in NumPy, for what runs without PyTorch."""

import numpy as np


def nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    iou: float,
    labels: np.ndarray | None = None,
    limit: int | None = None,
) -> np.ndarray:
    """Return the rows of the boxes float32 [N, 4] that no better one of their label overlaps by more, best first.

    Args:
        boxes: x1 y1 x2 y2.
        scores: float [N].
        iou: intersection over union above which the lesser of two boxes is dropped.
        labels: int [N]; by default all are alike.
        limit: most rows.

    """
    order = np.argsort(-scores, kind="stable")
    x1, y1, x2, y2 = boxes[order].T
    areas = (x2 - x1) * (y2 - y1)
    kinds = None if labels is None else labels[order]
    left = np.arange(len(order))
    kept: list[int] = []
    while len(left) and (limit is None or len(kept) < limit):
        best, left = left[0], left[1:]
        kept.append(best)
        wide = np.minimum(x2[best], x2[left]) - np.maximum(x1[best], x1[left])
        high = np.minimum(y2[best], y2[left]) - np.maximum(y1[best], y1[left])
        shared = np.maximum(wide, 0) * np.maximum(high, 0)
        with np.errstate(invalid="ignore"):  # of two boxes without area, which suppress nothing
            lost = shared / (areas[best] + areas[left] - shared) > np.float64(iou)  # compared as torchvision does
        if kinds is not None:
            lost &= kinds[left] == kinds[best]
        left = left[~lost]
    return order[np.array(kept, dtype=np.int64)]
