"""Write predictions back where an archive keeps them."""

from pathlib import Path

import click

from data.console import console
from radiograph.command import PATH, Command, max_pixels_option


@click.command(cls=Command)
@click.option("--out", type=PATH, default=Path("written_back"))
@click.option("--threshold", type=click.FloatRange(0, 1), help="Lowest score of an indication.")
@click.option(
    "--acceptance", type=PATH, metavar="PATH", help="What radiograph accept wrote: verdicts and rules go along."
)
@click.argument("predictions", type=PATH)
@max_pixels_option
def main(out: Path, threshold: float | None, acceptance: Path | None, predictions: Path) -> None:
    """Write predictions back where an archive keeps them.

    DICOM and DICONDE files get a secondary capture and a structured report in their study, other files a COCO file.
    The radiographs themselves are left as they are.
    """
    from detectors.qualification.write_back import write_back

    count = write_back(predictions, out, threshold, acceptance)
    console.print(f"wrote {out}: results of {count} radiograph{'' if count == 1 else 's'}")
