#!/usr/bin/env python3
"""Cut labeled patches out of annotated radiographs into one file."""

from pathlib import Path

import click

from data.coco import read_coco
from data.console import Command, console
from data.patch_files import ORIGINS, write_patches
from data.patches import PatchConfig, RadiographPatches
from detectors.evaluation.patch_scores import write_patch_sheet


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("coco", type=click.Path(path_type=Path))
@click.option("--images", type=click.Path(path_type=Path), help="Folder of the radiographs; the file's own by default.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The patch file, .npz.")
@click.option("--per-image", type=click.IntRange(1), default=100, help="Patches of each class for every radiograph.")
@click.option("--size", type=click.IntRange(4), default=32, help="Side of a patch in pixels.")
@click.option("--share", type=click.FloatRange(0.01, 1), default=1 / 3, help="Least part of a defect in a patch.")
@click.option("--margin", type=click.FloatRange(0), default=0.0, help="Pixels added to each side of every box.")
@click.option("--rotation-step", type=click.FloatRange(0, 360), default=60.0, help="Degrees; 0 leaves all upright.")
@click.option("--mirror/--no-mirror", default=True, help="Mirror half of the patches.")
@click.option("--origin", type=click.Choice(ORIGINS), default="real", help="Where the defects come from.")
@click.option("--seed", type=click.IntRange(0), default=0)
def main(
    coco: Path,
    images: Path | None,
    out: Path,
    per_image: int,
    size: int,
    share: float,
    margin: float,
    rotation_step: float,
    mirror: bool,
    origin: str,
    seed: int,
) -> None:
    """Cut as many defect as no-defect patches out of the radiographs of the COCO file, and a sheet of some.

    A defect patch holds a third of a defect or more, a no-defect patch no annotated pixel and lies on the part.
    """
    dataset = read_coco(coco).with_margin(margin)
    config = PatchConfig(
        size=size, share=share, per_image=per_image, rotation_step=rotation_step or None, mirror=mirror
    )
    patches = RadiographPatches(dataset, images or coco.parent, config).sample_set(seed, origin)
    write_patches(out, patches)
    sheet = out.with_name(f"{out.stem}_sheet.png")
    some = patches.subset(slice(0, 60))
    write_patch_sheet(sheet, some.floats(slice(None)), [("no-defect", "defect")[label] for label in some.labels])
    console.print(f"{len(patches)} patches of {size} x {size} pixels, half of them defects: {out}, some in {sheet}")


if __name__ == "__main__":
    main()
