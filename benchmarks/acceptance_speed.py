"""Time acceptance rules on 1,000 radiographs, from the files of a prediction to the table of verdicts.

    OMP_NUM_THREADS=1 python benchmarks/acceptance_speed.py

Detections are random: 25 a radiograph on average, up to 100, in 8 rules of every kind that needs no pixels. Reading of
all files and writing of CSV and JSON are included, the start of Python and pictures are not.
"""

import json
import tempfile
import time
from pathlib import Path

import numpy as np

from data.console import console
from detectors.decisions.acceptance import accept, read_predictions, write_acceptance
from detectors.decisions.rules import read_rules

RADIOGRAPHS = 1000
RULES = """
name: benchmark
unit: mm
pixel_size_mm: 0.1
measurement_error: 0.05
scores: {look_again: 0.3, certain: 0.6}
rules:
  - {name: length, measure: length, most: 6}
  - {name: cluster, measure: length, most: 12, merge_within: 1}
  - {name: area, measure: area, most: 30}
  - {name: number, measure: number, most: 40}
  - {name: number in a square, measure: number, most: 6, reference_side: 15}
  - {name: sum, measure: total_length, most: 20, reference_side: 15}
  - {name: sum of areas, measure: total_area, most: 80, reference_side: 15}
  - {name: apart, measure: distance, least: 0.2, merge_within: 0.1}
"""


def write_predictions(folder: Path) -> int:
    """Write what predict writes, without radiographs; return the number of detections."""
    rng = np.random.default_rng(0)
    images = [{"id": k, "file_name": f"{k}.png", "width": 768, "height": 572} for k in range(RADIOGRAPHS)]
    counts = np.minimum(rng.geometric(1 / 25, RADIOGRAPHS), 100)
    results = []
    for image_id, count in enumerate(counts.tolist()):
        corner, size = rng.uniform(0, 500, (count, 2)), rng.uniform(4, 60, (count, 2))
        for box, score in zip(np.hstack([corner, size]).tolist(), rng.random(count).tolist(), strict=True):
            results.append({"image_id": image_id, "category_id": 1, "bbox": box, "score": score})
    described = {"images": images, "categories": [{"id": 1, "name": "defect"}], "threshold": 0.5}
    (folder / "images.json").write_text(json.dumps(described))
    (folder / "detections.json").write_text(json.dumps(results))
    (folder / "rules.yaml").write_text(RULES)
    return len(results)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        detections = write_predictions(folder)
        took = []
        for _ in range(3):
            start, used = time.perf_counter(), time.process_time()
            made = accept(read_predictions(folder), read_rules(folder / "rules.yaml"))
            write_acceptance(made, folder / "out")
            took.append((time.perf_counter() - start, time.process_time() - used))
        seconds, processor = min(took)
        console.print(f"{RADIOGRAPHS} radiographs, {detections} detections, {len(made.rules.rules)} rules:")
        console.print(f"{seconds:.2f} s, {processor:.2f} s of processor time, best of {len(took)}")
        console.print(", ".join(f"{count} {verdict}" for verdict, count in made.counts.items()))


if __name__ == "__main__":
    main()
