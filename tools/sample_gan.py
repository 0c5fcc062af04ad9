#!/usr/bin/env python3
"""Draw new patches of defects from a trained GAN into a patch file."""

from pathlib import Path

import click

from data.console import Command, console
from data.patch_files import write_patches
from detectors.evaluation.patch_scores import write_patch_sheet
from detectors.runs.sample_gan import sample_run


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--n", "count", type=click.IntRange(1), default=1000, help="Number of patches.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The patch file, .npz.")
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option("--bits", type=click.Choice(["8", "16"]), default="8", help="Bits a pixel.")
def main(run: Path, count: int, out: Path, seed: int, bits: str) -> None:
    """Draw patches from the GAN of RUN, a run's folder or a checkpoint, and write a sheet of some beside them.

    The file is one source of a patch classifier's training (data.train.patches), its origin "gan".
    """
    patches = sample_run(run, count, seed, int(bits))
    write_patches(out, patches)
    sheet = out.with_name(f"{out.stem}_sheet.png")
    some = patches.floats(slice(0, 60))
    write_patch_sheet(sheet, some, [f"{k}" for k in range(len(some))])
    console.print(f"{count} patches of {patches.size} x {patches.size} pixels with a defect: {out}, some in {sheet}")


if __name__ == "__main__":
    main()
