"""Non-maximum suppression in NumPy, for what runs without PyTorch."""

import numpy as np

BLOCK = 64  # boxes that are compared with all others at once


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
    sorted_boxes = boxes[order]
    kinds = None if labels is None else labels[order]
    left = np.arange(len(order))
    kept: list[np.ndarray] = []
    count = 0
    while len(left):
        # Blocks of boxes against all that are left, instead of one box after another: ten times as fast.
        block, left = left[:BLOCK], left[BLOCK:]
        covered = _overlaps(sorted_boxes, kinds, block, block, iou)
        alive = np.ones(len(block), dtype=bool)
        for place in range(len(block)):
            if alive[place]:
                alive[place + 1 :] &= ~covered[place, place + 1 :]
        kept.append(block[alive])
        count += len(kept[-1])
        if limit is not None and count >= limit:
            break
        left = left[~_overlaps(sorted_boxes, kinds, kept[-1], left, iou).any(axis=0)]
    return order[np.concatenate(kept)[:limit]] if kept else order


def _overlaps(
    boxes: np.ndarray, kinds: np.ndarray | None, ones: np.ndarray, others: np.ndarray, iou: float
) -> np.ndarray:
    """Return bool [A, B]: whether the rows `ones` and `others` of boxes are of one kind and overlap by more."""
    x1, y1, x2, y2 = boxes[ones].T[:, :, None]
    left, top, right, bottom = boxes[others].T
    wide = np.minimum(x2, right) - np.maximum(x1, left)
    high = np.minimum(y2, bottom) - np.maximum(y1, top)
    shared = np.maximum(wide, 0) * np.maximum(high, 0)
    areas = (x2 - x1) * (y2 - y1) + (right - left) * (bottom - top)
    with np.errstate(invalid="ignore"):  # of two boxes without area, which suppress nothing
        above: np.ndarray = shared / (areas - shared) > np.float64(iou)  # compared as torchvision does
    return above if kinds is None else above & (kinds[ones, None] == kinds[others])
