"""How a detector does on parts that it was not trained for, series by series.

Two protocols that are never mixed: `unseen`, where no radiograph of a tested series was in the training, and
`onboarded`, where its defect-free or unlabeled radiographs were, but no annotation. The metrics are those of
`detectors.evaluation.metrics`; every class counts as a defect, since a series knows one class.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from data.coco import CocoDataset
from data.console import progress
from data.errors import InputError
from data.files import write_json
from data.gdxray import read_series
from data.image_paths import existing_image, image_path
from data.records import Annotation, ImageRecord
from detectors.evaluation.bootstrap import bootstrap
from detectors.evaluation.curves import score_curve
from detectors.evaluation.matching import Criterion, PairwiseIoU, find_overlaps
from detectors.evaluation.metrics import FALSE_CALL_RATES, Metrics, metrics_of
from detectors.evaluation.plots import plot_froc
from detectors.evaluation.runs import read_object, write_evaluation
from detectors.evaluation.table import write_csv
from detectors.experiments.training_data import TrainingData, training_data
from detectors.runs.inference import detect_dataset
from detectors.runs.prediction import Predictor

Protocol = Literal["unseen", "onboarded"]
COMPARED = ("ap_center", "ap30", "ap50", *FALSE_CALL_RATES)
"""Metrics of the table, in its order."""

CRITERIA: dict[str, tuple[float, Criterion, str]] = {
    "ap_center": (0.5, "center", "ap"),
    "ap30": (0.3, "iou", "ap"),
    "ap50": (0.5, "iou", "ap"),
    **{name: (0.5, "center", name) for name in FALSE_CALL_RATES},
}
"""How each is matched, and its name among the bootstrap's."""

RESULT_FILE = "generalization.json"
FEWEST_SERIES = 2  # from fewer no band can be drawn


@dataclass(frozen=True)
class Series:
    """One series to test on: its `name` in the table, its `folder`, and its data set (file names from the folder)."""

    name: str
    folder: Path
    dataset: CocoDataset

    @property
    def files(self) -> list[Path]:
        """The radiographs."""
        return [existing_image(self.folder, image) for image in self.dataset.images]


@dataclass(frozen=True)
class Outcome:
    """What the benchmark found.

    `rows`: one record a series (`series`, `folder`, `run`, `radiographs_in_training`, `tested_in_training`, and all of
    its metrics). `mean`: the metrics of `COMPARED` averaged over the series that have them; `pooled`: all metrics of
    all radiographs together. `intervals`: for "mean" and "pooled" low and high of each metric of `COMPARED`, 95 %, over
    draws of whole series; None from fewer than two series. `notes`: what could not be checked.
    """

    protocol: Protocol
    rows: list[dict[str, Any]]
    mean: Metrics
    pooled: Metrics
    intervals: dict[str, dict[str, tuple[float, float] | None]]
    notes: list[str]


def parse_series(text: str) -> Series:
    """Return a series from "FOLDER", or from "FOLDER:59-72" some of its numbers, both ends included.

    Raises InputError for a folder that is no series and for numbers that none of its radiographs has.
    """
    match = re.fullmatch(r"(.+):(\d+)-(\d+)", text)
    if match is None or Path(text).is_dir():
        folder = Path(text)
        return Series(folder.resolve().name, folder, read_series(folder))
    folder, first, last = Path(match[1]), int(match[2]), int(match[3])
    dataset = read_series(folder)
    chosen = [image["id"] for image in dataset.images if first <= image["number"] <= last]
    if not chosen:
        numbers = [image["number"] for image in dataset.images]
        raise InputError(f"{text}: no radiograph has such a number; the folder has {min(numbers)} to {max(numbers)}")
    return Series(f"{folder.resolve().name} {first}-{last}", folder, dataset.subset(chosen))


def parse_runs(texts: Sequence[str], series: Sequence[Series]) -> dict[str, Path]:
    """Return the run that each series is tested with, by the series' name.

    "RUN" is for all series, "C0010=RUN" for one folder: a detector that was onboarded to it. Raises InputError for a
    series without a run, two runs for one, and a name that no folder has.
    """
    common: list[str] = []
    own: dict[str, str] = {}
    for text in texts:
        name, equals, run = text.partition("=")
        if not equals or Path(text).exists():
            common.append(text)
        elif name in own:
            raise InputError(f"--run {text}: series {name} has the run {own[name]} already; give each series one")
        else:
            own[name] = run
    if len(common) > 1:
        raise InputError(f"--run {common[1]}: {common[0]} is for all series already; name its series, as C0010=RUN")
    folders = {part.name: part.folder.resolve().name for part in series}
    if own.keys() - set(folders.values()):
        name = min(own.keys() - set(folders.values()))
        raise InputError(f"--run {name}={own[name]}: no folder of the name {name} is tested; check the name")
    found = {}
    for name, folder in folders.items():
        if folder not in own and not common:
            raise InputError(f"series {name}: no run to test it with; give --run RUN or --run {folder}=RUN")
        found[name] = Path(own[folder] if folder in own else common[0])
    return found


def evaluate_series(
    runs: Mapping[str, Path],
    series: Sequence[Series],
    protocol: Protocol,
    out: Path,
    resamples: int = 1000,
    device: torch.device | None = None,
) -> Outcome:
    """Test detectors on series, and write everything about it into `out`.

    Writes `generalization.json`, `generalization.csv`, `plots/froc_by_series.png`, and what an evaluation of all
    radiographs together writes (`detectors.evaluation.runs.write_evaluation`), so that the report and the other
    commands read `out` as they read a run.

    Args:
        runs: run folder or checkpoint by the name of the series.
        series: of different names.
        protocol: which of the two this is; what the runs were trained on is checked as far as it can be read.
        out: a folder, of this protocol alone.
        resamples: draws of series for the intervals.
        device: where to run; the GPU if there is one by default.

    Raises InputError for series of one name, a run that breaks the protocol, and a folder of the other protocol,
    before anything is detected.

    """
    names = [part.name for part in series]
    if not names or len(set(names)) < len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise InputError(
            f"series {', '.join(repeated)}: given twice; give each once" if repeated else "no series given"
        )
    _claim(out, protocol)
    trained = {run: training_data(run) for run in dict.fromkeys(runs.values())}
    rows, notes = [], []
    for part in series:
        seen = trained[runs[part.name]]
        rows.append(_provenance(part, runs[part.name], seen, protocol))
        notes += [note for note in seen.unknown if note not in notes]
    results, seconds = _detect(runs, series, device)
    dataset, pooled_results, root = pool(series, results)
    for row, part in zip(rows, series, strict=True):
        row |= metrics_of(find_overlaps(part.dataset, results[part.name]), seconds[part.name])
    all_seconds = sum((seconds[part.name] or 0.0) * len(part.dataset.images) for part in series)
    pooled = write_evaluation(out, dataset, pooled_results, root, all_seconds / len(dataset.images), protocol)
    overlaps = find_overlaps(dataset, pooled_results)
    outcome = Outcome(protocol, rows, mean_over(rows), pooled, confidence_intervals(overlaps, rows, resamples), notes)
    _write(outcome, {part.name: find_overlaps(part.dataset, results[part.name]) for part in series}, overlaps, out)
    return outcome


def _claim(out: Path, protocol: Protocol) -> None:
    path = out / RESULT_FILE
    if path.is_file() and read_object(path).get("protocol") != protocol:
        other = next(name for name in get_args(Protocol) if name != protocol)
        raise InputError(f"{path}: holds results of the protocol '{other}'; choose another --out")


def _provenance(part: Series, run: Path, seen: TrainingData, protocol: Protocol) -> dict[str, Any]:
    """Return what of a series was in the training. Raises InputError where it breaks the protocol."""
    folder = part.folder.resolve().name
    copies = seen.copies_of(part.files)
    known = seen.of_series(folder)
    if protocol == "unseen" and (known or copies):
        example = (known or copies)[0]
        raise InputError(
            f"series {part.name}: {run} was trained on its radiographs ({max(len(known), len(copies))}, such as "
            f"{example}), so it is not unseen; leave the series out, or use --protocol onboarded"
        )
    if protocol == "onboarded":
        labeled = [file for file in known if file in seen.annotated]
        if labeled:
            raise InputError(
                f"series {part.name}: {run} was trained with annotations of it ({len(labeled)} radiographs, such as "
                f"{labeled[0]}), which neither protocol allows; train without them, or leave the series out"
            )
        if not known and not copies and not seen.unknown:
            raise InputError(
                f"series {part.name}: {run} was not trained on any radiograph of it, so it is unseen; leave the series "
                "out, or use --protocol unseen"
            )
    return {
        "series": part.name,
        "folder": str(part.folder.resolve()),
        "run": str(run.resolve()),
        "radiographs_in_training": len(known),
        "tested_in_training": len(copies),
    }


def _detect(
    runs: Mapping[str, Path], series: Sequence[Series], device: torch.device | None
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, float | None]]:
    """Return the detections of each series as class 1, and the seconds an image took."""
    results: dict[str, list[dict[str, Any]]] = {}
    seconds: dict[str, float | None] = {}
    predictor: Predictor | None = None
    with progress() as bar:
        task = bar.add_task("detecting", total=sum(len(part.dataset.images) for part in series))
        for run in dict.fromkeys(runs.values()):
            predictor = Predictor(run, device)
            for part in series:
                if runs[part.name] != run:
                    continue
                found, seconds[part.name] = detect_dataset(
                    predictor.model, part.dataset, part.folder, predictor.categories, predictor.window,
                    predictor.device, lambda: bar.advance(task),
                )  # fmt: skip
                for result in found:
                    result["category_id"] = 1
                results[part.name] = found
    return results, seconds


def pool(
    series: Sequence[Series], results: Mapping[str, Sequence[dict[str, Any]]]
) -> tuple[CocoDataset, list[dict[str, Any]], Path]:
    """Return all series as one data set, their results, and the folder that its file names start from.

    Image and annotation ids are numbered anew; the record of an image names its series as the table does.
    """
    root = Path(os.path.commonpath([part.folder.resolve() for part in series]))
    images: list[ImageRecord] = []
    annotations: list[Annotation] = []
    pooled: list[dict[str, Any]] = []
    for part in series:
        folder = part.folder.resolve()
        number = {image["id"]: len(images) + k for k, image in enumerate(part.dataset.images, start=1)}
        for image in part.dataset.images:
            name = Path(os.path.relpath(image_path(folder, image), root)).as_posix()
            record = image.copy()
            record.update({"id": number[image["id"]], "file_name": name, "series": part.name})
            images.append(record)
        for annotation in part.dataset.annotations:
            copy = annotation.copy()
            copy.update({"id": len(annotations) + 1, "image_id": number[annotation["image_id"]]})
            annotations.append(copy)
        pooled += [{**result, "image_id": number[result["image_id"]]} for result in results[part.name]]
    dataset = replace(series[0].dataset, images=images, annotations=annotations, info={})
    return dataset, pooled, root


def mean_over(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Return the mean of each metric over the series that have it, None where none has."""
    mean: Metrics = {}
    for name in COMPARED:
        values = [row[name] for row in rows if row[name] is not None]
        mean[name] = float(np.mean(values)) if values else None
    return mean


def confidence_intervals(
    overlaps: PairwiseIoU, rows: Sequence[Mapping[str, Any]], resamples: int, seed: int = 0
) -> dict[str, dict[str, tuple[float, float] | None]]:
    """Return 95 % bootstrap intervals of the mean over series and of the pooled metrics, drawing whole series.

    `overlaps` are of all radiographs, `rows` the records of the series. None from fewer than two series.
    """
    if len(rows) < FEWEST_SERIES:
        return {which: dict.fromkeys(COMPARED) for which in ("mean", "pooled")}
    pooled: dict[str, tuple[float, float] | None] = {}
    for iou, criterion in dict.fromkeys((iou, criterion) for iou, criterion, _ in CRITERIA.values()):
        intervals = bootstrap(overlaps.match(iou, criterion), None, resamples, seed, unit="series").metrics
        for name, (its_iou, its_criterion, key) in CRITERIA.items():
            if (its_iou, its_criterion) == (iou, criterion):
                pooled[name] = intervals[key]
    draws = np.random.default_rng(seed).integers(0, len(rows), (resamples, len(rows)))
    mean: dict[str, tuple[float, float] | None] = {}
    for name in COMPARED:
        values = np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=float)[draws]
        values = values[~np.isnan(values).all(axis=1)]
        low, high = np.quantile(np.nanmean(values, axis=1), [0.025, 0.975]) if len(values) else (np.nan, np.nan)
        mean[name] = (float(low), float(high)) if len(values) else None
    return {"mean": mean, "pooled": {name: pooled[name] for name in COMPARED}}


def table_rows(outcome: Outcome) -> list[list[Any]]:
    """Return the table: series, images, objects and `COMPARED` in each row, then the mean and pooled with intervals."""
    rows = [[row["series"], row["images"], row["objects"], *(row[name] for name in COMPARED)] for row in outcome.rows]
    total = [outcome.pooled["images"], outcome.pooled["objects"]]
    for which, values in (("mean", outcome.mean), ("pooled", outcome.pooled)):
        title = "mean over series" if which == "mean" else "pooled"
        rows.append([title, *total, *(values[name] for name in COMPARED)])
        for place, end in enumerate(("low", "high")):
            bounds = [outcome.intervals[which][name] for name in COMPARED]
            rows.append([f"{title}, 95 % {end}", *total, *(None if pair is None else pair[place] for pair in bounds)])
    return rows


def _write(outcome: Outcome, by_series: Mapping[str, PairwiseIoU], overlaps: PairwiseIoU, out: Path) -> None:
    curves = {name: score_curve(found.match(criterion="center")) for name, found in by_series.items()}
    curves["all series"] = score_curve(overlaps.match(criterion="center"))
    title = f"FROC by center point, protocol {outcome.protocol}"
    plot_froc(curves, out / "plots" / "froc_by_series.png", title)
    header = ["protocol", "series", "images", "objects", *COMPARED]
    write_csv(out / "generalization.csv", header, [[outcome.protocol, *row] for row in table_rows(outcome)])
    record = {
        "protocol": outcome.protocol,
        "series": outcome.rows,
        "mean": outcome.mean,
        "pooled": outcome.pooled,
        "confidence_intervals": outcome.intervals,
        "unchecked": outcome.notes,
    }
    write_json(out / RESULT_FILE, record, indent=2)
