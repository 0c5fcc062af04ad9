"""`radiograph predict` on an archive: which engine does the work, and what is said of the results."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.console import console
from data.errors import InputError

if TYPE_CHECKING:
    from detectors.archives.job import Engine

LOG = "cluster.log"


@dataclass(frozen=True)
class ArchiveOptions:
    """The options of the command that matter for an archive."""

    run: Path
    out: Path
    threshold: float | None
    max_detections: int | None
    window: str | None
    bit_depth: int | None
    cluster: str | None
    workers: int | None
    coco: bool
    images: str | None


def predict_one_archive(options: ArchiveOptions, paths: tuple[str, ...], part_size: int, normal: Path | None) -> None:
    """Predict on an archive and say what was found. Raises InputError, and ModuleNotFoundError without pyarrow."""
    if len(paths) != 1:
        raise InputError(
            f"an archive is one folder, list, COCO file or address, and {len(paths)} were given; write the addresses "
            "into a list (.txt), or predict on each"
        )
    if normal is not None:
        raise InputError(f"--normal {normal}: alarms are not raised on archives; leave it out")
    from data.archives.archive import find_archive
    from data.image_quality.limits import read_limits
    from detectors.archives.job import Job
    from detectors.archives.predict import predict_archive

    archive = find_archive(paths[0], options.images)
    run = options.run.absolute() if options.run.exists() else options.run
    chosen = (options.window, options.bit_depth, options.max_detections)
    job = Job(archive, run, *chosen, limits=read_limits(run))
    engine = _engine(options)
    found = predict_archive(job, options.out, engine, part_size, options.threshold, options.coco)
    console.print(
        f"{found.radiographs} radiographs in {found.parts} parts, {found.done_now} of them now: {found.detections} "
        "detections"
    )
    if found.unreadable:
        console.print(f"{found.unreadable} could not be read: {options.out / 'unreadable.csv'}", style="yellow")
    if found.warnings:
        console.print(
            f"{found.warnings} warnings about gray values and image quality: {options.out / 'warnings.csv'}",
            style="yellow",
        )
    console.print(f"wrote {options.out}")


def _engine(options: ArchiveOptions) -> "Engine":
    """Return what does the work. Raises ModuleNotFoundError where Ray is wanted and not installed."""
    if options.cluster is not None:
        from detectors.archives.cluster import RayCluster

        return RayCluster(options.cluster, options.workers, options.out / LOG)
    from detectors.archives.processes import Processes
    from detectors.runtime.folder import is_exported

    gpus = 0
    if not is_exported(options.run):
        import torch

        gpus = torch.cuda.device_count()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Processes(options.workers or gpus or cores, gpus)
