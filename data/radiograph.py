"""Read and write one radiograph: PNG, TIFF, DICOM/DICONDE, and 8-bit JPEG, BMP and PGM.

A radiograph is float32 [H, W] in [0, 1], value / (2**bit_depth - 1), larger is brighter on the display.
Nothing is clipped or windowed unless a `GrayWindow` is given; a file that cannot be read so is an InputError.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

from data.errors import InputError
from data.file_tree import files_in
from data.files import atomic_path
from data.formats.dicom import DICOM_SUFFIXES, dicom_pixel_size, dicom_size, is_dicom, read_dicom
from data.formats.plain import JPEG_SUFFIXES, PLAIN_SUFFIXES, PNG_SUFFIXES, plain_size, read_plain
from data.formats.tiff import TIFF_SUFFIXES, read_tiff, tiff_pixel_size, tiff_size
from data.gray_levels import FileWindow, StoredImage
from data.gray_window import AUTO, GrayWindow, LevelMap
from data.held_file import AnyFile, HeldFile, size_in_bytes
from data.pictures import is_own_picture
from data.records import ImageRecord
from data.tiff_window import describe_window

RADIOGRAPH_SUFFIXES = (*PNG_SUFFIXES, *TIFF_SUFFIXES, *DICOM_SUFFIXES, *JPEG_SUFFIXES, *PLAIN_SUFFIXES)
HEAD = 2**16  # bytes that hold the header of a PNG, BMP or PGM file
SQUARE = 0.01  # difference between the sides of a pixel that still counts as square


@dataclass(frozen=True, eq=False)
class Radiograph:
    """One radiograph.

    Attributes:
        pixels: float32 [H, W] in [0, 1].
        bit_depth: bits of a stored level.
        pixel_size_mm: size of a pixel (row, column) in mm, None where the file does not state it.
        levels: the stored levels uint8 or uint16 [H, W], larger is brighter, which `pixels` come from.
        level_map: what made gray values of levels: the full depth, or a window.
        file_window: the window that the file asks to be shown with, None without one; not applied unless asked for.

    """

    pixels: np.ndarray
    bit_depth: int
    pixel_size_mm: tuple[float, float] | None
    levels: np.ndarray
    level_map: LevelMap
    file_window: FileWindow | None = None

    @property
    def full_scale(self) -> int:
        """`pixels` are whole multiples of 1 / `full_scale`: 2**bit_depth - 1, unless there is a window."""
        return self.level_map.full_scale

    @property
    def gray_bits(self) -> int:
        """Bits that hold every gray value of `pixels`: those of the file, or 16 behind a window."""
        return self.bit_depth if self.level_map.source == "full" else 16

    def display_map(self) -> LevelMap:
        """Return what makes gray values for the eye of its levels, whatever window `pixels` went through."""
        return AUTO.fit(self.levels, self.bit_depth, self.file_window)

    def display(self) -> np.ndarray:
        """Return the gray values of `display_map`, float32 [H, W] in [0, 1]."""
        shown = self.display_map()
        return self.pixels if shown.source == self.level_map.source == "full" else shown(self.levels)


def read_radiograph(path: str | AnyFile, bit_depth: int | None = None, window: GrayWindow | None = None) -> Radiograph:
    """Read one radiograph of a single channel.

    `bit_depth` states the depth where the file does not (12 bits in a 16-bit PNG, for instance); without it, that of
    `window` counts. `window` maps levels to gray values, None by the full depth. Color files whose channels are all
    equal count as gray. Raises InputError, naming the file, when it is missing, unreadable, empty, truncated, corrupt,
    colored, larger than the limit (data/limits.py), holds several images or values above 2**bit_depth - 1.
    """
    path = _existing(path)
    bit_depth = bit_depth if bit_depth is not None or window is None else window.bit_depth
    if bit_depth is not None and not 1 <= bit_depth <= 16:
        raise InputError(f"{path}: bit_depth {bit_depth} is not in 1 ... 16")
    stored = _read_stored(path, bit_depth)
    depth = bit_depth or stored.depth
    levels = stored.upright_levels(depth, path)
    level_map = LevelMap.full(depth) if window is None else window.fit(levels, depth, stored.file_window, path)
    return Radiograph(level_map(levels), depth, stored.pixel_size_mm, levels, level_map, stored.file_window)


def radiograph_size(path: str | AnyFile) -> tuple[int, int]:
    """Return (width, height) in pixels from the header; pixels are not decoded. Raises InputError."""
    path = _existing(path)
    if is_dicom(path):
        return dicom_size(path)
    if path.suffix.lower() in TIFF_SUFFIXES:
        return tiff_size(path)
    return plain_size(path, _content(path, None if path.suffix.lower() in JPEG_SUFFIXES else HEAD))


def pixel_size_mm(path: str | AnyFile) -> float | None:
    """Return the side of a radiograph's pixels in mm as its header states it, for COCO's `pixel_size_mm`.

    None where it states none, or one that is not square. Raises InputError.
    """
    path = _existing(path)
    size = None
    if is_dicom(path):
        size = dicom_pixel_size(path)
    elif path.suffix.lower() in TIFF_SUFFIXES:
        size = tiff_pixel_size(path)
    return square_side(size)


def square_side(pixel_size: tuple[float, float] | None) -> float | None:
    """Return the side of a square pixel in mm, None where its size is unknown or not square."""
    if pixel_size is None or abs(pixel_size[0] / pixel_size[1] - 1) > SQUARE:
        return None
    return round((pixel_size[0] + pixel_size[1]) / 2, 9)


def image_record(image_id: int, path: Path, name: str) -> ImageRecord:
    """Return the COCO record of a radiograph from its header: id, file_name, width, height, and pixel_size_mm if known.

    Raises InputError for a file that cannot be read.
    """
    width, height = radiograph_size(path)
    side = pixel_size_mm(path)
    record: ImageRecord = {"id": image_id, "file_name": name, "width": width, "height": height}
    if side is not None:
        record["pixel_size_mm"] = side
    return record


def write_radiograph(path: str | Path, pixels: np.ndarray, bits: int = 8, window: FileWindow | None = None) -> None:
    """Write float [H, W] in [0, 1] as gray PNG or TIFF, atomically; see `encode_radiograph`."""
    content = encode_radiograph(path, pixels, bits, window)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def encode_radiograph(name: str | Path, pixels: np.ndarray, bits: int = 8, window: FileWindow | None = None) -> bytes:
    """Return float [H, W] in [0, 1] as the bytes of a gray PNG or TIFF (by the name's suffix), rounded to `bits` bits.

    PNG takes 8 or 16 bits; TIFF 8 to 16, where 9 to 15 lie in 16-bit samples with MaxSampleValue stating the
    depth. A `window` for the eye, such as that of the DICOM file that the pixels come from, is kept in a TIFF.
    Raises InputError for values outside [0, 1], NaN, another shape, suffix or depth, and a window for a PNG.
    """
    suffix, pixels = Path(name).suffix.lower(), np.asarray(pixels)
    is_png = suffix in PNG_SUFFIXES
    if not is_png and suffix not in TIFF_SUFFIXES:
        raise InputError(f"{name}: radiographs are written as .png, .tif or .tiff")
    if bits not in ((8, 16) if is_png else range(8, 17)):
        raise InputError(f"{name}: cannot hold {bits} bits; PNG takes 8 or 16, TIFF 8 to 16")
    if is_png and window is not None:
        raise InputError(f"{name}: a PNG cannot hold a gray window; write a TIFF")
    values = _levels(name, pixels, bits)
    if is_png:
        return bytes(imagecodecs.png_encode(values))
    tags = [("MaxSampleValue", "H", 1, 2**bits - 1, True)] if bits not in (8, 16) else []
    content = io.BytesIO()
    tifffile.imwrite(
        content, values, photometric="minisblack", compression="zlib", metadata=None, extratags=tags,
        description=None if window is None else describe_window(window),
    )  # fmt: skip
    return content.getvalue()


def _levels(name: str | Path, pixels: np.ndarray, bits: int) -> np.ndarray:
    """Return float [H, W] in [0, 1] as levels of `bits` bits, uint8 or uint16. Raises InputError."""
    if pixels.ndim != 2 or pixels.size == 0 or pixels.dtype.kind != "f":
        raise InputError(f"{name}: pixels are {pixels.dtype} {list(pixels.shape)}, expected float [H, W]")
    if not (pixels.min() >= 0 and pixels.max() <= 1):  # false for NaN, too
        raise InputError(f"{name}: pixel values {pixels.min()} ... {pixels.max()} are not within 0 ... 1")
    return np.rint(pixels.astype(np.float64) * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)


def find_radiographs(paths: Iterable[str | Path]) -> list[Path]:
    """Return the radiograph files among files and folders (searched recursively), sorted, each once.

    In a folder, a file counts by its suffix, or by DICOM's magic under any other name; hidden files and folders do
    not, nor do pictures that the toolkit wrote (montages, overlays, heat maps). Links to folders are followed, each
    folder once. Raises InputError for a missing path, a file of another kind, and a folder without radiographs.
    """
    found: set[Path] = set()
    for path in map(Path, paths):
        try:
            if path.is_dir():
                inside = [*radiographs_in(path)]
                if not inside:
                    raise InputError(f"{path}: no radiographs in this folder ({', '.join(RADIOGRAPH_SUFFIXES)})")
                found.update(inside)
            elif not path.is_file():
                raise InputError(f"{path}: no such file or folder")
            elif not _is_radiograph(path):
                raise InputError(f"{path}: not a radiograph ({', '.join(RADIOGRAPH_SUFFIXES)})")
            else:
                found.add(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    return sorted(found)


def radiographs_in(folder: Path) -> Iterator[Path]:
    """Yield the radiographs of a folder and its sub-folders, in the order of `files_in`; see `find_radiographs`.

    The memory that this takes does not grow with the number of files. Raises OSError and InputError.
    """
    return (file for file in files_in(folder) if _is_radiograph(file) and not is_own_picture(file))


def _is_radiograph(path: Path) -> bool:
    return path.suffix.lower() in RADIOGRAPH_SUFFIXES or is_dicom(path)


def _existing(path: str | AnyFile) -> AnyFile:
    path = path if isinstance(path, HeldFile) else Path(path)
    try:
        if isinstance(path, Path) and not path.is_file():
            raise InputError(f"{path}: no such file")
        if size_in_bytes(path) == 0:
            raise InputError(f"{path}: the file is empty")
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(path)!r}: cannot be read: {error}") from error
    return path


def _content(path: AnyFile, size: int | None = None) -> bytes:
    """Return a file's bytes, or the first `size` of them."""
    try:
        with path.open("rb") as stream:
            return stream.read(-1 if size is None else size)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _read_stored(path: AnyFile, bit_depth: int | None) -> StoredImage:
    if is_dicom(path):
        return read_dicom(path, bit_depth)
    if path.suffix.lower() in TIFF_SUFFIXES:
        return read_tiff(path, bit_depth)
    return StoredImage(*read_plain(path, _content(path)))
