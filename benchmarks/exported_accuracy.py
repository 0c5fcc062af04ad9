#!/usr/bin/env python3
"""What exported models lose against the first one on real radiographs, over nine thresholds of overlap.

    python benchmarks/exported_accuracy.py --run EXPORTED --run EXPORTED8 SERIES [SERIES ...]

A series is a folder in GDXray's form, or FOLDER:FIRST-LAST. At one threshold a single box that just passes, or just
fails, moves average precision by up to 0.01 on a few hundred defects. The mean over IoU 0.2 to 0.6 tells whether 8 bits
move boxes at all. Intervals (95 %) are of radiographs drawn anew, the same for all models. `--noise LEVELS` adds the
first model on radiographs with normal noise of so many gray levels of 8 bits, as a measure of what differences mean.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from data.coco import CocoDataset
from data.console import progress
from data.records import Annotation, Category
from detectors.evaluation.curves import precision_recall
from detectors.evaluation.matching import find_overlaps
from detectors.experiments.generalization import parse_series
from detectors.export.box_shift import box_shift
from detectors.runs.reading import coco_results, read_sized
from detectors.runtime.predictor import ExportedPredictor

IOUS = np.round(np.arange(0.2, 0.601, 0.05), 2)
DRAWS, SEED = 100, 0
CATEGORIES: list[Category] = [{"id": 1, "name": "defect"}]


class Looked:
    """One radiograph: its record, its defects, and what each model finds there."""

    def __init__(self, record: Any, defects: Sequence[Annotation], found: list[dict[str, np.ndarray]]) -> None:
        self.record, self.defects, self.found = record, defects, found


def look(folders: Sequence[str], models: Sequence[ExportedPredictor], noise: float) -> list[Looked]:
    """Return the radiographs of some series, with what the models find; with noise, the first one once more."""
    rng = np.random.default_rng(SEED)
    all_series = [parse_series(folder) for folder in folders]
    places = [(one, record) for one in all_series for record in one.dataset.images]
    looked = []
    with progress(transient=True) as bar:
        for series, record in bar.track(places, description="detecting"):
            size = (record["width"], record["height"])
            radiograph = read_sized(series.folder / record["file_name"], models[0].window, size)
            found = [dict(model.find(radiograph, False).detections) for model in models]
            if noise:
                pixels = radiograph.pixels + rng.normal(0, noise / 255, radiograph.pixels.shape).astype(np.float32)
                found.append(dict(models[0].in_pixels(pixels.clip(0, 1), False).detections))
            for one in found:  # classes are set aside
                one["labels"] = np.ones(len(one["scores"]), np.int64)
            looked.append(Looked(record, series.dataset.annotations_of(record["id"]), found))
    return looked


def average_precision(looked: Sequence[Looked], model: int) -> NDArray[np.float64]:
    """Return the average precision of one model at each of `IOUS`; a radiograph may be there several times."""
    images: list[Any] = []
    defects: list[Any] = []
    results: list[dict[str, Any]] = []
    for number, one in enumerate(looked, start=1):
        images.append({**one.record, "id": number, "file_name": str(number)})
        for annotation in one.defects:
            defects.append({**annotation, "id": len(defects) + 1, "image_id": number, "category_id": 1})
        results += coco_results(number, one.found[model], CATEGORIES)
    overlaps = find_overlaps(CocoDataset(images, defects, CATEGORIES), results)
    return np.array([precision_recall(overlaps.match(float(iou))).ap or 0.0 for iou in IOUS])


@click.command()
@click.option("--run", "runs", multiple=True, required=True, type=click.Path(path_type=Path), help="Exported folders.")
@click.option("--noise", default=0.0, help="Gray levels of 8 bits; the first model is measured with it, too.")
@click.argument("series", nargs=-1, required=True)
def main(runs: tuple[Path, ...], noise: float, series: tuple[str, ...]) -> None:
    looked = look(series, [ExportedPredictor(run) for run in runs], noise)
    names = [str(run) for run in runs] + ([f"{runs[0]}, noise of {noise}"] if noise else [])
    rng = np.random.default_rng(SEED)
    draws = [rng.choice(len(looked), len(looked)) for _ in range(DRAWS)]
    first = average_precision(looked, 0)
    drawn = [average_precision([looked[k] for k in draw], 0).mean() for draw in draws]
    print(
        f"{len(looked)} radiographs, {sum(len(one.defects) for one in looked)} defects; IoU {', '.join(map(str, IOUS))}"
    )
    print(f"{names[0]}: {first.round(3)}, mean {first.mean():.4f}")
    for k in range(1, len(names)):
        now = average_precision(looked, k)
        moved = [average_precision([looked[i] for i in draw], k).mean() for draw in draws]
        low, high = np.percentile(np.array(moved) - drawn, [2.5, 97.5])
        shift = box_shift((one.found[0], one.found[k]) for one in looked)
        mean = f"{(now - first).mean():.4f} ({low:.4f} to {high:.4f})"
        print(f"{names[k]}: {(now - first).round(4)}, mean {mean}, boxes moved by {shift:.4f}")


if __name__ == "__main__":
    main()
