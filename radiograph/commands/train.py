"""Train a detector, validate it while training, and evaluate its best weights at the end."""

from pathlib import Path

import click

from data.console import console
from radiograph.command import PATH, Command, cfg_option, max_pixels_option, set_option


@click.command(cls=Command)
@cfg_option()
@set_option()
@click.option("--resume", type=PATH, metavar="RUN", help="Continue an interrupted run.")
@max_pixels_option
def main(cfg: str | None, overrides: tuple[str, ...], resume: Path | None) -> None:
    """Train the model that a configuration describes, and evaluate it.

    The run's folder, printed at the end, holds config.yaml, best.ckpt, last.ckpt, log.csv, metrics.json,
    detections.json, plots/ and TensorBoard events. Ctrl-C stops; --resume continues after the last complete epoch.
    """
    from detectors.config.files import read_config
    from detectors.evaluation.table import metrics_table
    from detectors.training import train

    if (cfg is None) == (resume is None):
        raise click.UsageError("give --cfg for a new run, or --resume for an interrupted one")
    config = read_config(cfg or Path(resume or "") / "config.yaml", overrides)
    _, metrics = train(config, resume)
    if metrics is not None:
        console.print(metrics_table({config.name: metrics}))
