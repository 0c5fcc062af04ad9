"""Error analysis: why an object was missed, and why a detection is a false call."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.evaluation.matching import MatchTable

NEAR_IOU = 0.1  # a call that overlaps an object by this much was made because of it
MISSES = {
    "localization error": "a detection lies on it, but the boxes overlap too little: the defect was found",
    "low score": "a detection lies on it, but scores below the threshold",
    "not detected": "no detection lies on it at any score",
}
FALSE_CALLS = {
    "localization error": "it lies on an object that no other detection has found, but the boxes overlap too little",
    "duplicate": "it lies on an object that another detection has found",
    "classification error": "it lies on an object of another class",
    "background": "nothing is annotated there",
    "defect-free image": "nothing is annotated on the whole image",
}


@dataclass(frozen=True)
class ErrorAnalysis:
    """Rows of missed objects and of false calls at one threshold, worst first, each with its kind.

    `misses` int64 [M] rows of ground_truth, the largest first; `false_calls` int64 [F] rows of detections, the highest
    score first; `miss_kinds`, `false_call_kinds` are keys of `MISSES` and `FALSE_CALLS`.
    """

    misses: NDArray[np.int64]
    miss_kinds: list[str]
    false_calls: NDArray[np.int64]
    false_call_kinds: list[str]

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many there are of each kind, those without any included."""
        return {
            "misses": {kind: self.miss_kinds.count(kind) for kind in MISSES},
            "false_calls": {kind: self.false_call_kinds.count(kind) for kind in FALSE_CALLS},
        }


def analyze_errors(table: MatchTable, threshold: float) -> ErrorAnalysis:
    """Return every missed object and false call at `threshold`, and why."""
    pairs = table.overlaps
    reported = table.detections.score[pairs.pair_detection] >= threshold
    close = pairs.pair_center | (pairs.pair_iou >= NEAR_IOU)
    near = reported & close
    same = near & pairs.pair_same_class
    found = table.found_score >= threshold

    touched = np.zeros(len(table.ground_truth), dtype=bool)
    touched[pairs.pair_ground_truth[same]] = True
    missed = np.flatnonzero(~found & table.counted)
    misses = missed[np.argsort(-table.ground_truth.size[missed], kind="stable")]
    seen = np.zeros(len(table.ground_truth), dtype=bool)
    seen[pairs.pair_ground_truth[close & pairs.pair_same_class]] = True
    miss_kinds = [
        "localization error" if touched[row] else "low score" if seen[row] else "not detected" for row in misses
    ]

    defective = np.zeros(len(table.images), dtype=bool)
    defective[table.ground_truth.image] = True
    on_missed, on_found, on_other = (
        _marked(table, chosen)
        for chosen in (
            same & ~found[pairs.pair_ground_truth],
            same & found[pairs.pair_ground_truth],
            near & ~pairs.pair_same_class,
        )
    )
    false_calls = np.flatnonzero(table.false_call & (table.detections.score >= threshold))
    false_call_kinds = [
        "localization error" if on_missed[row]
        else "duplicate" if on_found[row]
        else "classification error" if on_other[row]
        else "background" if defective[table.detections.image[row]]
        else "defect-free image"
        for row in false_calls
    ]  # fmt: skip
    return ErrorAnalysis(misses, miss_kinds, false_calls, false_call_kinds)


def _marked(table: MatchTable, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which detections have one of the chosen pairs, bool [D]."""
    marked = np.zeros(len(table.detections), dtype=bool)
    marked[table.overlaps.pair_detection[chosen]] = True
    return marked
