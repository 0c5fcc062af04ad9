"""Everything the report says about one run, as plain JSON values; None is "not applicable"."""

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from detectors.evaluation.bootstrap import ConfidenceIntervals, bootstrap
from detectors.evaluation.breakdown import GroupRow, by_class, by_series, by_size, confusion_matrix
from detectors.evaluation.curves import RECALL_GRID, image_roc, precision_recall, score_curve
from detectors.evaluation.error_analysis import ErrorAnalysis, analyze_errors
from detectors.evaluation.hit_miss import HitMiss, false_call_rates, hit_miss, pod_record
from detectors.evaluation.matching import Criterion, MatchTable
from detectors.evaluation.metrics import FALSE_CALL_RATES
from detectors.evaluation.pod import fit_pod
from detectors.evaluation.runs import Run
from detectors.evaluation.threshold import reporting_threshold

# How a hit may be defined in the report, in the order of its menu.
CRITERIA: dict[str, tuple[float, Criterion]] = {
    "IoU 0.5": (0.5, "iou"),
    "IoU 0.3": (0.3, "iou"),
    "IoU 0.75": (0.75, "iou"),
    "center point": (0.5, "center"),
}
POINTS = 250  # a curve in the page has about this many at most


def run_data(name: str, run: Run, resamples: int = 300) -> dict[str, Any]:
    """Return what the page shows of a run, all but its gallery."""
    threshold, origin = reporting_threshold(run)
    tables = {label: run.overlaps.match(iou, criterion) for label, (iou, criterion) in CRITERIA.items()}
    first = tables["IoU 0.5"]
    clean = np.ones(len(first.images), dtype=bool)
    clean[first.ground_truth.image] = False
    info = run.dataset.info
    return {
        "name": name,
        "threshold": threshold,
        "threshold_origin": origin,
        "tested_on": {
            "source": info.get("source"),
            "sha256": info.get("sha256"),
            "images": len(first.images),
            "defect_free_images": int(clean.sum()),
            "objects": int(first.counted.sum()),
            "series": len(set(first.images.series) - {""}),
            "classes": list(first.classes),
        },
        "weights_sha256": _digest(run.folder / "best.ckpt"),
        "detections_sha256": _digest(run.folder / "detections.json"),
        "seconds_per_image": run.metrics.get("seconds_per_image"),
        "config": _text(run.folder / "config.yaml"),
        "criteria": {label: _criterion_data(table, threshold, resamples) for label, table in tables.items()},
        "pod": {label: _pod_data(table, threshold) for label, table in tables.items()},
    }


def _criterion_data(table: MatchTable, threshold: float | None, resamples: int) -> dict[str, Any]:
    curve, intervals, roc = score_curve(table), bootstrap(table, threshold, resamples), image_roc(table)
    precision = precision_recall(table)
    level = math.inf if threshold is None else threshold
    place = curve.at(level)
    at_threshold = {
        "recall": _value(curve.recall, place, 0.0 if curve.objects else None),
        "precision": _value(curve.precision, place, None),
        "f1": _value(curve.f1, place, 0.0 if curve.objects else None),
        "false_calls": _value(curve.false_calls, place, 0.0 if curve.images else None),
    }
    chosen, roc_chosen = _thin(len(curve.threshold)), _thin(len(roc.threshold))
    pr_chosen = _thin(len(precision.recall))
    return {
        "metrics": {
            "ap": precision.ap,
            **{name: curve.sensitivity_at(rate) for name, rate in FALSE_CALL_RATES.items()},
            **(dict.fromkeys(at_threshold) if threshold is None else at_threshold),
        },
        "intervals": intervals.metrics,
        "interval_unit": f"{intervals.units} {'series' if intervals.unit == 'series' else 'images'}",
        "ap_all_points": precision.ap_all_points,
        "ap_11_points": precision.ap_11_points,
        "image_auc": roc.auc,
        "pr": _columns(precision.recall[pr_chosen], precision.precision[pr_chosen], precision.threshold[pr_chosen]),
        "pr_band": _band(RECALL_GRID, intervals.precision),
        "froc": _columns(curve.false_calls[chosen], curve.recall[chosen], curve.threshold[chosen]),
        "froc_band": _froc_band(intervals),
        "f1": _columns(curve.threshold[chosen], curve.f1[chosen], curve.threshold[chosen]),
        "roc": _columns(
            roc.false_positive_rate[roc_chosen], roc.true_positive_rate[roc_chosen], roc.threshold[roc_chosen]
        ),
        "groups": {
            "series": _rows(by_series(table, level)),
            "size": _rows(by_size(table, level)),
            "class": _rows(by_class(table, level)),
        },
        "confusion": confusion_matrix(table, level).tolist(),
        "errors": analyze_errors(table, level).counts(),
    }


def _pod_data(table: MatchTable, threshold: float | None) -> dict[str, Any]:
    """Return the POD curve, or under "refused" why there is none."""
    if threshold is None:
        return {"refused": "no threshold is any good"}
    try:
        data = hit_miss(table, threshold)
        fit = fit_pod(data.size, data.hit)
    except InputError as error:
        return {"refused": str(error), "rates": false_call_rates(table, threshold)}
    sizes = np.geomspace(float(data.size.min()) * 0.8, float(data.size.max()) * 1.1, 50)
    low, high = fit.likelihood_band(sizes)
    return {
        **pod_record(fit, data, table, threshold),
        "axis": data.axis,
        "curve": _columns(sizes, fit.pod(sizes)),
        "band": _band(sizes, np.stack([low, high])),
        "found": _marks(data, True),
        "missed": _marks(data, False),
        "rates": false_call_rates(table, threshold),
    }


def gallery_data(run: Run, threshold: float | None, limit: int) -> tuple[list[dict[str, Any]], MatchTable]:
    """Return up to `limit` misses and `limit` false calls at IoU 0.5, worst first, and the table they are from."""
    table = run.overlaps.match(0.5)
    errors = analyze_errors(table, math.inf if threshold is None else threshold)
    return _misses(table, errors, limit) + _false_calls(table, errors, limit), table


def _misses(table: MatchTable, errors: ErrorAnalysis, limit: int) -> list[dict[str, Any]]:
    items = []
    for rank, (row, kind) in enumerate(zip(errors.misses[:limit].tolist(), errors.miss_kinds, strict=False)):
        score = float(table.found_score[row])
        items.append({
            "error": "miss", "kind": kind, "rank": rank, "image": int(table.ground_truth.image[row]),
            "box": _rounded(table.ground_truth.box[row]), "size": round(float(table.ground_truth.size[row]), 1),
            "score": round(score, 4) if math.isfinite(score) else None,
            "iou": round(float(table.best_iou[row]), 3), "class": table.classes[table.ground_truth.label[row]],
        })  # fmt: skip
    return items


def _false_calls(table: MatchTable, errors: ErrorAnalysis, limit: int) -> list[dict[str, Any]]:
    items = []
    detections = table.detections
    for rank, (row, kind) in enumerate(zip(errors.false_calls[:limit].tolist(), errors.false_call_kinds, strict=False)):
        width, height = np.maximum(detections.box[row, 2:], 0)
        items.append({
            "error": "false call", "kind": kind, "rank": rank, "image": int(detections.image[row]),
            "box": _rounded(detections.box[row]), "size": round(float(np.sqrt(width * height)), 1),
            "score": round(float(detections.score[row]), 4), "iou": round(float(table.nearest_iou[row]), 3),
            "class": table.classes[detections.label[row]],
        })  # fmt: skip
    return items


def image_boxes(table: MatchTable, image: int, threshold: float | None) -> dict[str, Any]:
    """Return what is drawn over one radiograph: objects as [x, y, w, h, found], calls as [x, y, w, h, score, hit]."""
    level = math.inf if threshold is None else threshold
    ground_truth = np.flatnonzero((table.ground_truth.image == image) & table.counted)
    called = np.flatnonzero((table.detections.image == image) & (table.detections.score >= level) & ~table.ignored)
    return {
        "ground_truth": [
            [*_rounded(table.ground_truth.box[row]), int(table.found_score[row] >= level)] for row in ground_truth
        ],
        "calls": [
            [*_rounded(table.detections.box[row]), round(float(table.detections.score[row]), 3), int(table.hit[row])]
            for row in called
        ],
    }


def _thin(count: int) -> NDArray[np.int64]:
    """Return rows to draw: all of a short curve, evenly chosen ones of a long one, always the ends."""
    return np.unique(np.linspace(0, count - 1, min(count, POINTS)).round().astype(np.int64))


def _columns(x: NDArray[Any], y: NDArray[Any], threshold: NDArray[Any] | None = None) -> dict[str, list[float | None]]:
    columns = {"x": _numbers(x), "y": _numbers(y)}
    return columns if threshold is None else {**columns, "t": _numbers(threshold)}


def _band(x: NDArray[Any], band: NDArray[Any]) -> dict[str, list[float | None]]:
    return {"x": _numbers(x), "low": _numbers(band[0]), "high": _numbers(band[1])}


def _froc_band(intervals: ConfidenceIntervals) -> dict[str, list[float | None]]:
    return _band(intervals.false_calls, intervals.sensitivity)


def _numbers(values: NDArray[Any]) -> list[float | None]:
    return [round(float(value), 5) if math.isfinite(value) else None for value in values]


def _rounded(box: NDArray[Any]) -> list[float]:
    return [round(float(value), 1) for value in box]


def _marks(data: HitMiss, hit: bool) -> list[float | None]:
    sizes = np.sort(data.size[data.hit == hit])
    return _numbers(sizes[_thin(len(sizes))])


def _value(values: NDArray[Any], place: int, otherwise: float | None) -> float | None:
    """Return the value at `place`, or `otherwise` where nothing is reported or the value is NaN."""
    if place < 0:
        return otherwise
    return float(values[place]) if math.isfinite(values[place]) else None


def _rows(rows: list[GroupRow]) -> list[dict[str, Any]]:
    return [vars(row) for row in rows]


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
