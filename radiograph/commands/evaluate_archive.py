"""Evaluate the detections of an archive of any size against its ground truth."""

from pathlib import Path

import click

from data.console import console
from radiograph.command import PATH, Command


@click.command(cls=Command)
@click.argument("detections", type=PATH)
@click.argument("truth", type=PATH)
@click.option("--out", type=PATH, required=True, help="A new or empty folder, or that of the same evaluation.")
@click.option("--workers", type=click.IntRange(1), help="Processes; by default one per core.")
@click.option(
    "--common",
    is_flag=True,
    help="Evaluate the radiographs that both sides have; else one that a side lacks is an error.",
)
def main(detections: Path, truth: Path, out: Path, workers: int | None, common: bool) -> None:
    """Evaluate detections in Parquet parts, millions of them.

    DETECTIONS is a folder of parts, as predict writes them; TRUTH a folder of parts of ground truth, or a COCO file.
    Radiographs are joined by file name, in any order. Writes metrics.json and curves; the metrics are those of
    evaluate, exactly. Running the same command again continues after Ctrl-C.
    """
    from detectors.evaluation.archives.evaluate import evaluate_archive
    from detectors.evaluation.table import metrics_table

    metrics = evaluate_archive(detections, truth, out, workers, common)
    console.print(metrics_table({out.name: metrics}))
    console.print(f"written to {out}")
