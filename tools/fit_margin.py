#!/usr/bin/env python3
"""Measure how much looser the true boxes of an evaluation are drawn than a detector draws its own."""

from pathlib import Path

import click

from data.console import Command, console
from detectors.evaluation.box_padding import fit_box_margin
from detectors.evaluation.runs import read_run


@click.command(cls=Command)
@click.argument("evaluation", type=click.Path(path_type=Path))
@click.option("--boxes", type=click.IntRange(1), default=10, show_default=True, help="True boxes to compare.")
def main(evaluation: Path, boxes: int) -> None:
    """Compare the first BOXES true boxes that are hit with the detections of EVALUATION, the folder of one.

    Evaluate on training or validation radiographs, not on those that the detector is judged by. A detector that was
    trained on simulated boxes grown by box_margin fits the annotators' with box_margin plus what this prints.
    """
    found = fit_box_margin(read_run(evaluation).overlaps, boxes)
    low, high = found.quartiles
    console.print(
        f"true boxes lie {found.margin:+.1f} px a side outside of the detections "
        f"(quartiles {low:+.1f} to {high:+.1f}, {found.boxes} boxes): add it to box_margin"
    )


if __name__ == "__main__":
    main()
