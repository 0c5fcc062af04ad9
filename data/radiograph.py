"""Read and write one radiograph: PNG, TIFF, DICOM/DICONDE, and 8-bit JPEG, BMP and PGM.

A radiograph is float32 [H, W] in [0, 1], value / (2**bit_depth - 1), larger is brighter on the display.
Nothing is clipped, windowed or inverted in silence; a file that cannot be read so is an InputError.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import tifffile

from data.dicom import DICOM_SUFFIXES, dicom_size, is_dicom, read_dicom
from data.errors import InputError
from data.files import atomic_path

PNG_SUFFIXES = (".png",)
TIFF_SUFFIXES = (".tif", ".tiff")
JPEG_SUFFIXES = (".jpg", ".jpeg")
PLAIN_SUFFIXES = (".bmp", ".pgm")
RADIOGRAPH_SUFFIXES = (*PNG_SUFFIXES, *TIFF_SUFFIXES, *DICOM_SUFFIXES, *JPEG_SUFFIXES, *PLAIN_SUFFIXES)

MM_PER_TIFF_UNIT = {2: 25.4, 3: 10.0}  # ResolutionUnit: inch, centimeter; 1 is "no unit"


@dataclass(frozen=True)
class Radiograph:
    """One radiograph.

    `pixels` is float32 [H, W] in [0, 1]; `bit_depth` the bits a stored value had; `pixel_size_mm` the size
    of a pixel (row, column) in mm, None where the file does not state it.
    """

    pixels: np.ndarray
    bit_depth: int
    pixel_size_mm: tuple[float, float] | None


@dataclass(frozen=True)
class PercentileWindow:
    """Stretch a radiograph between two percentiles of itself, clipped to [0, 1].

    For display and for models that ask for it; the reader never does it. `low` and `high` are percentiles,
    0 <= low < high <= 100 (InputError otherwise). An image without a spread between them stays unchanged.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 100:
            raise InputError(f"percentile window {self.low} to {self.high}: needs 0 <= low < high <= 100")

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return float32 pixels of the same shape in [0, 1]."""
        bottom, top = np.percentile(pixels, (self.low, self.high))
        if top <= bottom:
            return pixels
        return np.clip((pixels - bottom) / (top - bottom), 0, 1).astype(np.float32)


def read_radiograph(path: str | Path, bit_depth: int | None = None) -> Radiograph:
    """Read one radiograph of a single channel.

    `bit_depth` states the depth where the file does not (12 bits in a 16-bit PNG, for instance). Color
    files whose channels are all equal count as gray. Raises InputError, naming the file, when it is missing,
    empty, truncated, corrupt, colored, holds several images or values above 2**bit_depth - 1.
    """
    path = _existing(path)
    if bit_depth is not None and not 1 <= bit_depth <= 16:
        raise InputError(f"{path}: bit_depth {bit_depth} is not in 1 ... 16")
    pixel_size = None
    if is_dicom(path):
        values, found, inverted, pixel_size = read_dicom(path, bit_depth)
    elif path.suffix.lower() in TIFF_SUFFIXES:
        values, found, inverted, pixel_size = _read_tiff(path)
    else:
        (values, found), inverted = _read_plain(path), False
    depth = bit_depth or found
    return Radiograph(_scaled(values, depth, inverted, path), depth, pixel_size)


def radiograph_size(path: str | Path) -> tuple[int, int]:
    """Return (width, height) in pixels; PNG, TIFF and DICOM pixels are not decoded. Raises InputError."""
    path = _existing(path)
    if is_dicom(path):
        return dicom_size(path)
    if path.suffix.lower() in PNG_SUFFIXES:
        with path.open("rb") as stream:
            head = stream.read(24)
        if len(head) < 24 or head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR":
            raise InputError(f"{path}: not a PNG file, or corrupt")
        return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    if path.suffix.lower() in TIFF_SUFFIXES:
        try:
            with tifffile.TiffFile(path) as file:
                page = file.pages.first
                return int(page.imagewidth), int(page.imagelength)
        except Exception as error:  # tifffile lets many kinds through from broken files
            raise InputError(f"{path}: not a TIFF file, or corrupt: {error}") from error
    height, width = _read_plain(path)[0].shape
    return width, height


def write_radiograph(path: str | Path, pixels: np.ndarray, bits: int = 8) -> None:
    """Write float [H, W] in [0, 1] as gray PNG or TIFF (by suffix), atomically, rounded to `bits` bits.

    PNG takes 8 or 16 bits; TIFF 8 to 16, where 9 to 15 lie in 16-bit samples with MaxSampleValue stating the
    depth. Raises InputError for values outside [0, 1], NaN, another shape, suffix or depth.
    """
    path, pixels = Path(path), np.asarray(pixels)
    is_png = path.suffix.lower() in PNG_SUFFIXES
    if not is_png and path.suffix.lower() not in TIFF_SUFFIXES:
        raise InputError(f"{path}: radiographs are written as .png, .tif or .tiff")
    if bits not in ((8, 16) if is_png else range(8, 17)):
        raise InputError(f"{path}: cannot hold {bits} bits; PNG takes 8 or 16, TIFF 8 to 16")
    if pixels.ndim != 2 or pixels.size == 0 or pixels.dtype.kind != "f":
        raise InputError(f"{path}: pixels are {pixels.dtype} {list(pixels.shape)}, expected float [H, W]")
    if not (pixels.min() >= 0 and pixels.max() <= 1):  # false for NaN, too
        raise InputError(f"{path}: pixel values {pixels.min()} ... {pixels.max()} are not within 0 ... 1")
    top = 2**bits - 1
    values = np.rint(pixels.astype(np.float64) * top).astype(np.uint8 if bits == 8 else np.uint16)
    with atomic_path(path) as temporary:
        if is_png:
            temporary.write_bytes(imagecodecs.png_encode(values))
        else:
            tags = [("MaxSampleValue", "H", 1, top, True)] if bits not in (8, 16) else []
            tifffile.imwrite(
                temporary, values, photometric="minisblack", compression="zlib", metadata=None, extratags=tags
            )


def find_radiographs(paths: Iterable[str | Path]) -> list[Path]:
    """Return the radiograph files among files and folders (searched recursively), sorted, each once.

    In a folder, a file counts by its suffix, or by DICOM's magic where it has none; hidden files do not.
    Raises InputError for a missing path, a file of another kind, and a folder without radiographs.
    """
    found: set[Path] = set()
    for path in map(Path, paths):
        if path.is_dir():
            inside = [
                file
                for file in path.rglob("*")
                if file.is_file() and not file.name.startswith(".") and _is_radiograph(file)
            ]
            if not inside:
                raise InputError(f"{path}: no radiographs in this folder ({', '.join(RADIOGRAPH_SUFFIXES)})")
            found.update(inside)
        elif not path.is_file():
            raise InputError(f"{path}: no such file or folder")
        elif not _is_radiograph(path) and not is_dicom(path):
            raise InputError(f"{path}: not a radiograph ({', '.join(RADIOGRAPH_SUFFIXES)})")
        else:
            found.add(path)
    return sorted(found)


def _is_radiograph(path: Path) -> bool:
    return path.suffix.lower() in RADIOGRAPH_SUFFIXES or (not path.suffix and is_dicom(path))


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    return path


def _scaled(values: np.ndarray, depth: int, inverted: bool, path: Path) -> np.ndarray:
    """Return float32 in [0, 1] for unsigned values of `depth` bits."""
    if values.size == 0:
        raise InputError(f"{path}: no pixels")
    top = 2**depth - 1
    highest = int(values.max())
    if highest > top:
        raise InputError(
            f"{path}: value {highest} is above {top}, the most that {depth} bits hold; give the right bit_depth"
        )
    pixels = values.astype(np.float32) / np.float32(top)
    return 1 - pixels if inverted else pixels


def _read_plain(path: Path) -> tuple[np.ndarray, int]:
    """Return unsigned values [H, W] and their depth from a PNG, JPEG, BMP or PGM file."""
    suffix, content = path.suffix.lower(), path.read_bytes()
    try:
        if suffix in PNG_SUFFIXES:
            values = imagecodecs.png_decode(content)
            whole = b"IEND" in content
        elif suffix in JPEG_SUFFIXES:
            values = imagecodecs.jpeg8_decode(content)
            whole = content.rstrip(b"\0\r\n").endswith(b"\xff\xd9")  # the decoder fills up what is cut off
        elif suffix in PLAIN_SUFFIXES:
            values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
            whole = True
        else:
            raise InputError(f"{path}: not a radiograph format ({', '.join(RADIOGRAPH_SUFFIXES)})")
    except (RuntimeError, ValueError, cv2.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be decoded, corrupt or truncated: {error}") from error
    if values is None or not whole:
        raise InputError(f"{path}: cannot be decoded, corrupt or truncated")
    depth = values.dtype.itemsize * 8
    if suffix == ".pgm":
        depth = _pgm_depth(content, path)
    return _gray(values, path), depth


def _pgm_depth(content: bytes, path: Path) -> int:
    header = re.match(rb"P[25]\s+(?:#[^\n]*\n\s*)*\d+\s+(?:#[^\n]*\n\s*)*\d+\s+(?:#[^\n]*\n\s*)*(\d+)\s", content)
    depth = math.log2(int(header[1]) + 1) if header else 0
    if depth < 1 or not depth.is_integer():
        raise InputError(
            f"{path}: a PGM with the greatest value {header[1].decode() if header else None}; "
            "expected one less than a power of two"
        )
    return int(depth)


def _gray(values: np.ndarray, path: Path) -> np.ndarray:
    """Return the one channel of unsigned [H, W], or of [H, W, C] whose colors are all equal and opaque."""
    if values.dtype.kind not in "ub":
        raise InputError(f"{path}: samples are {values.dtype}; expected unsigned integers of up to 16 bits")
    if values.ndim == 2:
        return values
    if values.ndim != 3 or values.shape[2] > 4:
        raise InputError(f"{path}: an array of shape {list(values.shape)}; expected one gray image")
    channels = values.shape[2]
    colors = values[..., : channels - 1] if channels in (2, 4) else values
    if channels in (2, 4) and values[..., -1].min() != np.iinfo(values.dtype).max:
        raise InputError(f"{path}: has transparent pixels; a radiograph has one gray channel")
    if (colors != colors[..., :1]).any():
        raise InputError(f"{path}: a color image; a radiograph has one gray channel")
    return colors[..., 0]


def _read_tiff(path: Path) -> tuple[np.ndarray, int, bool, tuple[float, float] | None]:
    """Return unsigned values [H, W], their depth, whether white is zero, and the pixel size in mm."""
    try:
        with tifffile.TiffFile(path) as file:
            pages = [page for page in file.pages if not page.is_reduced]
            if len(pages) != 1 or file.series[0].size > pages[0].size:
                raise InputError(f"{path}: holds several images; split it into one file each")
            page = pages[0]
            end = max(offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True))
            if end > path.stat().st_size or 0 in page.databytecounts:
                raise InputError(f"{path}: truncated: pixel data end at byte {end} of {path.stat().st_size}")
            values = page.asarray()
            photometric, depth = page.photometric, _tiff_depth(page)
            pixel_size = _tiff_pixel_size(page)
    except InputError:
        raise
    except Exception as error:  # tifffile and its codecs let many kinds through from broken files
        raise InputError(f"{path}: cannot be decoded, corrupt or truncated: {error}") from error
    if photometric not in (tifffile.PHOTOMETRIC.MINISWHITE, tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB):
        raise InputError(f"{path}: a color image ({photometric.name.lower()}); a radiograph has one gray channel")
    return _gray(values, path), depth, photometric == tifffile.PHOTOMETRIC.MINISWHITE, pixel_size


def _tiff_depth(page: tifffile.TiffPage) -> int:
    """Return the bits a sample uses: BitsPerSample, or fewer where MaxSampleValue says so.

    Some writers put the image's own maximum there; only a value one less than a power of two is a depth.
    """
    stated = page.tags.valueof("MaxSampleValue")
    highest = max(stated) if isinstance(stated, tuple) else stated
    depth = int(page.bitspersample)
    if highest and highest >= 255 and (highest & (highest + 1)) == 0:
        return min(depth, int(highest).bit_length())
    return depth


def _tiff_pixel_size(page: tifffile.TiffPage) -> tuple[float, float] | None:
    """Return the pixel size (row, column) in mm, None without a unit of length."""
    millimeters = MM_PER_TIFF_UNIT.get(int(page.tags.valueof("ResolutionUnit", 1)))
    rates = [page.tags.valueof(name) for name in ("YResolution", "XResolution")]
    if millimeters is None or not all(rate and rate[0] and rate[1] for rate in rates):
        return None
    row, column = (millimeters * rate[1] / rate[0] for rate in rates)
    return row, column
