"""Suppression in NumPy keeps what torchvision's keeps."""

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms

from detectors.nms import nms


@pytest.mark.parametrize("iou", [0.0, 0.3, 0.5, 1.0])
def test_the_same_boxes_survive(iou: float) -> None:
    rng = np.random.default_rng(0)
    boxes = rng.integers(0, 20, (300, 4)).astype(np.float32)  # whole numbers: IoUs of exactly 0.3 and 0.5 occur
    boxes[:, 2:] += boxes[:, :2] + 1
    scores, labels = rng.random(300).astype(np.float32), rng.integers(1, 4, 300)
    expected = batched_nms(*map(torch.from_numpy, (boxes, scores, labels)), iou).tolist()
    assert nms(boxes, scores, iou, labels).tolist() == expected
    assert nms(boxes, scores, iou, labels, limit=5).tolist() == expected[:5]


@pytest.mark.parametrize("limit", [None, 1, 63, 64, 65, 200])
def test_boxes_of_many_blocks_that_all_touch(limit: int | None) -> None:
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 200, (500, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (500, 2)).astype(np.float32)], axis=1)
    scores = rng.integers(0, 50, 500).astype(np.float32)  # many are equal: the first one wins
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable"):
        others = boxes[kept]
        shared = (np.minimum(boxes[row, 2:], others[:, 2:]) - np.maximum(boxes[row, :2], others[:, :2])).clip(0)
        inner = shared.prod(axis=1)
        union = (boxes[row, 2:] - boxes[row, :2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - inner
        if (inner / union <= 0.3).all():
            kept.append(int(row))
    assert nms(boxes, scores, 0.3, limit=limit).tolist() == kept[:limit]


def test_no_boxes_and_boxes_without_area() -> None:
    assert nms(np.zeros((0, 4), np.float32), np.zeros(0), 0.5).tolist() == []
    assert nms(np.zeros((2, 4), np.float32), np.array([0.1, 0.2]), 0.5).tolist() == [1, 0]
