"""Train a network on labels that an autoencoder, or thresholds, have made."""

from pathlib import Path

import click

from data.console import console
from radiograph.command import PATH, Command, cfg_option, set_option


@click.command(cls=Command)
@cfg_option(default="ct_unet")
@set_option()
@click.option("--run", type=PATH, metavar="RUN", help="Run of an autoencoder that labels the volumes.")
@click.option("--autoencoder", metavar="CONFIG", help="Configuration to train that autoencoder with; default ct_vae.")
@click.option("--otsu", is_flag=True, help="Labels by Otsu's thresholds instead (Algorithm 1 of Iuso et al. 2024).")
@click.option("--otsu-fixed", is_flag=True, help="The same without its two traps.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Score of a pore voxel in the labels; default 0.3.")
@click.option("--out", type=PATH, default=Path("self_labels"), help="Folder for the labels.")
def main(
    cfg: str,
    overrides: tuple[str, ...],
    run: Path | None,
    autoencoder: str | None,
    otsu: bool,
    otsu_fixed: bool,
    threshold: float | None,
    out: Path,
) -> None:
    """Train on volumes that nobody has labeled.

    Trains an autoencoder on the training volumes of --cfg, labels those and the validation volumes by its
    post-processed map, trains --cfg on these labels, and evaluates it on the test volumes with their own labels.
    """
    if (run is not None) + (autoencoder is not None) + otsu + otsu_fixed > 1:
        raise click.UsageError("give one of --run, --autoencoder, --otsu and --otsu-fixed")
    if threshold is not None and (otsu or otsu_fixed):
        raise click.UsageError("--threshold goes with an autoencoder: Otsu's thresholds are those of the gray values")
    from data.errors import InputError
    from data.volumes.manifest import MANIFEST
    from data.volumes.otsu import FIXED, OtsuRule
    from detectors.config.files import read_config
    from detectors.evaluation.table import metrics_table
    from detectors.experiments.self_labels import (
        MARK,
        autoencoder_for,
        label_with_run,
        label_with_thresholds,
        train_on_self_labels,
    )
    from detectors.training import train

    config = read_config(cfg, overrides)
    if otsu or otsu_fixed:
        labeler = label_with_thresholds(FIXED if otsu_fixed else OtsuRule())
    else:
        if run is None:
            if (out / "train" / MANIFEST).exists():  # before the training, and not after
                raise InputError(f"{out}: has labels already; choose another --out, or give the --run that made them")
            run, _ = train(autoencoder_for(config, read_config(autoencoder or "ct_vae", ())))
        labeler = label_with_run(run, MARK if threshold is None else threshold)
    _, metrics = train_on_self_labels(config, labeler, out, train)
    console.print(f"labels: {out}", markup=False)
    if metrics is not None:
        console.print(metrics_table({config.name: metrics}))
