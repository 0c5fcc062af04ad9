"""Put accuracy and speed of several runs side by side."""

from pathlib import Path

import click

from data.console import console
from radiograph.command import PATH, Command, run_option


@click.command(cls=Command)
@run_option("Folder of an evaluated run, or of an evaluation.", multiple=True)
@click.option(
    "--benchmark",
    "speeds",
    type=PATH,
    help="The benchmark.json of `radiograph benchmark`, joined by run or by configuration.",
)
@click.option(
    "--out",
    default="runs/comparison",
    type=PATH,
    help="Folder for comparison.md, comparison.json and speed_accuracy.png.",
)
def main(runs: tuple[Path, ...], speeds: Path | None, out: Path) -> None:
    """Compare the accuracy and speed of several runs.

    Writes a table, and a plot of accuracy against speed.
    """
    from detectors.evaluation.comparison import compare_runs, read_benchmark, write_comparison

    rows = compare_runs(runs, read_benchmark(speeds) if speeds else ())
    console.print(write_comparison(rows, out))
    console.print(f"wrote {out}")
