"""Estimate the padding that annotators leave around defects."""

from pathlib import Path

import click

from data.console import console
from radiograph.command import Command, run_option


@click.command(cls=Command)
@run_option("Folder of an evaluated run, or of an evaluation.")
@click.option("--boxes", type=click.IntRange(1), default=10, help="Ground-truth boxes to compare.")
def main(run: Path, boxes: int) -> None:
    """Estimate the padding annotators leave around defects.

    Compares the first BOXES ground-truth boxes that are hit with the detections. Use an evaluation on training or
    validation radiographs, not on those that the detector is evaluated on. A detector trained on simulated boxes with
    box_padding fits the annotators' boxes with box_padding plus the value printed here.
    """
    from detectors.evaluation.box_padding import estimate_box_padding
    from detectors.evaluation.runs import read_run

    found = estimate_box_padding(read_run(run).overlaps, boxes)
    low, high = found.quartiles
    console.print(
        f"true boxes lie {found.padding:+.1f} px a side outside of the detections "
        f"(quartiles {low:+.1f} to {high:+.1f}, {found.boxes} boxes): add it to box_padding"
    )
