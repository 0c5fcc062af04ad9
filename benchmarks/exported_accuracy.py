#!/usr/bin/env python3
"""What exported models lose against the first one on real radiographs, over nine thresholds of overlap.

    python benchmarks/exported_accuracy.py --run EXPORTED --run EXPORTED8 SERIES [SERIES ...]

A series is a folder in GDXray's form, or FOLDER:FIRST-LAST. At one threshold a single box that just passes, or just
fails, moves average precision by up to 0.01 on a few hundred defects. The mean over IoU 0.2 to 0.6 tells whether 8 bits
move boxes at all. Intervals (95 %) are of radiographs drawn anew, the same for all models. With `--noise LEVELS` all
models also see the radiographs with normal noise of so many gray levels of 8 bits, `--draws` times: what the first
model loses by it tells what differences mean, and what others lose to it on the same noisy radiographs, in the mean,
does not hang on single boxes.
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
    """One radiograph: its record, its defects, and what each model finds there, then in each noisy copy of it."""

    def __init__(self, record: Any, defects: Sequence[Annotation], found: list[dict[str, np.ndarray]]) -> None:
        self.record, self.defects, self.found = record, defects, found


def look(folders: Sequence[str], models: Sequence[ExportedPredictor], noise: float, draws: int) -> list[Looked]:
    """Return the radiographs of some series, with what all models find without noise, then in each draw of it."""
    rng = np.random.default_rng(SEED)
    all_series = [parse_series(folder) for folder in folders]
    places = [(one, record) for one in all_series for record in one.dataset.images]
    looked = []
    with progress(transient=True) as bar:
        for series, record in bar.track(places, description="detecting"):
            size = (record["width"], record["height"])
            pixels = read_sized(series.folder / record["file_name"], models[0].window, size).pixels
            seen = [pixels]
            for _ in range(draws if noise else 0):
                noisy = pixels + rng.normal(0, noise / 255, pixels.shape).astype(np.float32)
                seen.append(noisy.clip(0, 1))
            found = [dict(model.in_pixels(one, False).detections) for one in seen for model in models]
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
@click.option("--noise", default=0.0, help="Deviation in gray levels of 8 bits; 0 for none.")
@click.option("--draws", default=5, type=click.IntRange(2), help="Noisy copies of each radiograph.")
@click.argument("series", nargs=-1, required=True)
def main(runs: tuple[Path, ...], noise: float, draws: int, series: tuple[str, ...]) -> None:
    looked = look(series, [ExportedPredictor(run) for run in runs], noise, draws)
    rng = np.random.default_rng(SEED)
    choices = [rng.choice(len(looked), len(looked)) for _ in range(DRAWS)]
    first = average_precision(looked, 0)
    drawn = [average_precision([looked[k] for k in choice], 0).mean() for choice in choices]
    print(
        f"{len(looked)} radiographs, {sum(len(one.defects) for one in looked)} defects; IoU {', '.join(map(str, IOUS))}"
    )
    print(f"{runs[0]}: {first.round(3)}, mean {first.mean():.4f}")
    for k in range(1, len(runs)):
        now = average_precision(looked, k)
        moved = [average_precision([looked[i] for i in choice], k).mean() for choice in choices]
        low, high = np.percentile(np.array(moved) - drawn, [2.5, 97.5])
        mean = f"{(now - first).mean():.4f} ({low:.4f} to {high:.4f})"
        print(f"{runs[k]}: {(now - first).round(4)}, mean {mean}, boxes moved by {moved_by(looked, k):.4f}")
    if noise:
        every = np.array([average_precision(looked, k) for k in range(len(runs) * (draws + 1))])
        noisy = every.reshape(draws + 1, len(runs), -1)[1:]
        print(f"\n{draws} draws of noise of {noise}: mean (deviation of a draw)")
        own = noisy[:, 0] - first
        print(
            f"{runs[0]}, against itself without noise: {spread(own)}, boxes moved by {moved_by(looked, len(runs)):.4f}"
        )
        for k in range(1, len(runs)):
            print(f"{runs[k]}, against the first in the same draws: {spread(noisy[:, k] - noisy[:, 0])}")


def moved_by(looked: Sequence[Looked], other: int) -> float:
    """Return how far the boxes of another model, or of the first one with noise, lie from the first one's own."""
    return box_shift((one.found[0], one.found[other]) for one in looked)


def spread(differences: NDArray[np.float64]) -> str:
    """Return mean and deviation over draws [D, T] at every threshold, and the mean over both."""
    pairs = zip(differences.mean(axis=0), differences.std(axis=0, ddof=1), strict=True)
    return " ".join(f"{mean:+.4f} ({sd:.4f})" for mean, sd in pairs) + f", mean {differences.mean():+.4f}"


if __name__ == "__main__":
    main()
