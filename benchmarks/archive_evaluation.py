"""Evaluate a synthetic archive: seconds, peak memory, and equality with the evaluation in memory on a sample.

The archive is written once, by its seed: 10 detections a radiograph on average, of which some lie near its 3 objects;
both sides in Parquet parts of 10,000 radiographs, the detections in another order than the truth.

    OMP_NUM_THREADS=1 python benchmarks/archive_evaluation.py FOLDER --images 1000000 --workers 2

With --coco the truth is read from one COCO file, which is written from the parts first.
"""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil

from data.archives.parts import box_rows, flat_boxes, flat_values, part_path, part_paths, read_part, write_part
from data.archives.schema import DETECTIONS, GROUND_TRUTH
from data.archives.truth import write_classes
from data.coco import CocoDataset
from data.console import console
from detectors.evaluation.archives.evaluate import evaluate_archive
from detectors.evaluation.metrics import compute_metrics

WIDTH, HEIGHT, ROWS = 768, 572, 10_000
STEP = 7_654_321  # a prime: number k of the detections' order is radiograph k * STEP modulo their count


class PeakMemory:
    """The largest sum of the resident memory of this process and those that it started, GB, sampled 10 times a second.

    Pages that several processes share count several times, so it is an upper bound.
    """

    def __init__(self) -> None:
        self.gigabytes = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while not self._end.wait(0.1):
            total = 0
            for process in [own, *own.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.Error:  # ended meanwhile
                    continue
            self.gigabytes = max(self.gigabytes, total / 1e9)


def radiograph(seed: int, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the rows of ground truth and of detections of one radiograph."""
    rng = np.random.default_rng((seed, number))
    objects, strays = int(rng.poisson(3)), int(rng.poisson(7.9))
    corners = np.floor(rng.uniform(0, [WIDTH - 120, HEIGHT - 120], (objects + strays, 2)))
    boxes = np.hstack([corners, corners + np.ceil(np.exp(rng.normal(3.0, 0.5, corners.shape)))])
    truth, stray = boxes[:objects], boxes[objects:]
    near = (truth + rng.normal(0, 2.5, truth.shape))[rng.random(objects) < 0.7]
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    found = np.vstack([near, stray])
    scores = np.append(rng.beta(5, 2, len(near)), rng.beta(1, 6, len(stray))).astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    file = {"file": f"{number // 1000:06d}/{number:09d}.png", "width": WIDTH, "height": HEIGHT}
    known = {"boxes": truth, "labels": np.ones(objects), "crowd": rng.random(objects) < 0.01}
    return file | known, file | {"boxes": found[order], "scores": scores[order], "labels": np.ones(len(order))}


def write_archive(folder: Path, images: int, seed: int) -> None:
    """Write `truth/` and `detections/` into a folder."""
    for side, (name, schema) in enumerate((("truth", GROUND_TRUTH), ("detections", DETECTIONS))):
        for part, start in enumerate(range(0, images, ROWS)):
            places = range(start, min(start + ROWS, images))
            numbers = [place * STEP % images if side else place for place in places]
            rows = [radiograph(seed, number)[side] for number in numbers]
            write_part(part_path(folder / name, part), box_rows(schema, rows))
        write_classes(folder / name, ["defect"])


def write_coco_file(path: Path, truth: Path) -> None:
    """Write the ground truth of parts as one COCO file, as it goes."""
    with path.with_suffix(".part").open("w", encoding="utf-8") as file:
        file.write('{"categories": [{"id": 1, "name": "defect"}], "images": [')
        files = (name for part in part_paths(truth) for batch in read_part(part, GROUND_TRUTH, ["file"])
                 for name in batch.column("file").to_pylist())  # fmt: skip
        size = {"width": 2 * WIDTH, "height": 2 * HEIGHT}  # as the largest boxes leave the frame
        for number, name in enumerate(files, start=1):
            file.write((", " if number > 1 else "") + json.dumps({"id": number, "file_name": name, **size}))
        file.write('], "annotations": [')
        image = identity = 0
        for part in part_paths(truth):
            for batch in read_part(part, GROUND_TRUTH):
                starts, boxes = flat_boxes(batch)
                crowds = flat_values(batch, "crowd").tolist()
                for row in range(batch.num_rows):
                    image += 1
                    inside = slice(starts[row], starts[row + 1])
                    for box, crowd in zip(_xywh(boxes[inside]), crowds[inside], strict=True):
                        identity += 1
                        record = {"id": identity, "image_id": image, "category_id": 1, "bbox": box,
                                  "area": box[2] * box[3], "iscrowd": int(crowd)}  # fmt: skip
                        file.write((", " if identity > 1 else "") + json.dumps(record))
        file.write("]}")
    path.with_suffix(".part").rename(path)


def in_memory(images: int, seed: int) -> tuple[CocoDataset, list[dict[str, Any]]]:
    """Return the same radiographs as COCO, with the numbers that the parts hold."""
    dataset = CocoDataset([], [], [{"id": 1, "name": "defect"}])
    results: list[dict[str, Any]] = []
    for number in range(images):
        truth, found = radiograph(seed, number)
        dataset.images.append({"id": number + 1, "file_name": truth["file"], "width": WIDTH, "height": HEIGHT})
        for box, crowd in zip(_xywh(truth["boxes"]), truth["crowd"].tolist(), strict=True):
            dataset.annotations.append({"id": len(dataset.annotations) + 1, "image_id": number + 1, "category_id": 1,
                                        "bbox": box, "area": box[2] * box[3], "iscrowd": int(crowd)})  # fmt: skip
        for box, score in zip(_xywh(found["boxes"]), found["scores"].tolist(), strict=True):
            results.append({"image_id": number + 1, "category_id": 1, "bbox": box, "score": score})
    return dataset, results


def _xywh(boxes: np.ndarray) -> Iterator[list[float]]:
    stored = boxes.astype(np.float32).astype(float)
    yield from np.hstack([stored[:, :2], stored[:, 2:] - stored[:, :2]]).tolist()


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--images", default=1_000_000, show_default=True)
@click.option("--sample", default=20_000, show_default=True, help="Radiographs that are evaluated in memory, too.")
@click.option("--workers", default=2, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--coco", is_flag=True, help="Take the truth from a COCO file.")
@click.option("--write-only", is_flag=True)
def main(folder: Path, images: int, sample: int, workers: int, seed: int, coco: bool, write_only: bool) -> None:
    for count in dict.fromkeys((sample, images)):
        archive = folder / str(count)
        if not (archive / "detections" / "classes.json").is_file():  # written last
            start = time.perf_counter()
            write_archive(archive, count, seed)
            console.print(f"wrote {count:,} radiographs in {time.perf_counter() - start:.0f} s")
        truth = archive / ("truth.json" if coco else "truth")
        if coco and not truth.is_file():
            write_coco_file(truth, archive / "truth")
        if write_only:
            continue
        shutil.rmtree(archive / "evaluation", ignore_errors=True)
        start = time.perf_counter()
        with PeakMemory() as peak:
            metrics = evaluate_archive(archive / "detections", truth, archive / "evaluation", workers)
        seconds = time.perf_counter() - start
        files = [*part_paths(archive / "detections"), *([truth] if coco else part_paths(truth))]
        size = sum(file.stat().st_size for file in files)
        console.print(
            f"{count:,} radiographs, {size / 1e6:.0f} MB: {seconds:.1f} s, {peak.gigabytes:.2f} GB, "
            f"AP at IoU 0.5 {metrics['ap50']!r}"
        )
        if count == sample:
            start = time.perf_counter()
            with PeakMemory() as peak:
                same = compute_metrics(*in_memory(sample, seed)) == metrics
            console.print(
                f"in memory: {time.perf_counter() - start:.1f} s, {peak.gigabytes:.2f} GB, "
                f"every metric {'equal' if same else 'DIFFERENT'}"
            )


if __name__ == "__main__":
    main()
