"""Curves read off the table of matches: precision-recall, F1, FROC and the ROC of whole images."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detectors.evaluation.matching import MatchTable
from detectors.evaluation.outcomes import Matched, Outcomes

RECALL_GRID = np.linspace(0.0, 1.0, 101)  # COCO's recall points
MOST_POINTS = 10_000  # of a curve that is drawn
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision against recall, both in [0, 1] and float64 [K]; `threshold` [K] is the score at each point.

    Precision is the envelope (the best at this recall or more). Of several classes it is their mean at each
    of 101 recalls, and the threshold is NaN. Each AP is in [0, 1], or None where no class has an object.
    """

    recall: Floats
    precision: Floats
    threshold: Floats
    ap: float | None  # 101 recall points, COCO's
    ap_all_points: float | None  # area under the envelope, VOC's since 2010
    ap_11_points: float | None  # 11 recall points, VOC's of 2007

    def drawn(self) -> "PrecisionRecall":
        """Return the curve as a picture needs it: of many points those that reach evenly spaced recalls."""
        if len(self.recall) <= MOST_POINTS:
            return self
        grid = np.linspace(0.0, self.recall[-1], MOST_POINTS)
        points = np.unique(np.append(np.searchsorted(self.recall, grid), len(self.recall) - 1))
        return replace(
            self, recall=self.recall[points], precision=self.precision[points], threshold=self.threshold[points]
        )


@dataclass(frozen=True)
class ScoreCurve:
    """Counts and ratios at every threshold, falling, float64 [K]; all classes pooled.

    A detection is reported where its score is at least the threshold. `recall`, `precision`, `f1` in [0,
    1]; `false_calls` an image. `objects` and `images` are the counts behind the ratios; without objects
    recall and F1 are NaN, without images the false calls are.
    """

    threshold: Floats
    recall: Floats
    precision: Floats
    f1: Floats
    false_calls: Floats
    objects: int
    images: int

    def drawn(self) -> "ScoreCurve":
        """Return the curve as a picture needs it: of many thresholds some, evenly spaced from each power of ten on."""
        if len(self.threshold) <= MOST_POINTS:
            return self
        last = len(self.threshold) - 1
        points = np.unique(np.geomspace(1, last + 1, MOST_POINTS).astype(int)) - 1
        columns = ("threshold", "recall", "precision", "f1", "false_calls")
        return replace(self, **{name: getattr(self, name)[points] for name in columns})

    def at(self, threshold: float) -> int:
        """Return the place of the lowest threshold at or above `threshold`, -1 where nothing is reported."""
        return int(np.searchsorted(-self.threshold, -threshold, side="right")) - 1

    def sensitivity_at(self, false_calls: float) -> float | None:
        """Return the highest recall at no more than `false_calls` an image, 0 where the first detection makes more.

        None without objects or images.
        """
        if not self.objects or not self.images:
            return None
        reached = self.recall[self.false_calls <= false_calls]
        return float(reached.max(initial=0.0))

    def best(self) -> int | None:
        """Return the place of the best F1, at the highest threshold of equals; None where none is above 0."""
        if not self.objects or not len(self.f1) or self.f1.max() <= 0:
            return None
        return int(self.f1.argmax())


@dataclass(frozen=True)
class Roc:
    """ROC of images, any defect against none: rates in [0, 1] and `threshold`, float64 [K]; `auc` or None."""

    false_positive_rate: Floats
    true_positive_rate: Floats
    threshold: Floats
    auc: float | None


def precision_recall(table: Matched, label: int | None = None) -> PrecisionRecall:
    """Return the curve of one class, or of the mean over all classes that have objects."""
    outcomes = table.outcomes
    if label is not None:
        return _class_curve(outcomes, label)
    curves = [_class_curve(outcomes, row) for row in np.flatnonzero(outcomes.objects).tolist()]
    if not curves:
        return _class_curve(outcomes, -1)
    if len(curves) == 1:
        return curves[0]
    return PrecisionRecall(
        recall=RECALL_GRID,
        precision=np.mean([_on_grid(curve.recall, curve.precision, RECALL_GRID) for curve in curves], axis=0),
        threshold=np.full(len(RECALL_GRID), np.nan),
        ap=float(np.mean([curve.ap for curve in curves])),
        ap_all_points=float(np.mean([curve.ap_all_points for curve in curves])),
        ap_11_points=float(np.mean([curve.ap_11_points for curve in curves])),
    )


def _class_curve(outcomes: Outcomes, label: int) -> PrecisionRecall:
    objects = int(outcomes.objects[label]) if label >= 0 else 0
    if not objects:
        empty = np.zeros(0)
        return PrecisionRecall(empty, empty, empty, None, None, None)
    chosen = outcomes.label == label
    return curve_of_hits(outcomes.hit[chosen], outcomes.score[chosen].astype(float), objects)


def curve_of_hits(hit: NDArray[np.bool_], threshold: Floats, objects: int) -> PrecisionRecall:
    """Return the curve of detections in descending score (`hit` bool [K]) against `objects` (at least 1)."""
    found = np.cumsum(hit)
    recall = found / objects
    precision = found / np.arange(1, len(hit) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(recall, prepend=0.0)
    return PrecisionRecall(
        recall=recall,
        precision=precision,
        threshold=threshold,
        ap=float(_on_grid(recall, precision, RECALL_GRID).mean()),
        ap_all_points=float((steps * precision).sum()),
        ap_11_points=float(_on_grid(recall, precision, np.linspace(0.0, 1.0, 11)).mean()),
    )


def _on_grid(recall: Floats, precision: Floats, grid: Floats) -> Floats:
    """Return the precision at the first point that reaches each recall of `grid`, 0 where none does."""
    return np.append(precision, 0.0)[np.searchsorted(recall, grid, side="left")]


def score_curve(table: Matched) -> ScoreCurve:
    """Return recall, precision, F1 and false calls an image (clean images counted) at every threshold.

    Recall against false calls is the FROC; F1 against threshold chooses the threshold. One point a distinct
    score, so that no point parts detections that no threshold can part.
    """
    outcomes = table.outcomes
    hit, score = outcomes.hit, outcomes.score
    objects, images = int(outcomes.objects.sum()), outcomes.images
    last = np.flatnonzero(np.diff(score, append=-np.inf) != 0)
    found = np.cumsum(hit)[last].astype(float)
    reported = last + 1.0
    missing = np.full(len(last), np.nan)
    return ScoreCurve(
        threshold=score[last].astype(float),
        recall=found / objects if objects else missing,
        precision=found / reported,
        f1=2 * found / (objects + reported) if objects else missing,
        false_calls=(reported - found) / images if images else missing,
        objects=objects,
        images=images,
    )


def image_roc(table: MatchTable) -> Roc:
    """Return how well an image's highest score tells images with defects from clean ones.

    An image with nothing but crowd regions is left out: it is neither. An image without a detection ranks
    last. `auc` is the area under the curve, ties counted half, None where either kind of image is missing.
    """
    defective = np.zeros(len(table.images), dtype=bool)
    defective[table.ground_truth.image[table.counted]] = True
    crowd_only = np.zeros(len(table.images), dtype=bool)
    crowd_only[table.ground_truth.image] = True
    crowd_only &= ~defective
    highest = np.full(len(table.images), -np.inf)
    kept = ~table.ignored
    np.maximum.at(highest, table.detections.image[kept], table.detections.score[kept])
    highest, defective = highest[~crowd_only], defective[~crowd_only]
    positives, negatives = int(defective.sum()), int((~defective).sum())
    if not positives or not negatives:
        return Roc(np.zeros(0), np.zeros(0), np.zeros(0), None)
    order = np.argsort(-highest, kind="stable")
    score = highest[order]
    last = np.append(np.flatnonzero(score[1:] != score[:-1]), len(score) - 1)
    true = np.append(0.0, np.cumsum(defective[order])[last] / positives)
    false = np.append(0.0, np.cumsum(~defective[order])[last] / negatives)
    return Roc(false, true, np.append(np.inf, score[last]), float(np.trapezoid(true, false)))
