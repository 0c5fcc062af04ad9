"""Volumes that are read slice by slice: folders of pictures, series of DICOM files, pages of a TIFF."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from data.errors import InputError
from data.volumes.volume import VoxelSize

SLICE_SUFFIXES = (".tif", ".tiff", ".png", ".bmp")
TIFF_SUFFIXES = (".tif", ".tiff")


class SliceStack:
    """Slices that are read when they are asked for; indexed by slices along z, y and x as an array is.

    Args:
        shape: slices, rows and columns.
        dtype: of the values.
        read: from the number of a slice to its values [Y, X].
        where: words for the place of a slice in error messages, by its number.

    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        dtype: np.dtype,
        read: Callable[[int], NDArray[Any]],
        where: Callable[[int], str],
    ) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._read, self._where = read, where

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return the voxels of slices along z, y and x. Raises InputError for a slice of another size or type."""
        keys = key if isinstance(key, tuple) else (key,)
        numbers: int | range = range(self.shape[0])[keys[0]]
        if isinstance(numbers, int):
            return self._plane(numbers)[keys[1:]]
        planes = [self._plane(number)[keys[1:]] for number in numbers]
        empty = np.empty((0, *self.shape[1:]), self.dtype)
        return np.stack(planes) if planes else empty[(slice(None), *keys[1:])]

    def _plane(self, number: int) -> NDArray[Any]:
        plane = self._read(number)
        if plane.shape != self.shape[1:] or plane.dtype != self.dtype:
            raise InputError(
                f"{self._where(number)}: {plane.dtype} values of {_size(plane.shape)}, the other slices have "
                f"{self.dtype} of {_size(self.shape[1:])}; export the volume again"
            )
        return plane


def _size(shape: Sequence[int]) -> str:
    return " x ".join(str(length) for length in reversed(shape))


def read_slice_folder(folder: Path) -> SliceStack:
    """Return a folder of pictures, one a slice, in the order of the numbers in their names.

    Sizes are compared from the files' headers. Raises InputError for slices of different sizes or types, for a number
    that is missing, and for names without or with equal numbers.
    """
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SLICE_SUFFIXES)
    if not files:
        raise InputError(f"{folder}: no slices ({', '.join(SLICE_SUFFIXES)}) and no DICOM files in it")
    files = _in_order(files, folder)
    heads = [_head(file) for file in files]
    for file, head in zip(files, heads, strict=True):
        if head != heads[0]:
            raise InputError(
                f"{file}: a slice of {head[1]} x {head[0]} ({head[2]}), {files[0].name} has {heads[0][1]} x "
                f"{heads[0][0]} ({heads[0][2]}); all slices of a volume have one size and type"
            )
    height, width, dtype = heads[0]
    return SliceStack(
        (len(files), height, width), dtype, lambda number: _read_picture(files[number]), lambda n: str(files[n])
    )


def _in_order(files: list[Path], folder: Path) -> list[Path]:
    """Return files by the number in their names that changes from file to file."""
    if len(files) == 1:
        raise InputError(f"{files[0]}: one slice; a volume has two or more")
    numbers = [[int(text) for text in re.findall(r"\d+", file.stem)] for file in files]
    if len({len(found) for found in numbers}) > 1 or not numbers[0]:
        odd = next((f for f, n in zip(files, numbers, strict=True) if len(n) != len(numbers[0]) or not n), files[0])
        raise InputError(f"{odd}: cannot tell the number of this slice; name slices alike, such as slice_0001.tif")
    changing = [k for k in range(len(numbers[0])) if len({found[k] for found in numbers}) > 1]
    if not changing:
        raise InputError(f"{folder}: {files[0].name} and {files[1].name} have the same number; keep one of the two")
    place = changing[-1]
    found: dict[int, Path] = {}
    for file, number in zip(files, numbers, strict=True):
        if number[place] in found:
            raise InputError(f"{file}: slice {number[place]} is also {found[number[place]].name}; keep one of the two")
        found[number[place]] = file
    ordered = sorted(found)
    steps = np.diff(ordered)
    step = int(steps.min())
    if (steps != step).any():
        gap = int(np.flatnonzero(steps != step)[0])
        raise InputError(
            f"{folder}: slice {ordered[gap] + step} is missing between {found[ordered[gap]].name} and "
            f"{found[ordered[gap + 1]].name}; add it, or leave out the slices on one side"
        )
    return [found[number] for number in ordered]


def _head(file: Path) -> tuple[int, int, np.dtype]:
    """Return height, width and type of a slice without decoding it, as far as the format allows."""
    if file.suffix.lower() in TIFF_SUFFIXES:
        with _open_tiff(file) as tiff:
            if len(tiff.pages) != 1:
                raise InputError(f"{file}: holds {len(tiff.pages)} pages; give the file itself, or one slice a file")
            page = tiff.pages[0]
            if len(page.shape) != 2:
                raise InputError(f"{file}: a slice of shape {list(page.shape)}; expected one gray picture")
            return page.shape[0], page.shape[1], np.dtype(page.dtype)
    values = _read_picture(file)
    return values.shape[0], values.shape[1], values.dtype


def _read_picture(file: Path) -> NDArray[Any]:
    try:
        values = tifffile.imread(file) if file.suffix.lower() in TIFF_SUFFIXES else imagecodecs.imread(file)
    except Exception as error:  # codecs let many kinds through from broken files
        raise InputError(f"{file}: cannot be decoded, corrupt or truncated: {error}") from error
    if values.ndim == 3 and (values[..., :3] == values[..., :1]).all():
        values = values[..., 0]
    if values.ndim != 2 or values.dtype.kind not in "uif":
        raise InputError(f"{file}: {values.dtype} of shape {list(values.shape)}; a slice is one gray picture")
    return values


def _open_tiff(path: Path) -> tifffile.TiffFile:
    try:
        return tifffile.TiffFile(path)
    except Exception as error:  # tifffile lets many kinds through from broken files
        raise InputError(f"{path}: not a TIFF, or corrupt: {error}") from error


def read_tiff_stack(path: Path) -> tuple[Any, VoxelSize | None]:
    """Return a multipage TIFF [Z, Y, X] and its voxel size in mm.

    Uncompressed pages in one piece are memory-mapped, others are decoded when they are asked for. Raises InputError
    for one page, pages of different sizes, color, and a file that ends early.
    """
    with _open_tiff(path) as file:
        try:
            check_page_chain(path)
            series = file.series
            shape, dtype = tuple(n for n in series[0].shape if n > 1), np.dtype(series[0].dtype)
            pages, offset = len(file.pages), series[0].dataoffset
            first = file.pages.first
            voxel_mm = _tiff_voxel_mm(file, first)
            sizes = {page.shape for page in file.pages} if offset is None or len(series) > 1 else {first.shape}
            byte_order = file.byteorder
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{path}: cannot be read, corrupt or truncated: {error}") from error
    if len(sizes) > 1:
        found = ", ".join(f"{s[1]} x {s[0]}" if len(s) > 1 else str(s) for s in sorted(sizes)[:3])
        raise InputError(f"{path}: pages of different sizes ({found}); a volume has slices of one size")
    if len(shape) != 3 or len(first.shape) != 2:
        raise InputError(
            f"{path}: an image of shape {list(series[0].shape)}; a volume is a stack of two or more gray slices"
        )
    if dtype.kind not in "uif":
        raise InputError(f"{path}: values of type {dtype}; expected integers or floats")
    if offset is not None:
        end = offset + int(np.prod(shape)) * dtype.itemsize
        if end > path.stat().st_size:
            raise InputError(f"{path}: truncated: voxels end at byte {end} of {path.stat().st_size}")
        return np.memmap(path, dtype.newbyteorder(byte_order), "r", offset, shape), voxel_mm
    if pages != shape[0]:
        raise InputError(f"{path}: {pages} pages for {shape[0]} slices; export the volume as one page a slice")

    def read(number: int) -> NDArray[Any]:
        try:
            return tifffile.imread(path, key=number)
        except Exception as error:
            raise InputError(f"{path}: page {number} cannot be decoded, corrupt or truncated: {error}") from error

    return SliceStack((shape[0], shape[1], shape[2]), dtype, read, lambda n: f"{path}: page {n}"), voxel_mm


def check_page_chain(path: Path) -> None:
    """Raise InputError for a TIFF whose chain of pages leads back to an earlier one, or out of the file.

    The first would be read for ever, the second in part.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
        big = int.from_bytes(head[2:4], order) == 43
        width, count_bytes, entry = (8, 8, 20) if big else (4, 2, 12)
        offset = int.from_bytes(head[8:16] if big else head[4:8], order)
        seen: set[int] = set()
        while offset:
            if offset in seen:
                raise InputError(f"{path}: its pages lead back to the page at byte {offset}; the file is corrupt")
            seen.add(offset)
            file.seek(offset)
            entries = int.from_bytes(file.read(count_bytes), order)
            if offset + count_bytes + entries * entry + width > size:
                raise InputError(f"{path}: truncated: the page at byte {offset} ends behind byte {size}, the last one")
            file.seek(offset + count_bytes + entries * entry)
            offset = int.from_bytes(file.read(width), order)


def _tiff_voxel_mm(file: tifffile.TiffFile, page: Any) -> VoxelSize | None:
    """Return the voxel size of our own files and of ImageJ's, in mm; None where a part of it is missing."""
    metadata = (file.imagej_metadata or {}) or (file.shaped_metadata or ({},))[0]
    per_unit = {"mm": 1.0, "millimeter": 1.0, "cm": 10.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "microns": 1e-3,
                "\\u00B5m": 1e-3, "m": 1e3}  # fmt: skip
    spacing = metadata.get("spacing")
    if not isinstance(spacing, int | float) or metadata.get("unit") not in per_unit:
        return None
    scale = per_unit[str(metadata["unit"])]
    rates = [page.tags.valueof(name) for name in ("YResolution", "XResolution")]
    if not all(rate and rate[0] and rate[1] for rate in rates):
        return None
    row, column = (scale * rate[1] / rate[0] for rate in rates)
    return float(spacing) * scale, float(row), float(column)
