"""Metrics of a defect map against masks, pixel by pixel and defect by defect, in memory that does not grow.

A map holds probabilities, so that what is above a threshold can be counted from histograms alone: of the scores of
defect pixels and of background. Pixels marked `data.masks.IGNORED` count nowhere.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.masks import IGNORED

Floats = NDArray[np.float64]

BINS = 1024
"""Scores are told apart by 1/1024, so that thresholds of whole 1/1024, 0.5 for one, are exact."""

DEFAULT_THRESHOLD = 0.5

SHARE = 0.25
"""Share of a defect's pixels that must be marked for it to be found; share of a marked region that must lie on
defects for it not to be false. Annotators draw loosely, and a touch by one pixel is no find."""

STEPS = np.arange(1, 20) / 20
"""Thresholds at which false-positive regions are counted, each a search for connected regions in every radiograph."""


@dataclass(frozen=True)
class PixelCurve:
    """Pixel metrics at each threshold, all float64 [1024], thresholds ascending.

    A pixel is marked where its score is at least the threshold. `precision` is 1 where nothing is marked. `recall`,
    `f1` and `iou` are NaN where no pixel is a defect. `ap` is the area under precision over recall in steps, None
    without defect pixels.
    """

    threshold: Floats
    precision: Floats
    recall: Floats
    f1: Floats
    iou: Floats
    ap: float | None

    def best(self) -> int | None:
        """Return the place of the best F1, the highest threshold among equals; None where no pixel is ever hit."""
        if self.ap is None or not self.f1.max() > 0:
            return None
        return int(len(self.f1) - 1 - np.argmax(self.f1[::-1]))

    def at(self, threshold: float) -> int:
        """Return the place of a threshold in [0, 1], rounded down to whole 1/1024."""
        return int(np.clip(np.floor(threshold * BINS), 0, BINS - 1))


@dataclass(frozen=True)
class DefectCurve:
    """Defects found and false-positive regions at each of K thresholds, float64 [K], ascending.

    `rate` is the share of defects found, NaN without defects; `false_regions` is the number an image, NaN without
    images.
    """

    threshold: Floats
    rate: Floats
    false_regions: Floats


class PixelCounts:
    """What is counted of maps and masks, one radiograph after the other.

    A defect is an 8-connected component of a mask. It is found where at least `SHARE` of its pixels score the
    threshold or more. A false region is an 8-connected region of such pixels of which less than `SHARE` lies on
    defects: a map that marks everything has few of them, and the pixel precision tells.

    Args:
        threshold: score in [0, 1] at which defects and false-positive regions are counted besides `STEPS`.

    """

    def __init__(self, threshold: float = DEFAULT_THRESHOLD) -> None:
        self.threshold = threshold
        self.images = 0
        self._steps = np.union1d(STEPS, [threshold])
        self._defect = np.zeros(BINS, dtype=np.int64)
        self._sound = np.zeros(BINS, dtype=np.int64)
        self._found_at: list[float] = []
        self._false_regions = np.zeros(len(self._steps), dtype=np.int64)

    def add(self, values: NDArray[np.float32], labels: NDArray[np.uint8]) -> None:
        """Count one radiograph.

        Args:
            values: scores float32 [H, W] in [0, 1].
            labels: label map uint8 [H, W] of `data.masks.rasterize`.

        Raises ValueError for shapes that differ and for scores outside [0, 1], NaN too.

        """
        if values.shape != labels.shape:
            raise ValueError(f"a map of {values.shape} and a mask of {labels.shape}")
        if values.size and not (values.min() >= 0 and values.max() <= 1):  # false for NaN, too
            raise ValueError(f"scores from {values.min()} to {values.max()} are not within 0 ... 1")
        known = labels != IGNORED
        defect = known & (labels > 0)
        bins = np.minimum((values * BINS).astype(np.int64), BINS - 1)
        self._defect += np.bincount(bins[defect], minlength=BINS)
        self._sound += np.bincount(bins[known & ~defect], minlength=BINS)
        self._found_at += found_at(values, defect)
        self._false_regions += [_false_regions((values >= step) & known, defect) for step in self._steps]
        self.images += 1

    def curve(self) -> PixelCurve:
        """Return the pixel metrics at every threshold."""
        hits, false = (counts[::-1].cumsum()[::-1].astype(np.float64) for counts in (self._defect, self._sound))
        objects = float(self._defect.sum())
        precision = np.divide(hits, hits + false, out=np.ones(BINS), where=hits + false > 0)
        if not objects:
            nothing = np.full(BINS, np.nan)
            return PixelCurve(np.arange(BINS) / BINS, precision, nothing, nothing, nothing, None)
        recall = hits / objects
        gained = recall - np.append(recall[1:], 0.0)
        return PixelCurve(
            threshold=np.arange(BINS) / BINS,
            precision=precision,
            recall=recall,
            f1=2 * hits / (objects + hits + false),
            iou=hits / (objects + false),
            ap=float((gained * precision).sum()),
        )

    def defect_curve(self) -> DefectCurve:
        """Return the share of defects found against false-positive regions an image."""
        found = np.array(self._found_at)
        nothing = np.full(len(self._steps), np.nan)
        rate = np.array([(found >= step).mean() for step in self._steps]) if len(found) else nothing
        false = self._false_regions / self.images if self.images else nothing
        return DefectCurve(self._steps, rate, false)

    def metrics(self) -> dict[str, float | None]:
        """Return the pixel metrics of `metrics.json`, None where not applicable.

        `pixel_f1`, `pixel_iou`, `pixel_precision`, `pixel_recall`, `defect_recall` and `false_regions_per_image` at
        `pixel_threshold`, the one given; `pixel_ap`; and `pixel_f1_max` at `pixel_best_threshold`, which were chosen
        on these very radiographs: a bound of what a better threshold could bring, and a threshold for others.
        """
        curve, defects = self.curve(), self.defect_curve()
        place, best = curve.at(self.threshold), curve.best()
        step = int(np.searchsorted(self._steps, self.threshold))
        marked = bool((self._defect + self._sound)[place:].any())
        some = curve.ap is not None
        return {
            "pixel_f1": float(curve.f1[place]) if some else None,
            "pixel_iou": float(curve.iou[place]) if some else None,
            "pixel_precision": float(curve.precision[place]) if marked else None,
            "pixel_recall": float(curve.recall[place]) if some else None,
            "pixel_threshold": self.threshold,
            "pixel_ap": curve.ap,
            "pixel_f1_max": float(curve.f1[best]) if best is not None else (0.0 if some else None),
            "pixel_best_threshold": float(curve.threshold[best]) if best is not None else None,
            "defect_recall": float(defects.rate[step]) if self._found_at else None,
            "false_regions_per_image": float(defects.false_regions[step]) if self.images else None,
        }


def found_at(values: NDArray[np.float32], defect: NDArray[np.bool_]) -> list[float]:
    """Return, for each 8-connected component of `defect` [H, W], the highest threshold at which it is found."""
    count, numbers = _components(defect)
    if count == 1:
        return []
    order = np.argsort(numbers[defect], kind="stable")
    scores = np.split(values[defect][order], np.cumsum(np.bincount(numbers[defect], minlength=count)[1:])[:-1])
    ranks = [int(np.ceil(SHARE * len(score))) for score in scores]
    return [float(np.partition(score, len(score) - rank)[len(score) - rank])
            for score, rank in zip(scores, ranks, strict=True)]  # fmt: skip


def _false_regions(marked: NDArray[np.bool_], defect: NDArray[np.bool_]) -> int:
    """Return how many 8-connected regions of `marked` lie on defects with less than `SHARE` of their pixels."""
    count, numbers = _components(marked)
    area = np.bincount(numbers[marked], minlength=count)[1:]
    hit = np.bincount(numbers[marked & defect], minlength=count)[1:]
    return int((hit < SHARE * area).sum())


def _components(mask: NDArray[np.bool_]) -> tuple[int, NDArray[np.int32]]:
    """Return the number of 8-connected components plus one, and their numbers [H, W] from 1, 0 outside."""
    count, numbers = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return count, np.asarray(numbers, dtype=np.int32)
