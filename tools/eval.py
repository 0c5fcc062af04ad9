#!/usr/bin/env python3
"""Judge a trained detector on radiographs with known defects."""

from pathlib import Path

import click

from data.console import Command, console
from detectors.config.files import read_config
from detectors.evaluation.table import metrics_table
from detectors.runs.reevaluate import evaluate_run, evaluate_weights


@click.command(cls=Command)
@click.option("--run", type=click.Path(path_type=Path), help="Folder of a run: its best weights and its data.")
@click.option("--cfg", help="A configuration, instead of a run; needs --weights.")
@click.option("--weights", type=click.Path(path_type=Path), help="A checkpoint that fits --cfg.")
@click.option("--data", "json_file", type=click.Path(path_type=Path), help="COCO file, patches, or folder of masks.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder of its radiographs; the file's own by default.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Override a field of --cfg.")
@click.option("--out", type=click.Path(path_type=Path), help="Output folder; inside the run by default.")
def main(
    run: Path | None,
    cfg: str | None,
    weights: Path | None,
    json_file: Path | None,
    images: Path | None,
    overrides: tuple[str, ...],
    out: Path | None,
) -> None:
    """Write mAP at IoU 0.5 and the other figures, the detections, curves and examples."""
    if (run is None) == (cfg is None) or (cfg is not None and weights is None):
        raise click.UsageError("give --run RUN, or --cfg C with --weights W")
    if run is not None and (overrides or weights):
        raise click.UsageError("--set and --weights go with --cfg, not with --run")
    if images is not None and json_file is None:
        raise click.UsageError("--images goes with --data")
    if run is not None:
        folder, metrics = evaluate_run(run, json_file, images, out)
    else:
        folder, metrics = evaluate_weights(read_config(cfg, overrides), weights, json_file, images, out)
    console.print(metrics_table({folder.name: metrics}))
    console.print(f"written to {folder}")


if __name__ == "__main__":
    main()
