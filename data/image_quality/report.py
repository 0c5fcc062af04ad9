"""Image quality of several radiographs: a JSON file and one picture a radiograph, with what was read drawn in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.console import progress
from data.errors import InputError
from data.files import write_json
from data.gray_window import GrayWindow
from data.image_quality.bad_pixels import LEAST_IMAGES, find_bad_pixels
from data.image_quality.measure import ImageQuality, Marks, measure
from data.pictures import as_rgb, captioned, write_picture
from data.radiograph import read_radiograph, square_side

PLOT_HEIGHT = 160  # pixels of a plotted profile
MARK, READ, MISSED = (255, 160, 0), (0, 200, 83), (255, 64, 64)  # RGB


def report_image_quality(
    files: Sequence[Path],
    out: Path,
    marks: Marks,
    window: GrayWindow,
    pixel_mm: float | None = None,
    srb_mm: float | None = None,
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Measure radiographs, write `image_quality.json` and `pictures/` into `out`; return the records.

    The second value holds dead, stuck and deviating pixels, None where the radiographs are too few, of several sizes or
    too much alike to tell. Raises InputError for a file that is no radiograph and for marks that do not fit; then
    nothing but pictures has been written.
    """
    records: list[dict[str, Any]] = []
    images: list[np.ndarray] = []
    with progress() as bar:
        task = bar.add_task("measuring", total=len(files))
        for number, file in enumerate(files, start=1):
            radiograph = read_radiograph(file, window=window)
            side = pixel_mm if pixel_mm is not None else square_side(radiograph.pixel_size_mm)
            try:
                found = measure(radiograph.pixels, marks, side, srb_mm)
            except InputError as error:
                raise InputError(f"{file}: {error}") from error
            records.append({"file_name": str(file), **found.record(marks.first_wire)})
            write_picture(
                out / "pictures" / f"{number:04d}_{file.stem[:180]}.png", draw_quality(radiograph.pixels, found, marks)
            )
            images.append(radiograph.pixels)
            bar.advance(task)
    bad, why = None, None
    if len(images) >= LEAST_IMAGES:
        try:
            bad = {name: places.tolist() for name, places in vars(find_bad_pixels(images)).items()}
        except InputError as error:
            why = str(error)
    write_json(
        out / "image_quality.json", {"radiographs": records, "bad_pixels": bad, "bad_pixels_note": why}, indent=1
    )
    return records, bad


def draw_quality(pixels: np.ndarray, found: ImageQuality, marks: Marks) -> np.ndarray:
    """Return the radiograph as RGB uint8 [H, W, 3] with its marks, readings and the profile across wire pairs."""
    import cv2

    canvas = as_rgb(pixels)
    if found.field is not None:
        x, y, radius = found.field
        cv2.circle(canvas, (round(x), round(y)), round(radius), MARK, 1)
    if marks.place is not None:
        cv2.rectangle(canvas, marks.place[:2], marks.place[2:], MARK, 1)
    if found.wires is not None:
        for number, (x, y) in enumerate(found.wires.places):
            color = READ if number < found.wires.visible else MISSED
            cv2.drawMarker(canvas, (round(x), round(y)), color, cv2.MARKER_TRIANGLE_UP, 12, 2)
        cv2.rectangle(canvas, found.wires.box[:2], found.wires.box[2:], MARK, 1)
    snr = "n/a" if found.basic.snr is None else f"{found.basic.snr:.0f}"
    caption = f"SNR {snr}, noise {255 * found.basic.noise:.2f} of 255, clipped {100 * found.basic.saturated:.1f} %"
    if found.contrast is not None and found.contrast.ratio is not None:
        caption += f", CNR {found.contrast.ratio:.1f}"
    if found.wires is not None:
        caption += f", {found.wires.visible} wires"
    if found.duplex is not None:
        caption += f", iSRb {found.duplex.isrb_mm:.3f} mm"
        canvas = np.vstack([canvas, _plot(found.duplex.profile, canvas.shape[1])])
    if marks.duplex is not None:
        x1, y1, x2, y2 = (round(value) for value in marks.duplex)
        cv2.line(canvas, (x1, y1), (x2, y2), MARK, 1)
    return captioned(canvas, caption)


def _plot(profile: np.ndarray, width: int) -> np.ndarray:
    """Return a profile as a curve, black on white, RGB uint8 [160, width, 3]."""
    import cv2

    plot = np.full((PLOT_HEIGHT, width, 3), 255, np.uint8)
    x = np.linspace(8, width - 9, len(profile))
    low, high = float(profile.min()), float(profile.max())
    y = PLOT_HEIGHT - 10 - (profile - low) / max(high - low, 1e-12) * (PLOT_HEIGHT - 20)
    points = np.rint(np.stack([x, y], axis=1)).astype(np.int32)
    cv2.polylines(plot, [points], False, (0, 0, 0), 1, cv2.LINE_AA)
    return plot
