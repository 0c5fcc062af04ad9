"""Read TIFF radiographs of one gray page, 1 to 16 bits."""

import logging
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import tifffile

from data.errors import InputError
from data.formats.orientation import ORIENTATION_TAG, check_orientation, oriented, oriented_pair
from data.formats.plain import Header, jpeg_header
from data.gray_levels import StoredImage, gray_channel
from data.held_file import AnyFile, for_library, size_in_bytes
from data.limits import check_size
from data.tiff_window import described_window

# Its remarks on odd files would stand beside our one line.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

TIFF_SUFFIXES = (".tif", ".tiff")
MAX_PAGES = 1000  # directories that are followed; a radiograph is one, perhaps with some thumbnails

MM_PER_UNIT = {2: 25.4, 3: 10.0}  # ResolutionUnit: inch, centimeter; 1 is "no unit"
SCREEN_DPI = (72.0, 96.0)  # written where nothing is known
GRAY = (tifffile.PHOTOMETRIC.MINISWHITE, tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB)
JPEG = (6, 7, 33007, 34892)
JPEG_2000 = (33003, 33004, 33005, 34712)
# None, CCITT (masks), LZW, deflate, PackBits, LZMA, zstd; JPEG and JPEG 2000, whose own headers are checked.
COMPRESSIONS = (1, 2, 3, 4, 5, 8, 32946, 32773, 34925, 50000, 7, *JPEG_2000)


def tiff_size(path: AnyFile) -> tuple[int, int]:
    """Return (width, height) in pixels of the radiograph as it is seen. Raises InputError."""
    with _open_page(path) as (_, page):
        width, height = oriented_pair(page.imagewidth, page.imagelength, _orientation(path, page))
        return int(width), int(height)


def tiff_pixel_size(path: AnyFile) -> tuple[float, float] | None:
    """Return the pixel size (row, column) in mm from the header, None where it is not stated. Raises InputError."""
    with _open_page(path) as (_, page):
        return _pixel_size(page, _orientation(path, page))


def read_tiff(path: AnyFile, bit_depth: int | None = None) -> StoredImage:
    """Return the stored levels with what the header says of them; a window is read for `bit_depth`, if given.

    Raises InputError.
    """
    with _open_page(path) as (file, page):
        if file.series[0].size > page.size:
            raise InputError(f"{path}: holds several images; split it into one file each")
        photometric, depth = page.photometric, _depth(page)
        if photometric not in GRAY:
            name = getattr(photometric, "name", f"photometric interpretation {photometric}").lower()
            raise InputError(f"{path}: a color image ({name}); a radiograph has one gray channel")
        _check_data(path, file, page)
        values = page.asarray(maxworkers=1)
        orientation = _orientation(path, page)
        pixel_size = _pixel_size(page, orientation)
        window = described_window(page.description, bit_depth or depth)
    values = gray_channel(values, path)
    inverted = photometric == tifffile.PHOTOMETRIC.MINISWHITE
    return StoredImage(oriented(values, orientation), depth, inverted, pixel_size, window)


@contextmanager
def _open_page(path: AnyFile) -> Iterator[tuple[tifffile.TiffFile, tifffile.TiffPage]]:
    """Yield the file and its one page that is no thumbnail; whatever goes wrong inside is an InputError."""
    try:
        with path.open("rb") as stream:
            count = _count_pages(path, stream)
        with tifffile.TiffFile(for_library(path)) as file:
            every = [file.pages[k] for k in range(count)]
            pages = [page for page in every if not (isinstance(page, tifffile.TiffPage) and page.is_reduced)]
            if len(pages) != 1:
                what = "several images; split it into one file each" if pages else "no image but thumbnails"
                raise InputError(f"{path}: holds {what}")
            page = pages[0]
            if not isinstance(page, tifffile.TiffPage):
                raise InputError(f"{path}: its first page has no description of its own; export the image again")
            if page.imagedepth != 1:
                raise InputError(f"{path}: holds several images (a depth of {page.imagedepth}); split it up")
            check_size(path, page.imagewidth, page.imagelength, page.samplesperpixel)
            yield file, page
    except InputError:
        raise
    except Exception as error:  # tifffile and its codecs let many kinds through from broken files
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: not a TIFF file, or corrupt or truncated: {reason}") from error


def _count_pages(path: AnyFile, stream: BinaryIO) -> int:
    """Return the number of directories. A file whose directories go in a circle would be read for ever."""
    head = stream.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    version = struct.unpack(order + "H", head[2:4])[0] if order else 0
    if version not in (42, 43):
        raise ValueError("no TIFF header")
    count_form, entry, next_form = ("H", 12, "I") if version == 42 else ("Q", 20, "Q")
    (place,) = struct.unpack_from(f"{order}{next_form}", head, 4 if version == 42 else 8)
    seen: set[int] = set()
    while place:
        if place in seen or len(seen) >= MAX_PAGES:
            reason = "its directories point in a circle" if place in seen else f"more than {MAX_PAGES} directories"
            raise InputError(f"{path}: corrupt: {reason}")
        seen.add(place)
        stream.seek(place)
        (entries,) = struct.unpack(order + count_form, stream.read(struct.calcsize(count_form)))
        stream.seek(entries * entry, 1)
        (place,) = struct.unpack(order + next_form, stream.read(struct.calcsize(next_form)))
    return len(seen)


def _check_data(path: AnyFile, file: tifffile.TiffFile, page: tifffile.TiffPage) -> None:
    """Raise InputError unless all strips or tiles are there, whole, of a size that may be decoded."""
    stated, expected = len(page.dataoffsets), math.prod(page.chunked)
    if stated != expected or len(page.databytecounts) != expected:
        raise InputError(f"{path}: corrupt: {stated} strips or tiles of data, but its size asks for {expected}")
    end = max(offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True))
    size = size_in_bytes(path)
    if end > size or 0 in page.databytecounts:
        raise InputError(f"{path}: truncated: pixel data end at byte {end} of {size}")
    if page.compression not in COMPRESSIONS:
        name = getattr(page.compression, "name", page.compression)
        raise InputError(f"{path}: compression {name} is not supported; write it with none, LZW or deflate")
    if page.is_tiled:
        check_size(path, page.tilewidth, page.tilelength * page.tiledepth, page.samplesperpixel, "tile")
    if page.compression not in (*JPEG, *JPEG_2000):
        return
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        file.filehandle.seek(offset)
        header = codestream_header(file.filehandle.read(count))
        check_size(path, header.width, header.height, header.channels, "strip or tile")


def codestream_header(content: bytes) -> Header:
    """Return the header of a JPEG, JPEG-LS or JPEG 2000 stream. Raises ValueError, IndexError or struct.error."""
    if content[:2] == b"\xff\xd8":
        return jpeg_header(content)
    start = content.find(b"\xff\x4f\xff\x51", 0, 4096)  # behind the boxes of a JP2 file, if it is one
    if start < 0:
        raise ValueError("no header of a JPEG or JPEG 2000 stream")
    right, bottom, left, top = struct.unpack(">IIII", content[start + 8 : start + 24])
    (channels,) = struct.unpack(">H", content[start + 40 : start + 42])
    return Header(right - left, bottom - top, channels)


def _depth(page: tifffile.TiffPage) -> int:
    """Return the bits a sample uses: BitsPerSample, or fewer where MaxSampleValue says so.

    Some writers put the image's own maximum there; only a value one less than a power of two is a depth.
    """
    stated = page.tags.valueof("MaxSampleValue")
    highest = max(stated) if isinstance(stated, tuple) else stated
    depth = int(page.bitspersample)
    if isinstance(highest, int) and highest >= 255 and (highest & (highest + 1)) == 0:
        return min(depth, highest.bit_length())
    return depth


def _orientation(path: AnyFile, page: tifffile.TiffPage) -> int:
    return check_orientation(path, int(page.tags.valueof(ORIENTATION_TAG, 1)))


def _pixel_size(page: tifffile.TiffPage, orientation: int) -> tuple[float, float] | None:
    """Return the pixel size (row, column) in mm, None without a unit of length or at a screen's resolution."""
    millimeters = MM_PER_UNIT.get(int(page.tags.valueof("ResolutionUnit", 1)))
    rates = [page.tags.valueof(name) for name in ("YResolution", "XResolution")]
    if millimeters is None or not all(rate and rate[0] and rate[1] for rate in rates):
        return None
    if millimeters == 25.4 and all(rate[0] / rate[1] in SCREEN_DPI for rate in rates):
        return None
    row, column = (millimeters * rate[1] / rate[0] for rate in rates)
    return oriented_pair(row, column, orientation)
