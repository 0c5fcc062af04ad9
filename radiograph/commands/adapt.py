"""Fit a detector to your own part, without a label."""

from pathlib import Path

import click

from data.console import console
from radiograph.command import PATH, Command, max_pixels_option


@click.command(cls=Command)
@click.option(
    "--run", default=Path("casting"), type=PATH, metavar="RUN",
    help="What to start from: packaged weights, or a run of center_net."
)  # fmt: skip
@click.option("--out", type=PATH, default=Path("adapted"), help="A new folder.")
@click.option("--false-calls", type=click.FloatRange(0), default=1.0, help="Wanted calls an image.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Override a field; may be repeated.")
@click.argument("paths", nargs=-1, required=True, type=PATH)
@max_pixels_option
def main(run: Path, out: Path, false_calls: float, overrides: tuple[str, ...], paths: tuple[Path, ...]) -> None:
    """Fit a detector to your own part, without a label.

    PATHS are radiographs of the part, or folders of them, mostly but not surely defect-free. Writes a run, the
    threshold for the wanted number of calls, and adaptation.html: what was found, and which simulated defects are.
    """
    from detectors.experiments.adaptation import adapt

    made = adapt(paths, run, out, false_calls, overrides)
    console.print(
        f"threshold {made.threshold:.3f}: {made.calls_per_image:.2f} calls an image on radiographs held back, "
        f"{made.recall:.0%} of the defects simulated in them found"
    )
    console.print(f"predict with: radiograph predict --run {made.run} PATH...")
    console.print(f"look at {made.page}")
