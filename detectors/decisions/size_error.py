"""How far the boxes that a detector draws are off, from an evaluation of it."""

from typing import NamedTuple

import numpy as np

from detectors.evaluation.matching import PairwiseIoU

FEWEST = 20  # defects found; from fewer, the twentieth part is not known
QUANTILES = (0.05, 0.95)


class SizeError(NamedTuple):
    """The 5 % and 95 % quantiles of the true box against the drawn one.

    `length` is true over drawn longer side; `side` how far one side of the true box lies outside of the drawn one, over
    the drawn longer side; `defects` the number of found defects behind them, 0 where nothing is known and no error is
    allowed for. Shares, because the errors of boxes grow with the boxes.
    """

    length: tuple[float, float]
    side: tuple[float, float]
    defects: int


NO_ERROR = SizeError((1.0, 1.0), (0.0, 0.0), 0)


def size_error(overlaps: PairwiseIoU, threshold: float) -> SizeError:
    """Return the errors of the boxes that found a defect by center point at `threshold` or above.

    `NO_ERROR` where fewer than 20 were found. Annotations count as the truth: where annotators draw loose boxes, so
    does this.
    """
    table = overlaps.match(criterion="center")
    found = np.flatnonzero(table.counted & (table.found_score >= threshold))
    if len(found) < FEWEST:
        return NO_ERROR
    true = overlaps.ground_truth.box[found]
    drawn = overlaps.detections.box[table.matched_detection[found]]
    longer = np.maximum(drawn[:, 2:].max(axis=1), 1e-6)
    start = drawn[:, :2] - true[:, :2]
    end = (true[:, :2] + true[:, 2:]) - (drawn[:, :2] + drawn[:, 2:])
    side = np.concatenate([start, end], axis=1) / longer[:, None]
    low, high = np.quantile(true[:, 2:].max(axis=1) / longer, QUANTILES)
    inner, outer = np.quantile(side, QUANTILES)
    return SizeError((float(low), float(high)), (float(inner), float(outer)), len(found))
