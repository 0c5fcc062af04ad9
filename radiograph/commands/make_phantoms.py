"""Simulate a data set: radiographs in GDXray's layout with COCO annotations, or volumes with labels."""

from pathlib import Path
from typing import Literal

import click
from rich.table import Table

from data.console import console
from data.errors import InputError
from radiograph.command import PATH, Command, RenamedChoice, parse_size, renamed_option
from radiograph.task_options import cluster_option, shard_tasks

# As in data.synthesis.phantom and data.volumes.ct_parts, whose import triples the time of --help; a test in
# tests/radiograph compares them.
KINDS = ["castings", "varied_castings", "welds"]
VOLUME_KINDS = ["ct_castings", "ct_am"]
STYLES, FORMER_STYLES = ["realistic", "easy"], {"full": "realistic", "plain": "easy"}


@click.command(cls=Command)
@click.option(
    "--kind",
    type=click.Choice([*KINDS, *VOLUME_KINDS]),
    default="castings",
    help="Radiographs, or computed tomography volumes (ct_...) of castings or additively manufactured parts.",
)
@renamed_option("--count", "--n", type=click.IntRange(1), default=100, help="Number of radiographs or volumes.")
@click.option("--out", type=PATH, required=True, help="A new or empty folder.")
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option("--bits", type=click.Choice(["8", "16"]), default="8")
@click.option(
    "--style",
    type=RenamedChoice(STYLES, FORMER_STYLES),
    default="realistic",
    help="How hard the radiographs are: easy ones have plain parts and strong defects.",
)
@click.option("--family", help="One kind of part only, such as wheel; by default all in turn.")
@click.option("--size", help="WIDTHxHEIGHT in pixels, by default that of GDXray; of volumes SIDExSLICES, 160x64.")
@click.option(
    "--quality",
    type=click.Choice(["varied", "good", "normal", "poor"]),
    default="varied",
    help="Of volumes: noise, beam hardening and rings.",
)
@click.option(
    "--projections", type=click.IntRange(2), help="Of volumes: angles; by default 1.25 per voxel of the side."
)
@click.option("--iqi", is_flag=True, help="Lay image quality indicators on welds, and record what they show.")
@click.option(
    "--shards",
    type=click.IntRange(1),
    help="Write radiographs and boxes as so many Parquet parts each, for sets of any size.",
)
@cluster_option("Write shards")
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
    quality: Literal["varied", "good", "normal", "poor"],
    projections: int | None,
    iqi: bool,
    shards: int | None,
    cluster: str | None,
    workers: int | None,
) -> None:
    """Simulate radiographs, or volumes, of a kind of part.

    Writes images in GDXray's layout, COCO annotations and a montage to OUT; of volumes TIFF with labels, tables of
    pores and a manifest. With --shards radiographs lie in OUT/radiographs and their boxes in OUT/truth, as Parquet; the
    same command again writes the shards that are missing.
    """
    if shards is not None and (iqi or kind in VOLUME_KINDS):
        raise InputError(
            f"--shards: holds no {'volumes' if kind in VOLUME_KINDS else 'image quality indicators'}; leave it out"
        )
    if cluster is not None and shards is None:
        raise InputError("--cluster: works on shards; say how many with --shards")
    if kind in VOLUME_KINDS:
        from data.volumes.ct_set import count_volumes, write_ct_set

        manifest = write_ct_set(
            kind,
            count,
            out,
            seed,
            families=(family,) if family else None,
            size=parse_size(size, "--size") if size else (160, 64),
            quality=quality,
            projections=projections,
            workers=workers,
        )
        volumes = Table("family", "volumes", "pores", "porosity, %", title=str(manifest))
        for name, entries, pores, porosity in count_volumes(manifest):
            volumes.add_row(name, str(entries), str(pores), f"{porosity:.3f}")
        console.print(volumes)
        return
    dimensions = parse_size(size, "--size") if size else None
    if shards is not None:
        from data.synthesis.phantom_shards import count_shards, write_phantom_shards

        manifest = write_phantom_shards(
            kind, count, out, seed, shards, bits=int(bits), style=style, family=family, size=dimensions,
            tasks=shard_tasks(workers, cluster),
        )  # fmt: skip
        _print_counts(manifest, count_shards(manifest))
        console.print(f"examples: {out / 'montage.png'}")
        return
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
        size=dimensions,
        workers=workers,
        iqi=iqi,
    )
    _print_counts(annotations, count_phantoms(annotations))
    write_montage(out / "montage.png", read_coco(annotations), out, count=16)
    console.print(f"examples: {out / 'montage.png'}")


def _print_counts(path: Path, rows: list[tuple[str, int, int, int]]) -> None:
    table = Table(title=str(path))
    for column in ("family", "images", "defects", "defect-free images"):
        table.add_column(column, justify="left" if column == "family" else "right")
    for name, *counts in rows:
        table.add_row(name, *map(str, counts))
    console.print(table)
