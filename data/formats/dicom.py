"""Read DICOM and DICONDE radiographs of one gray frame."""

import sys
import warnings
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from pydicom import uid
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder

from data.errors import InputError
from data.formats.tiff import codestream_header
from data.formats.voi import read_voi
from data.gray_levels import FileWindow, StoredImage
from data.held_file import AnyFile, for_library
from data.limits import check_size, max_samples

DICOM_SUFFIXES = (".dcm", ".dic", ".dicom")

# Common in DICONDE, and decoded here because pydicom needs plug-ins for them.
CODECS: dict[str, Callable[[bytes], np.ndarray]] = {
    uid.JPEGLossless: imagecodecs.ljpeg_decode,
    uid.JPEGLosslessSV1: imagecodecs.ljpeg_decode,
    uid.JPEGLSLossless: imagecodecs.jpegls_decode,
    uid.JPEGLSNearLossless: imagecodecs.jpegls_decode,
    uid.JPEG2000Lossless: imagecodecs.jpeg2k_decode,
    uid.JPEG2000: imagecodecs.jpeg2k_decode,
}
AS_STORED: Any = {"correct_unused_bits": False}  # or pydicom would mask what lies beyond the stored bits
UNCOMPRESSED = (
    uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian,
)  # fmt: skip


def is_dicom(path: AnyFile) -> bool:
    """Return whether a file is DICOM by its suffix or by the letters DICM after its preamble. Raises InputError."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_header(path: AnyFile, needed: Sequence[str]) -> pydicom.Dataset:
    """Return a DICOM file without its pixels.

    Raises InputError for another file, a corrupt one, and one in which a keyword of `needed` is missing or empty.
    """
    header = _load(path, stop_before_pixels=True, needed=needed)
    missing = [name for name in needed if not header.get(name)]
    if missing:
        raise InputError(f"{path}: DICOM header: {', '.join(missing)} missing; export the file anew with it")
    return header


def dicom_size(path: AnyFile) -> tuple[int, int]:
    """Return (width, height) in pixels from the header. Raises InputError."""
    header = _Header(path, _load(path, stop_before_pixels=True))
    return header.columns, header.rows


def dicom_pixel_size(path: AnyFile) -> tuple[float, float] | None:
    """Return the pixel size (row, column) in mm from the header, None where it states none. Raises InputError."""
    return _Header(path, _load(path, stop_before_pixels=True)).pixel_size()


def read_dicom(path: AnyFile, bit_depth: int | None) -> StoredImage:
    """Return the stored levels with what the header says of them.

    The depth is BitsStored unless `bit_depth` is given; the stored bits end at HighBit. The whole range that they can
    hold maps onto 0 ... 2**depth - 1: a signed range is moved up by half, and as RescaleSlope and RescaleIntercept
    move both ends of the range with the values, only the sign of the slope is left of them. `inverted` is
    true for MONOCHROME1 or a negative slope, and false for both. The window (VOI) is returned, not applied. Raises
    InputError for values beyond the stored bits, and for all that is not one gray frame.
    """
    dataset = _load(path)
    header = _Header(path, dataset)
    photometric = header.text("PhotometricInterpretation", "MONOCHROME2")
    if header.integer("NumberOfFrames", 1) > 1:
        raise InputError(f"{path}: holds {header.integer('NumberOfFrames')} frames; split it into one file each")
    if header.integer("SamplesPerPixel", 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError(f"{path}: a color image ({photometric}); a radiograph has one gray channel")
    if "ModalityLUTSequence" in dataset:
        raise InputError(f"{path}: a modality look-up table is not supported; export linear values")
    if "PixelData" not in dataset:
        raise InputError(f"{path}: DICOM without pixel data")
    allocated = header.integer("BitsAllocated")
    if allocated not in (8, 16):
        raise InputError(f"{path}: BitsAllocated is {allocated}; expected 8 or 16: convert the file")
    stated = header.integer("BitsStored", allocated)
    depth = bit_depth or stated
    if not 1 <= depth <= allocated:
        raise InputError(f"{path}: {depth} bits stored; expected 1 to {allocated}, the bits allocated")
    shift = header.integer("HighBit", stated - 1) + 1 - stated
    if not 0 <= shift <= allocated - depth:
        raise InputError(f"{path}: HighBit {shift + stated - 1} does not fit {depth} bits of {allocated}")
    signed = header.integer("PixelRepresentation", 0) == 1
    values = _stored_bits(_raw_values(dataset, header, allocated), depth, shift, signed, path)
    inverted = (photometric == "MONOCHROME1") != (header.number("RescaleSlope", 1.0) < 0)
    rescale = header.number("RescaleSlope", 1.0) or 1.0, header.number("RescaleIntercept", 0.0)
    voi = _guarded(path, lambda: read_voi(dataset, depth, signed, rescale, inverted, photometric == "MONOCHROME1"))
    return StoredImage(values, depth, inverted, header.pixel_size(), voi)


class _Header:
    """The numbers of a header, each checked when it is asked for. Raises InputError."""

    def __init__(self, path: AnyFile, dataset: pydicom.Dataset) -> None:
        self.path = path
        self.dataset = dataset
        self.rows, self.columns = self.integer("Rows"), self.integer("Columns")
        check_size(path, self.columns, self.rows)

    def _value(self, name: str) -> Any:
        try:
            value = self.dataset.get(name)
        except Exception as error:  # the value is parsed here, and may be anything
            raise self._wrong(name, "cannot be read", error) from error
        return None if value is None or (isinstance(value, str | list | tuple) and not len(value)) else value

    def _wrong(self, name: str, what: object, error: Exception | None = None) -> InputError:
        reason = f" ({' '.join(str(error).split())[:200]})" if error else ""
        return InputError(f"{self.path}: DICOM header: {name} {what}{reason}; correct the file")

    def integer(self, name: str, default: int | None = None) -> int:
        value = self._value(name)
        if value is None:
            if default is None or name in self.dataset:
                raise self._wrong(name, "is missing or empty: not an image, or corrupt")
            return default
        try:
            number = int(value)
        except (TypeError, ValueError) as error:
            raise self._wrong(name, f"is {str(value)[:40]!r}, not one whole number") from error
        return number

    def number(self, name: str, default: float) -> float:
        value = self._value(name)
        if value is None:
            return default
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise self._wrong(name, f"is {str(value)[:40]!r}, not one number") from error
        if not np.isfinite(number):
            raise self._wrong(name, f"is {number}")
        return number

    def text(self, name: str, default: str) -> str:
        value = self._value(name)
        return default if value is None else " ".join(str(value).split())[:40]

    def pixel_size(self) -> tuple[float, float] | None:
        """Return (row, column) in mm: at the part, else at the detector by the magnification, else of the film."""
        for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
            value = self._value(name)
            if value is None:
                continue
            try:
                row, column = (float(side) for side in value)
            except (TypeError, ValueError) as error:
                raise self._wrong(name, f"is {str(value)[:40]!r}, not two numbers") from error
            if not (0 < row < np.inf and 0 < column < np.inf):
                continue
            zoom = self.number("EstimatedRadiographicMagnificationFactor", 1.0) if name.startswith("Imager") else 1.0
            return (row / zoom, column / zoom) if zoom > 0 else (row, column)
        return None


def _guarded(path: AnyFile, read: Callable[[], FileWindow | None]) -> FileWindow | None:
    """Return what `read` does; whatever a hostile header makes of it is an InputError."""
    try:
        return read()
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: DICOM header: its window (VOI) cannot be read: {reason}; correct the file"
        ) from error


def _load(path: AnyFile, stop_before_pixels: bool = False, needed: Sequence[str] = ()) -> pydicom.Dataset:
    """Return a file; values of `needed` are decoded here, where a broken one is an InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters is refused below, with the file's name
            _check_deflated(path)
            dataset = pydicom.dcmread(for_library(path), stop_before_pixels=stop_before_pixels)
            for name in needed:
                dataset.get(name)
            return dataset
    except InputError:
        raise
    except Exception as error:  # pydicom lets many kinds through from broken files
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not a DICOM file, or corrupt: {reason}") from error


def _check_deflated(path: AnyFile) -> None:
    """Raise InputError for a deflated file that swells to more than an image within the limit takes."""
    with path.open("rb") as stream:
        head = stream.read(1024)
        if uid.DeflatedExplicitVRLittleEndian.encode() not in head:
            return
        stream.seek(144 + int.from_bytes(head[140:144], "little"))  # behind the meta information, by its length
        inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while chunk := inflate.unconsumed_tail or stream.read(2**16):
            size += len(inflate.decompress(chunk, 2**20))
            if size > 2 * max_samples() + 2**20:
                raise InputError(
                    f"{path}: inflates to more than {size} bytes, the limit; convert it to an uncompressed file"
                )
            if inflate.eof:
                return


def _raw_values(dataset: pydicom.Dataset, header: _Header, allocated: int) -> np.ndarray:
    """Return the stored words uint8 or uint16 [H, W] as they are: no sign, no mask, no rescaling."""
    path, shape = header.path, (header.rows, header.columns)
    syntax = uid.UID(str(dataset.file_meta.get("TransferSyntaxUID", uid.ImplicitVRLittleEndian)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if syntax in UNCOMPRESSED:
                values = _uncompressed(bytes(dataset.PixelData), shape, allocated, syntax == uid.ExplicitVRBigEndian)
            elif syntax in CODECS:
                frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
                coded = codestream_header(frame)
                if (coded.height, coded.width, coded.channels) != (*shape, 1):
                    raise InputError(
                        f"{path}: compressed data of {coded.width} x {coded.height} x {coded.channels} in a header of "
                        f"{header.columns} x {header.rows}; corrupt"
                    )
                values = CODECS[syntax](frame)
            elif syntax == uid.RLELossless:
                values, _ = get_decoder(syntax).as_array(dataset, raw=True, index=0, **AS_STORED)
            else:
                name = uid.UID(syntax).name if syntax.is_transfer_syntax else "unknown"
                raise InputError(
                    f"{path}: transfer syntax {name} ({syntax}) cannot be decoded; convert the file to an uncompressed "
                    "one"
                )
    except InputError:
        raise
    except Exception as error:  # codecs let many kinds through from broken data
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: pixel data cannot be decoded, corrupt or truncated: {reason}") from error
    if values.shape != shape or values.dtype.kind not in "ui" or values.dtype.itemsize > 2:
        raise InputError(
            f"{path}: pixel data {values.dtype} {list(values.shape)} in a header of {list(shape)}; corrupt"
        )
    return values.view(np.uint8 if values.dtype.itemsize == 1 else np.uint16)


def _uncompressed(data: bytes, shape: tuple[int, int], allocated: int, big_endian: bool) -> np.ndarray:
    """Return the words of native pixel data. Raises ValueError where they are too few, or a row too many."""
    size = shape[0] * shape[1] * allocated // 8
    if not size <= len(data) <= size + max(shape[1] * allocated // 8, 1):
        raise ValueError(f"{len(data)} bytes of pixel data, but {shape[1]} x {shape[0]} pixels take {size}")
    words = np.frombuffer(
        data, np.uint8 if allocated == 8 else np.dtype(">u2" if big_endian else "<u2"), size * 8 // allocated
    )
    if words.dtype.byteorder not in "|=" + ("<" if sys.byteorder == "little" else ">"):
        words = words.astype(np.uint16)
    return words.reshape(shape)


def _stored_bits(words: np.ndarray, depth: int, shift: int, signed: bool, path: AnyFile) -> np.ndarray:
    """Return the stored bits as levels 0 ... 2**depth - 1, a signed range moved up by half.

    Beside them a word may hold nothing but, above, the sign carried on. Raises InputError for anything else there.
    """
    if shift + depth > 8:
        words = words.astype(np.uint16, copy=False)  # decoders return bytes where no value asks for more
    bits = 8 * words.dtype.itemsize
    if shift:
        if (words & words.dtype.type(2**shift - 1)).any():
            raise InputError(
                f"{path}: words hold bits below those stored (HighBit {shift + depth - 1}); correct HighBit"
            )
        words = words >> words.dtype.type(shift)
    if shift + depth == bits and not signed:
        return words
    half, mask = words.dtype.type(2 ** (depth - 1)), words.dtype.type(2**depth - 1)
    beyond = words > mask
    if signed and shift + depth < bits and beyond.any():
        # Above the stored bits the sign may be carried on, or not.
        carried = words.dtype.type((2 ** (bits - shift) - 1) & ~int(mask))
        beyond &= ((words & carried) != carried) | ((words & half) == 0)
    if beyond.any():
        highest = int(words[beyond].max())
        raise InputError(
            f"{path}: value {highest} is beyond the {depth} bits that the header states (BitsStored); give the right "
            "bit_depth, or correct the file"
        )
    return (words & mask) ^ half if signed else words
