"""Series of DICOM or DICONDE slices of one computed tomography volume."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import generate_frames

from data.errors import InputError
from data.formats.dicom import CODECS, DICOM_SUFFIXES, read_header
from data.volumes.slices import SliceStack
from data.volumes.volume import VoxelSize

UNEVEN = 0.02
"""Largest deviation of the distance between neighboring slices from their median, relative."""


def find_dicom(folder: Path) -> list[Path]:
    """Return the DICOM files of a folder, by their suffix or by the letters DICM."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return [file for file in files if file.suffix.lower() in DICOM_SUFFIXES or (not file.suffix[1:].isalpha()
            and _has_letters(file))]  # fmt: skip


def _has_letters(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def read_dicom_series(files: list[Path]) -> tuple[SliceStack, VoxelSize | None]:
    """Return the slices in the order of their positions, and the voxel size in mm.

    Values are rescaled (slope and intercept) to float32 where any slice asks for it, else kept as stored. Raises
    InputError for slices of different series or sizes, and for a gap in their positions.
    """
    heads = [read_header(file, ("Rows", "Columns", "BitsAllocated")) for file in files]
    for file, head in zip(files, heads, strict=True):
        for name, words in (("SeriesInstanceUID", "series"), ("Rows", "rows"), ("Columns", "columns")):
            if head.get(name) != heads[0].get(name):
                raise InputError(
                    f"{file}: {words} {head.get(name)}, {files[0].name} has {heads[0].get(name)}; "
                    "keep the slices of one series in a folder of their own"
                )
        if int(head.get("NumberOfFrames", 1) or 1) > 1:
            raise InputError(f"{file}: holds {head.NumberOfFrames} frames; export one slice a file")
    places = _places(files, heads)
    order = np.argsort(places, kind="stable")
    gaps = np.diff(places[order])
    if len(files) < 2 or not (gaps > 0).all():
        twice = files[order[int(np.argmin(gaps))]].name if len(files) > 1 else files[0].name
        raise InputError(f"{files[0].parent}: {twice} has no place of its own among the slices; keep one of each")
    middle = float(np.median(gaps))
    if (np.abs(gaps - middle) > UNEVEN * middle).any():
        gap = int(np.argmax(np.abs(gaps - middle)))
        raise InputError(
            f"{files[0].parent}: a slice is missing between {files[order[gap]].name} and {files[order[gap + 1]].name}: "
            f"they are {gaps[gap]:g} apart, the others {middle:g}; add it, or leave out the slices on one side"
        )
    scales = {(float(head.get("RescaleSlope", 1) or 1), float(head.get("RescaleIntercept", 0) or 0)) for head in heads}
    rescaled = scales != {(1.0, 0.0)}
    ordered = [files[k] for k in order]
    first = _values(ordered[0], rescaled)
    stack = SliceStack(
        (len(files), *first.shape), first.dtype, lambda n: _values(ordered[n], rescaled), lambda n: str(ordered[n])
    )
    return stack, _voxel_mm(heads[0], middle)


def _places(files: list[Path], heads: list[pydicom.Dataset]) -> NDArray[np.float64]:
    """Return the place of each slice along the normal of the slices, or its number where positions are missing."""
    if all(head.get("ImagePositionPatient") and head.get("ImageOrientationPatient") for head in heads):
        row, column = np.array(heads[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
        normal = np.cross(row, column)
        return np.array([np.array(head.ImagePositionPatient, dtype=float) @ normal for head in heads])
    missing = [file for file, head in zip(files, heads, strict=True) if head.get("InstanceNumber") is None]
    if missing:
        raise InputError(f"{missing[0]}: neither a position nor an InstanceNumber; the order of slices is unknown")
    return np.array([float(head.InstanceNumber) for head in heads])


def _values(file: Path, rescaled: bool) -> NDArray[Any]:
    try:
        dataset = pydicom.dcmread(file)
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax in CODECS:
            values = CODECS[syntax](next(generate_frames(dataset.PixelData, number_of_frames=1)))
        else:
            values = dataset.pixel_array
        values = np.asarray(values)
        if rescaled:
            slope, intercept = float(dataset.get("RescaleSlope", 1) or 1), float(dataset.get("RescaleIntercept", 0))
            values = values.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    except Exception as error:
        raise InputError(f"{file}: pixel data cannot be decoded, corrupt or truncated: {error}") from error
    return values


def _voxel_mm(head: pydicom.Dataset, gap: float) -> VoxelSize | None:
    spacing = head.get("PixelSpacing")
    if not spacing or len(spacing) != 2 or min(float(value) for value in spacing) <= 0:
        return None
    distance = gap if head.get("ImagePositionPatient") else float(head.get("SliceThickness", 0) or 0)
    return (distance, float(spacing[0]), float(spacing[1])) if distance > 0 else None
