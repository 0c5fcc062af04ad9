"""Dense heat maps beside batched real windows, XnetV2 and the Xnet family, and how far the two maps differ.

Pairs of one of each, one after the other, so that both meet the same load; medians, and the median of the ratios.
Without a checkpoint the weights are random; a difference of maps means something with trained ones only.
Run on one core: OMP_NUM_THREADS=1 python benchmarks/dense_heat_map.py [--run RUN --image RADIOGRAPH]
"""

import time
from pathlib import Path
from statistics import median

import click
import torch
from rich.table import Table
from torch import Tensor

from data.console import console
from data.radiograph import read_radiograph
from detectors.build import build_model
from detectors.patches.patch_classifier import PatchClassifier
from detectors.patches.xnet import XnetConfig, XnetV2Config
from detectors.runs.checkpoint import load_model


def seconds_and_map(model: PatchClassifier, image: Tensor, **settings: object) -> tuple[float, Tensor]:
    """Return the time of one heat map with some settings of the configuration, and its values."""
    model.config = model.config.model_copy(update=settings)
    start = time.perf_counter()
    values = model.heat_map(image).values
    return time.perf_counter() - start, values


def models(run: Path | None) -> dict[str, PatchClassifier]:
    """Return the model of a run, or XnetV2, Xnet and Xnet-II with random weights."""
    if run is not None:
        trained, config, _ = load_model(run)
        assert isinstance(trained, PatchClassifier), "give a run of a patch classifier"
        return {config.name: trained}
    torch.manual_seed(0)
    sections = {"XnetV2": XnetV2Config(), "Xnet": XnetConfig(variant=0), "Xnet-II": XnetConfig(variant=6)}
    random = {}
    for name, section in sections.items():
        model = build_model(section, 1).eval()
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this one
        assert isinstance(model, PatchClassifier)
        random[name] = model
    return random


@click.command()
@click.option("--run", type=click.Path(path_type=Path), help="A run's folder or checkpoint.")
@click.option("--image", type=click.Path(path_type=Path), help="A radiograph; noise of 768 x 572 pixels by default.")
@click.option("--stride", default=8, show_default=True)
@click.option("--pairs", default=3, show_default=True)
@torch.inference_mode()
def main(run: Path | None, image: Path | None, stride: int, pairs: int) -> None:
    torch.set_num_threads(1)
    pixels = torch.rand(1, 572, 768) if image is None else torch.from_numpy(read_radiograph(image).pixels)[None]
    table = Table("model", "dense s", "windows s", "ratio", "mean |difference|", "largest")
    for name, model in models(run).items():
        seconds_and_map(model, pixels, mode="dense", heat_stride=stride)  # the first call prepares the convolutions
        times = []
        for _ in range(pairs):
            dense_time, dense = seconds_and_map(model, pixels, mode="dense", heat_stride=stride)
            sliding_time, sliding = seconds_and_map(model, pixels, mode="sliding", heat_stride=stride)
            times.append((dense_time, sliding_time, dense_time / sliding_time))
        difference = (dense - sliding).abs()
        figures = [f"{median(column):.3f}" for column in zip(*times, strict=True)]
        table.add_row(name, *figures, f"{difference.mean():.4f}", f"{difference.max():.4f}")
    table.title = f"{pixels.shape[2]} x {pixels.shape[1]} pixels, stride {stride}, {pairs} pairs"
    console.print(table)


if __name__ == "__main__":
    main()
