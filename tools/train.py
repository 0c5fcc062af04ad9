#!/usr/bin/env python3
"""Train a detector, validate it while training, and evaluate its best weights at the end."""

from pathlib import Path

import click

from data.console import Command, console
from detectors.config.files import read_config
from detectors.evaluation.table import metrics_table
from detectors.training import train


@click.command(cls=Command)
@click.option("--cfg", help="Name of a configuration in configs/, or a path.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Override a field; may be repeated.")
@click.option("--resume", type=click.Path(path_type=Path), help="Folder of an interrupted run to go on with.")
def main(cfg: str | None, overrides: tuple[str, ...], resume: Path | None) -> None:
    """Train the model that a configuration describes.

    The run's folder, printed at the end, holds config.yaml, best.ckpt, last.ckpt, log.csv, metrics.json,
    detections.json, plots/ and TensorBoard events. Ctrl-C stops; --resume goes on after the last whole epoch.
    """
    if (cfg is None) == (resume is None):
        raise click.UsageError("give --cfg for a new run, or --resume for an interrupted one")
    config = read_config(cfg or resume / "config.yaml", overrides)
    _, metrics = train(config, resume)
    if metrics is not None:
        console.print(metrics_table({config.name: metrics}))


if __name__ == "__main__":
    main()
