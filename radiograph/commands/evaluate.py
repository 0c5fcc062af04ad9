"""Evaluate a trained model on radiographs with known defects."""

from pathlib import Path

import click

from data.console import console
from radiograph.command import PATH, Command, bit_depth_option, cfg_option, max_pixels_option, run_option, set_option


@click.command(cls=Command)
@run_option("Folder of a run: its best weights and its test data.", required=False)
@cfg_option()
@click.option("--weights", type=PATH, help="A checkpoint that fits --cfg, instead of a run.")
@click.option(
    "--data", "json_file", type=PATH, help="COCO file, patch file, folder of masks or volumes.json to evaluate on."
)
@click.option("--images", type=PATH, help="Folder of its radiographs; the file's own by default.")
@set_option("Override a field of --cfg; may be repeated.")
@click.option("--out", type=PATH, help="Output folder; inside the run by default.")
@bit_depth_option
@max_pixels_option
def main(
    run: Path | None,
    cfg: str | None,
    weights: Path | None,
    json_file: Path | None,
    images: Path | None,
    overrides: tuple[str, ...],
    out: Path | None,
    bit_depth: int | None,
) -> None:
    """Evaluate a run on its test data or on other data.

    Writes metrics, detections, curves and examples into a folder.
    """
    from detectors.config.files import read_config
    from detectors.config.window import with_bit_depth
    from detectors.evaluation.table import metrics_table
    from detectors.runs.reevaluate import evaluate_run, evaluate_weights

    if run is not None and cfg is not None:
        raise click.UsageError("give --run or --cfg, not both")
    if run is not None and (overrides or weights):
        raise click.UsageError("--set and --weights go with --cfg, not with --run")
    if images is not None and json_file is None:
        raise click.UsageError("--images goes with --data")
    if run is not None:
        folder, metrics = evaluate_run(run, json_file, images, out, bit_depth)
    elif cfg is not None:
        folder, metrics = evaluate_weights(
            with_bit_depth(read_config(cfg, overrides), bit_depth), weights, json_file, images, out
        )
    else:
        raise click.UsageError("give --run RUN, or --cfg CONFIG with --weights FILE")
    console.print(metrics_table({folder.name: metrics}))
    console.print(f"written to {folder}")
