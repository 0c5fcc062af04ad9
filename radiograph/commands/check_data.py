"""Check COCO files and their images, and look for images that two of them share."""

import sys
from collections import Counter
from pathlib import Path

import click
from rich.table import Column, Table

from data.console import console
from radiograph.command import PATH, Command, bit_depth_option, max_pixels_option, renamed_option


@click.command(cls=Command)
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="JSON...")
@click.option(
    "--images",
    "image_dirs",
    multiple=True,
    required=True,
    type=PATH,
    help="Folder that file_name starts from; once, or once for each JSON.",
)
@renamed_option(
    "--similarity",
    "--nearly",
    type=click.FloatRange(-1, 1),
    default=0.83,
    help="Correlation of small copies from which two images count as near-duplicates.",
)
@click.option("--rows", type=click.IntRange(min=1), default=50, help="Most issues to list.")
@bit_depth_option
@max_pixels_option
def main(
    files: tuple[Path, ...], image_dirs: tuple[Path, ...], similarity: float, rows: int, bit_depth: int | None
) -> None:
    """Report every problem in COCO files, and near-duplicates across them.

    Give the files of a split (train, val, test) together to find the images that two of them share. Exit code 0: no
    issue; 1: issues found; 2: the input cannot be checked. Warnings say how unusual gray levels will be read.
    """
    from data.coco import read_coco
    from data.duplicates import check_files
    from data.gray_notes import data_set_notes, print_notes

    with console.status("reading the images"):
        found = check_files(files, image_dirs, similarity, bit_depth)
        faulty = {name for name, issue in found if issue.severity == "error"}
        folders = list(image_dirs) * (len(files) if len(image_dirs) == 1 else 1)
        whole = [(file, folder) for file, folder in zip(files, folders, strict=True) if str(file) not in faulty]
        notes = [note for file, folder in whole for note in data_set_notes(read_coco(file), folder, bit_depth)]
    print_notes(notes)
    if not found:
        console.print(f"clean: {', '.join(map(str, files))}")
        return
    table = Table("file", "kind", Column("issue", overflow="fold"), title=f"{min(rows, len(found))} of {len(found)}")
    for file, issue in found[:rows]:
        table.add_row(Path(file).name, f"{issue.severity}: {issue.kind}", issue.message)
    console.print(table)
    kinds = Counter((issue.severity, issue.kind) for _, issue in found)
    console.print(f"{len(found)} issues: " + ", ".join(f"{n} {kind} ({level})" for (level, kind), n in kinds.items()))
    sys.exit(1)
