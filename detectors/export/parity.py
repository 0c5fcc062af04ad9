"""Whether an exported model answers as the model does in PyTorch: boxes matched, scores compared."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

SAME_IOU = 0.99
SAME_SCORE = 1e-3
Boxes = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Parity:
    """How alike two models answer.

    Attributes:
        radiographs: that both answered for.
        detections: of both together.
        matched: of them, those that have a partner in the other model's: same label, IoU at least 0.99, scores within
            0.001.
        score_difference: largest among detections that overlap by that IoU.

    """

    radiographs: int
    detections: int
    matched: int
    score_difference: float

    @property
    def share(self) -> float:
        """Matched detections, as a share of all; 1 where neither model finds anything."""
        return self.matched / self.detections if self.detections else 1.0

    def __str__(self) -> str:
        return (
            f"{self.matched} of {self.detections} detections of both on {self.radiographs} radiographs agree (IoU "
            f"{SAME_IOU}, score {SAME_SCORE}); largest difference of scores {self.score_difference:.1e}"
        )


def compare_answers(pairs: Iterable[tuple[Boxes, Boxes]]) -> Parity:
    """Return the parity over pairs of detections (`boxes` [M, 4], `scores` [M], `labels` [M]), one a radiograph."""
    radiographs = detections = matched = 0
    largest = 0.0
    for one, other in pairs:
        radiographs += 1
        detections += len(one["scores"]) + len(other["scores"])
        for difference in (*_differences(one, other), *_differences(other, one)):
            largest = max(largest, difference)
            matched += difference <= SAME_SCORE
    return Parity(radiographs, detections, matched, largest)


def _differences(one: Boxes, other: Boxes) -> Iterator[float]:
    """Yield the difference of scores for each detection that has one of its label and place in the other answer."""
    for box, score, label in zip(one["boxes"], one["scores"], one["labels"], strict=True):
        some = other["labels"] == label
        same = overlaps(box, other["boxes"][some]) >= SAME_IOU
        if same.any():
            yield float(np.abs(other["scores"][some][same] - score).min())


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the IoU [M] of a box [4] and each of some boxes [M, 4]; 1 for two without area."""
    shared = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - shared
    return np.divide(shared, union, out=np.ones_like(shared), where=union > 0)
