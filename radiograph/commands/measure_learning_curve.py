"""Train on growing fractions of the training radiographs and plot AP against their number."""

from pathlib import Path

import click
from rich.table import Table

from data.console import console
from data.errors import InputError
from radiograph.command import PATH, Command, cfg_option, max_pixels_option, set_option
from radiograph.task_options import training_options, training_tasks


def parse_fractions(text: str) -> list[float]:
    """Return the numbers of a comma-separated list. Raises InputError for anything else."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--fractions {text!r}: give numbers separated by commas, such as 0.1,0.25,0.5,1") from None


@click.command(cls=Command)
@cfg_option(required=True)
@click.option(
    "--fractions", default="0.1,0.25,0.5,1", help="Fractions of the training radiographs, separated by commas."
)
@set_option()
@click.option("--out", type=PATH, help="Folder; <output>/<config>/learning_curve by default.")
@training_options
@max_pixels_option
def main(
    cfg: str,
    fractions: str,
    overrides: tuple[str, ...],
    out: Path | None,
    workers: int | None,
    cluster: str | None,
) -> None:
    """Measure accuracy against the number of radiographs.

    Trains once for each fraction, for the same number of steps. A second call continues after the finished ones.
    """
    from detectors.config.files import read_config
    from detectors.evaluation.metrics import display, title_of
    from detectors.experiments.learning_curve import CURVES, learning_curve
    from detectors.training import train

    config = read_config(cfg, overrides)
    folder = out or config.output / config.name / "learning_curve"
    points = learning_curve(config, parse_fractions(fractions), folder, train, training_tasks(workers, cluster))
    table = Table("fraction", "radiographs", "objects", *(title_of(name) for name in CURVES), title=config.name)
    for point in points:
        row = [point["fraction"], point["images"], point["objects"]]
        table.add_row(*(f"{value:g}" for value in row), *(display(point[name]) for name in CURVES))
    console.print(table)
    console.print(f"wrote {folder / 'learning_curve.json'} and {folder / 'learning_curve.png'}")
