"""Choose the score at which a detector reports, and keep it with the run."""

import math
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.files import write_json
from detectors.evaluation.curves import score_curve
from detectors.evaluation.intervals import clopper_pearson, poisson_rate
from detectors.evaluation.matching import MatchTable
from detectors.evaluation.metrics import best_threshold
from detectors.evaluation.runs import Run, read_object

THRESHOLD_FILE = "threshold.json"


def choose_threshold(
    table: MatchTable, recall: float | None = None, false_calls: float | None = None, conservative: bool = False
) -> dict[str, Any]:
    """Return the threshold that meets one goal, and what it gives on these images, as `threshold.json` holds it.

    `recall` in (0, 1]: the highest threshold that finds that share of the objects. `false_calls` an image,
    0 or more: the lowest threshold that makes no more. Neither: the best F1. `conservative` wants the goal met by
    the one-sided 95 % bound (Clopper-Pearson for recall, Garwood for false calls), not by the estimate
    alone. Raises InputError for both goals, for a goal that no threshold meets, and without objects or
    images.
    """
    if recall is not None and false_calls is not None:
        raise InputError("a recall and a false-call rate are both wanted; give one goal, the other follows")
    if recall is not None and not 0 < recall <= 1:
        raise InputError(f"wanted recall {recall}: must be above 0 and at most 1, such as 0.9")
    if false_calls is not None and not false_calls >= 0:
        raise InputError(f"wanted false calls {false_calls} an image: must be 0 or more, such as 0.5")
    curve = score_curve(table)
    if not curve.images or (false_calls is None and not curve.objects):
        raise InputError("no objects (or no images) to choose a threshold on; evaluate on data with defects")
    found = [round(share * curve.objects) for share in curve.recall] if curve.objects else []
    calls = [round(rate * curve.images) for rate in curve.false_calls]
    if recall is not None:
        place = _first_with_recall(found, curve.objects, recall, conservative)
    elif false_calls is not None:
        place = _last_with_calls(calls, curve.images, false_calls, conservative)
    else:
        best = curve.best()
        if best is None:
            raise InputError("no detection hits anything, so no threshold is best; train the detector first")
        place = best
    hits, false = (found[place] if found else 0), calls[place]
    return {
        "threshold": float(curve.threshold[place]),
        "goal": {"recall": recall, "false_calls_per_image": false_calls, "conservative": conservative},
        "iou": table.iou if table.criterion == "iou" else None,
        "criterion": table.criterion,
        "recall": hits / curve.objects if curve.objects else None,
        # Two-sided 90 %, so that each bound alone is one-sided at 95 %.
        "recall_bounds": clopper_pearson(hits, curve.objects, 0.9),
        "false_calls_per_image": false / curve.images,
        "false_calls_bounds": poisson_rate(false, curve.images, 0.9),
        "images": curve.images,
        "objects": curve.objects,
    }


def _first_with_recall(found: list[int], objects: int, wanted: float, conservative: bool) -> int:
    best = 0.0
    for place, hits in enumerate(found):
        bounds = clopper_pearson(hits, objects, 0.9)
        reached = bounds[0] if conservative and bounds else hits / objects
        if reached >= wanted:
            return place
        best = max(best, reached)
    kind = "the lower bound of recall" if conservative else "recall"
    raise InputError(f"wanted recall {wanted}: {kind} gets no further than {best:.3f} at any threshold; want less")


def _last_with_calls(calls: list[int], images: int, wanted: float, conservative: bool) -> int:
    chosen = None
    for place, count in enumerate(calls):
        bounds = poisson_rate(count, images, 0.9)
        made = bounds[1] if conservative and bounds else count / images
        if made <= wanted:
            chosen = place
    if chosen is None:
        raise InputError(
            f"wanted {wanted} false calls an image: the highest score already makes more"
            f"{' by its upper bound' if conservative else ''}; want more, or test on more images"
        )
    return chosen


def write_threshold(run: str | Path, choice: dict[str, Any], chosen_on: str | Path) -> Path:
    """Store a choice with the run, from where `load_threshold` reads it; `chosen_on` says on which evaluation."""
    path = Path(run) / THRESHOLD_FILE
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such run folder; name the run that the threshold is for")
    write_json(path, {**choice, "chosen_on": str(chosen_on)}, indent=2)
    return path


def load_threshold(run: str | Path) -> float | None:
    """Return the threshold that was chosen for a run, None where none was. Raises InputError for a faulty file."""
    path = Path(run) / THRESHOLD_FILE
    if not path.is_file():
        return None
    value = read_object(path).get("threshold")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{path}: threshold {value!r} is not a finite number; choose it again")
    return float(value)


def reporting_threshold(run: Run) -> tuple[float | None, str]:
    """Return the score at which a run reports, and where it comes from; None where no score is any good.

    The chosen one, else that of the best F1 on the images of its evaluation.
    """
    chosen = load_threshold(run.folder)
    return (chosen, "chosen") if chosen is not None else best_threshold(run.overlaps)
