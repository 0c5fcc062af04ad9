"""Loading, matching and all figures of 112,000 detections on 5,000 radiographs, beside pycocotools at IoU 0.5.

Run on one core: OMP_NUM_THREADS=1 python benchmarks/evaluation_speed.py
"""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.table import Table

from data.coco import CocoDataset, write_results
from data.console import console
from data.records import Annotation, ImageRecord
from detectors.evaluation.bootstrap import bootstrap
from detectors.evaluation.breakdown import by_class, by_series, by_size, confusion_matrix
from detectors.evaluation.curves import image_roc, precision_recall, score_curve
from detectors.evaluation.error_analysis import analyze_errors
from detectors.evaluation.hit_miss import false_call_rates, hit_miss
from detectors.evaluation.matching import PairwiseIoU, find_overlaps
from detectors.evaluation.metrics import metrics_of
from detectors.evaluation.pod import fit_pod
from detectors.evaluation.runs import read_run, write_ground_truth

WIDTH, HEIGHT = 768, 572


def simulate(images: int, detections: int, seed: int = 0) -> tuple[CocoDataset, list[dict[str, Any]]]:
    """Return radiographs with 5 defects each, and detections: some near them, the others anywhere."""
    rng = np.random.default_rng(seed)
    records: list[ImageRecord] = [
        {"id": k, "file_name": f"{k}.png", "width": WIDTH, "height": HEIGHT, "series": f"C{k // 72:04d}"}
        for k in range(1, images + 1)
    ]
    objects = 5 * images
    image = rng.integers(1, images + 1, objects)
    side = np.exp(rng.normal(3.0, 0.5, (objects, 2)))
    boxes = np.concatenate([rng.uniform(0, [WIDTH - 120, HEIGHT - 120], (objects, 2)), side], axis=1)
    annotations: list[Annotation] = [
        {"id": k + 1, "image_id": int(i), "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for k, (i, box) in enumerate(zip(image, boxes.tolist(), strict=True))
    ]
    seen = rng.random(objects) < 1 / (1 + np.exp(-(np.log(side).mean(1) - 2.8) * 4))
    near = boxes[seen] + rng.normal(0, 2, (int(seen.sum()), 4))
    anywhere = detections - len(near)
    stray = np.concatenate(
        [rng.uniform(0, [WIDTH - 120, HEIGHT - 120], (anywhere, 2)), np.exp(rng.normal(3, 0.5, (anywhere, 2)))], axis=1
    )
    found = np.concatenate([near, stray])
    found[:, 2:] = np.maximum(found[:, 2:], 1)
    on = np.concatenate([image[seen], rng.integers(1, images + 1, anywhere)])
    scores = np.concatenate([rng.beta(5, 2, len(near)), rng.beta(1, 6, anywhere)])
    results = [
        {"image_id": int(i), "category_id": 1, "bbox": box, "score": score}
        for i, box, score in zip(on, found.tolist(), scores.tolist(), strict=True)
    ]
    return CocoDataset(records, annotations, [{"id": 1, "name": "defect"}]), results


def pycocotools_ap(folder: Path) -> float:
    """Load both files and return pycocotools' AP at IoU 0.5 alone, one area range, one cap."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(folder / "ground_truth.json")
        evaluation = COCOeval(truth, truth.loadRes(str(folder / "detections.json")), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    return float(evaluation.eval["precision"].mean())


def our_ap(folder: Path) -> float | None:
    """Load both files and return our AP at IoU 0.5 alone."""
    return precision_recall(read_run(folder).overlaps.match(0.5)).ap


def all_figures(overlaps: PairwiseIoU) -> None:
    """Compute everything that the report shows of one definition of a hit, and the headline figures."""
    threshold = metrics_of(overlaps)["threshold"] or 0.0
    table = overlaps.match(0.5)
    score_curve(table), image_roc(table), precision_recall(table)
    bootstrap(table, threshold, resamples=100)
    by_class(table, threshold), by_size(table, threshold), by_series(table, threshold)
    confusion_matrix(table, threshold), analyze_errors(table, threshold), false_call_rates(table, threshold)
    data = hit_miss(table, threshold)
    fit_pod(data.size, data.hit)


def best_of(function: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Return the least seconds of several calls, and the last result."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return min(times), result


@click.command()
@click.option("--images", default=5000, show_default=True)
@click.option("--detections", default=112_000, show_default=True)
@click.option("--repeats", default=3, show_default=True)
def main(images: int, detections: int, repeats: int) -> None:
    dataset, results = simulate(images, detections)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_ground_truth(folder / "ground_truth.json", dataset, folder, "benchmark")
        write_results(folder / "detections.json", results)
        rows = [
            ("pycocotools, load and AP", *best_of(lambda: pycocotools_ap(folder), repeats)),
            ("ours, load and AP", *best_of(lambda: our_ap(folder), repeats)),
            ("of it: load", *best_of(lambda: read_run(folder), repeats)),
            ("ours, load and all figures", *best_of(lambda: all_figures(read_run(folder).overlaps), repeats)),
        ]
        rows.insert(3, ("of it: match", *best_of(lambda: find_overlaps(dataset, results).match(0.5), repeats)))
    table = Table("what", "seconds", "AP at IoU 0.5", title=f"{detections} detections on {images} radiographs")
    for name, seconds, value in rows:
        table.add_row(name, f"{seconds:.2f}", f"{value:.6f}" if isinstance(value, float) else "")
    console.print(table)


if __name__ == "__main__":
    main()
