"""The headline figures of a run, flat, as `metrics.json` holds them."""

from collections.abc import Sequence
from typing import Any

from data.coco import CocoDataset
from detectors.evaluation.curves import precision_recall, score_curve
from detectors.evaluation.matching import Overlaps, find_overlaps

Metrics = dict[str, float | int | None]

NO_METRICS: Metrics = dict.fromkeys(
    ("ap50", "ap30", "ap75", "ap50_center_hit", "recall50", "best_f1", "threshold", "false_calls_per_image", "images",
     "objects", "seconds_per_image", "pixel_f1", "pixel_iou", "pixel_precision", "pixel_recall",
     "pixel_threshold", "pixel_ap", "pixel_best_f1", "pixel_best_threshold", "defect_rate", "false_regions_per_image",
     "accuracy", "roc_auc")
)  # fmt: skip
"""Every figure of `metrics.json`, none of them applicable; a task fills in its own."""


def compute_metrics(
    dataset: CocoDataset, results: Sequence[dict[str, Any]], seconds_per_image: float | None = None
) -> Metrics:
    """Return the figures of COCO `results` against `dataset`; None is "not applicable".

    `ap50`, `ap30`, `ap75`: COCO's 101-point AP at one IoU, averaged over the classes that have objects, in
    [0, 1]. `ap50_center_hit`: the same where a detection hits if its center lies in the box. `recall50`:
    share of objects found at IoU 0.5 by all detections. `best_f1`, `threshold`: the best F1 at IoU 0.5, all
    classes pooled, and the lowest score it reports. `false_calls_per_image`: at that threshold, clean
    images counted; of all detections where no threshold is any good. Raises InputError as
    `match_detections`.
    """
    return metrics_of(find_overlaps(dataset, results), seconds_per_image)


def metrics_of(overlaps: Overlaps, seconds_per_image: float | None = None) -> Metrics:
    """Return the same figures from overlaps that are already computed."""
    table = overlaps.match(0.5)
    curve = score_curve(table)
    best = curve.best()
    some = len(curve.threshold) > 0
    place = best if best is not None else -1
    false_calls = (float(curve.false_calls[place]) if some else 0.0) if curve.images else None
    found = (float(curve.recall[-1]) if some else 0.0) if curve.objects else None
    best_f1 = (float(curve.f1[place]) if some else 0.0) if curve.objects else None
    return NO_METRICS | {
        "ap50": precision_recall(table).ap,
        "ap30": precision_recall(overlaps.match(0.3)).ap,
        "ap75": precision_recall(overlaps.match(0.75)).ap,
        "ap50_center_hit": precision_recall(overlaps.match(criterion="center")).ap,
        "recall50": found,
        "best_f1": best_f1,
        "threshold": float(curve.threshold[best]) if best is not None else None,
        "false_calls_per_image": false_calls,
        "images": curve.images,
        "objects": curve.objects,
        "seconds_per_image": seconds_per_image,
    }


def best_threshold(overlaps: Overlaps) -> tuple[float | None, str]:
    """Return the score of the best F1 and how a hit was defined for it; None where nothing is ever hit.

    At IoU 0.5, or by center hit where boxes never overlap so much: a detector that draws its boxes otherwise than
    the annotator still reports defects.
    """
    for name, table in (("IoU 0.5", overlaps.match(0.5)), ("center hit", overlaps.match(criterion="center"))):
        curve = score_curve(table)
        best = curve.best()
        if best is not None:
            return float(curve.threshold[best]), f"best F1 by {name} on these images"
    return None, "no score is any good"


def display(value: float | int | None, digits: int = 3) -> str:
    """Write a figure for people: "n/a" for None, whole numbers as they are, powers of ten beyond a million."""
    if value is None:
        return "n/a"
    if abs(value) >= 1e6 and not isinstance(value, int):
        return f"{value:.1e}"
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"
