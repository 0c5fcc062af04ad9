"""TIFF files in memory, and tags that say what is not so."""

import io
import struct

import numpy as np
import tifffile


def tiff_bytes(values: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, values, photometric="minisblack", **options)
    return out.getvalue()


def set_tiff_tag(data: bytearray, tag: int, value: int) -> None:
    at = struct.unpack("<I", data[4:8])[0]
    for k in range(struct.unpack("<H", data[at : at + 2])[0]):
        entry = at + 2 + 12 * k
        if struct.unpack("<H", data[entry : entry + 2])[0] == tag:
            data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, value)
