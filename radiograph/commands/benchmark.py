"""Measure the speed and size of models beside the published figures."""

from pathlib import Path
from typing import Literal

import click

from data.console import console
from radiograph.command import PATH, Command, max_pixels_option, parse_size


@click.command(cls=Command)
@click.option(
    "--cfg",
    "configurations",
    multiple=True,
    metavar="CONFIG",
    help="A configuration, with random weights. May be repeated.",
)
@click.option(
    "--run", "runs", multiple=True, type=PATH, metavar="RUN", help="Folder of a run, with its weights. May be repeated."
)
@click.option("--device", default="cpu", type=click.Choice(["cpu", "cuda"]))
@click.option("--image-size", default="768x572", help="WIDTHxHEIGHT in pixels.")
@click.option("--repeats", default=10, type=click.IntRange(min=1), help="Timed images per model.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads; by default PyTorch's own choice.")
@click.option(
    "--out",
    default="runs/benchmark",
    type=PATH,
    help="Folder for benchmark.json and benchmark.md; results of the other device are kept.",
)
@max_pixels_option
def main(
    configurations: tuple[str, ...],
    runs: tuple[Path, ...],
    device: Literal["cpu", "cuda"],
    image_size: str,
    repeats: int,
    threads: int | None,
    out: Path,
) -> None:
    """Measure the speed, size and memory of models.

    For each --cfg and --run: seconds per image, parameters, multiply-adds and peak memory.
    """
    from detectors.experiments.benchmark import Conditions, benchmark, write_benchmark

    conditions = Conditions(device, parse_size(image_size, "--image-size"), repeats, threads)
    console.print(write_benchmark(benchmark(configurations, runs, conditions), out))
    console.print(f"wrote {out}")
