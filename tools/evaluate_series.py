#!/usr/bin/env python3
r"""Test a detector on series of radiographs, each of another part, and say how well it generalizes.

A series is a folder in GDXray's layout (`C0010/C0010_0001.png` ... and `C0010/ground_truth.txt`); `FOLDER:59-72` takes
these numbers alone. `--protocol unseen` is for a detector that has seen no radiograph of the tested series,
`onboarded` for one that was trained on their defect-free or unlabeled radiographs. A detector of its own for a series
is named by its folder:

    tools/evaluate_series.py --protocol onboarded --run C0010=runs/a --run C0015=runs/b Castings/C0010 Castings/C0015
"""

from pathlib import Path
from typing import cast

import click

from data.console import Command, console
from detectors.evaluation.metrics import METRICS, display
from detectors.evaluation.table import add_row, text_table
from detectors.experiments.generalization import (
    COMPARED,
    Protocol,
    evaluate_series,
    parse_runs,
    parse_series,
    table_rows,
)


@click.command(cls=Command)
@click.argument("folders", metavar="SERIES...", nargs=-1, required=True)
@click.option("--run", "runs", multiple=True, required=True, metavar="[SERIES=]RUN",
              help="Folder of a run or a checkpoint; with SERIES= for one series alone; may be repeated.")  # fmt: skip
@click.option("--protocol", type=click.Choice(["unseen", "onboarded"]), required=True,
              help="Whether radiographs of the series, without annotations, were in the training.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the results.")
@click.option("--resamples", type=click.IntRange(1), default=1000, show_default=True, help="Draws of the bootstrap.")
def main(folders: tuple[str, ...], runs: tuple[str, ...], protocol: str, out: Path, resamples: int) -> None:
    """Test on SERIES...: metrics by series, their mean, and all radiographs pooled, with 95 % bands."""
    series = [parse_series(text) for text in folders]
    outcome = evaluate_series(parse_runs(runs, series), series, cast(Protocol, protocol), out, resamples)
    table = text_table("series", "images", "objects", *(METRICS[name].heading for name in COMPARED), title=protocol)
    for row in table_rows(outcome):
        add_row(table, *(display(value) if not isinstance(value, str) else value for value in row))
    console.print(table)
    console.print("AP: average precision; s@n: sensitivity by center point at n false calls an image")
    for note in outcome.notes:
        console.print(f"not checked: {note}", style="yellow", markup=False)
    console.print(f"wrote {out}", markup=False)


if __name__ == "__main__":
    main()
