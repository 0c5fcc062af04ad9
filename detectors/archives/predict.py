"""Predict on an archive: list it once, have the missing parts worked on, and put down what came of it."""

import sys
from dataclasses import dataclass
from pathlib import Path

from data.console import progress
from detectors.archives.folder import ArchiveFolder
from detectors.archives.job import Engine, Job, model_card
from detectors.archives.picture import draw_detections, import_ahead
from detectors.libraries import library_versions
from detectors.version import __version__

PART_SIZE = 500
"""Radiographs of a part: what is lost at most when a worker is killed, and what is written at once."""


@dataclass(frozen=True)
class Summary:
    """What an archive's results hold: counts, and how many radiographs were predicted by this start."""

    radiographs: int
    detections: int
    unreadable: int
    warnings: int
    parts: int
    done_now: int


def predict_archive(
    job: Job, out: Path, engine: Engine, part_size: int = PART_SIZE, threshold: float | None = None, coco: bool = False
) -> Summary:
    """Predict on all radiographs of an archive; write Parquet parts and, in the end, a manifest into `out`.

    What an earlier start has done stays: only the parts that are missing are computed. All results are the same,
    byte for byte, whatever the engine, and however often the work was interrupted.

    Args:
        job: archive, model and settings.
        out: folder of the results.
        engine: what does the work.
        part_size: radiographs of a part.
        threshold: lowest score that is shown, for the COCO files and the picture.
        coco: whether to write `detections.json` and `images.json` as well.

    Raises InputError for an archive, a model or a cluster that cannot be used, where another process is writing into
    `out`, and where `out` was begun with another model or other settings; OSError where it cannot be written.

    """
    with ArchiveFolder(out, job, part_size) as folder, progress() as bar:
        categories, own_threshold = model_card(job.run)
        listing = bar.add_task("listing", total=None)
        folder.make_listing(lambda count: bar.advance(listing, count))
        bar.update(listing, total=folder.radiographs, completed=folder.radiographs)
        task = bar.add_task("predicting", total=folder.radiographs)
        missing = folder.missing()
        done = sum(folder.rows(k) or 0 for k in set(range(folder.parts)).difference(missing))
        bar.advance(task, done)
        done_now = 0
        try:
            if missing:
                import_ahead()
                for result in engine(job, map(folder.unit, missing)):
                    folder.write(result)
                    count = result.detections.num_rows + len(result.unreadable)
                    done_now += count
                    bar.advance(task, count)
        except KeyboardInterrupt:
            bar.stop()
            left = len(folder.missing())
            print(
                f"{folder.parts - left} of {folder.parts} parts are written; the same command goes on with the rest",
                file=sys.stderr,
            )
            raise
        bar.update(task, completed=folder.radiographs)
        manifest = folder.finish(
            {
                "toolkit": __version__,
                "versions": library_versions(),
                "run": str(job.run),
                "categories": categories,
                "threshold": own_threshold,
                "settings": job.settings(part_size),
            }
        )
        shown = own_threshold if threshold is None else threshold
        draw_detections(folder, shown)
        if coco:
            from detectors.archives.coco import write_coco_files

            write_coco_files(folder, categories, shown)
    counts = (manifest["radiographs"], manifest["detections"], manifest["unreadable"], manifest["warnings"])
    return Summary(*counts, len(manifest["parts"]), done_now)
