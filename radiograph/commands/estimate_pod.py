"""Estimate a run's probability of detection by defect size, with a90/95 and its false-call rate."""

from pathlib import Path
from typing import Literal

import click

from data.console import console
from data.errors import InputError
from radiograph.command import Command, match_options, run_option


@click.command(cls=Command)
@run_option("Folder of an evaluated run, or of an evaluation.")
@click.option(
    "--threshold",
    type=float,
    help="Lowest score of a detection; by default the stored one, or that of\nthe highest F1.",
)
@click.option(
    "--by",
    type=click.Choice(["size", "length", "depth"]),
    default="size",
    help="Root of the box's area, its longer side, or the simulated depth.",
)
@click.option("--unit", type=click.Choice(["auto", "px", "mm"]), default="auto")
@click.option("--link", type=click.Choice(["logit", "probit"]), default="logit")
@click.option("--scale", type=click.Choice(["log", "linear"]), default="log")
@match_options
def main(
    run: Path,
    threshold: float | None,
    by: Literal["size", "length", "depth"],
    unit: Literal["auto", "px", "mm"],
    link: Literal["logit", "probit"],
    scale: Literal["log", "linear"],
    iou: float,
    center: bool,
) -> None:
    """Estimate the probability of detection by defect size.

    Writes pod.json and plots/pod.png into the run's folder.
    """
    from detectors.evaluation.hit_miss import compare_fits, hit_miss, pod_record, pod_table, write_pod
    from detectors.evaluation.metrics import display
    from detectors.evaluation.pod import fit_pod
    from detectors.evaluation.runs import read_run
    from detectors.evaluation.threshold import reporting_threshold

    evaluated = read_run(run)
    if threshold is None:
        threshold, _ = reporting_threshold(evaluated)
    if threshold is None:
        raise InputError(f"{run}: no threshold is stored, and none can be derived; give one with --threshold")
    matches = evaluated.overlaps.match(iou, "center" if center else "iou")
    data = hit_miss(matches, threshold, by, unit)
    fit = fit_pod(data.size, data.hit, link, scale)
    record = pod_record(fit, data, matches, threshold)
    paths = write_pod(run, data, fit, record)
    console.print(pod_table(record))
    deviances = ", ".join(f"{name} {display(value, 1)}" for name, value in compare_fits(data).items())
    console.print(f"deviance (lowest is best): {deviances}")
    for warning in record["warnings"]:
        console.print(f"warning: {warning}", style="yellow")
    console.print(f"wrote {paths[0]} and {paths[1]}")
