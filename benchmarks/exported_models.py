#!/usr/bin/env python3
"""Times of a run in PyTorch and exported, side by side, file to boxes, beside the machine's peak.

    python benchmarks/exported_models.py --run casting --run runs/quickstart/TIME --repeats 50

Give it a machine that does nothing else. The two take turns radiograph by radiograph, so that what disturbs one
disturbs the other; read the ratio first. The peak is a plain product of matrices in NumPy, in the same process.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch

from data.radiograph import write_radiograph
from data.synthesis.phantom import make_phantom
from detectors.evaluation.table import markdown_table
from detectors.export.write import export_run
from detectors.runs.prediction import Predictor
from detectors.runtime.folder import is_exported
from detectors.runtime.predictor import ExportedPredictor

SIDE = 2048  # of the matrices


def peak(repeats: int = 5) -> float:
    """Return multiply-adds a second of a product of matrices float32, the best of some."""
    one = np.ones((SIDE, SIDE), np.float32)
    return max(SIDE**3 / clock(lambda: one @ one) for _ in range(repeats))


def clock(work: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def row(run: Path, radiograph: Path, threads: int, repeats: int, folder: Path) -> list[str]:
    """Measure one run; export it into `folder` first where that has not been done."""
    exported = folder / (run.name or "run")
    if not is_exported(exported):
        export_run(run, exported)
    torch.set_num_threads(threads)
    eager, fast = Predictor(run), ExportedPredictor(exported, threads=threads)
    for predictor in (eager, fast):
        predictor(radiograph)
    pairs = [(clock(lambda: eager(radiograph)), clock(lambda: fast(radiograph))) for _ in range(repeats)]
    slow, quick = (statistics.median(times) for times in zip(*pairs, strict=True))
    work = fast.folder.card["multiply_adds"]["count"]
    return [
        fast.folder.card["run"]["name"], str(threads), f"{slow:.4f}", f"{quick:.4f}",
        f"{statistics.median(b / a for a, b in pairs):.2f}", f"{work / 1e9:.2f}", f"{work / quick / 1e9:.1f}",
    ]  # fmt: skip


@click.command()
@click.option("--run", "runs", multiple=True, required=True, type=click.Path(path_type=Path))
@click.option("--repeats", default=50, show_default=True, type=click.IntRange(min=1))
@click.option("--threads", multiple=True, default=(1, 2), show_default=True, type=click.IntRange(min=1))
def main(runs: tuple[Path, ...], repeats: int, threads: tuple[int, ...]) -> None:
    header = ["run", "threads", "PyTorch s", "exported s", "ratio", "billion multiply-adds", "billion a second"]
    with tempfile.TemporaryDirectory() as name:
        radiograph = Path(name) / "casting.png"
        write_radiograph(radiograph, make_phantom("castings", 0, 0, size=(768, 572)).pixels)
        rows = [row(run, radiograph, count, repeats, Path(name)) for run in runs for count in threads]
    print(markdown_table(header, rows))
    print(f"a product of matrices: {peak() / 1e9:.1f} billion multiply-adds a second with all threads of NumPy")


if __name__ == "__main__":
    main()
