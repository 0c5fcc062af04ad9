#!/usr/bin/env python3
"""Make a data set of simulated radiographs in GDXray's layout, with COCO annotations and a montage."""

from pathlib import Path

import click
from rich.table import Table

from data.coco import read_coco
from data.console import Command, console
from data.errors import InputError
from data.montage import write_montage
from data.synthesis.phantom import FAMILIES, STYLES
from data.synthesis.phantom_set import count_phantoms, write_phantoms


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Return (width, height) of a text such as 768x572. Raises InputError if it is none."""
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise InputError(f"--size {text!r} is not WIDTHxHEIGHT; write for example 768x572")
    return int(width), int(height)


@click.command(cls=Command)
@click.option("--kind", type=click.Choice(sorted(FAMILIES)), default="castings", show_default=True)
@click.option("--n", type=click.IntRange(1), default=100, show_default=True, help="Number of radiographs.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A folder of its own.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--bits", type=click.Choice(["8", "16"]), default="8", show_default=True)
@click.option("--style", type=click.Choice(STYLES), default="full", show_default=True)
@click.option("--family", help="One kind of part only, such as wheel; by default they take turns.")
@click.option("--size", help="WIDTHxHEIGHT in pixels; by default as GDXray's.")
@click.option("--workers", type=click.IntRange(1), help="Processes; by default one a core.")
def main(kind: str, n: int, out: Path, seed: int, bits: str, style: str, family: str | None, size: str | None,
         workers: int | None) -> None:  # fmt: skip
    """Write N simulated radiographs of castings or welds to OUT."""
    annotations = write_phantoms(kind, n, out, seed, bits=int(bits), style=style, family=family,
                                 size=parse_size(size), workers=workers)  # fmt: skip
    table = Table(title=str(annotations))
    for column in ("family", "images", "defects", "clean images"):
        table.add_column(column, justify="left" if column == "family" else "right")
    for name, images, defects, clean in count_phantoms(annotations):
        table.add_row(name, str(images), str(defects), str(clean))
    console.print(table)
    write_montage(out / "montage.png", read_coco(annotations), out, count=16)
    console.print(f"look at {out / 'montage.png'}")


if __name__ == "__main__":
    main()
