#!/usr/bin/env python3
"""Check COCO files and their images, and look for images that two of them share."""

import sys
from collections import Counter
from pathlib import Path

import click
from rich.table import Column, Table

from data.console import Command, console
from data.duplicates import NEARLY, check_files


@click.command(cls=Command)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="JSON...")
@click.option(
    "--images",
    "image_dirs",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="Folder that file_name starts from; once, or once for each JSON.",
)
@click.option(
    "--nearly",
    type=click.FloatRange(-1, 1),
    default=NEARLY,
    show_default=True,
    help="Correlation of small copies from which two images count as nearly the same.",
)
@click.option("--rows", type=click.IntRange(min=1), default=50, show_default=True, help="Most faults listed.")
def main(files: tuple[Path, ...], image_dirs: tuple[Path, ...], nearly: float, rows: int) -> None:
    """List all faults of COCO files at once; of several (train, val, test), also the images they share.

    Exit code 0: clean; 1: faults found; 2: the input cannot be checked.
    """
    with console.status("reading the images"):
        found = check_files(files, image_dirs, nearly)
    if not found:
        console.print(f"clean: {', '.join(map(str, files))}")
        return
    table = Table("file", "kind", Column("fault", overflow="fold"), title=f"{min(rows, len(found))} of {len(found)}")
    for file, fault in found[:rows]:
        table.add_row(Path(file).name, f"{fault.severity}: {fault.kind}", fault.message)
    console.print(table)
    kinds = Counter((fault.severity, fault.kind) for _, fault in found)
    console.print(f"{len(found)} faults: " + ", ".join(f"{n} {kind} ({level})" for (level, kind), n in kinds.items()))
    sys.exit(1)


if __name__ == "__main__":
    main()
