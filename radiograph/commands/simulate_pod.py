"""Estimate what a run finds in your own part, by simulated flaws."""

from pathlib import Path

import click

from data.console import console
from data.errors import InputError
from radiograph.command import PATH, Command, max_pixels_option


@click.command(cls=Command)
@click.option("--run", default=Path("casting"), type=PATH, metavar="RUN", help="A run, or packaged weights.")
@click.option("--out", type=PATH, default=Path("pod_simulated"), help="Folder for tables, plots and the page.")
@click.option("--annotations", type=PATH, metavar="FILE", help="COCO file of known defects; flaws stay clear of them.")
@click.option("--zones", type=PATH, metavar="FILE", help="COCO file of zones on one radiograph, for results by zone.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Score from which a call counts; by default the run's.")
@click.option("--copies", type=click.IntRange(1), default=2, help="Copies of each radiograph, with other flaws each.")
@click.option("--seed", type=click.IntRange(0), default=0)
@click.argument("folder", type=PATH)
@max_pixels_option
def main(
    run: Path,
    out: Path,
    annotations: Path | None,
    zones: Path | None,
    threshold: float | None,
    copies: int,
    seed: int,
    folder: Path,
) -> None:
    """Estimate the POD of simulated flaws in your part.

    FOLDER holds radiographs of the part, mostly defect-free. Pores of graded size and contrast-to-noise ratio are put
    into copies of them, in memory, and detected: POD by size and contrast, a90/95 by zone, a map of blind places.
    """
    from data.coco import CocoDataset, read_coco
    from data.masks import CATEGORIES
    from data.radiograph import find_radiographs, image_record, read_radiograph
    from detectors.decisions.part_pod import WHOLE, probe_part
    from detectors.decisions.part_pod_page import against, reached, real_surface, write_probe
    from detectors.decisions.rules import ZoneSource
    from detectors.decisions.zones import read_zones
    from detectors.runs.prediction import Predictor, default_threshold

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of the part's radiographs")
    if annotations is not None:
        dataset = read_coco(annotations)
    else:
        files = find_radiographs([folder])
        records = [image_record(k, file, str(file.relative_to(folder))) for k, file in enumerate(files, start=1)]
        dataset = CocoDataset(records, [], CATEGORIES)
    drawn = None if zones is None else read_zones(ZoneSource(file=zones.name), zones.parent)
    at = default_threshold(run) if threshold is None else threshold
    probed = probe_part(Predictor(run), dataset, folder, at, copies, drawn, seed)
    first = read_radiograph(folder / dataset.images[0]["file_name"]).display()
    for row in write_probe(probed, out, first):
        if row.zone == WHOLE:
            said = row.refused
            fit = row.fit
            if fit is not None:
                sizes = zip(("a50", "a90", "a90/95"), (fit.a50, fit.a90, fit.a90_95), strict=True)
                said = ", ".join(f"{name} {reached(fit, size)}" for name, size in sizes)
            console.print(f"against {against(row)}: {row.found} of {row.flaws} found; {said}")
    refused = len(probed.refused)
    if refused:
        console.print(f"zones were refused on {refused} of {len(dataset.images)} radiographs", style="yellow")
    real = real_surface(probed)
    if real is not None:
        console.print(
            f"{real.found.sum()} of {real.all.sum()} annotated defects are found in the radiographs as they are"
        )
    console.print("all graded flaws are simulated; real ones may be found less often")
    console.print(f"wrote {out / 'pod_simulated.html'}")
