"""The radiographs of a report's gallery: parts of them as JPEG, few and small enough for one page."""

import base64
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.gray_window import AUTO
from data.radiograph import read_radiograph

WHOLE = 1024  # px; a radiograph no larger is shown whole, a larger one (a weld film) in tiles
TILE = (768, 576)  # px, width and height; tiles begin at every half of it, so that near errors share one
# Longest side in px and JPEG quality, the first that fits the budget is taken.
LEVELS = ((1024, 95), (1024, 90), (1024, 82), (900, 78), (768, 70), (640, 60), (512, 50), (400, 40))

Window = tuple[int, int, int, int]  # x, y, width, height in px of the radiograph


def window_around(box: list[float], shape: tuple[int, int]) -> Window:
    """Return the part of a radiograph ([H, W]) to show for a box xywh: all of it, or a tile that holds the box."""
    height, width = shape
    if max(shape) <= WHOLE:
        return 0, 0, width, height
    origin, extent = [], []
    for start, side, tile, end in zip(box[:2], box[2:], TILE, (width, height), strict=True):
        long = min(int(np.ceil(max(tile, 1.5 * side))), end)
        first = round((start + side / 2 - long / 2) / (tile / 2)) * (tile // 2)
        first = int(np.clip(first, 0, end - long))
        if not first <= start <= start + side <= first + long:
            first = int(np.clip(np.floor(start + side / 2 - long / 2), 0, end - long))
        origin.append(first)
        extent.append(long)
    return origin[0], origin[1], extent[0], extent[1]


class Pictures:
    """Collects parts of radiographs, each once, and encodes them within a budget."""

    def __init__(self) -> None:
        self.keys: dict[tuple[Path, Window], int] = {}
        self.windows: list[Window] = []
        self._pixels: list[NDArray[np.uint8]] = []
        self._last: tuple[Path, NDArray[np.float32]] | None = None

    def add(self, path: Path, box: list[float]) -> int | None:
        """Return the number of the picture that shows `box` of the radiograph, None where it cannot be read."""
        try:
            pixels = self._read(path)
        except InputError:
            return None
        window = window_around(box, pixels.shape)
        key = (path, window)
        if key not in self.keys:
            x, y, width, height = window
            part = pixels[y : y + height, x : x + width]
            low, high = np.percentile(part, [0.2, 99.8])
            gray = np.clip((part - low) / max(high - low, 1e-6), 0, 1) * 255
            self.keys[key] = len(self._pixels)
            self._pixels.append(np.round(gray).astype(np.uint8))
            self.windows.append(window)
        return self.keys[key]

    def _read(self, path: Path) -> NDArray[np.float32]:
        if self._last is None or self._last[0] != path:
            self._last = (path, read_radiograph(path, window=AUTO).pixels)
        return self._last[1]

    def encode(self, budget: int) -> list[str | None]:
        """Return each picture as a data URI, within `budget` characters; the last are None where nothing fits."""
        for side, quality in LEVELS:
            encoded: list[str | None] = [_data_uri(pixels, side, quality) for pixels in self._pixels]
            if sum(len(uri) for uri in encoded if uri) <= budget:
                return encoded
        total = 0
        for number, uri in enumerate(encoded):
            total += len(uri or "")
            if total > budget:
                encoded[number] = None
        return encoded


def _data_uri(pixels: NDArray[np.uint8], side: int, quality: int) -> str:
    scale = min(1.0, side / max(pixels.shape))
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    shrunk = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    _, jpeg = cv2.imencode(".jpg", shrunk, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode("ascii")
