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
    "--run",
    "runs",
    multiple=True,
    type=PATH,
    metavar="RUN",
    help="Folder of a run, with its weights, or of an exported model. May be repeated.",
)
@click.option("--device", default="cpu", type=click.Choice(["cpu", "cuda"]))
@click.option("--image-size", default="768x572", help="WIDTHxHEIGHT in pixels.")
@click.option("--repeats", default=10, type=click.IntRange(min=1), help="Timed images per model.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="CPU threads; by default PyTorch's own choice, with exported models one and two.",
)
@click.option(
    "--out",
    default="runs/benchmark",
    type=PATH,
    help="Folder for benchmark.json and benchmark.md, where results of the other device are kept, or for "
    "runtimes.json and runtimes.md.",
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

    For each --cfg and --run: seconds per image, parameters, multiply-adds and peak memory. With an exported model among
    the runs, another table: all runs in turns, in PyTorch and in each runtime that is installed, with one and two
    threads, the throughput over a folder, and multiply-adds a second beside the machine's peak.
    """
    from detectors.experiments.benchmark import Conditions, benchmark, write_benchmark
    from detectors.runtime.folder import is_exported

    conditions = Conditions(device, parse_size(image_size, "--image-size"), repeats, threads)
    exported = any(is_exported(run) for run in runs)
    if exported and device != "cpu":
        raise click.UsageError("exported models run on the CPU: leave out --device")
    if configurations or not exported:
        console.print(write_benchmark(benchmark(configurations, () if exported else runs, conditions), out))
    if exported:
        from detectors.experiments.runtimes import THREADS, measure_runtimes, write_runtimes

        counts = THREADS if threads is None else (threads,)
        console.print(write_runtimes(measure_runtimes(runs, conditions.size, repeats, counts), out))
    console.print(f"wrote {out}")
