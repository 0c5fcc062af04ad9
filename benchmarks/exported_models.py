#!/usr/bin/env python3
"""Times of a run in PyTorch and exported, side by side, file to boxes, beside the machine's peak.

    python benchmarks/exported_models.py --run casting --run runs/quickstart/TIME --repeats 50
    python benchmarks/exported_models.py --cfg faster_rcnn_r101 --cfg rfcn_r101 --cfg ssd300_r101 --repeats 5

A configuration gets random weights, and frozen norms the statistics of one radiograph, without which no proposal is
finite. `radiograph benchmark` takes exported folders, too, and has every runtime and the throughput.

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
from detectors.build import build_model
from detectors.config.files import read_config
from detectors.config.window import gray_window
from detectors.evaluation.table import markdown_table
from detectors.experiments.benchmark import fit_frozen_norms
from detectors.export.write import export_run
from detectors.runs.checkpoint import save_checkpoint
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


def random_run(name: str, radiograph: Path, folder: Path) -> Path:
    """Return the run of a configuration with random weights, made on first use."""
    run = folder / "runs" / name
    if not (run / "best.ckpt").is_file():
        config = read_config(name)
        torch.manual_seed(0)
        model = build_model(config.model.without_weights(), 1).eval()
        fit_frozen_norms(model, radiograph, gray_window(config.data), torch.device("cpu"))
        save_checkpoint(run / "best.ckpt", model, config, [{"id": 1, "name": "defect"}], 1, {})
    return run


def row(run: Path, radiograph: Path, threads: int, repeats: int, folder: Path) -> list[str]:
    """Measure one run; export it into `folder` first where that has not been done."""
    exported = folder / "exported" / (run.name or "run")
    if not is_exported(exported):
        print(export_run(run, exported, least_parity=0.5).parity)  # weights may be random
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
@click.option("--run", "runs", multiple=True, type=click.Path(path_type=Path))
@click.option("--cfg", "configurations", multiple=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Where exports are kept for another time.")
@click.option("--repeats", default=50, show_default=True, type=click.IntRange(min=1))
@click.option("--threads", multiple=True, default=(1, 2), show_default=True, type=click.IntRange(min=1))
def main(
    runs: tuple[Path, ...], configurations: tuple[str, ...], folder: Path | None, repeats: int, threads: tuple[int, ...]
) -> None:
    header = ["run", "threads", "PyTorch s", "exported s", "ratio", "billion multiply-adds", "billion a second"]
    with tempfile.TemporaryDirectory() as name:
        radiograph = Path(name) / "casting.png"
        write_radiograph(radiograph, make_phantom("castings", 0, 0, size=(768, 572)).pixels)
        place = folder or Path(name)
        every = [*runs, *(random_run(name, radiograph, place) for name in configurations)]
        rows = []
        for run in every:
            for count in threads:
                rows.append(row(run, radiograph, count, repeats, place))
                print(*rows[-1], flush=True)
    print(markdown_table(header, rows))
    print(f"a product of matrices: {peak() / 1e9:.1f} billion multiply-adds a second with all threads of NumPy")


if __name__ == "__main__":
    main()
