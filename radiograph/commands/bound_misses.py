"""Bound the share of defects that a run misses."""

from pathlib import Path

import click

from data.console import console
from radiograph.command import PATH, Command, run_option


@click.command(cls=Command)
@run_option("Folder of an evaluated run.")
@click.option("--evaluation", type=PATH, help="Evaluation to calibrate on; by default the run's own.")
@click.option("--alpha", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.1,
              help="Largest expected share of missed defects.")  # fmt: skip
@click.option("--set-threshold", is_flag=True, help="Make the threshold found the one that the run reports at.")
def main(run: Path, evaluation: Path | None, alpha: float, set_threshold: bool) -> None:
    """Bound the share of defects that are missed.

    Finds the highest threshold at which the expected share of missed defects of a radiograph is at most ALPHA
    (conformal risk control), and whether scores are probabilities. The bound holds for radiographs that are drawn like
    those of the evaluation, and for no other part. It is kept with the run; prediction then says it.
    """
    from detectors.decisions.bounds import bound_run, write_bounds
    from detectors.evaluation.curves import score_curve
    from detectors.evaluation.runs import read_run
    from detectors.evaluation.threshold import write_threshold

    evaluated = read_run(evaluation or run)
    bound, calibration, refused = bound_run(evaluated, alpha)
    write_bounds(run, bound, calibration, evaluated)
    curve = score_curve(evaluated.overlaps.match(criterion="center"))
    calls = float(curve.false_calls[curve.threshold >= bound.threshold].max(initial=0))
    if set_threshold:
        write_threshold(
            run, {"threshold": bound.threshold, "goal": {"missed": alpha}, "criterion": "center",
                  "false_calls_per_image": calls}, evaluated.folder
        )  # fmt: skip
    console.print(
        f"threshold {bound.threshold:.4f}: at most {alpha:.0%} of a radiograph's defects are expected to be missed "
        f"({bound.share:.1%} in the mean of {bound.radiographs} radiographs with {bound.defects} defects), with "
        f"{calls:.2f} false calls an image"
    )
    console.print("this holds for radiographs drawn like those of the evaluation; another part is not")
    if calibration is None:
        console.print(f"not calibrated: {refused}", style="yellow")
    else:
        console.print(
            f"scores as probabilities: calibration error {calibration.before.error:.3f}, with temperature "
            f"{calibration.temperature:.2f} {calibration.after.error:.3f}"
        )
    console.print(f"wrote {run / 'misses.json'}")
