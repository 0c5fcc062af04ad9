"""Rules applied to a folder of predictions, or to an evaluated run: a verdict on every radiograph, as CSV and JSON."""

import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.annotation_check import is_integer, is_number
from data.coco import CocoDataset, read_results
from data.console import progress
from data.errors import InputError
from data.files import write_json
from data.gray_window import AUTO
from data.image_paths import existing_image
from data.part_mask import segment_test_object
from data.radiograph import read_radiograph
from data.records import ImageRecord
from detectors.decisions.rules import PART, Rules
from detectors.decisions.size_error import NO_ERROR, SizeError, size_error
from detectors.decisions.spoken import ALARMS_FILE
from detectors.decisions.verdict import Decision, Detected, Finding, Verdict, Zones, decide
from detectors.evaluation.matching import find_overlaps
from detectors.evaluation.runs import Run, read_object, read_run
from detectors.evaluation.table import write_csv
from detectors.evaluation.threshold import reporting_threshold

SAME_SIDE = 0.01  # relative difference of two statements of a pixel's side that still agree
COLUMNS = ("file_name", "verdict", "rule", "measure", "value", "low", "high", "limit", "unit", "indications", "why")

Locate = Callable[[Path], Zones]


@dataclass(frozen=True)
class Predictions:
    """Detections to decide on.

    Attributes:
        images: their records.
        names: the class names by category id.
        results: the detections as COCO results.
        folder: where the file names of the images start.
        threshold: at which the detector reports, None where that is not known.
        alarms: why a radiograph is not like those that the detector was qualified on, by image id.
        evaluated: the run that they are of, with its annotations; None for mere predictions.

    """

    images: Sequence[ImageRecord]
    names: Mapping[int, str]
    results: Sequence[Mapping[str, Any]]
    folder: Path
    threshold: float | None
    alarms: Mapping[int, str] = field(default_factory=dict)
    evaluated: Run | None = None

    def path(self, image: ImageRecord) -> Path:
        """Return the file of an image. Raises InputError where it is not there."""
        return existing_image(self.folder, image)


@dataclass(frozen=True)
class Acceptance:
    """The verdicts, in the order of `predictions.images`, and what they rest on."""

    rules: Rules
    predictions: Predictions
    decisions: Sequence[Decision]
    scores: tuple[float, float]
    size_error: SizeError
    zones: Sequence[Zones | None]

    @property
    def counts(self) -> Counter[str]:
        """How many radiographs have each verdict."""
        return Counter(decision.verdict for decision in self.decisions)


def read_predictions(path: Path) -> Predictions:
    """Read what `radiograph predict` wrote, or an evaluated run: a folder, or its `detections.json`.

    Raises InputError where the radiographs of the detections are not described beside them.
    """
    folder = path if path.is_dir() else path.parent
    file = folder / "detections.json" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{file}: no such file; give a folder that radiograph predict wrote, or its detections.json")
    run = None
    if (folder / "images.json").is_file():
        dataset, threshold = _described(folder / "images.json")
        images: list[ImageRecord] = []
        for record in dataset.images:
            image = record.copy()
            image["file_name"] = os.path.abspath(image["file_name"])
            images.append(image)
        found: Sequence[Mapping[str, Any]] = read_results(file)
        start = Path("/")
    elif (folder / "ground_truth.json").is_file():
        run = read_run(folder)
        dataset, images, found = run.dataset, run.dataset.images, run.results
        threshold, start = reporting_threshold(run)[0], run.image_dir or folder
    else:
        raise InputError(f"{folder}: neither images.json nor ground_truth.json; predict or evaluate again")
    find_overlaps(CocoDataset(images, [], dataset.categories, file), found)  # names a result of an unknown image
    names = {category["id"]: category["name"] for category in dataset.categories}
    return Predictions(images, names, found, start, threshold, _alarms(folder / ALARMS_FILE), run)


def _alarms(path: Path) -> dict[int, str]:
    """Return a sentence for each image that raised the alarm of `radiograph predict --normal`; none without a file."""
    if not path.is_file():
        return {}
    content = read_object(path)
    rows, threshold = content.get("radiographs"), content.get("threshold")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or not is_number(threshold):
        raise InputError(f"{path}: lacks radiographs or threshold; predict again")
    return {
        row["image_id"]: f"not like the radiographs of the qualification: distance {row['distance']:.3g}, "
        f"alarm above {threshold:.3g}"
        for row in rows
        if row.get("alarm") and is_number(row.get("distance")) and "image_id" in row
    }


def _described(path: Path) -> tuple[CocoDataset, float | None]:
    """Return the images and categories of a prediction, and its threshold where it is known."""
    content = read_object(path)
    for key in ("images", "categories"):
        if not isinstance(content.get(key), list):
            raise InputError(f"{path}: lacks {key}; predict again")
    for image in content["images"]:
        if not (isinstance(image, dict) and isinstance(image.get("file_name"), str) and is_integer(image.get("id"))):
            raise InputError(f"{path}: {str(image)[:80]} is not an image with id and file_name; predict again")
        side = image.get("pixel_size_mm")
        if side is not None and not (is_number(side) and math.isfinite(side) and side > 0):
            raise InputError(f"{path}: image {image['id']}: pixel_size_mm {side!r} is not a positive number")
    for category in content["categories"]:
        named = isinstance(category, dict) and isinstance(category.get("name"), str)
        if not (named and is_integer(category.get("id"))):
            raise InputError(f"{path}: {str(category)[:80]} is not a category with id and name; predict again")
    threshold = content.get("threshold")
    return CocoDataset(content["images"], [], content["categories"], path), threshold if is_number(threshold) else None


def accept(predictions: Predictions, rules: Rules, run: Path | None = None, locate: Locate | None = None) -> Acceptance:
    """Decide on every radiograph.

    Args:
        predictions: see `read_predictions`.
        rules: whose names were checked (`detectors.decisions.rules.check_names`).
        run: an evaluated run or evaluation of the same detector, for the errors of its boxes and its threshold; by
            default the one that the predictions are, if any.
        locate: says where the zones lie in the radiograph of a file; needed where rules speak of zones.

    Raises InputError where a pixel size or a threshold is needed and not known, or a radiograph is and not there.

    """
    evaluated = read_run(run) if run is not None else predictions.evaluated
    threshold = predictions.threshold
    if threshold is None and evaluated is not None:
        threshold = reporting_threshold(evaluated)[0]
    if rules.scores is not None:
        scores = (rules.scores.look_again, rules.scores.certain)
    elif threshold is not None:
        scores = (threshold, threshold)
    else:
        raise InputError("from which score on detections count is not known; give 'scores' in the rules, or --run RUN")
    error = NO_ERROR
    if rules.detector_error == "from_evaluation" and evaluated is not None:
        error = size_error(evaluated.overlaps, scores[0])
    pixels = [pixel_side(rules, image) for image in predictions.images]
    needs_part = any(rule.edge_of == PART for rule in rules.rules)
    decisions, placed = [], []
    by_image = _by_image(predictions)
    with progress(transient=True) as bar:
        task = bar.add_task("deciding", total=len(pixels))
        for image, pixel, found in zip(predictions.images, pixels, by_image, strict=True):
            zones = locate(predictions.path(image)) if locate is not None else None
            part = None
            if needs_part:
                part = segment_test_object(read_radiograph(predictions.path(image), window=AUTO).pixels)
            decision = decide(rules, found, scores, pixel, error, zones, part)
            alarm = predictions.alarms.get(image["id"], "")
            if alarm:  # what it does not find there says little
                verdict: Verdict = "look again" if decision.verdict == "accept" else decision.verdict
                decision = replace(decision, verdict=verdict, alarm=alarm)
            decisions.append(decision)
            placed.append(zones)
            bar.advance(task)
    return Acceptance(rules, predictions, decisions, scores, error, placed)


def pixel_side(rules: Rules, image: ImageRecord) -> float:
    """Return the side of an image's pixels in the unit of the rules.

    Raises InputError where rules in mm meet an image without a pixel size, or with another one than they state.
    """
    if rules.unit == "px":
        return 1.0
    stated, own = rules.pixel_size_mm, image.get("pixel_size_mm")
    if stated is None and own is None:
        raise InputError(
            f"{image['file_name']}: image {image['id']} states no pixel size, and the rules are in mm; "
            "give pixel_size_mm in the rules, or write them in px"
        )
    if stated is not None and own is not None and abs(stated / own - 1) > SAME_SIDE:
        raise InputError(
            f"{image['file_name']}: image {image['id']} has pixels of {own:g} mm, the rules say {stated:g}; correct one"
        )
    side = own if own is not None else stated
    assert side is not None
    return side


def _by_image(predictions: Predictions) -> list[Detected]:
    """Return the detections of each image, in the order of the images."""
    results = predictions.results
    place = {image["id"]: k for k, image in enumerate(predictions.images)}
    owner = np.array([place[result["image_id"]] for result in results], dtype=np.int64)
    box = np.array([result["bbox"] for result in results], dtype=np.float64).reshape(-1, 4)
    box[:, 2:] += box[:, :2]
    score = np.array([result["score"] for result in results], dtype=np.float64)
    name = np.array([predictions.names[result["category_id"]] for result in results], dtype=object)
    order = np.argsort(owner, kind="stable")
    ends = np.searchsorted(owner[order], np.arange(len(place) + 1))
    rows = [order[ends[k] : ends[k + 1]] for k in range(len(place))]
    return [Detected(row, box[row], score[row], name[row]) for row in rows]


def write_acceptance(made: Acceptance, out: Path) -> None:
    """Write `acceptance.csv`, a row for every finding that decided, and `acceptance.json` with all of them."""
    write_csv(out / "acceptance.csv", COLUMNS, [row for image in _rows(made) for row in image])
    error = made.size_error
    record = {
        "rules": made.rules.model_dump(mode="json"),
        "scores": {"look_again": made.scores[0], "certain": made.scores[1]},
        "detector_error": {"length": error.length, "side": error.side, "defects": error.defects},
        "counts": dict(made.counts),
        "radiographs": [
            {"image_id": image["id"], "file_name": image["file_name"], "verdict": decision.verdict,
             "alarm": decision.alarm or None,
             "findings": [_record(finding, made.predictions) for finding in decision.findings]}
            for image, decision in zip(made.predictions.images, made.decisions, strict=True)
        ],
    }  # fmt: skip
    write_json(out / "acceptance.json", record)


def _rows(made: Acceptance) -> list[list[list[Any]]]:
    rows: list[list[list[Any]]] = []
    for image, decision in zip(made.predictions.images, made.decisions, strict=True):
        name, verdict = image["file_name"], decision.verdict
        if not decision.deciding:
            rows.append([[name, verdict, *[None] * (len(COLUMNS) - 3), decision.alarm or None]])
            continue
        rows.append([
            [name, verdict, f.rule.name, f.rule.measure, _plain(f.value), _plain(f.low), _plain(f.high), f.rule.limit,
             f.unit, " ".join(map(str, f.rows)), f.sentence]
            for f in decision.deciding
        ])  # fmt: skip
    return rows


def _record(finding: Finding, predictions: Predictions) -> dict[str, Any]:
    chosen = [predictions.results[row] for row in finding.rows]
    return {
        "rule": finding.rule.name, "verdict": finding.verdict, "why": finding.sentence, "value": _plain(finding.value),
        "low": _plain(finding.low), "high": _plain(finding.high), "limit": finding.rule.limit, "unit": finding.unit,
        "indications": [
            {"detection": row, "bbox": result["bbox"], "score": result["score"],
             "class": predictions.names[result["category_id"]]}
            for row, result in zip(finding.rows, chosen, strict=True)
        ],
    }  # fmt: skip


def _plain(value: float | None) -> float | None:
    """Return a number for JSON and CSV; None for one that is not known or without bound."""
    return None if value is None or math.isinf(value) else round(float(value), 6)
