#!/usr/bin/env python3
"""Times of a run in PyTorch and exported, side by side, file to boxes, beside the machine's peak.

    python benchmarks/exported_models.py --run casting --run runs/quickstart/TIME --repeats 50
    python benchmarks/exported_models.py --cfg faster_rcnn_r101 --cfg rfcn_r101 --cfg ssd300_r101 --int8 --repeats 5

A configuration gets random weights, and frozen norms the statistics of one radiograph, without which no proposal is
finite. `--int8` adds the run in 8 bits (all layers but the first and the last, none by Winograd's filtering), and
calibrates it on two phantoms: good for its time alone. Of patch classifiers the dense map is timed apart, too.
`--folder` keeps exports for another time and takes what lies there as it is. `radiograph benchmark` takes exported
folders, has every runtime and the throughput.

Give it a machine that does nothing else. All take turns radiograph by radiograph, so that what disturbs one disturbs
the others; read the ratio first, which has its quartiles. In every turn a plain product of matrices in NumPy, too: its
speed says how near the peak the figures are, and whether something else ran. The ratio is given a second time for the
half of the rounds in which that product was faster: on a shared machine, those in which less else ran.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch

from data.radiograph import read_radiograph, write_radiograph
from data.synthesis.phantom import make_phantom
from detectors.build import build_model
from detectors.config.files import read_config
from detectors.config.window import gray_window
from detectors.evaluation.table import markdown_table
from detectors.experiments.benchmark import fit_frozen_norms
from detectors.export.int8 import Quantizer
from detectors.export.quantize import record_feeds
from detectors.export.write import export_run, write_card
from detectors.patches.patch_classifier import PatchClassifier
from detectors.runs.checkpoint import save_checkpoint
from detectors.runs.prediction import Predictor
from detectors.runtime.folder import CARD, GRAPH, is_exported
from detectors.runtime.predictor import ExportedPredictor

LEAST_PARITY = 0.3  # weights may be random: then many scores are equal, and rounding decides which boxes are kept
SIDE = 2048  # of the matrices
ONES = np.ones((SIDE, SIDE), np.float32)
PAUSE = 0.1  # seconds, in which NumPy's threads stop waiting for more


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


def in_8_bits(run: Path, out: Path) -> Path:
    """Return a run exported in 8 bits, written on first use; its accuracy is not looked at."""
    if not is_exported(out):
        with tempfile.TemporaryDirectory() as name:
            plain = Path(name) / "plain"
            export_run(run, plain, least_parity=LEAST_PARITY, winograd=False)
            phantoms = [make_phantom("castings", 1008, index, size=(768, 572)).pixels for index in range(2)]
            feeds = record_feeds(ExportedPredictor(plain), phantoms)[:4]  # of detectors in tiles, the first ones
            quantizer = Quantizer(plain / GRAPH, ["input_encoding", "encode"], feeds, Path(name))
            quantizer.write(Path(name) / GRAPH, quantizer.edges)
            shutil.copytree(plain, out, dirs_exist_ok=True)
            shutil.copyfile(Path(name) / GRAPH, out / GRAPH)
        write_card(out, json.loads((out / CARD).read_text(encoding="utf-8")) | {"precision": "int8"})
    return out


def rows(run: Path, radiograph: Path, threads: int, repeats: int, folder: Path, int8: bool) -> list[list[str]]:
    """Measure one run; export it into `folder` first where that has not been done."""
    exported = folder / "exported" / (run.name or "run")
    if not is_exported(exported):
        print(export_run(run, exported, least_parity=LEAST_PARITY).parity)
    torch.set_num_threads(threads)
    eager = Predictor(run)
    folders = [exported, in_8_bits(run, folder / "int8" / exported.name)] if int8 else [exported]
    fast = [ExportedPredictor(path, threads=threads) for path in folders]
    card = fast[0].folder.card
    name, count = card["run"]["name"], card["multiply_adds"]["count"]
    works: list[Callable[[], object]] = [partial(eager, radiograph), *(partial(one, radiograph) for one in fast)]
    measured = [(name, in_turns(works, repeats))]
    if isinstance(eager.model, PatchClassifier):
        pixels = read_radiograph(radiograph, window=eager.window).pixels
        maps = [partial(_eager_map, eager.model, pixels), *(partial(one.model.heat_map, pixels) for one in fast)]
        measured.append((f"{name}, dense map alone", in_turns(maps, repeats)))
    return [
        [title, one.folder.precision, str(threads), *figures(times[:, 0], times[:, 1 + place], times[:, -1], count)]
        for title, times in measured
        for place, one in enumerate(fast)
    ]


def figures(slow: np.ndarray, quick: np.ndarray, product: np.ndarray, count: int) -> list[str]:
    """Return the columns of a row from the seconds of all rounds: PyTorch's, exported, and the product of matrices."""
    ratio = quick / slow
    low, middle, high = np.percentile(ratio, [25, 50, 75])
    calm = ratio[product <= np.median(product)]
    return [
        f"{np.median(slow):.4f}", f"{np.median(quick):.4f}", f"{middle:.2f} ({low:.2f} to {high:.2f})",
        f"{np.median(calm):.2f}", f"{count / 1e9:.2f}", f"{count / np.median(quick) / 1e9:.1f}",
        f"{SIDE**3 / np.median(product) / 1e9:.1f} ({SIDE**3 / product.max() / 1e9:.1f} to "
        f"{SIDE**3 / product.min() / 1e9:.1f})",
    ]  # fmt: skip


def in_turns(works: Sequence[Callable[[], object]], repeats: int) -> np.ndarray:
    """Return the seconds [rounds, works + 1] of each in turns and of a product of matrices, but for a first round."""
    rounds = []
    for _ in range(repeats + 1):
        rounds.append([clock(work) for work in (*works, lambda: ONES @ ONES)])
        time.sleep(PAUSE)
    return np.array(rounds[1:])


@torch.inference_mode()
def _eager_map(model: PatchClassifier, pixels: np.ndarray) -> torch.Tensor:
    return model.heat_map(torch.from_numpy(pixels)[None]).per_pixel(*pixels.shape)


@click.command()
@click.option("--run", "runs", multiple=True, type=click.Path(path_type=Path))
@click.option("--cfg", "configurations", multiple=True)
@click.option("--int8", is_flag=True, help="Measure them in 8 bits, too.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where exports are kept for another time.")
@click.option("--repeats", default=50, show_default=True, type=click.IntRange(min=1))
@click.option("--threads", multiple=True, default=(1, 2), show_default=True, type=click.IntRange(min=1))
def main(
    runs: tuple[Path, ...],
    configurations: tuple[str, ...],
    int8: bool,
    folder: Path | None,
    repeats: int,
    threads: tuple[int, ...],
) -> None:
    header = [
        "run", "precision", "threads", "PyTorch s", "exported s", "ratio (quartiles)", "ratio in faster half",
        "billion multiply-adds", "billion a second", "of a product of matrices",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        radiograph = Path(name) / "casting.png"
        write_radiograph(radiograph, make_phantom("castings", 0, 0, size=(768, 572)).pixels)
        place = folder or Path(name)
        every = [*runs, *(random_run(name, radiograph, place) for name in configurations)]
        table = []
        for run in every:
            for count in threads:
                found = rows(run, radiograph, count, repeats, place, int8)
                table += found
                print(*found, sep="\n", flush=True)
    print(markdown_table(header, table))


if __name__ == "__main__":
    main()
