"""Simulate a data set of radiographs in GDXray's layout, with COCO annotations and a montage."""

from pathlib import Path

import click
from rich.table import Table

from data.console import console
from data.synthesis.phantom import FORMER_STYLES, PHANTOM_KINDS, STYLES  # the one table; light to import
from radiograph.command import PATH, Command, RenamedChoice, RenamedOption, parse_size


@click.command(cls=Command)
@click.option("--kind", type=click.Choice(list(PHANTOM_KINDS)), default="castings", show_default=True)
@click.option(
    "--count",
    "--n",
    cls=RenamedOption,
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Number of radiographs.",
)
@click.option("--out", type=PATH, required=True, help="A new or empty folder.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--bits", type=click.Choice(["8", "16"]), default="8", show_default=True)
@click.option(
    "--style",
    type=RenamedChoice(list(STYLES), FORMER_STYLES),
    default="realistic",
    show_default=True,
    help="How hard the radiographs are: easy ones have plain parts and strong defects.",
)
@click.option("--family", help="One kind of part only, such as wheel; by default all in turn.")
@click.option("--size", help="WIDTHxHEIGHT in pixels; by default that of GDXray.")
@click.option("--workers", type=click.IntRange(1), help="Processes; by default one per core.")
def main(
    kind: str,
    count: int,
    out: Path,
    seed: int,
    bits: str,
    style: str,
    family: str | None,
    size: str | None,
    workers: int | None,
) -> None:
    """Simulate radiographs of a kind of part.

    Writes images in GDXray's layout, COCO annotations and a montage to OUT.
    """
    from data.coco import read_coco
    from data.montage import write_montage
    from data.synthesis.phantom_set import count_phantoms, write_phantoms

    annotations = write_phantoms(
        kind,
        count,
        out,
        seed,
        bits=int(bits),
        style=style,
        family=family,
        size=parse_size(size, "--size") if size else None,
        workers=workers,
    )
    table = Table(title=str(annotations))
    for column in ("family", "images", "defects", "defect-free images"):
        table.add_column(column, justify="left" if column == "family" else "right")
    for name, images, defects, defect_free in count_phantoms(annotations):
        table.add_row(name, str(images), str(defects), str(defect_free))
    console.print(table)
    write_montage(out / "montage.png", read_coco(annotations), out, count=16)
    console.print(f"examples: {out / 'montage.png'}")
