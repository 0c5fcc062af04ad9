r"""Test a detector on series of radiographs, each of another part, and say how well it generalizes.

A series is a folder in GDXray's layout (`C0010/C0010_0001.png` ... and `C0010/ground_truth.txt`); `FOLDER:59-72` takes
these numbers alone. A detector of its own for a series is named by the series' folder:

    radiograph evaluate-series --protocol onboarded --run C0010=runs/a --run C0015=runs/b --out OUT \
        Castings/C0010 Castings/C0015
"""

from pathlib import Path
from typing import Literal

import click

from data.console import console
from radiograph.command import PATH, Command, max_pixels_option


@click.command(cls=Command)
@click.argument("folders", metavar="SERIES...", nargs=-1, required=True)
@click.option(
    "--run",
    "runs",
    multiple=True,
    required=True,
    metavar="[SERIES=]RUN",
    help="Folder of a run or a checkpoint; with SERIES= for that series alone. May be repeated.",
)
@click.option(
    "--protocol",
    type=click.Choice(["unseen", "onboarded"]),
    required=True,
    help="unseen: no radiograph of the series was in the training; onboarded: some were, without annotations.",
)
@click.option("--out", type=PATH, required=True, help="Folder for the results.")
@click.option("--resamples", type=click.IntRange(1), default=1000, help="Bootstrap resamples.")
@max_pixels_option
def main(
    folders: tuple[str, ...], runs: tuple[str, ...], protocol: Literal["unseen", "onboarded"], out: Path, resamples: int
) -> None:
    """Test a detector on series of other parts.

    SERIES are folders in GDXray's layout (FOLDER:59-72 for some of the numbers). Writes metrics by series, their mean
    and all radiographs pooled, with 95 % confidence intervals.
    """
    from rich.table import Table

    from detectors.evaluation.metrics import METRICS, display
    from detectors.experiments.generalization import (
        COMPARED,
        evaluate_series,
        parse_runs,
        parse_series,
    )

    series = [parse_series(text) for text in folders]
    outcome = evaluate_series(parse_runs(runs, series), series, protocol, out, resamples)
    table = Table("series", "images", "objects", *(METRICS[name].heading for name in COMPARED), title=protocol)
    counted = ("images", "objects")
    for row in outcome.rows:
        table.add_row(row["series"], *(display(row[name]) for name in (*counted, *COMPARED)))
    table.add_section()
    for which, values in (("mean", outcome.mean), ("pooled", outcome.pooled)):
        cells = [display(values[name]) for name in COMPARED]
        for place, bounds in enumerate(outcome.intervals[which][name] for name in COMPARED):
            cells[place] += f"\n{bounds[0]:.2f}-{bounds[1]:.2f}" if bounds else ""
        table.add_row(which, *(display(outcome.pooled[name]) for name in counted), *cells)
    console.print(table)
    console.print("AP: average precision; s@n: sensitivity by center point at n false calls an image;")
    console.print("mean: of the series; below: 95 % bootstrap intervals that draw whole series")
    for note in outcome.notes:
        console.print(f"not checked: {note}", style="yellow")
    console.print(f"wrote {out}")
