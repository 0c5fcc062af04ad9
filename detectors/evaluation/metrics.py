"""The metrics of a run: one table of what each means, and the values as `metrics.json` holds them, flat."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from data.coco import CocoDataset
from detectors.evaluation.curves import precision_recall, score_curve
from detectors.evaluation.matching import PairwiseIoU, find_overlaps
from detectors.evaluation.outcomes import Matchable

Metrics = dict[str, float | int | None]


class Metric(NamedTuple):
    """How one metric is shown: its title for people, decimals, which way is better, and its definition.

    `higher_is_better` is None for what is neither good nor bad, such as a count of images or a threshold. `short` is a
    shorter title for the heads of wide tables, where there is one.
    """

    title: str
    digits: int
    higher_is_better: bool | None
    description: str
    short: str = ""

    @property
    def heading(self) -> str:
        """The shortest name there is, for the head of a wide table."""
        return self.short or self.title


METRICS: dict[str, Metric] = {
    "ap50": Metric("AP at IoU 0.5", 3, True, "average precision at 101 recalls (COCO's), mean over the classes that "
                   "have objects; the mAP of the papers", "AP 0.5"),
    "ap30": Metric("AP at IoU 0.3", 3, True, "the same at IoU 0.3", "AP 0.3"),
    "ap75": Metric("AP at IoU 0.75", 3, True, "the same at IoU 0.75", "AP 0.75"),
    "ap_center": Metric("AP by center point", 3, True, "the same by the center-point criterion",
                        "AP center"),
    "sensitivity_at_half_call": Metric("sensitivity at 0.5 false calls an image", 3, True, "share of objects found, by "
                                       "the center-point criterion, at the lowest threshold that makes no more than "
                                       "half a false call an image on average; all images and classes pooled", "s@0.5"),
    "sensitivity_at_1_call": Metric("sensitivity at 1 false call an image", 3, True, "the same at one false call",
                                    "s@1"),
    "sensitivity_at_2_calls": Metric("sensitivity at 2 false calls an image", 3, True, "the same at two false calls",
                                     "s@2"),
    "recall50": Metric("recall at IoU 0.5", 3, True, "share of objects found by all detections"),
    "f1_max": Metric("best F1", 3, True, "the highest F1 at IoU 0.5 over all thresholds, classes pooled"),
    "threshold": Metric("threshold of the best F1", 3, None, "the lowest score reported at the best F1"),
    "false_calls_per_image": Metric("false calls an image", 3, False, "at the threshold of the best F1, defect-free "
                                    "images counted; of all detections where nothing is ever hit"),
    "images": Metric("images", 0, None, "images evaluated, defect-free ones included"),
    "objects": Metric("objects", 0, None, "ground-truth boxes that count, crowd regions left out"),
    "seconds_per_image": Metric("s/image when evaluated", 3, False, "reading, pre- and post-processing included"),
    "pixel_f1": Metric("pixel F1", 3, True, "at `pixel_threshold`, over all pixels of all radiographs; the IoU is "
                       "F1 / (2 - F1)"),
    "pixel_iou": Metric("pixel IoU", 3, True, "of the marked pixels and the masks, at `pixel_threshold`"),
    "pixel_precision": Metric("pixel precision", 3, True, "share of the marked pixels that are defects"),
    "pixel_recall": Metric("pixel recall", 3, True, "share of the defect pixels that are marked"),
    "pixel_threshold": Metric("pixel threshold", 3, None, "probability from which a pixel is marked"),
    "pixel_ap": Metric("pixel AP", 3, True, "average precision of pixels: the area under precision over recall, "
                       "in steps"),
    "pixel_f1_max": Metric("best pixel F1", 3, True, "the highest over all thresholds on these very radiographs"),
    "pixel_best_threshold": Metric("threshold of the best pixel F1", 3, None, "where that is reached"),
    "defect_recall": Metric("share of defects found by pixels", 3, True, "share of the masks' components of which at "
                            "least a quarter of the pixels is marked"),
    "false_regions_per_image": Metric("false-positive regions an image", 3, False, "marked regions of which less than "
                                      "a quarter lies on defects"),
    "voxel_f1_in_part": Metric("voxel F1 in the part", 3, True, "of volumes, at `voxel_threshold`, over the voxels of "
                               "pores and material; air does not count"),
    "voxel_iou_in_part": Metric("voxel IoU in the part", 3, True, "of marked and pore voxels, likewise"),
    "voxel_precision_in_part": Metric("voxel precision in the part", 3, True, "share of marked voxels that are pores"),
    "voxel_recall_in_part": Metric("voxel recall in the part", 3, True, "share of pore voxels that are marked"),
    "voxel_ap_in_part": Metric("voxel AP in the part", 3, True, "average precision: the area under precision over "
                               "recall, in steps"),
    "voxel_roc_auc_in_part": Metric("voxel ROC AUC in the part", 3, True, "probability that a pore voxel scores above "
                                    "one of material"),
    "voxel_f1_max_in_part": Metric("best voxel F1 in the part", 3, True, "the highest over all thresholds on these "
                                   "very volumes"),
    "voxel_f1_everywhere": Metric("voxel F1 everywhere", 3, True, "over all voxels, air too"),
    "voxel_iou_everywhere": Metric("voxel IoU everywhere", 3, True, "likewise"),
    "voxel_precision_everywhere": Metric("voxel precision everywhere", 3, True, "likewise"),
    "voxel_recall_everywhere": Metric("voxel recall everywhere", 3, True, "the same as in the part"),
    "voxel_ap_everywhere": Metric("voxel AP everywhere", 3, True, "average precision over all voxels, air too"),
    "voxel_roc_auc_everywhere": Metric("voxel ROC AUC everywhere", 3, True, "air, which is easy, makes it high"),
    "voxel_f1_max_everywhere": Metric("best voxel F1 everywhere", 3, True, "the highest over all thresholds"),
    "voxel_threshold": Metric("voxel threshold", 3, None, "probability from which a voxel is marked"),
    "voxel_best_threshold": Metric("threshold of the best voxel F1", 3, None, "where that in the part is reached"),
    "pore_recall": Metric("pores found", 3, True, "share of the labels' 26-connected pores of which at least a quarter "
                          "of the voxels is marked"),
    "large_pore_recall": Metric("pores of 4 voxels and more found", 3, True, "of those with an equivalent diameter of "
                                "4 voxels or more"),
    "false_pores_per_volume": Metric("false pores a volume", 3, False, "26-connected marked regions of which less than "
                                     "a quarter lies on pores"),
    "false_pores_per_million_voxels": Metric("false pores per 100^3 voxels", 3, False, "the same, per million voxels"),
    "false_pores_per_million_voxels_of_part": Metric("false pores per 100^3 voxels of the part", 3, False, "the same, "
                                                     "per million voxels of the part"),
    "false_closed_pores_per_volume": Metric(
        "false closed pores a volume", 3, False, "marked regions of which less than a quarter lies on pores and "
        "that touch no air around the part"
    ),
    "pod_a50_voxels": Metric("POD 50 %, voxels", 2, False, "equivalent diameter found half of the time"),
    "pod_a90_voxels": Metric("POD 90 %, voxels", 2, False, "equivalent diameter found nine times in ten"),
    "pod_a90_95_voxels": Metric("a90/95, voxels", 2, False, "its 95 % upper bound, by likelihood ratio"),
    "pod_a50_mm": Metric("POD 50 %, mm", 4, False, "equivalent diameter found half of the time"),
    "pod_a90_mm": Metric("POD 90 %, mm", 4, False, "equivalent diameter found nine times in ten"),
    "pod_a90_95_mm": Metric("a90/95, mm", 4, False, "its 95 % upper bound, by likelihood ratio"),
    "volumes": Metric("volumes", 0, None, "volumes evaluated"),
    "pores": Metric("pores", 0, None, "pores of the labels that count"),
    "accuracy": Metric("patch accuracy", 3, True, "share of patches classified rightly at probability 0.5"),
    "roc_auc": Metric("patch ROC AUC", 3, True, "probability that a defect patch scores above a no-defect patch"),
    "two_sample_accuracy": Metric("two-sample accuracy", 3, False, "share of patches that a classifier rightly calls "
                                  "real or generated; 0.5 if it cannot tell them apart"),
    "two_sample_low": Metric("two-sample accuracy, lower bound", 3, None, "exact, two-sided 95 %"),
    "two_sample_high": Metric("two-sample accuracy, upper bound", 3, None, "exact, two-sided 95 %"),
    "two_sample_count": Metric("two-sample test patches", 0, None, "patches tested, half of them real"),
    "two_sample_reference": Metric("two-sample accuracy of training patches", 3, None, "the same test with training "
                                   "patches in place of generated ones: what a perfect generator would reach"),
    "two_sample_loss": Metric("two-sample loss", 3, True, "cross entropy in bits, cut at 1: 1 for a coin's answers"),
    "indistinguishability": Metric("indistinguishability", 3, True, "the loss plus 1 - |2 accuracy - 1|: 0 if all "
                                   "generated patches are recognized, 2 for a coin's answers"),
    "memorization_rate": Metric("memorization rate", 3, False, "share of generated patches nearer to a training patch "
                                "than 95 % of the held-out real ones; 0.05 if they are as new"),
    "nearest_ratio": Metric("nearest-neighbor ratio", 3, True, "median distance of generated patches to the training "
                            "set over that of held-out real ones; well below 1 for copies"),
    "nearest_median": Metric("nearest-neighbor distance", 5, None, "median distance of generated patches to the "
                             "training set, root mean square of gray values"),
}  # fmt: skip
"""Every metric of `metrics.json` by its key, in the order of the file. Tables and plots take their words from here."""

EMPTY_METRICS: Metrics = dict.fromkeys(METRICS)
"""Every metric, none of them applicable; a task fills in its own."""

OLD_NAMES = {
    "ap50_center_hit": "ap_center",
    "best_f1": "f1_max",
    "defect_rate": "defect_recall",
    "pixel_best_f1": "pixel_f1_max",
    "two_sample_doubt": "indistinguishability",
    "memorised_share": "memorization_rate",
}
"""Keys in files of older versions, and what they are called now."""

FALSE_CALL_RATES = {"sensitivity_at_half_call": 0.5, "sensitivity_at_1_call": 1.0, "sensitivity_at_2_calls": 2.0}
"""False calls an image at which the FROC is read, by the key of the metric."""


def compute_metrics(
    dataset: CocoDataset, results: Sequence[Mapping[str, Any]], seconds_per_image: float | None = None
) -> Metrics:
    """Return the metrics of COCO `results` against `dataset`, as `METRICS` defines them; None is "not applicable".

    Raises InputError as `match_detections`.
    """
    return metrics_of(find_overlaps(dataset, results), seconds_per_image)


def metrics_of(overlaps: Matchable, seconds_per_image: float | None = None) -> Metrics:
    """Return the same metrics from overlaps that are already computed."""
    table, by_center = overlaps.match(0.5), overlaps.match(criterion="center")
    curve, froc = score_curve(table), score_curve(by_center)
    best = curve.best()
    some = len(curve.threshold) > 0
    place = best if best is not None else -1
    false_calls = (float(curve.false_calls[place]) if some else 0.0) if curve.images else None
    found = (float(curve.recall[-1]) if some else 0.0) if curve.objects else None
    f1_max = (float(curve.f1[place]) if some else 0.0) if curve.objects else None
    return EMPTY_METRICS | {
        "ap50": precision_recall(table).ap,
        "ap30": precision_recall(overlaps.match(0.3)).ap,
        "ap75": precision_recall(overlaps.match(0.75)).ap,
        "ap_center": precision_recall(by_center).ap,
        **{name: froc.sensitivity_at(rate) for name, rate in FALSE_CALL_RATES.items()},
        "recall50": found,
        "f1_max": f1_max,
        "threshold": float(curve.threshold[best]) if best is not None else None,
        "false_calls_per_image": false_calls,
        "images": curve.images,
        "objects": curve.objects,
        "seconds_per_image": seconds_per_image,
    }


def renamed(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics with the keys of today, whatever version wrote them."""
    return {OLD_NAMES.get(name, name): value for name, value in metrics.items()}


def best_threshold(overlaps: PairwiseIoU) -> tuple[float | None, str]:
    """Return the score of the best F1 and how a hit was defined for it; None where nothing is ever hit.

    At IoU 0.5, or by center point where boxes never overlap so much: a detector that draws its boxes otherwise than
    the annotator still reports defects.
    """
    for name, table in (("IoU 0.5", overlaps.match(0.5)), ("center point", overlaps.match(criterion="center"))):
        curve = score_curve(table)
        best = curve.best()
        if best is not None:
            return float(curve.threshold[best]), f"best F1 by {name} on these images"
    return None, "no score is any good"


def title_of(name: str) -> str:
    """Return the title of a metric, its key itself where it is not in the table."""
    return METRICS[name].title if name in METRICS else name


def display(value: float | int | None, digits: int = 3) -> str:
    """Write a value for people: "n/a" for None, whole numbers as they are, powers of ten beyond a million."""
    if value is None:
        return "n/a"
    if abs(value) >= 1e6 and not isinstance(value, int):
        return f"{value:.1e}"
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"
