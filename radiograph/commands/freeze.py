"""Freeze a run for a qualification."""

from pathlib import Path

import click

from data.console import console
from radiograph.command import PATH, Command, max_pixels_option


@click.command(cls=Command)
@click.option(
    "--run", required=True, type=PATH, metavar="RUN",
    help="Folder of a run or of an exported model, a checkpoint, or weights that come with the toolkit.",
)  # fmt: skip
@click.option("--out", required=True, type=PATH, help="A new folder.")
@click.option(
    "--reference", "references", multiple=True, type=PATH, metavar="PATH",
    help="Reference radiograph, or a folder of them; by default four of the run's evaluation. May be repeated.",
)  # fmt: skip
@click.option("--exported", type=PATH, metavar="FOLDER", help="Exported model of the run, to go with it.")
@click.option("--rules", type=PATH, metavar="FILE", help="Acceptance rules, to go with it.")
@max_pixels_option
def main(run: Path, out: Path, references: tuple[Path, ...], exported: Path | None, rules: Path | None) -> None:
    """Freeze a run into a bundle that can be verified.

    The bundle holds the weights, configuration, threshold, evaluation, limits of image quality, versions and hashes,
    and reference radiographs with the detections that are expected on them.
    """
    from detectors.qualification.bundle import freeze

    bundle = freeze(run, out, references, exported, rules)
    count = len(bundle.record["references"])
    console.print(f"wrote {out}: {count} reference radiograph{'' if count == 1 else 's'}")
    console.print(f"seal {bundle.seal}: note it where the bundle cannot be changed", soft_wrap=True)
