"""Grade radiographs by your own graded references."""

from pathlib import Path
from typing import Literal

import click
from rich.table import Table

from data.console import console
from radiograph.command import PATH, Command, max_pixels_option


@click.command(cls=Command)
@click.option(
    "--references", required=True, type=PATH, metavar="FOLDER",
    help="A folder of radiographs for each grade, named in their order, such as 1, 2, 3.",
)  # fmt: skip
@click.option("--out", type=PATH, default=Path("grades"))
@click.option(
    "--polarity",
    type=click.Choice(["bright", "dark"]),
    default="bright",
    help="Of indications: bright in castings, dark on films of welds.",
)
@click.argument("paths", nargs=-1, required=True, type=PATH)
@max_pixels_option
def main(references: Path, out: Path, polarity: Literal["bright", "dark"], paths: tuple[Path, ...]) -> None:
    """Grade radiographs by your own graded references.

    Give regions of the same size, metal and exposure as the references. Writes grades.json and a sheet of pictures,
    each with its grade and the range of grades that 90 % of the probability lies in.
    """
    from data.files import write_json
    from data.gray_window import AUTO
    from data.pictures import as_rgb, captioned, grid, write_picture
    from data.radiograph import find_radiographs, read_radiograph
    from detectors.qualification.severity import read_ladder, region_features

    ladder = read_ladder(references, polarity)
    table = Table("radiograph", "grade", "90 % range", "probability")
    records, pictures = [], []
    for file in find_radiographs(paths):
        pixels = read_radiograph(file, window=AUTO).pixels
        found = ladder.grade(region_features(pixels, polarity))
        share = found.probabilities[found.grade]
        table.add_row(str(file), found.grade, f"{found.low} to {found.high}", f"{share:.2f}")
        records.append({"file_name": str(file), **vars(found)})
        pictures.append(captioned(as_rgb(pixels), f"{found.grade} ({found.low} to {found.high})"))
    write_picture(out / "grades.png", grid(pictures[:24], min(4, len(pictures))))
    write_json(out / "grades.json", {"grades": ladder.names, "radiographs": records}, indent=1)
    console.print(table)
    console.print(f"wrote {out}")
