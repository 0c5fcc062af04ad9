#!/usr/bin/env python3
"""Choose the score at which a run reports defects, and store it with the run."""

from pathlib import Path

import click
from rich.table import Table

from data.console import Command, console
from detectors.evaluation.metrics import display
from detectors.evaluation.runs import read_run
from detectors.evaluation.threshold import choose_threshold, write_threshold


@click.command(cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--on", "evaluation", type=click.Path(path_type=Path),
              help="Folder of an evaluation on validation data; by default the run's own evaluation.")  # fmt: skip
@click.option("--recall", type=float, help="Share of the defects that must be found, such as 0.9.")
@click.option("--false-calls", type=float, help="False calls an image that are allowed, such as 0.5.")
@click.option("--safe", is_flag=True, help="Meet the goal by its one-sided 95 % bound, not by the estimate alone.")
@click.option("--iou", default=0.5, show_default=True, help="IoU at which a detection counts as a hit.")
@click.option("--center", is_flag=True, help="Count a hit by the detection's center instead of by IoU.")
def main(
    run: Path,
    evaluation: Path | None,
    recall: float | None,
    false_calls: float | None,
    safe: bool,
    iou: float,
    center: bool,
) -> None:
    """Choose the threshold of RUN for a recall or a false-call rate; with neither goal, for the best F1.

    Choose on validation data, not on the test data that the run is judged by.
    """
    chosen_on = evaluation or run
    matches = read_run(chosen_on).overlaps.match(iou, "center" if center else "iou")
    choice = choose_threshold(matches, recall, false_calls, safe)
    table = Table("figure", "value", "one-sided 95 % bounds", title=f"threshold {choice['threshold']:.4f}")
    for name, bounds in (("recall", "recall_bounds"), ("false_calls_per_image", "false_calls_bounds")):
        low, high = choice[bounds] or (None, None)
        table.add_row(name.replace("_", " "), display(choice[name]), f"{display(low)} to {display(high)}")
    console.print(table)
    console.print(f"wrote {write_threshold(run, choice, chosen_on)}")


if __name__ == "__main__":
    main()
