#!/usr/bin/env python3
"""Train a detector on growing parts of its training radiographs, and draw AP against their number."""

from pathlib import Path

import click
from rich.table import Table

from data.console import Command, console
from data.errors import InputError
from detectors.config.files import read_config
from detectors.evaluation.metrics import display, title_of
from detectors.experiments.learning_curve import CURVES, learning_curve
from detectors.training import train


def parse_fractions(text: str) -> list[float]:
    """Return the numbers of a comma-separated list. Raises InputError for anything else."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--fractions {text!r}: not numbers with commas between, such as 0.1,0.25,0.5,1") from None


@click.command(cls=Command)
@click.option("--cfg", required=True, help="Name of a configuration in configs/, or a path.")
@click.option("--fractions", default="0.1,0.25,0.5,1", show_default=True, help="Shares of the training radiographs.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Override a field; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder; <output>/<config>/learning_curve by default.")
def main(cfg: str, fractions: str, overrides: tuple[str, ...], out: Path | None) -> None:
    """Train with each fraction for the same number of steps; a second call goes on after the finished ones."""
    config = read_config(cfg, overrides)
    folder = out or config.output / config.name / "learning_curve"
    points = learning_curve(config, parse_fractions(fractions), folder, train)
    table = Table("fraction", "radiographs", "objects", *(title_of(name) for name in CURVES), title=config.name)
    for point in points:
        row = [point["fraction"], point["images"], point["objects"]]
        table.add_row(*(f"{value:g}" for value in row), *(display(point[name]) for name in CURVES))
    console.print(table)
    console.print(f"wrote {folder / 'learning_curve.json'} and {folder / 'learning_curve.png'}")


if __name__ == "__main__":
    main()
