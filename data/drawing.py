"""Boxes and heat maps drawn on radiographs, with NumPy alone, so that what runs exported models can draw them, too."""

from collections.abc import Sequence

import numpy as np

TRUTH_COLOR = (0, 200, 83)  # RGB: green for annotations
PREDICTION_COLOR = (255, 64, 64)  # RGB: red for detections
LEAST_TINT, STRONGEST_TINT = 0.15, 0.6  # share of a heat map's color at probability 0 and 1, over the radiograph
GLYPH_HEIGHT, GLYPH_WIDTH, GLYPH_STEP = 7, 5, 6
# Rows of five pixels from above, as binary numbers.
_GLYPHS = {
    "0": (0x0E, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0E), "1": (0x04, 0x0C, 0x04, 0x04, 0x04, 0x04, 0x0E),
    "2": (0x0E, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1F), "3": (0x1F, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0E),
    "4": (0x02, 0x06, 0x0A, 0x12, 0x1F, 0x02, 0x02), "5": (0x1F, 0x10, 0x1E, 0x01, 0x01, 0x11, 0x0E),
    "6": (0x06, 0x08, 0x10, 0x1E, 0x11, 0x11, 0x0E), "7": (0x1F, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08),
    "8": (0x0E, 0x11, 0x11, 0x0E, 0x11, 0x11, 0x0E), "9": (0x0E, 0x11, 0x11, 0x0F, 0x01, 0x02, 0x0C),
    ".": (0x00, 0x00, 0x00, 0x00, 0x00, 0x0C, 0x0C), "-": (0x00, 0x00, 0x00, 0x1F, 0x00, 0x00, 0x00),
}  # fmt: skip


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Return a new RGB uint8 [H, W, 3] of float [H, W] in [0, 1], or of the same. Raises ValueError for others."""
    if pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8:
        return pixels.copy()
    if pixels.ndim != 2:
        raise ValueError(f"pixels are {pixels.dtype} {list(pixels.shape)}; expected float [H, W] or uint8 [H, W, 3]")
    gray = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2)


def draw_boxes(
    pixels: np.ndarray,
    boxes: Sequence | np.ndarray,
    scores: Sequence[float] | np.ndarray | None = None,
    color: tuple[int, int, int] = TRUTH_COLOR,
) -> np.ndarray:
    """Return the radiograph as RGB uint8 [H, W, 3] with its boxes outlined.

    `pixels` is float [H, W] in [0, 1], or an RGB uint8 [H, W, 3] of an earlier call to draw a second set on;
    `boxes` is [N, 4] x1 y1 x2 y2 in pixels, N may be 0; `scores` [N] are written beside them; `color` is RGB.
    The line lies around the box, so that a small defect stays visible. Raises ValueError for other shapes.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    if scores is not None and len(scores) != len(boxes):
        raise ValueError(f"{len(scores)} scores for {len(boxes)} boxes")
    canvas = as_rgb(np.asarray(pixels))
    height, width = canvas.shape[:2]
    thickness = max(1, round(max(height, width) / 800))
    scale = max(1, round(max(height, width) / 900))  # of the digits
    for k, (x1, y1, x2, y2) in enumerate(boxes):
        inner = int(np.floor(x1)), int(np.floor(y1)), int(np.ceil(x2)), int(np.ceil(y2))
        _outline(canvas, inner, thickness, color)
        if scores is not None:
            text_height = GLYPH_HEIGHT * scale
            above = inner[1] - thickness - 2 - text_height
            top = above if above >= 0 else inner[3] + thickness + 2
            _write(canvas, f"{scores[k]:.2f}", max(inner[0] - thickness, 0), top, scale, color)
    return canvas


def draw_heat_map(pixels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the radiograph under its heat map as RGB uint8 [H, W, 3]: red where a defect is likely, blue where not.

    `pixels` is float [H, W] in [0, 1], `values` the probability of every pixel, float [H, W] in [0, 1]. The tint
    grows with the probability, so that little of it hides little. Raises ValueError for other shapes.
    """
    values = np.asarray(values, dtype=np.float32)
    if np.ndim(pixels) != 2 or values.shape != np.shape(pixels):
        raise ValueError(f"a heat map of {list(values.shape)} for pixels of {list(np.shape(pixels))}; both are [H, W]")
    values = values.clip(0, 1)
    tint = _jet()[np.rint(values * 255).astype(np.uint8)]
    share = (LEAST_TINT + (STRONGEST_TINT - LEAST_TINT) * values)[..., None]
    return np.rint((1 - share) * as_rgb(pixels) + share * tint).astype(np.uint8)


def _jet() -> np.ndarray:
    """Return 256 colors RGB uint8 from dark blue over cyan and yellow to dark red."""
    place = np.arange(256) / 255 * 4
    channels = [1.5 - np.abs(place - middle) for middle in (3, 2, 1)]
    return np.rint(np.stack(channels, axis=1).clip(0, 1) * 255).astype(np.uint8)


def _outline(canvas: np.ndarray, inner: tuple[int, int, int, int], thickness: int, color: tuple[int, int, int]) -> None:
    """Draw a frame around x1 y1 x2 y2, in place; what lies outside of the canvas is left out."""
    x1, y1, x2, y2 = inner
    left, top, right, bottom = x1 - thickness, y1 - thickness, x2 + thickness, y2 + thickness
    whole, sides = (left, right), (top, bottom)
    for rows, columns in (((top, y1), whole), ((y2, bottom), whole), (sides, (left, x1)), (sides, (x2, right))):
        canvas[max(rows[0], 0) : max(rows[1], 0), max(columns[0], 0) : max(columns[1], 0)] = color


def _write(canvas: np.ndarray, text: str, left: int, top: int, scale: int, color: tuple[int, int, int]) -> None:
    """Write digits at a place, in place; what lies outside of the canvas is left out."""
    for index, letter in enumerate(text):
        rows = np.array(_GLYPHS.get(letter, _GLYPHS["-"]))
        glyph = (rows[:, None] >> np.arange(GLYPH_WIDTH)[::-1] & 1).astype(bool)
        glyph = glyph.repeat(scale, axis=0).repeat(scale, axis=1)
        x = left + index * GLYPH_STEP * scale
        place = canvas[max(top, 0) : top + len(glyph), x : x + glyph.shape[1]]
        part = glyph[max(-top, 0) :][: place.shape[0], : place.shape[1]]
        place[part] = color
