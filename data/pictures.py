"""Pictures for people to look at: captions, grids, and PNG files that the toolkit knows as its own.

Montages, overlays and heat maps lie beside radiographs. Their files are marked, so that a folder with them can be
given to the commands again.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path

import imagecodecs
import numpy as np

from data.drawing import as_rgb as as_rgb
from data.files import atomic_path

CAPTION_HEIGHT, GAP = 22, 6  # pixels
PNG_LEVEL = 1  # of compression: the fastest, at about a tenth more bytes
PAPER = 225  # gray, so that white radiographs show their frame
FONT = 0  # OpenCV's simple Hershey font
_TEXT = b"tEXtSoftware\0radiograph-detectors: a picture to look at"
_MARK = (len(_TEXT) - 4).to_bytes(4) + _TEXT + zlib.crc32(_TEXT).to_bytes(4)
_HEADER_BYTES = 33  # of a PNG file: signature and image header


def captioned(picture: np.ndarray, caption: str) -> np.ndarray:
    """Return a picture RGB uint8 [H, W, 3] under a strip with its caption."""
    import cv2  # whose letters nothing else here needs

    strip = np.full((CAPTION_HEIGHT, picture.shape[1], 3), PAPER, np.uint8)
    cv2.putText(strip, caption, (4, CAPTION_HEIGHT - 7), FONT, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([strip, picture])


def grid(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Return pictures RGB uint8, at least one, of any sizes, row by row with gaps between.

    All columns are as wide as the widest picture, a row is as high as its highest.
    """
    rows = [pictures[k : k + columns] for k in range(0, len(pictures), columns)]
    width = max(picture.shape[1] for picture in pictures)
    heights = [max(picture.shape[0] for picture in row) for row in rows]
    shape = (sum(heights) + GAP * (len(rows) + 1), min(columns, len(pictures)) * (width + GAP) + GAP, 3)
    sheet = np.full(shape, PAPER, np.uint8)
    top = GAP
    for row, height in zip(rows, heights, strict=True):
        for k, picture in enumerate(row):
            left = GAP + k * (width + GAP)
            sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        top += height + GAP
    return sheet


def write_picture(path: str | Path, picture: np.ndarray) -> None:
    """Write RGB uint8 [H, W, 3], or gray uint8 or uint16 [H, W], as PNG, atomically, marked as the toolkit's own."""
    content = imagecodecs.png_encode(np.ascontiguousarray(picture), level=PNG_LEVEL)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content[:_HEADER_BYTES] + _MARK + content[_HEADER_BYTES:])


def is_own_picture(path: str | Path) -> bool:
    """Return whether a file was written by `write_picture`. Raises OSError where it cannot be read."""
    if Path(path).suffix != ".png":
        return False
    with open(path, "rb") as stream:
        return stream.read(_HEADER_BYTES + len(_MARK)).endswith(_MARK)
