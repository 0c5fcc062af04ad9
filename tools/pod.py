#!/usr/bin/env python3
"""Estimate a run's probability of detection by defect size, with a90/95 and its false-call rate."""

from pathlib import Path

import click

from data.console import Command, console
from data.errors import InputError
from detectors.evaluation.hit_miss import compare_fits, hit_miss, pod_record, pod_table, write_pod
from detectors.evaluation.metrics import display
from detectors.evaluation.pod import fit_pod
from detectors.evaluation.runs import read_run
from detectors.evaluation.threshold import reporting_threshold


@click.command(cls=Command)
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--threshold", type=float, help="Lowest score reported; by default the stored one or the best F1's.")
@click.option("--by", type=click.Choice(["size", "length", "depth"]), default="size", show_default=True,
              help="Root of the box's area, its longer side, or the simulated depth.")  # fmt: skip
@click.option("--unit", type=click.Choice(["auto", "px", "mm"]), default="auto", show_default=True)
@click.option("--link", type=click.Choice(["logit", "probit"]), default="logit", show_default=True)
@click.option("--scale", type=click.Choice(["log", "linear"]), default="log", show_default=True)
@click.option("--iou", default=0.5, show_default=True, help="IoU at which a detection counts as a hit.")
@click.option("--center", is_flag=True, help="Count a hit by the detection's center instead of by IoU.")
def main(
    folder: Path,
    threshold: float | None,
    by: str,
    unit: str,
    link: str,
    scale: str,
    iou: float,
    center: bool,
) -> None:
    """Fit POD against size to the evaluated RUN; write pod.json and plots/pod.png into it."""
    run = read_run(folder)
    if threshold is None:
        threshold, _ = reporting_threshold(run)
    if threshold is None:
        raise InputError(f"{folder}: no threshold is stored or any good; give one with --threshold")
    matches = run.overlaps.match(iou, "center" if center else "iou")
    data = hit_miss(matches, threshold, by, unit)
    fit = fit_pod(data.size, data.hit, link, scale)
    record = pod_record(fit, data, matches, threshold)
    paths = write_pod(folder, data, fit, record)
    console.print(pod_table(record))
    deviances = ", ".join(f"{name} {display(value, 1)}" for name, value in compare_fits(data).items())
    console.print(f"deviance (least is best): {deviances}")
    for warning in record["warnings"]:
        console.print(f"warning: {warning}", style="yellow")
    console.print(f"wrote {paths[0]} and {paths[1]}")


if __name__ == "__main__":
    main()
