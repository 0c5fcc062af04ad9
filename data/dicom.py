"""Read DICOM and DICONDE radiographs of one gray frame."""

from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom import uid
from pydicom.encaps import generate_frames

from data.errors import InputError

DICOM_SUFFIXES = (".dcm", ".dic", ".dicom")

# Common in DICONDE, and decoded here because pydicom needs plug-ins for them.
CODECS = {
    uid.JPEGLossless: imagecodecs.ljpeg_decode,
    uid.JPEGLosslessSV1: imagecodecs.ljpeg_decode,
    uid.JPEGLSLossless: imagecodecs.jpegls_decode,
    uid.JPEGLSNearLossless: imagecodecs.jpegls_decode,
    uid.JPEG2000Lossless: imagecodecs.jpeg2k_decode,
    uid.JPEG2000: imagecodecs.jpeg2k_decode,
}
# At the part, else at the detector, else of the digitised film.
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM by its suffix or by the letters DICM after its preamble."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def dicom_size(path: Path) -> tuple[int, int]:
    """Return (width, height) in pixels from the header. Raises InputError."""
    dataset = _load(path, stop_before_pixels=True)
    return int(dataset.Columns), int(dataset.Rows)


def read_dicom(path: Path, bit_depth: int | None) -> tuple[np.ndarray, int, bool, tuple[float, float] | None]:
    """Return unsigned values [H, W], their depth, whether they are inverted, and the pixel size in mm.

    The depth is BitsStored unless `bit_depth` is given. The whole range that the stored bits can hold maps
    onto 0 ... 2**depth - 1: a signed range is moved up by half, and as RescaleSlope and RescaleIntercept
    move both ends of the range with the values, only the sign of the slope is left of them. `inverted` is
    true for MONOCHROME1 or a negative slope, and false for both. Windows (VOI) are not applied.
    """
    dataset = _load(path)
    if "PixelData" not in dataset:
        raise InputError(f"{path}: DICOM without pixel data")
    if int(dataset.get("NumberOfFrames", 1) or 1) > 1:
        raise InputError(f"{path}: holds {dataset.NumberOfFrames} frames; split it into one file each")
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2")).strip()
    if int(dataset.get("SamplesPerPixel", 1)) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError(f"{path}: a color image ({photometric}); a radiograph has one gray channel")
    if "ModalityLUTSequence" in dataset:
        raise InputError(f"{path}: a modality look-up table is not supported; export linear values")
    depth = bit_depth or int(dataset.get("BitsStored", dataset.BitsAllocated))
    if not 1 <= depth <= 16:
        raise InputError(f"{path}: {depth} bits stored; expected 1 to 16")
    values = _stored_values(dataset, path).astype(np.int64)
    if values.shape != (int(dataset.Rows), int(dataset.Columns)):
        raise InputError(
            f"{path}: pixel data of shape {list(values.shape)} in a header of "
            f"{[int(dataset.Rows), int(dataset.Columns)]}"
        )
    if int(dataset.get("PixelRepresentation", 0)) == 1:
        half = 2 ** (depth - 1)
        # A decoder may or may not have extended the sign: keep the stored bits, then move the range up.
        values = (values & (2**depth - 1)) ^ half
    slope = float(dataset.get("RescaleSlope", 1) or 1)
    return values, depth, (photometric == "MONOCHROME1") != (slope < 0), _pixel_size(dataset)


def _load(path: Path, stop_before_pixels: bool = False) -> pydicom.Dataset:
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=stop_before_pixels)
        absent = [name for name in ("Rows", "Columns", "BitsAllocated") if not dataset.get(name)]
    except Exception as error:  # pydicom lets many kinds through from broken files
        raise InputError(f"{path}: not a DICOM file, or corrupt: {error}") from error
    if absent:
        raise InputError(f"{path}: DICOM without {', '.join(absent)}: not an image, or corrupt")
    return dataset


def _stored_values(dataset: pydicom.Dataset, path: Path) -> np.ndarray:
    syntax = dataset.file_meta.get("TransferSyntaxUID", uid.ImplicitVRLittleEndian)
    try:
        if syntax in CODECS:
            return CODECS[syntax](next(generate_frames(dataset.PixelData, number_of_frames=1)))
        return dataset.pixel_array
    except Exception as error:
        if syntax.is_compressed and syntax not in CODECS and syntax != uid.RLELossless:
            raise InputError(
                f"{path}: transfer syntax {syntax.name} ({syntax}) cannot be decoded; "
                "convert the file to an uncompressed one"
            ) from error
        raise InputError(f"{path}: pixel data cannot be decoded, corrupt or truncated: {error}") from error


def _pixel_size(dataset: pydicom.Dataset) -> tuple[float, float] | None:
    for name in SPACINGS:
        spacing = dataset.get(name)
        if spacing and len(spacing) == 2 and all(float(value) > 0 for value in spacing):
            return float(spacing[0]), float(spacing[1])
    return None
