"""Find defects in new radiographs."""

from pathlib import Path
from typing import Literal

import click
from rich.table import Table

from data.console import console
from radiograph.command import PATH, Command, bit_depth_option, max_pixels_option


@click.command(cls=Command)
@click.option(
    "--run", default=Path("casting"), type=PATH, metavar="RUN",
    help="Folder of a run or of an exported model, a checkpoint, or weights that come with the toolkit.",
)  # fmt: skip
@click.option("--out", type=PATH, default=Path("predictions"))
@click.option("--threshold", type=click.FloatRange(0, 1), help="Lowest score drawn; by default that of the run.")
@click.option("--overlays/--no-overlays", default=True, help="Draw the boxes on the radiographs.")
@click.option("--heat-maps/--no-heat-maps", default=True, help="Write heat maps, of models that have them.")
@click.option(
    "--max-detections",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Let every radiograph have N detections if its cap is lower; by default the cap of the run's configuration "
    "for 768 x 572 pixels, more on larger radiographs.",
)
@click.option(
    "--window",
    type=click.Choice(["auto", "full", "fitted", "file"]),
    help="Another gray window than the run's: which gray levels become black and white.",
)
@click.option(
    "--normal", type=PATH, metavar="FILE",
    help="What radiograph learn-normal wrote, to mark unfamiliar radiographs; by default that of the run, if any."
)  # fmt: skip
@bit_depth_option
@click.option(
    "--archive", is_flag=True,
    help="Write Parquet parts instead, of one folder, list (.txt), COCO file, shards (.parquet) or address such as "
    "s3://bucket/folder of any size; a second start goes on. Follows from all of these but a folder, from --cluster "
    "and from --workers.",
)  # fmt: skip
@click.option(
    "--cluster", metavar="auto|local|ADDRESS",
    help="Work on an archive by a Ray cluster; auto finds one, or starts one on this machine as local does.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(1, 10_000), metavar="N",
    help="Processes of an archive, or actors of a cluster; by default one for each core (or GPU, of a run).",
)  # fmt: skip
@click.option("--coco", is_flag=True, help="Write the COCO files of an archive as well.")
@click.option(
    "--images", metavar="FOLDER", help="Folder or address of a COCO file's images; by default its own folder."
)
@click.option(
    "--part-size", type=click.IntRange(1, 1_000_000), metavar="N", default=500, help="Radiographs of a Parquet part."
)
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@max_pixels_option
def main(
    run: Path,
    out: Path,
    threshold: float | None,
    overlays: bool,
    heat_maps: bool,
    max_detections: int | None,
    window: Literal["auto", "full", "fitted", "file"] | None,
    normal: Path | None,
    bit_depth: int | None,
    archive: bool,
    cluster: str | None,
    workers: int | None,
    coco: bool,
    images: str | None,
    part_size: int,
    paths: tuple[str, ...],
) -> None:
    """Find defects in new radiographs.

    Writes COCO results, overlays and heat maps for radiographs (PNG, TIFF, DICONDE) or folders of them. Of archives it
    writes Parquet parts and no pictures, in memory that does not grow with the archive.
    """
    from data.archives.archive import is_archive

    if (
        archive
        or coco
        or cluster is not None
        or workers is not None
        or images is not None
        or any(map(is_archive, paths))
    ):
        from radiograph.archive_prediction import ArchiveOptions, predict_one_archive

        options = ArchiveOptions(run, out, threshold, max_detections, window, bit_depth, cluster, workers, coco, images)
        predict_one_archive(options, paths, part_size, normal)
        return
    from data.gray_window import GrayWindow
    from data.image_quality.limits import read_limits
    from detectors.caps import cap_notice, capped_images
    from detectors.decisions.spoken import ALARMS_FILE, NORMAL_FILE, sentence_at
    from detectors.runs.predict_files import predict_files
    from detectors.runtime.opening import open_predictor

    predictor, own_threshold = open_predictor(run, GrayWindow(window) if window else None, bit_depth, max_detections)
    lowest = own_threshold if threshold is None else threshold
    own_normal = (run if run.is_dir() else run.parent) / NORMAL_FILE
    normal = own_normal if normal is None and own_normal.is_file() else normal
    files = [Path(path) for path in paths]
    alarms: list[bool] = []
    if normal is None:
        records, results = predict_files(predictor, files, out, lowest, overlays, heat_maps, read_limits(run))
        (out / ALARMS_FILE).unlink(missing_ok=True)
    else:
        from detectors.decisions.familiarity import Alarms, read_familiar, watch

        unlikeness = Alarms(read_familiar(normal))
        records, results = predict_files(
            watch(predictor), files, out, lowest, overlays, heat_maps, read_limits(run), unlikeness.add
        )
        alarms = unlikeness.write(out / ALARMS_FILE, records)
    table = Table("radiograph", "defects", "highest score", title=f"score at least {lowest:.3f}")
    scores: dict[int, list[float]] = {image["id"]: [] for image in records}
    for result in results:
        scores[result["image_id"]].append(result["score"])
    for image in records:
        found = scores[image["id"]]
        count = sum(score >= lowest for score in found)
        table.add_row(image["file_name"], str(count), f"{max(found):.3f}" if found else "n/a")
    console.print(table)
    if alarms:
        unlike = [Path(image["file_name"]).name for image, alarm in zip(records, alarms, strict=True) if alarm]
        named = f": {', '.join(unlike[:10])}{' ...' if len(unlike) > 10 else ''}" if unlike else ""
        console.print(
            f"{len(unlike)} of {len(records)} radiographs are not like those that the detector was qualified on{named}",
            style="yellow" if unlike else None,
        )
    said = sentence_at(run if run.is_dir() else run.parent, lowest)
    if said is not None:
        console.print(said)
    capped = capped_images(predictor.model, records, results, lowest)
    if capped:
        console.print(cap_notice(capped, "raise it with --max-detections"), markup=False)
    console.print(f"wrote {out}")
