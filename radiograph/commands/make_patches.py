"""Cut labeled patches from annotated radiographs into one file."""

from pathlib import Path

import click

from data.console import console
from radiograph.command import PATH, Command, bit_depth_option, max_pixels_option, renamed_option


@click.command(cls=Command)
@click.argument("coco", type=PATH)
@click.option("--images", type=PATH, help="Folder of the radiographs; the file's own by default.")
@click.option("--out", type=PATH, required=True, help="The patch file, .npz.")
@click.option("--per-image", type=click.IntRange(1), default=100, help="Patches of each class for every radiograph.")
@click.option("--size", type=click.IntRange(4), default=32, help="Side of a patch in pixels.")
@renamed_option(
    "--min-defect-fraction",
    "--share",
    type=click.FloatRange(0.01, 1),
    default=1 / 3,
    help="Least fraction of a defect inside a patch that counts as a defect.",
)
@renamed_option(
    "--box-padding", "--margin", type=click.FloatRange(0), default=0.0, help="Pixels added to each side of every box."
)
@click.option("--rotation-step", type=click.FloatRange(0, 360), default=60.0, help="Degrees; 0 for no rotation.")
@click.option("--mirror/--no-mirror", default=True, help="Mirror half of the patches.")
@click.option(
    "--origin",
    type=click.Choice(["real", "ellipsoid", "gan", "phantom"]),
    default="real",
    help="Where the defects come from.",
)
@click.option("--seed", type=click.IntRange(0), default=0)
@bit_depth_option
@max_pixels_option
def main(
    coco: Path,
    images: Path | None,
    out: Path,
    per_image: int,
    size: int,
    min_defect_fraction: float,
    box_padding: float,
    rotation_step: float,
    mirror: bool,
    origin: str,
    seed: int,
    bit_depth: int | None,
) -> None:
    """Cut labeled patches from annotated radiographs.

    Writes as many defect patches as no-defect patches, and a sheet of examples. A defect patch holds at least the
    given fraction of a defect; a no-defect patch holds no annotated pixel and lies on the part.
    """
    import numpy as np

    from data.coco import read_coco
    from data.gray_window import GrayWindow
    from data.montage import write_patch_sheet
    from data.patch_files import write_patches
    from data.patches import PatchConfig, RadiographPatches

    dataset = read_coco(coco).with_margin(box_padding)
    config = PatchConfig(
        size=size,
        min_defect_fraction=min_defect_fraction,
        per_image=per_image,
        rotation_step=rotation_step or None,
        mirror=mirror,
    )
    window = GrayWindow("full", bit_depth=bit_depth)
    patches = RadiographPatches(dataset, images or coco.parent, config, window).sample_set(seed, origin)
    write_patches(out, patches)
    sheet = out.with_name(f"{out.stem}_sheet.png")
    some = patches.subset(np.arange(min(len(patches), 60)))
    write_patch_sheet(sheet, some.floats(slice(None)), [("no-defect", "defect")[label] for label in some.labels])
    console.print(f"{len(patches)} patches of {size} x {size} pixels, half of them defects: {out}, some in {sheet}")
