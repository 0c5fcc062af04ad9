"""The orientation tag of TIFF and EXIF: how stored rows and columns lie in the picture."""

import struct

import numpy as np

from data.errors import InputError
from data.held_file import AnyFile

ORIENTATION_TAG = 274
UPRIGHT = 1


def check_orientation(path: AnyFile, value: int) -> int:
    """Return a valid orientation 1 ... 8; 0, which some writers use for "unknown", is upright. Raises InputError."""
    if not 0 <= value <= 8:
        raise InputError(f"{path}: orientation {value} is none of 1 ... 8; rewrite the file upright")
    return value or UPRIGHT


def oriented(values: np.ndarray, orientation: int) -> np.ndarray:
    """Return stored values [H, W] as they are to be seen, [H, W] or, for orientations 5 to 8, [W, H]."""
    if orientation in (2, 3):
        values = values[:, ::-1]
    if orientation in (3, 4):
        values = values[::-1]
    if orientation >= 5:
        values = values.T
        if orientation in (6, 7):
            values = values[:, ::-1]
        if orientation in (7, 8):
            values = values[::-1]
    return np.ascontiguousarray(values)


def oriented_pair(first: float, second: float, orientation: int) -> tuple[float, float]:
    """Return two figures of rows and columns (or width and height) in the order of the picture as seen."""
    return (second, first) if orientation >= 5 else (first, second)


def exif_orientation(exif: bytes) -> int:
    """Return the orientation in an EXIF block that starts with its byte order, 1 where it states none."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    try:
        if order is None or struct.unpack(order + "H", exif[2:4])[0] != 42:
            return UPRIGHT
        place = struct.unpack(order + "I", exif[4:8])[0]
        (count,) = struct.unpack(order + "H", exif[place : place + 2])
        for entry in range(place + 2, place + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack(order + "HHIH", exif[entry : entry + 10])
            if tag == ORIENTATION_TAG and kind == 3:
                return value
    except struct.error:  # cut short: no orientation that could be known
        pass
    return UPRIGHT
