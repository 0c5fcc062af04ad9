#!/usr/bin/env python3
"""Measure speed and size of detectors, beside the paper's figures."""

from pathlib import Path

import click

from data.console import Command, console
from detectors.experiments.benchmark import Conditions, benchmark, parse_size, write_benchmark


@click.command(cls=Command)
@click.option("--cfg", "configurations", multiple=True, help="A configuration, with random weights; may be repeated.")
@click.option("--run", "runs", multiple=True, type=click.Path(path_type=Path),
              help="A run, with its weights; may be repeated.")  # fmt: skip
@click.option("--device", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]))
@click.option("--image-size", default="768x572", show_default=True, help="Width x height in pixels.")
@click.option("--repeats", default=10, show_default=True, type=click.IntRange(min=1), help="Timed images a method.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads; by default PyTorch's own choice.")
@click.option("--out", default="runs/benchmark", show_default=True, type=click.Path(path_type=Path),
              help="Folder for benchmark.json and benchmark.md; those of the other device are kept.")  # fmt: skip
def main(
    configurations: tuple[str, ...], runs: tuple[Path, ...], device: str, image_size: str, repeats: int,
    threads: int | None, out: Path,
) -> None:  # fmt: skip
    """Measure seconds an image, parameters, multiply-adds and peak memory of each --cfg and --run."""
    conditions = Conditions(device, parse_size(image_size), repeats, threads)
    console.print(write_benchmark(benchmark(configurations, runs, conditions), out), markup=False)
    console.print(f"wrote {out}")


if __name__ == "__main__":
    main()
