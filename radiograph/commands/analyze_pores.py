"""Measure the pores of a computed tomography volume."""

from pathlib import Path

import click

from data.console import console
from radiograph.command import PATH, Command

UNIT = "in mm, or in voxels without a voxel size"


@click.command(cls=Command)
@click.argument("volume", type=PATH)
@click.option("--run", type=PATH, metavar="RUN", help="Folder of a run of volumes, or a checkpoint.")
@click.option("--otsu", is_flag=True, help="Two thresholds instead of a run (Algorithm 1 of Iuso et al. 2024).")
@click.option(
    "--otsu-fixed", is_flag=True, help="The same without its two traps: one threshold, border, shell left out."
)
@click.option("--out", type=PATH, default=Path("pores"), help="Folder for the results.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Score of a pore voxel; by default that of the run.")
@click.option(
    "--network-only",
    is_flag=True,
    help="Take the run at its word; by default, air that metal encloses is a pore, and air around the part is none.",
)
@click.option("--voxel-mm", type=click.FloatRange(0, min_open=True), help="Side of a voxel, in place of the file's.")
@click.option("--air", type=float, help="Gray value of air; by default that of the histogram.")
@click.option("--metal", type=float, help="Gray value of metal; by default that of the histogram.")
@click.option(
    "--background",
    type=click.Choice(["border", "corner", "none"]),
    default="border",
    help="What is outside: low regions at the border, at the first voxel, or nothing (a volume cut out of a part).",
)
@click.option("--min-voxels", type=click.IntRange(1), default=4, help="Smaller pores are left out.")
@click.option("--reference", type=click.FloatRange(0, min_open=True), help=f"Side of the reference area, {UNIT}.")
@click.option("--max-porosity", type=click.FloatRange(0), help="Limit: porosity of the part in percent.")
@click.option("--max-section", type=click.FloatRange(0), help="Limit: porosity of the worst reference area in percent.")
@click.option("--max-diameter", type=click.FloatRange(0), help=f"Limit: largest equivalent diameter, {UNIT}.")
@click.option("--max-count", type=click.IntRange(0), help="Limit: number of pores.")
@click.option("--min-surface-gap", type=click.FloatRange(0), help=f"Limit: metal between pore and surface, {UNIT}.")
@click.option("--min-pore-gap", type=click.FloatRange(0), help=f"Limit: metal between two pores, {UNIT}.")
def main(
    volume: Path,
    run: Path | None,
    otsu: bool,
    otsu_fixed: bool,
    out: Path,
    threshold: float | None,
    network_only: bool,
    voxel_mm: float | None,
    air: float | None,
    metal: float | None,
    background: str,
    min_voxels: int,
    reference: float | None,
    max_porosity: float | None,
    max_section: float | None,
    max_diameter: float | None,
    max_count: int | None,
    min_surface_gap: float | None,
    min_pore_gap: float | None,
) -> None:
    """Measure the pores of a computed tomography volume.

    VOLUME is a multipage TIFF, a folder of slices or of DICOM files, RAW with a sidecar, NPY, HDF5 or Zarr. Writes a
    table of pores, the porosity, sections, a label volume and a page with pictures. Limits are yours: no norm is
    claimed to be met. After Ctrl-C the same command goes on.
    """
    if (run is not None) + otsu + otsu_fixed != 1:
        raise click.UsageError("give one of --run RUN, --otsu and --otsu-fixed")
    from typing import cast

    from data.volumes.components import Background
    from data.volumes.otsu import FIXED, OtsuRule
    from data.volumes.reading import read_volume
    from detectors.experiments.pore_analysis import (
        Limits,
        analyze_pores,
        find_part,
        gray_levels_of,
        map_with_run,
        map_with_thresholds,
    )
    from detectors.experiments.pore_analysis_page import write_page

    scan = read_volume(volume, voxel_mm)
    levels = gray_levels_of(scan, air, metal)
    outside = cast(Background, background)
    part = find_part(scan, levels, out, outside, reference)
    if run is not None:
        scores, mark, data = map_with_run(run, scan, levels, out, threshold)
        closed_air, outer_air = data.closed_air and not network_only, data.drops_outer_air and not network_only
        method = f"run {run}"
    else:
        rule = (FIXED if otsu_fixed else OtsuRule()).model_copy(
            update={"background": outside if otsu_fixed or background == "none" else "corner"}
        )
        scores, mark, closed_air, outer_air = map_with_thresholds(scan, levels, out, rule), 0.5, False, False
        method = "thresholds (fixed rule)" if otsu_fixed else "thresholds (Algorithm 1)"
    limits = Limits(max_porosity, max_section, max_diameter, max_count, min_surface_gap, min_pore_gap)
    found = analyze_pores(
        scan, levels, part, scores, mark, out, least_voxels=min_voxels, reference=reference, limits=limits,
        method=method, closed_air=closed_air, outer_air=outer_air,
    )  # fmt: skip
    page = write_page(found, scan, levels, read_volume(out / "labels.tif").values, out)
    summary = found.summary
    console.print(
        f"{summary['pores']} pores ({summary['open_pores']} open), porosity {summary['porosity_percent']:.4f} %"
    )
    for row in summary["limits"]:
        words = "within" if row["kept"] else "NOT within"
        console.print(f"{row['limit']}: {row['found']} is {words} your limit of {row['allowed']}")
    console.print(f"wrote {page}")
