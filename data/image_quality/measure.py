"""The image quality of one radiograph, with whatever was marked in it, as a record for tables and files."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from data.image_quality.contrast import Contrast, contrast_at
from data.image_quality.duplex import DuplexReading, read_duplex
from data.image_quality.noise import SignalNoise, signal_and_noise
from data.image_quality.wires import WireReading, read_wires, wire_diameter_mm

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Marks:
    """What is marked on a radiograph, the same on all of a call.

    Attributes:
        place: x1 y1 x2 y2 in pixels, for the contrast-to-noise ratio.
        iqi: x1 y1 x2 y2 around a wire indicator.
        first_wire: number of its thickest wire, such as 10 for W10.
        duplex: x1 y1 x2 y2 of a line across wire pairs, from the thickest to the thinnest.
        duplex_width: pixels across that line that are averaged.
        first_pair: number of the first pair on the line.

    """

    place: Box | None = None
    iqi: Box | None = None
    first_wire: int | None = None
    duplex: tuple[float, float, float, float] | None = None
    duplex_width: float = 21
    first_pair: int = 1


@dataclass(frozen=True)
class ImageQuality:
    """What was measured on one radiograph; what was not marked or not found is None.

    `field` is the round field of view, center x, center y and radius in pixels, None for a whole radiograph.
    """

    size: tuple[int, int]
    pixel_mm: float | None
    basic: SignalNoise
    field: tuple[float, float, float] | None
    contrast: Contrast | None
    wires: WireReading | None
    duplex: DuplexReading | None

    def record(self, first_wire: int | None = None) -> dict[str, Any]:
        """Return everything by name, for JSON; `first_wire` names the thinnest wire that shows."""
        width, height = self.size
        in_view = 1.0 if self.field is None else float(np.pi * self.field[2] ** 2 / (width * height))
        found: dict[str, Any] = {
            "width": width,
            "height": height,
            "pixel_size_mm": self.pixel_mm,
            **vars(self.basic),
            "field_of_view": {
                "round": self.field is not None,
                "center_radius_px": None if self.field is None else [round(value, 1) for value in self.field],
                "share": round(min(in_view, 1.0), 4),
                "size_mm": None if self.pixel_mm is None else [width * self.pixel_mm, height * self.pixel_mm],
            },
        }
        if self.contrast is not None:
            found["contrast"] = vars(self.contrast)
        if self.wires is not None:
            found["wires"] = {
                "visible": self.wires.visible,
                "ratios": [None if ratio != ratio else round(ratio, 2) for ratio in self.wires.ratios],
                "box": list(self.wires.box),
            }
            if first_wire is not None and self.wires.visible:
                number = first_wire + self.wires.visible - 1
                found["wires"] |= {"thinnest": f"W{number}", "diameter_mm": round(wire_diameter_mm(number), 4)}
        if self.duplex is not None:
            found["duplex"] = {
                "isrb_mm": round(self.duplex.isrb_mm, 5),
                "unsharpness_mm": round(self.duplex.unsharpness_mm, 5),
                "first_unresolved": f"D{self.duplex.first_unresolved}" if self.duplex.first_unresolved else None,
                "dips_percent": [round(dip, 1) for dip in self.duplex.dips],
            }
        return found


def measure(pixels: np.ndarray, marks: Marks, pixel_mm: float | None = None, srb_mm: float | None = None
            ) -> ImageQuality:  # fmt: skip
    """Return the image quality of gray values float [H, W] in [0, 1].

    Args:
        pixels: the radiograph.
        marks: what is marked on it.
        pixel_mm: size of a pixel, None where unknown.
        srb_mm: basic spatial resolution, which normalizes the signal-to-noise ratio; by default that of marked pairs.

    Raises InputError for marks that do not fit the radiograph.

    """
    from data.part_mask import round_field  # with OpenCV, which reading alone does not need

    height, width = pixels.shape
    duplex = None
    if marks.duplex is not None:
        x1, y1, x2, y2 = marks.duplex
        duplex = read_duplex(pixels, (x1, y1), (x2, y2), marks.duplex_width, marks.first_pair)
    wires = None if marks.iqi is None else read_wires(pixels, marks.iqi, pixel_mm)
    contrast = None if marks.place is None else contrast_at(pixels, marks.place)
    srb = srb_mm if srb_mm is not None or duplex is None else duplex.isrb_mm
    basic = signal_and_noise(pixels, srb)
    return ImageQuality((width, height), pixel_mm, basic, round_field(pixels), contrast, wires, duplex)
