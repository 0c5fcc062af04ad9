"""Choose the score at which a run reports defects, and store it with the run."""

from pathlib import Path

import click
from rich.table import Table

from data.console import console
from radiograph.command import PATH, Command, match_options, renamed_option, run_option


@click.command(cls=Command)
@run_option()
@renamed_option(
    "--evaluation",
    "--on",
    type=PATH,
    help="Folder of an evaluation on validation data; by default the run's own evaluation.",
)
@click.option("--recall", type=float, help="Recall to reach, such as 0.9.")
@click.option("--false-calls", type=float, help="Most false calls per image, such as 0.5.")
@renamed_option(
    "--conservative",
    "--safe",
    is_flag=True,
    help="Meet the target by its one-sided 95 % bound, not by the estimate alone.",
)
@match_options
def main(
    run: Path,
    evaluation: Path | None,
    recall: float | None,
    false_calls: float | None,
    conservative: bool,
    iou: float,
    center: bool,
) -> None:
    """Choose the score threshold of a run and store it.

    The target is a recall or a false-call rate; without one, the highest F1. Choose on validation data, not on the
    test data that the run is evaluated on.
    """
    from detectors.evaluation.metrics import display
    from detectors.evaluation.runs import read_run
    from detectors.evaluation.threshold import choose_threshold, write_threshold

    chosen_on = evaluation or run
    matches = read_run(chosen_on).overlaps.match(iou, "center" if center else "iou")
    choice = choose_threshold(matches, recall, false_calls, conservative)
    table = Table("metric", "value", "one-sided 95 % bounds", title=f"threshold {choice['threshold']:.4f}")
    for name, bounds in (("recall", "recall_bounds"), ("false_calls_per_image", "false_calls_bounds")):
        low, high = choice[bounds] or (None, None)
        table.add_row(name.replace("_", " "), display(choice[name]), f"{display(low)} to {display(high)}")
    console.print(table)
    console.print(f"wrote {write_threshold(run, choice, chosen_on)}")
