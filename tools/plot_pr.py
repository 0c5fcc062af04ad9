#!/usr/bin/env python3
"""Draw the precision-recall curves of several evaluated runs in one figure."""

from pathlib import Path

import click
from rich.table import Table

from data.console import Command, console
from detectors.evaluation.curves import precision_recall
from detectors.evaluation.metrics import display
from detectors.evaluation.plots import plot_precision_recall
from detectors.evaluation.runs import name_runs, read_run


@click.command(cls=Command)
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", default="pr_curve.png", show_default=True, type=click.Path(path_type=Path),
              help="Figure to write: PNG, SVG or PDF.")  # fmt: skip
@click.option("--iou", default=0.5, show_default=True, help="IoU at which a detection counts as a hit.")
@click.option("--center", is_flag=True, help="Count a hit by the detection's center instead of by IoU.")
def main(folders: tuple[Path, ...], out: Path, iou: float, center: bool) -> None:
    """Draw the precision-recall curves of the evaluated runs RUN... in one figure."""
    criterion = "center" if center else "iou"
    runs = name_runs([read_run(folder) for folder in folders])
    curves = {name: precision_recall(run.overlaps.match(iou, criterion)) for name, run in runs.items()}
    by = "by center hit" if center else f"at IoU {iou:g}"
    plot_precision_recall(curves, out, title=f"Precision and recall {by}")
    table = Table("run", "AP, 101 points", "AP, all points", "AP, 11 points", title=f"Average precision {by}")
    for name, curve in curves.items():
        table.add_row(name, display(curve.ap), display(curve.ap_all_points), display(curve.ap_11_points))
    console.print(table)
    console.print(f"wrote {out}")


if __name__ == "__main__":
    main()
