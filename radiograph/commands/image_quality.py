"""Measure how good radiographs are."""

from pathlib import Path

import click
from rich.table import Table

from data.console import console
from radiograph.command import PATH, Command, bit_depth_option, max_pixels_option, parse_numbers


@click.command(cls=Command)
@click.option("--out", type=PATH, default=Path("image_quality"))
@click.option(
    "--place",
    metavar="X,Y,WIDTH,HEIGHT",
    help="Box in pixels whose contrast-to-noise ratio is measured, such as a hole's.",
)
@click.option("--iqi", metavar="X,Y,WIDTH,HEIGHT", help="Box around a wire indicator, in pixels.")
@click.option(
    "--first-wire", type=click.IntRange(1, 13), metavar="N", help="Number of its thickest wire, such as 10 for W10."
)
@click.option("--duplex", metavar="X1,Y1,X2,Y2", help="Line across wire pairs, thickest first, in pixels.")
@click.option("--duplex-width", type=click.FloatRange(1), default=21.0, help="Pixels across that line to average.")
@click.option("--first-pair", type=click.IntRange(1, 11), default=1, help="Number of the first pair on the line.")
@click.option(
    "--srb", type=click.FloatRange(0, min_open=True), metavar="MM", help="Basic spatial resolution, for SNR_N."
)
@click.option(
    "--pixel-size",
    type=click.FloatRange(0, min_open=True),
    metavar="MM",
    help="Size of a pixel; else that of the file.",
)
@bit_depth_option
@click.argument("paths", nargs=-1, required=True, type=PATH)
@max_pixels_option
def main(
    out: Path,
    place: str | None,
    iqi: str | None,
    first_wire: int | None,
    duplex: str | None,
    duplex_width: float,
    first_pair: int,
    srb: float | None,
    pixel_size: float | None,
    bit_depth: int | None,
    paths: tuple[Path, ...],
) -> None:
    """Measure signal, noise, contrast, unsharpness and image quality indicators.

    Writes image_quality.json and a picture of each radiograph. Three or more radiographs of one detector tell dead and
    stuck pixels, too.
    """
    from data.gray_window import AUTO
    from data.image_quality.measure import Box, Marks
    from data.image_quality.report import report_image_quality
    from data.radiograph import find_radiographs

    def corners(text: str | None, option: str) -> Box | None:
        if text is None:
            return None
        x, y, width, height = (round(value) for value in parse_numbers(text, option, "X,Y,WIDTH,HEIGHT"))
        return x, y, x + width, y + height

    line = None if duplex is None else parse_numbers(duplex, "--duplex", "X1,Y1,X2,Y2")
    marks = Marks(
        corners(place, "--place"),
        corners(iqi, "--iqi"),
        first_wire,
        None if line is None else (line[0], line[1], line[2], line[3]),
        duplex_width,
        first_pair,
    )
    files = find_radiographs(paths)
    records, bad = report_image_quality(files, out, marks, AUTO.with_bit_depth(bit_depth), pixel_size, srb)
    table = Table("radiograph", "signal", "noise", "SNR", "SNR_N", "clipped, %", "CNR", "wires", "iSRb, mm")
    for record in records:
        wires = record.get("wires", {})
        table.add_row(
            record["file_name"],
            f"{record['signal']:.3f}",
            f"{record['noise']:.5f}",
            _shown(record["snr"], 1),
            _shown(record["snr_normalized"], 1),
            f"{100 * record['saturated']:.2f}",
            _shown(record.get("contrast", {}).get("ratio"), 2),
            str(wires.get("thinnest", wires.get("visible", "n/a"))),
            _shown(record.get("duplex", {}).get("isrb_mm"), 4),
        )
    console.print(table)
    if bad is not None:
        console.print(", ".join(f"{len(places)} {name}" for name, places in bad.items()) + " pixels")
    console.print(f"wrote {out}")


def _shown(value: float | None, digits: int) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"
