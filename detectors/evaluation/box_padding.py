"""The padding that annotators leave around defects, estimated from a few boxes and a detector's."""

from typing import NamedTuple

import numpy as np

from data.errors import InputError
from detectors.evaluation.matching import PairwiseIoU


class BoxPadding(NamedTuple):
    """Median padding in pixels a side, the quartiles over the boxes, and the number of boxes compared."""

    padding: float
    quartiles: tuple[float, float]
    boxes: int


def estimate_box_padding(overlaps: PairwiseIoU, boxes: int | None = None) -> BoxPadding:
    """Return how many pixels the ground-truth boxes lie outside of the detections that hit them, mean over the sides.

    The first `boxes` ground-truth boxes that are hit by the center-point criterion count (all without it), in the
    order of images and annotations; of several detections the one of the highest score. A detector that was trained
    on tight boxes padded by m pixels draws boxes like the annotators' if it is trained with m plus this padding.
    Raises InputError where nothing is hit.
    """
    table = overlaps.match(criterion="center")
    found = np.flatnonzero(table.counted & (table.matched_detection >= 0))[:boxes]
    if not len(found):
        raise InputError("no detection lies in a true box, so no padding can be told; train the detector first")
    true = overlaps.ground_truth.box[found, 2:]
    drawn = overlaps.detections.box[table.matched_detection[found], 2:]
    padding = (true - drawn).mean(axis=1) / 2
    low, middle, high = np.percentile(padding, [25, 50, 75])
    return BoxPadding(float(middle), (float(low), float(high)), len(found))
