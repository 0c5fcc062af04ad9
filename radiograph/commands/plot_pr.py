"""Plot the precision-recall curves of several evaluated runs in one figure."""

from pathlib import Path
from typing import Literal

import click
from rich.table import Table

from data.console import console
from radiograph.command import PATH, Command, match_options, run_option


@click.command(cls=Command)
@run_option("Folder of an evaluated run, or of an evaluation.", multiple=True)
@click.option("--out", default="pr_curve.png", type=PATH, help="Figure to write: PNG, SVG or PDF.")
@match_options
def main(runs: tuple[Path, ...], out: Path, iou: float, center: bool) -> None:
    """Plot precision-recall curves of several runs."""
    from detectors.evaluation.curves import precision_recall
    from detectors.evaluation.metrics import display
    from detectors.evaluation.plots import plot_precision_recall
    from detectors.evaluation.runs import name_runs, read_run

    criterion: Literal["iou", "center"] = "center" if center else "iou"
    named = name_runs([read_run(run) for run in runs])
    curves = {name: precision_recall(run.overlaps.match(iou, criterion)) for name, run in named.items()}
    by = "by center point" if center else f"at IoU {iou:g}"
    plot_precision_recall(curves, out, title=f"Precision and recall {by}")
    table = Table("run", "AP, 101 points", "AP, all points", "AP, 11 points", title=f"Average precision {by}")
    for name, curve in curves.items():
        table.add_row(name, display(curve.ap), display(curve.ap_all_points), display(curve.ap_11_points))
    console.print(table)
    console.print(f"wrote {out}")
