#!/usr/bin/env python3
"""Write one page about one or several evaluated runs, which opens offline."""

from pathlib import Path

import click

from data.console import Command, console
from detectors.evaluation.report import write_report
from detectors.evaluation.runs import name_runs, read_run


@click.command(cls=Command)
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", default="report.html", show_default=True, type=click.Path(path_type=Path), help="Page to write.")
@click.option("--title", default="Detector report", show_default=True)
@click.option("--faults", type=click.IntRange(0), default=40, show_default=True,
              help="Misses, and as many false calls, to show of each run.")  # fmt: skip
@click.option("--resamples", type=click.IntRange(1), default=300, show_default=True, help="Draws of the bootstrap.")
def main(folders: tuple[Path, ...], out: Path, title: str, faults: int, resamples: int) -> None:
    """Write the report of the evaluated runs RUN... side by side."""
    path = write_report(name_runs([read_run(folder) for folder in folders]), out, title, faults, resamples)
    console.print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
