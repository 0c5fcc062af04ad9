"""Evaluate the detections of an archive of any size, out of Parquet parts, without holding either side whole."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from data.archives.coco_truth import write_coco_truth
from data.archives.parts import part_paths
from data.archives.truth import TRUTH_FOLDER, read_classes
from data.console import console, progress
from data.errors import InputError
from data.files import write_json
from data.synthesis.output_folder import claimed
from data.tasks import ProcessTasks
from detectors.evaluation.archives.match import ArchiveMatches, Bucket, match_bucket, unite
from detectors.evaluation.archives.spread import bucket_count, groups_of, spread
from detectors.evaluation.curves import precision_recall, score_curve
from detectors.evaluation.metrics import Metrics, metrics_of
from detectors.evaluation.plots import plot_froc, plot_precision_recall
from detectors.evaluation.runs import read_metrics, read_object

MARKER = "archive_evaluation.json"
_WORK = "work"  # what is removed when all is done


def evaluate_archive(
    detections: str | Path, truth: str | Path, out: str | Path, workers: int | None = None, common: bool = False
) -> Metrics:
    """Evaluate Parquet parts of detections and write `metrics.json` and two pictures into `out`.

    The metrics are those of an evaluation in memory, to the last digit where the numbers are the same: archives hold
    scores and boxes as float32. An interrupted evaluation goes on where it was, a finished one is read.

    Args:
        detections: folder of parts (`data.archives.schema.DETECTIONS`), or that of a prediction with such a folder.
        truth: folder of parts (`GROUND_TRUTH`), or that of a phantom set with such a folder, or a COCO file.
        out: a folder of its own.
        workers: processes; by default one a core. Their number does not change a digit.
        common: evaluate the radiographs that both sides have; else one that only one side has is an error.

    Returns:
        The metrics of `metrics.json`.

    Raises:
        InputError: faulty parts, a radiograph that one side lacks or has twice, other class names, or `out` holds
            something else.
        OSError: `out` cannot be written.

    """
    detections, truth = _parts_in(Path(detections), "detections"), _parts_in(Path(truth), TRUTH_FOLDER)
    out = Path(out)
    found = part_paths(detections)
    known = [truth] if truth.is_file() else part_paths(truth)
    parameters = {"detections": _fingerprint(found), "truth": _fingerprint(known), "common": common}
    with claimed(out, MARKER, parameters) as begun:
        if begun and (out / "metrics.json").is_file():
            return read_metrics(out)
        work = out / _WORK
        if truth.is_file():
            known = write_coco_truth(truth, work / "truth", work / "records", ProcessTasks(workers))
            truth = work / "truth"
        classes = _common_classes(detections, truth)
        matches = _match(found, known, work, ProcessTasks(workers))
        if classes is not None and len(matches.objects) > len(classes):
            raise InputError(f"{detections}: label {len(matches.objects)} is none of the classes {', '.join(classes)}")
        _report_missing(matches, common)
        metrics = metrics_of(matches)
        _draw(matches, out, detections.name)
        write_json(out / "metrics.json", metrics, indent=2)
        shutil.rmtree(work)
    return metrics


def _match(found: Sequence[Path], known: Sequence[Path], work: Path, tasks: ProcessTasks) -> ArchiveMatches:
    """Spread both sides over buckets, match the buckets, and unite them."""
    buckets = bucket_count([*found, *known])
    sides = [groups_of(side, parts, buckets, work) for side, parts in (("detections", found), ("truth", known))]
    with progress() as bar:
        task = bar.add_task("sorting by radiograph", total=sum(map(len, sides)))
        groups = [group for groups in sides for group in groups]
        for _ in tasks(spread, groups):
            bar.advance(task)
        found_in, known_in = (tuple(group.out for group in groups) for groups in sides)
        shares = [Bucket(k, found_in, known_in, work / f"matches-{k:06d}.arrow") for k in range(buckets)]
        task = bar.add_task("matching", total=buckets)
        for _ in tasks(match_bucket, shares):
            bar.advance(task)
    return unite([share.out for share in shares])


def _parts_in(folder: Path, name: str) -> Path:
    """Return the folder of parts: the one given, or where it has one of that name, that one."""
    return folder / name if (folder / name).is_dir() else folder


def _detected_classes(detections: Path) -> list[str] | None:
    """Return the class names of a detector: those beside its parts, or of the prediction's manifest; None without."""
    manifest = detections.parent / "manifest.json"
    if read_classes(detections) is not None or not manifest.is_file():
        return read_classes(detections)
    categories = read_object(manifest).get("categories")
    if not isinstance(categories, list) or not all(
        isinstance(c, dict) and {"id", "name"} <= c.keys() for c in categories
    ):
        return None
    return [str(category["name"]) for category in sorted(categories, key=lambda category: category["id"])]


def _fingerprint(files: Sequence[Path]) -> str:
    """Return a hash of names, sizes and times of files: what says that an interrupted evaluation may go on."""
    lines = [f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _common_classes(detections: Path, truth: Path) -> list[str] | None:
    """Return the class names of both sides. Raises InputError where they differ."""
    found, known = _detected_classes(detections), read_classes(truth)
    if found is not None and known is not None and found != known:
        raise InputError(
            f"{detections}: the detector's classes are {', '.join(found)}, those of {truth} {', '.join(known)}; "
            "labels count places in these lists, so write one side anew in the order of the other"
        )
    return known or found


def _report_missing(matches: ArchiveMatches, common: bool) -> None:
    """Say which radiographs only one side has: one line, or an InputError."""
    sides = (("detections but no ground truth", matches.without_truth),
             ("ground truth but no detections", matches.without_detections))  # fmt: skip
    lacking = [f"{count:,} with {what} (the first is {name})" for what, (count, name) in sides if count]
    if not lacking:
        return
    if not common:
        raise InputError(
            f"radiographs that only one side has: {', '.join(lacking)}; complete the parts, or evaluate those that "
            "both have with --common"
        )
    console.print(f"left out: {', '.join(lacking)}")


def _draw(matches: ArchiveMatches, out: Path, name: str) -> None:
    curve = precision_recall(matches.match(0.5)).drawn()
    plot_precision_recall({name: curve}, out / "plots" / "pr_curve.png")
    plot_froc({name: score_curve(matches.match(criterion="center")).drawn()}, out / "plots" / "froc.png")
