"""Generate patches of defects with a trained GAN into a patch file."""

from pathlib import Path

import click

from data.console import console
from radiograph.command import PATH, Command, renamed_option, run_option


@click.command(cls=Command)
@run_option("Folder of a GAN's run, or a checkpoint.")
@renamed_option("--count", "--n", type=click.IntRange(1), default=1000, help="Number of patches.")
@click.option("--out", type=PATH, required=True, help="The patch file, .npz.")
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option("--bits", type=click.Choice(["8", "16"]), default="8", help="Bits per pixel.")
def main(run: Path, count: int, out: Path, seed: int, bits: str) -> None:
    """Generate patches of defects with a trained GAN.

    Writes a sheet of examples beside the patch file, which can be a source of a patch classifier's training data
    (data.train.patches); its origin is "gan".
    """
    from data.montage import write_patch_sheet
    from data.patch_files import write_patches
    from detectors.runs.sample_gan import sample_run

    patches = sample_run(run, count, seed, int(bits))
    write_patches(out, patches)
    sheet = out.with_name(f"{out.stem}_sheet.png")
    some = patches.floats(slice(0, 60))
    write_patch_sheet(sheet, some, [f"{k}" for k in range(len(some))])
    console.print(f"{count} patches of {patches.size} x {patches.size} pixels with a defect: {out}, some in {sheet}")
