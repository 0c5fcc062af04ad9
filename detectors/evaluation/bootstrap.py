"""Bootstrap confidence intervals: how much the metrics would vary if other radiographs had been tested.

Whole series or whole images are drawn with replacement, because detections within one
radiograph are correlated. A draw is a weight for each image, so that nothing is matched again.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detectors.evaluation.curves import RECALL_GRID
from detectors.evaluation.matching import MatchTable
from detectors.evaluation.metrics import FALSE_CALL_RATES

Floats = NDArray[np.float64]
Unit = Literal["auto", "series", "image"]
FEWEST_SERIES = 10  # intervals from fewer clusters are known to be too narrow


@dataclass(frozen=True)
class ConfidenceIntervals:
    """Percentile intervals over `resamples` draws of `units` series or images (`unit`).

    `metrics`: low and high of `ap`, of the sensitivities at fixed rates of false calls (keys of
    `FALSE_CALL_RATES`), and of `recall`, `precision`, `f1` and `false_calls` an image at the threshold, None where not
    applicable. `precision` [2, 101]: low and high at each recall of the 101-point
    grid, mean over classes. `sensitivity` [2, K]: recall at each of `false_calls` [K] an image, all classes
    pooled.
    """

    unit: str
    units: int
    resamples: int
    confidence: float
    metrics: dict[str, tuple[float, float] | None]
    precision: Floats
    false_calls: Floats
    sensitivity: Floats


def bootstrap(
    table: MatchTable,
    threshold: float | None,
    resamples: int = 300,
    seed: int = 0,
    unit: Unit = "auto",
    confidence: float = 0.95,
) -> ConfidenceIntervals:
    """Return intervals of the curves, and of the metrics at `threshold` (None: at no score, n/a).

    `unit` "auto" draws series where at least ten are named, else images. The same seed gives the same intervals.
    """
    group, drawn = _units(table, unit)
    units = int(group.max(initial=-1)) + 1
    grid = _false_call_grid(table)
    kept = np.flatnonzero(~table.ignored)
    sample = _Sample(table, kept, grid, threshold)
    rng = np.random.default_rng(seed)
    draws: list[dict[str, float]] = []
    precision = np.full((resamples, len(RECALL_GRID)), np.nan)
    sensitivity = np.full((resamples, len(grid)), np.nan)
    if units:
        for number in range(resamples):
            weight = np.bincount(rng.integers(0, units, units), minlength=units)[group].astype(float)
            metrics, precision[number], sensitivity[number] = sample.weighted(weight)
            draws.append(metrics)
    share = ((1 - confidence) / 2, (1 + confidence) / 2)
    names = ("ap", *FALSE_CALL_RATES, "recall", "precision", "f1", "false_calls")
    intervals = {name: _percentiles([draw[name] for draw in draws], share) for name in names}
    return ConfidenceIntervals(
        drawn, units, resamples, confidence, intervals, _envelope(precision, share), grid, _envelope(sensitivity, share)
    )


def _units(table: MatchTable, unit: Unit) -> tuple[NDArray[np.int64], str]:
    names, group = np.unique(table.images.series.astype(str), return_inverse=True)
    named = len(names) - int("" in names)
    if unit == "series" or (unit == "auto" and named >= FEWEST_SERIES and "" not in names):
        return group.astype(np.int64), "series"
    return np.arange(len(table.images)), "image"


def _false_call_grid(table: MatchTable) -> Floats:
    """Return rates at which sensitivity is read: logarithmic, from one in all images up to the most made."""
    images = max(1, len(table.images))
    most = max(1 / images, int(table.false_call.sum()) / images)
    return np.geomspace(1 / images, most, 40)


class _Sample:
    """The columns that a draw weighs, gathered once."""

    def __init__(self, table: MatchTable, kept: NDArray[np.int64], grid: Floats, threshold: float | None) -> None:
        self.grid = grid
        self.hit = table.hit[kept]
        self.image = table.detections.image[kept]
        counted = table.counted
        self.truth_image, self.truth_label = table.ground_truth.image[counted], table.ground_truth.label[counted]
        labels = table.detections.label[kept]
        self.classes = [
            (np.flatnonzero(labels == label), np.flatnonzero(self.truth_label == label))
            for label in np.unique(self.truth_label)
        ]
        score = table.detections.score[kept]
        # No threshold parts detections of one score: only the last of equals is a point of the FROC.
        self.points = np.flatnonzero(np.diff(score, append=-np.inf) != 0)
        self.reported = None if threshold is None else int((score >= threshold).sum())

    def weighted(self, weight: Floats) -> tuple[dict[str, float], Floats, Floats]:
        """Return the metrics, precision on the recall grid and sensitivity on the false-call grid of one draw."""
        drawn = weight[self.image]
        found, called = np.cumsum(drawn * self.hit), np.cumsum(drawn)
        objects, images = float(weight[self.truth_image].sum()), float(weight.sum())
        curves = []
        for detections, ground_truth in self.classes:
            total = weight[self.truth_image[ground_truth]].sum()
            if total > 0 and len(detections) == len(drawn):
                curves.append(_precision_on_grid(found, called, total))
            elif total > 0:
                chosen = drawn[detections]
                sums = np.cumsum(chosen * self.hit[detections]), np.cumsum(chosen)
                curves.append(_precision_on_grid(*sums, total))
        precision = np.mean(curves, axis=0) if curves else np.full(len(RECALL_GRID), np.nan)
        rates = np.concatenate([self.grid, list(FALSE_CALL_RATES.values())])
        sensitivity = np.full(len(rates), np.nan)
        if objects:
            false, hits = (called - found)[self.points] / images, found[self.points]
            place = np.searchsorted(false, rates + 1e-12, side="right") - 1
            sensitivity = np.append(hits, 0.0)[place] / objects
        metrics = {
            "ap": float(precision.mean()),
            **dict(zip(FALSE_CALL_RATES, sensitivity[len(self.grid) :].tolist(), strict=True)),
            **self._at_threshold(found, called, objects, images),
        }
        return metrics, precision, sensitivity[: len(self.grid)]

    def _at_threshold(self, found: Floats, called: Floats, objects: float, images: float) -> dict[str, float]:
        if self.reported is None:
            return dict.fromkeys(("recall", "precision", "f1", "false_calls"), float("nan"))
        hits = float(found[self.reported - 1]) if self.reported else 0.0
        calls = float(called[self.reported - 1]) if self.reported else 0.0
        nothing = float("nan")
        return {
            "recall": hits / objects if objects else nothing,
            "precision": hits / calls if calls else nothing,
            "f1": 2 * hits / (objects + calls) if objects else nothing,
            "false_calls": (calls - hits) / images,
        }


def _precision_on_grid(found: Floats, called: Floats, objects: float) -> Floats:
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    precision = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    # Weights are whole, so half an object of slack undoes rounding and decides nothing.
    return precision[np.searchsorted(found, RECALL_GRID * objects - 1e-9, side="left")]


def _percentiles(values: list[float], share: tuple[float, float]) -> tuple[float, float] | None:
    finite = np.array([value for value in values if np.isfinite(value)])
    if not len(finite):
        return None
    low, high = np.quantile(finite, share)
    return float(low), float(high)


def _envelope(values: Floats, share: tuple[float, float]) -> Floats:
    """Return low and high of each column, NaN where a column has none."""
    usable = values[~np.isnan(values).any(axis=1)]
    if not len(usable):
        return np.full((2, values.shape[1]), np.nan)
    return np.quantile(usable, share, axis=0)
