"""Label the pores of volumes by thresholds, or by the map of an autoencoder."""

from pathlib import Path

import click

from data.console import console
from radiograph.command import PATH, Command


@click.command(cls=Command)
@click.argument("volume", type=PATH)
@click.option("--run", type=PATH, metavar="RUN", help="Run of an autoencoder: labels from its post-processed map.")
@click.option("--otsu", is_flag=True, help="Otsu's thresholds and flood fill (Algorithm 1 of Iuso et al. 2024).")
@click.option(
    "--otsu-fixed", is_flag=True, help="The same without its two traps: one threshold, border, shell left out."
)
@click.option("--threshold", type=click.FloatRange(0, 1), help="Score of a pore voxel; 0.3 by default. With --run.")
@click.option("--voxel-mm", type=click.FloatRange(0, min_open=True), help="Side of a voxel, in place of the file's.")
@click.option("--air", type=float, help="Gray value of air; by default that of the histogram.")
@click.option("--metal", type=float, help="Gray value of metal; by default that of the histogram.")
@click.option("--out", type=PATH, default=Path("annotation"), help="Folder for the labels.")
def main(
    volume: Path,
    run: Path | None,
    otsu: bool,
    otsu_fixed: bool,
    threshold: float | None,
    voxel_mm: float | None,
    air: float | None,
    metal: float | None,
    out: Path,
) -> None:
    """Label the pores of volumes without a person.

    VOLUME is a volume, or a volumes.json that names several. Writes a label volume for each (0 air, 1 material, 2
    pore), volumes.json to train on (data.train.volumes=OUT), and a picture.
    """
    if (run is not None) + otsu + otsu_fixed != 1:
        raise click.UsageError("give one of --run RUN, --otsu and --otsu-fixed")
    if threshold is not None and run is None:
        raise click.UsageError("--threshold goes with --run: Otsu's thresholds are those of the gray values")
    from dataclasses import replace

    from data.coco_check import load_json
    from data.errors import InputError
    from data.volumes.gray_levels import GrayLevels
    from data.volumes.manifest import read_manifest
    from data.volumes.otsu import FIXED, OtsuRule
    from detectors.experiments.self_labels import MARK, annotate_volumes, label_with_run, label_with_thresholds

    if (air is None) != (metal is None):
        raise InputError("give both gray values, --air and --metal, or neither")
    entries = read_manifest(volume)
    if voxel_mm is not None:
        entries = [replace(entry, voxel_mm=(voxel_mm,) * 3) for entry in entries]
    if run is not None:
        labeler = label_with_run(run, MARK if threshold is None else threshold)
    else:
        labeler = label_with_thresholds(FIXED if otsu_fixed else OtsuRule())
    levels = None if air is None or metal is None else GrayLevels(air, metal)
    manifest = annotate_volumes(entries, labeler, out, levels)
    for entry in load_json(manifest)["volumes"]:
        share = 100 * entry["pore_voxels"] / max(entry["part_voxels"], 1)
        console.print(f"{entry['labels']}: {entry['pore_voxels']} pore voxels, {share:.4f} % of the part", markup=False)
    console.print(f"wrote {manifest}", markup=False)
