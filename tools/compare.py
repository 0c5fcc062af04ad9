#!/usr/bin/env python3
"""Put accuracy and speed of several runs side by side."""

from pathlib import Path

import click

from data.console import Command, console
from detectors.evaluation.comparison import compare_runs, read_benchmark, write_comparison


@click.command(cls=Command)
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--benchmark", "speeds", type=click.Path(path_type=Path),
              help="The benchmark.json of tools/benchmark.py, joined by run or by configuration.")  # fmt: skip
@click.option("--out", default="runs/comparison", show_default=True, type=click.Path(path_type=Path),
              help="Folder for comparison.md, comparison.json and speed_accuracy.png.")  # fmt: skip
def main(folders: tuple[Path, ...], speeds: Path | None, out: Path) -> None:
    """Write a table of accuracy and speed of the evaluated runs RUN..., and a plot of one against the other."""
    rows = compare_runs(folders, read_benchmark(speeds) if speeds else ())
    console.print(write_comparison(rows, out), markup=False)
    console.print(f"wrote {out}")


if __name__ == "__main__":
    main()
