"""Convert GDXray's folders to COCO files, with a split and a montage."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table

from data.console import console
from radiograph.command import PATH, Command, max_pixels_option

if TYPE_CHECKING:
    from data.gdxray import SeriesSummary


@click.command(cls=Command)
@click.argument("root", type=PATH)
@click.option("--out", required=True, type=PATH, help="Folder for the COCO files and montage.png.")
@click.option("--group", type=click.Choice(["castings", "welds"]), default="castings")
@click.option(
    "--split",
    "method",
    type=click.Choice(["none", "series", "block", "random", "odd-even", "lists"]),
    default="series",
    help="none: all.json; else train.json, val.json and test.json.",
)
@click.option("--fractions", nargs=3, type=float, default=(0.7, 0.15, 0.15), help="Of train, val and test.")
@click.option("--seed", type=click.IntRange(min=0), default=0)
@click.option("--train-frames", help="For block: frame numbers in each series, such as 1-58.")
@click.option("--test-frames", help="For block: frame numbers in each series, such as 59-72.")
@click.option("--gap", type=click.IntRange(min=0), default=0, help="For block: frames left out between the parts.")
@click.option("--train-list", type=PATH, help="For lists: text file of image names, one a line.")
@click.option("--test-list", type=PATH, help="For lists: text file of image names, one a line.")
@click.option("--weld-boxes", is_flag=True, help="Use W0001's own boxes instead of the masks of W0002.")
@click.option("--unlabeled", is_flag=True, help="Write the radiographs of W0003 to unlabeled.json.")
@max_pixels_option
def main(
    root: Path,
    out: Path,
    group: str,
    method: str,
    fractions: tuple[float, float, float],
    seed: int,
    train_frames: str | None,
    test_frames: str | None,
    gap: int,
    train_list: Path | None,
    test_list: Path | None,
    weld_boxes: bool,
    unlabeled: bool,
) -> None:
    """Convert GDXray folders to COCO files with a split.

    ROOT holds Castings/ or Welds/; file names in the COCO files are relative to it. Radiographs without defects are
    kept. W0003 is not annotated and never part of train, val or test.
    """
    from data.coco import write_coco
    from data.gdxray import read_gdxray_summary, read_unlabeled
    from data.montage import write_montage
    from data.splits import parse_frames, split_dataset, write_split

    dataset, summaries = read_gdxray_summary(root, group, weld_boxes)
    extra = {out / "unlabeled.json": read_unlabeled(root)} if unlabeled else {}
    split = split_dataset(
        dataset,
        method,
        seed,
        fractions,
        train_frames=parse_frames(train_frames) if train_frames else None,
        test_frames=parse_frames(test_frames) if test_frames else None,
        gap=gap,
        train_list=train_list,
        test_list=test_list,
    )
    written = write_split(out, dataset, method, split)
    for path, images in extra.items():
        write_coco(path, images)
    write_montage(out / "montage.png", dataset, root)
    _print_series(summaries)
    parts = Table("file", "images", "defect-free", "boxes", box=SIMPLE_HEAD)
    for path, part in written.items():
        clean = sum(not part.annotations_of(image["id"]) for image in part.images)
        parts.add_row(str(path), str(len(part.images)), str(clean), str(len(part.annotations)))
    console.print(parts)
    for note in split.notes:
        console.print(f"note: {note}")
    if group == "welds":
        console.print("note: W0003 is not annotated: " + ("see unlabeled.json" if unlabeled else "left out"))
    if split.left_out:
        console.print(f"left out: {len(split.left_out)} radiographs")


def _print_series(summaries: "list[SeriesSummary]") -> None:
    names = list(vars(summaries[0]))
    headers = {"radiographs": "images", "without_defects": "defect-free"}
    table = Table(*(headers.get(name, name) for name in names), box=SIMPLE_HEAD, collapse_padding=True)
    for summary in summaries:
        table.add_row(*(str(value) for value in vars(summary).values()))
    totals = [sum(getattr(summary, name) for summary in summaries) for name in names[2:]]
    table.add_row("all", "", *map(str, totals), style="bold")
    console.print(table)
