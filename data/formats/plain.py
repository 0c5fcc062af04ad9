"""Read PNG, JPEG, BMP and PGM: sizes from their headers, then stored gray values, whole or not at all."""

import re
import struct
from collections.abc import Callable
from typing import NamedTuple

import imagecodecs
import numpy as np

from data.errors import InputError
from data.formats.orientation import UPRIGHT, check_orientation, exif_orientation, oriented
from data.gray_levels import gray_channel
from data.held_file import AnyFile
from data.limits import check_size

PNG_SUFFIXES = (".png",)
JPEG_SUFFIXES = (".jpg", ".jpeg")
PLAIN_SUFFIXES = (".bmp", ".pgm")

_PNG_CHANNELS = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}  # by color type; a palette may be decoded to RGBA
_JPEG_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
_END_OF_IMAGE = b"\xff\xd9"
# Bytes that any Huffman table decodes to something; no byte is 0xFF, which would start a marker.
_FILLER = bytes((37 * k + 11) % 251 for k in range(4096))
_SPACE = rb"(?:\s|#[^\n\r]*[\n\r])+"
_PGM_HEADER = re.compile(rb"P([25])" + (_SPACE + rb"(\d{1,9})") * 3 + rb"\s")


class Header(NamedTuple):
    """What the header of a plain image states; `width` and `height` are those of the stored rows."""

    width: int
    height: int
    channels: int = 1
    orientation: int = UPRIGHT


def plain_size(path: AnyFile, content: bytes) -> tuple[int, int]:
    """Return (width, height) in pixels as the image is seen, from the header alone. Raises InputError."""
    header = _checked_header(path, content)
    return (header.height, header.width) if header.orientation >= 5 else (header.width, header.height)


def read_plain(path: AnyFile, content: bytes) -> tuple[np.ndarray, int]:
    """Return stored values uint8 or uint16 [H, W], larger is brighter, and their bit depth. Raises InputError."""
    header = _checked_header(path, content)
    try:
        values, depth = _READERS[path.suffix.lower()](content)
    except (RuntimeError, ValueError, MemoryError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be decoded, corrupt or truncated: {reason}") from error
    if values is None or values.shape[:2] != (header.height, header.width):
        raise InputError(f"{path}: cannot be decoded, corrupt or truncated")
    return oriented(gray_channel(values, path), header.orientation), depth


def _checked_header(path: AnyFile, content: bytes) -> Header:
    """Return the header, its size within the limit."""
    suffix = path.suffix.lower()
    if suffix not in _HEADERS:
        raise InputError(f"{path}: not a radiograph format ({', '.join(_HEADERS)}, TIFF, DICOM)")
    try:
        header = _HEADERS[suffix](content)
    except (struct.error, IndexError, ValueError) as error:
        kind = suffix[1:].upper()
        raise InputError(f"{path}: not a {kind} file, or corrupt: {error or 'no valid header'}") from error
    check_size(path, header.width, header.height, header.channels)
    return header._replace(orientation=check_orientation(path, header.orientation))


def _png_header(content: bytes) -> Header:
    if content[:8] != b"\x89PNG\r\n\x1a\n" or content[12:16] != b"IHDR":
        raise ValueError("no PNG header")
    width, height, _, color = struct.unpack(">IIBB", content[16:26])
    if color not in _PNG_CHANNELS:
        raise ValueError(f"color type {color}")
    orientation, place = UPRIGHT, 8
    while place + 8 <= len(content):
        length, name = struct.unpack(">I4s", content[place : place + 8])
        if name in (b"IDAT", b"IEND"):
            break
        if name == b"eXIf":
            orientation = exif_orientation(content[place + 8 : place + 8 + length])
        place += 12 + length
    return Header(width, height, _PNG_CHANNELS[color], orientation)


def _read_png(content: bytes) -> tuple[np.ndarray, int]:
    if b"IEND" not in content:
        raise ValueError("no end")
    values = imagecodecs.png_decode(content)
    return values, 8 * values.dtype.itemsize


def jpeg_header(content: bytes) -> Header:
    """Return the header of a JPEG or JPEG-LS stream. Raises ValueError, IndexError or struct.error."""
    if content[:2] != b"\xff\xd8":
        raise ValueError("no JPEG header")
    orientation, place = UPRIGHT, 2
    while True:
        if content[place] != 0xFF:
            raise ValueError(f"no marker at byte {place}")
        marker = content[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a length
            place += 2
            continue
        if marker in (0xDA, 0xD9):
            raise ValueError("no frame header before the data")
        (length,) = struct.unpack(">H", content[place + 2 : place + 4])
        if length < 2:
            raise ValueError(f"a segment of {length} bytes")
        if marker in _JPEG_FRAMES:
            height, width, channels = struct.unpack(">HHB", content[place + 5 : place + 10])
            return Header(width, height, channels, orientation)
        if marker == 0xE1 and content[place + 4 : place + 10] == b"Exif\0\0":
            orientation = exif_orientation(content[place + 10 : place + 2 + length])
        place += 2 + length


def _read_jpeg(content: bytes) -> tuple[np.ndarray, int]:
    """Decode a JPEG of 8 bits. The decoder fills up in silence what a cut file lacks, so that it is asked twice."""
    end = len(content.rstrip(b"\0\r\n"))
    if content[end - 2 : end] != _END_OF_IMAGE:
        raise ValueError("no end")
    values = imagecodecs.jpeg8_decode(content)
    # More data before the end change nothing where all blocks are there, and fill blocks that are not.
    if not np.array_equal(values, imagecodecs.jpeg8_decode(content[: end - 2] + _FILLER + _END_OF_IMAGE)):
        raise ValueError("data are missing")
    return values, 8


def _bmp_header(content: bytes) -> Header:
    if content[:2] != b"BM":
        raise ValueError("no BMP header")
    (size,) = struct.unpack("<I", content[14:18])
    form = "<HHHH" if size == 12 else "<iiHH"
    width, height, _, bits = struct.unpack(form, content[18 : 18 + struct.calcsize(form)])
    return Header(width, abs(height), 1 if bits <= 8 else 4)


def _read_bmp(content: bytes) -> tuple[np.ndarray, int]:
    try:
        import cv2  # which nothing else needs to read a radiograph
    except ImportError as error:
        raise ValueError("BMP needs OpenCV; python -m pip install opencv-python-headless") from error
    try:
        values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(str(error)) from error
    if values is None:
        raise ValueError("no image")
    return values, 8 * values.dtype.itemsize


def _pgm_header(content: bytes) -> Header:
    header = _PGM_HEADER.match(content)
    if header is None:
        raise ValueError("no PGM header")
    return Header(int(header[2]), int(header[3]))


def _read_pgm(content: bytes) -> tuple[np.ndarray, int]:
    header = _PGM_HEADER.match(content)
    if header is None:
        raise ValueError("no PGM header")
    width, height, top = (int(value) for value in header.groups()[1:])
    depth = top.bit_length()
    if not 1 <= depth <= 16 or top != 2**depth - 1:
        raise ValueError(f"a PGM with the greatest value {top}; expected one less than a power of two, up to 65535")
    if header[1] == b"5":
        stored = np.dtype(">u2" if top > 255 else "u1")
        data = content[header.end() : header.end() + width * height * stored.itemsize]
        values = np.frombuffer(data, stored).astype(np.uint16 if top > 255 else np.uint8)
    else:
        words = re.sub(rb"#[^\n\r]*", b"", content[header.end() :]).split(maxsplit=width * height)[: width * height]
        numbers = [int(word) for word in words]
        if numbers and not 0 <= min(numbers) <= max(numbers) <= top:
            raise ValueError(f"values {min(numbers)} ... {max(numbers)}, but the greatest is stated as {top}")
        values = np.array(numbers, dtype=np.uint16 if top > 255 else np.uint8)
    if values.size != width * height:
        raise ValueError(f"{values.size} values for {width} x {height} pixels")
    if values.max() > top:
        raise ValueError(f"value {values.max()} is above the greatest stated, {top}")
    return values.reshape(height, width), depth


_HEADERS: dict[str, Callable[[bytes], Header]] = {
    ".png": _png_header, ".jpg": jpeg_header, ".jpeg": jpeg_header, ".bmp": _bmp_header, ".pgm": _pgm_header,
}  # fmt: skip
_READERS: dict[str, Callable[[bytes], tuple[np.ndarray, int]]] = {
    ".png": _read_png, ".jpg": _read_jpeg, ".jpeg": _read_jpeg, ".bmp": _read_bmp, ".pgm": _read_pgm,
}  # fmt: skip
