"""A run's evaluation on disk: what is written into its folder, and how it is read again.

`detections.json` holds the results, `ground_truth.json` the boxes they are evaluated on (COCO without
segmentations, with the source, its SHA-256 and the image folder under `info`), so that curves, POD, threshold
and report need the run's folder alone.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from data.annotation_check import Issue, is_number
from data.coco import CocoDataset, read_results, write_coco, write_results
from data.coco_check import content_issues
from data.errors import InputError
from data.files import write_json
from detectors.evaluation.curves import precision_recall
from detectors.evaluation.matching import MatchTable, PairwiseIoU, find_overlaps
from detectors.evaluation.metrics import METRICS, Metrics, best_threshold, metrics_of, renamed
from detectors.evaluation.plots import plot_examples, plot_precision_recall
from detectors.evaluation.table import write_csv


@dataclass(frozen=True)
class Run:
    """An evaluated run: its folder, the ground truth and results, and the metrics in `metrics.json`."""

    folder: Path
    name: str
    dataset: CocoDataset
    results: Sequence[Mapping[str, Any]]
    metrics: Metrics
    image_dir: Path | None

    @cached_property
    def overlaps(self) -> PairwiseIoU:
        """Columns and overlapping pairs, computed once."""
        return find_overlaps(self.dataset, self.results)


def write_evaluation(
    folder: str | Path,
    dataset: CocoDataset,
    results: Sequence[Mapping[str, Any]],
    image_dir: str | Path,
    seconds_per_image: float | None = None,
    name: str = "",
    extra: Metrics | None = None,
) -> Metrics:
    """Evaluate COCO `results` and write everything about it into `folder`; returns the metrics, with `extra`.

    Writes `detections.json`, `ground_truth.json`, `matches.csv`, `plots/pr_curve.png`, `plots/examples.png`
    and last `metrics.json`. Raises InputError as `match_detections`, before anything is written.
    """
    folder = Path(folder)
    overlaps = find_overlaps(dataset, results)
    metrics = metrics_of(overlaps, seconds_per_image) | (extra or {})
    write_results(folder / "detections.json", results)
    write_ground_truth(folder / "ground_truth.json", dataset, image_dir, name or folder.name)
    table = overlaps.match(0.5)
    write_matches(folder / "matches.csv", table)
    curve = precision_recall(table)
    plot_precision_recall({name or folder.name: curve}, folder / "plots" / "pr_curve.png")
    plot_examples(table, image_dir, folder / "plots" / "examples.png", best_threshold(overlaps)[0])
    write_json(folder / "metrics.json", metrics, indent=2)
    return metrics


def write_ground_truth(path: Path, dataset: CocoDataset, image_dir: str | Path, name: str) -> None:
    """Write what the run is evaluated on: the COCO data set without segmentations, and where it came from."""
    source = dataset.path
    digest = hashlib.sha256(source.read_bytes()).hexdigest() if source and source.is_file() else None
    origin = {
        "run_name": name,
        "source": str(source.resolve()) if source else None,
        "sha256": digest,
        "image_dir": str(Path(image_dir).resolve()),
    }
    annotations = [record.copy() for record in dataset.annotations]
    for record in annotations:
        record.pop("segmentation", None)
    copy = CocoDataset(dataset.images, annotations, dataset.categories, info={**dataset.info, **origin})
    write_coco(path, copy)


def read_run(folder: str | Path) -> Run:
    """Read an evaluated run. Raises InputError where it has no evaluation, or a faulty one."""
    folder = Path(folder)
    for name in ("detections.json", "ground_truth.json"):
        if not (folder / name).is_file():
            raise InputError(f"{folder}: no {name}; evaluate the run first: radiograph evaluate --run {folder}")
    dataset = _read_ground_truth(folder / "ground_truth.json")
    results = read_results(folder / "detections.json")
    image_dir = dataset.info.get("image_dir")
    return Run(
        folder=folder,
        name=str(dataset.info.get("run_name") or folder.name),
        dataset=dataset,
        results=results,
        metrics=read_metrics(folder) if (folder / "metrics.json").is_file() else {},
        image_dir=Path(image_dir) if image_dir else None,
    )


def _read_ground_truth(path: Path) -> CocoDataset:
    """Read what `write_ground_truth` wrote; unlike other COCO files it may have no images."""
    content = read_object(path)
    if not all(isinstance(content.get(key), list) for key in ("images", "annotations", "categories")):
        raise InputError(f"{path}: lacks images, annotations or categories; evaluate the run again")
    for issue in chain(content_issues(content), _value_issues(content)):  # the second relies on the first
        if issue.severity == "error" and issue.kind != "no images":
            raise InputError(f"{path}: {issue.message}; evaluate the run again")
    info = content.get("info") or {}
    return CocoDataset(content["images"], content["annotations"], content["categories"], path, info)


def _value_issues(content: dict[str, Any]) -> Iterator[Issue]:
    """Yield issues of what the evaluation reads beyond COCO: pixel sizes, depths, crowd flags and the description."""
    info = content.get("info")
    if not (info is None or isinstance(info, dict)):
        yield Issue("error", "bad value", None, None, f"info {info!r} is not an object")
    for key in ("run_name", "source", "sha256", "image_dir"):
        value = info.get(key) if isinstance(info, dict) else None
        if not (value is None or isinstance(value, str)):
            yield Issue("error", "bad value", None, None, f"info: {key} {value!r} is not text")
    for section, key in (("images", "pixel_size_mm"), ("annotations", "depth_mm")):
        for record in content[section]:
            value = record.get(key)
            numbers = value if isinstance(value, list) and value else [value]
            if value is not None and not all(is_number(n) and math.isfinite(n) and n > 0 for n in numbers):
                what = f"{section[:-1]} {record.get('id')}: {key} {value!r} is not a positive number"
                yield Issue("error", "bad value", None, None, what)


def read_metrics(folder: str | Path) -> Metrics:
    """Read the metrics of a run, by the keys of today. Raises InputError where there are none, or a faulty file."""
    path = Path(folder) / "metrics.json"
    metrics = renamed(read_object(path))
    for name, value in metrics.items():
        if name in METRICS and not _is_value(value):
            raise InputError(f"{path}: {name} is {value!r}, not a finite number or null; evaluate the run again")
    return metrics


def _is_value(value: Any) -> bool:
    """Return whether a metric may have this value."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises InputError where the file is missing or holds something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); evaluate the run again") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: not a JSON object; evaluate the run again")
    return value


MATCH_COLUMNS = (
    "kind", "image_id", "file_name", "series", "class", "id", "score", "x", "y", "width", "height", "size_px",
    "size_mm", "depth_mm", "outcome", "match", "match_iou", "best_iou", "center_hit",
)  # fmt: skip


def write_matches(path: str | Path, table: MatchTable) -> None:
    """Write the table of matches as CSV: one row a detection, then one row an object.

    `id` is the place in `detections.json` or the annotation id, `match` the id of the other side.
    `outcome` is hit, false call or ignored for a detection; found, missed or crowd for an object. An empty
    field is "not applicable"; lengths are px where no unit is named.
    """
    write_csv(path, MATCH_COLUMNS, _detection_rows(table) + _ground_truth_rows(table))


def _place(table: MatchTable, image: int, label: int) -> list[Any]:
    images = table.images
    return [images.ids[image], images.names[image], images.series[image], table.classes[label]]


def _detection_rows(table: MatchTable) -> list[list[Any]]:
    found = table.detections
    columns = zip(
        found.row.tolist(), found.image.tolist(), found.label.tolist(), found.score.tolist(),
        found.box.tolist(), table.matched_ground_truth.tolist(), table.match_iou.tolist(),
        table.nearest_iou.tolist(), table.center_hit.tolist(), table.ignored.tolist(), strict=True,
    )  # fmt: skip
    rows = []
    for row, image, label, score, box, matched, iou, best, center, ignored in columns:
        outcome = "ignored" if ignored else "false call" if matched < 0 else "hit"
        size = (box[2] * box[3]) ** 0.5 if box[2] > 0 and box[3] > 0 else 0.0
        pixel = table.images.pixel_mm[image]
        rows.append(
            ["detection", *_place(table, image, label), row, repr(score), *_short(box), *_sizes(size, pixel), "",
             outcome, "" if matched < 0 else table.ground_truth.ids[matched], f"{iou:.4f}", f"{best:.4f}",
             int(center)]
        )  # fmt: skip
    return rows


def _ground_truth_rows(table: MatchTable) -> list[list[Any]]:
    ground_truth = table.ground_truth
    columns = zip(
        ground_truth.ids.tolist(), ground_truth.image.tolist(), ground_truth.label.tolist(), ground_truth.box.tolist(),
        ground_truth.size.tolist(), ground_truth.depth_mm.tolist(), table.matched_detection.tolist(),
        ground_truth.crowd.tolist(), table.best_iou.tolist(), strict=True,
    )  # fmt: skip
    center_found = table.overlaps.match(criterion="center").matched_detection >= 0
    rows = []
    for row, (identity, image, label, box, size, depth, matched, crowd, best) in enumerate(columns):
        outcome = "crowd" if crowd else "missed" if matched < 0 else "found"
        score = "" if matched < 0 else repr(float(table.detections.score[matched]))
        iou = "" if matched < 0 else f"{table.match_iou[matched]:.4f}"
        match = "" if matched < 0 else int(table.detections.row[matched])
        pixel = table.images.pixel_mm[image]
        rows.append(
            ["object", *_place(table, image, label), identity, score, *_short(box), *_sizes(size, pixel),
             "" if depth != depth else f"{depth:.4g}", outcome, match, iou, f"{best:.4f}", int(center_found[row])]
        )  # fmt: skip
    return rows


def _short(box: list[float]) -> list[str]:
    return [f"{value:.2f}" for value in box]


def _sizes(size: float, pixel_mm: float) -> list[str]:
    """Return size in px and in mm, the latter empty where the pixel size is unknown (NaN)."""
    return [f"{size:.2f}", "" if pixel_mm != pixel_mm else f"{size * pixel_mm:.4g}"]


def name_runs(runs: Sequence[Run]) -> dict[str, Run]:
    """Return the runs by name; equal names get their folder's name, or else a number, to tell them apart."""
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [f"{run.name} {run.folder.name}" for run in runs]
    named: dict[str, Run] = {}
    for name, run in zip(names, runs, strict=True):
        number = 2
        unique = name
        while unique in named:
            unique = f"{name} ({number})"
            number += 1
        named[unique] = run
    return named
