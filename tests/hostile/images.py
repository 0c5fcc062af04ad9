"""PNG, TIFF, DICOM, JPEG, BMP and PGM files with changed bytes, above all in their headers."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pydicom
import tifffile
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from data.errors import InputError
from data.radiograph import radiograph_size, read_radiograph
from tests.hostile.mutation import change_at, changed_bytes
from tests.hostile.worker import Case

DEEP = np.random.default_rng(7).integers(0, 4096, (24, 40)).astype(np.uint16)  # 12 bits
SHALLOW = (DEEP >> 4).astype(np.uint8)
HEADERS = {"png": 70, "tif": 420, "dcm": 1100, "jpg": 220, "bmp": 64, "pgm": 18}  # bytes in which a change tells most


def dicom_file(
    values: np.ndarray, bits: int, syntax: str = uid.ExplicitVRLittleEndian, coded: bytes | None = None, **tags: object
) -> bytes:
    """Return a DICOM file of one frame, as digital detectors write them."""
    record = Dataset()
    record.file_meta = FileMetaDataset()
    record.file_meta.TransferSyntaxUID = uid.UID(syntax)
    record.file_meta.MediaStorageSOPClassUID = record.SOPClassUID = uid.DigitalXRayImageStorageForPresentation
    record.file_meta.MediaStorageSOPInstanceUID = record.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    record.Rows, record.Columns = values.shape
    record.SamplesPerPixel, record.PhotometricInterpretation = 1, "MONOCHROME2"
    record.BitsAllocated, record.BitsStored, record.HighBit = 8 * values.dtype.itemsize, bits, bits - 1
    record.PixelRepresentation = int(values.dtype.kind == "i")
    record.WindowCenter, record.WindowWidth, record.ImagerPixelSpacing = 2000, 3000, [0.2, 0.2]
    record.RescaleSlope, record.RescaleIntercept = 1, 0
    for name, value in tags.items():
        setattr(record, name, value)
    record.PixelData = values.tobytes() if coded is None else encapsulate([coded])
    record["PixelData"].VR = "OW" if coded is None else "OB"
    out = io.BytesIO()
    record.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _run_length_dicom() -> bytes:
    record = pydicom.dcmread(io.BytesIO(dicom_file(DEEP, 12)))
    record.compress(uid.RLELossless)
    out = io.BytesIO()
    record.save_as(out)
    return out.getvalue()


def tiff_file(values: np.ndarray, **options: object) -> bytes:
    """Return a TIFF file."""
    out = io.BytesIO()
    tifffile.imwrite(out, values, **({"photometric": "minisblack"} | options))
    return out.getvalue()


def good_files() -> list[tuple[str, bytes]]:
    """Return (suffix, content) of files of every format and way of storing pixels."""
    color = np.stack([SHALLOW] * 3, axis=-1)
    tiffs = [
        tiff_file(DEEP),
        tiff_file(DEEP, byteorder=">", compression="zlib"),
        tiff_file(DEEP, compression="lzw", rowsperstrip=5),
        tiff_file(DEEP, compression="zlib", predictor=True),
        tiff_file(DEEP, compression="packbits"),
        tiff_file(DEEP, compression="jpeg2000"),
        tiff_file(DEEP, tile=(16, 16)),
        tiff_file(DEEP, bigtiff=True),
        tiff_file(DEEP, photometric="miniswhite"),
        tiff_file(DEEP, extratags=[(281, "H", 1, 4095, True), (274, "H", 1, 6, True)]),
        tiff_file(DEEP, resolution=(254, 254), resolutionunit="INCH"),
        tiff_file(np.stack([SHALLOW, SHALLOW])),
        tiff_file(color, photometric="rgb"),
        tiff_file(SHALLOW.astype(np.float32) / 255),
        tiff_file(SHALLOW, compression="jpeg"),
    ]
    dicoms = [
        dicom_file(DEEP, 12),
        dicom_file(SHALLOW, 8, PhotometricInterpretation="MONOCHROME1"),
        dicom_file(DEEP.astype(np.int16) - 2048, 12, RescaleSlope=2, RescaleIntercept=100),
        dicom_file(DEEP << 4, 12, HighBit=15),
        dicom_file(DEEP, 12, uid.JPEGLosslessSV1, bytes(imagecodecs.ljpeg_encode(DEEP, bitspersample=12))),
        dicom_file(DEEP, 12, uid.JPEGLSLossless, bytes(imagecodecs.jpegls_encode(DEEP))),
        dicom_file(DEEP, 12, uid.JPEG2000Lossless, bytes(imagecodecs.jpeg2k_encode(DEEP, codecformat="j2k"))),
        dicom_file(SHALLOW, 8, uid.JPEGBaseline8Bit, bytes(imagecodecs.jpeg8_encode(SHALLOW))),
        _run_length_dicom(),
    ]
    pngs = [bytes(imagecodecs.png_encode(a)) for a in (SHALLOW, DEEP, color, np.dstack([color, SHALLOW]))]
    others = [(suffix, cv2.imencode(f".{suffix}", SHALLOW)[1].tobytes()) for suffix in ("jpg", "bmp", "pgm")]
    others += [("pgm", cv2.imencode(".pgm", DEEP)[1].tobytes()), ("pgm", b"P2\n4 2\n127\n0 1 2 3\n60 70 80 127\n")]
    return [("tif", c) for c in tiffs] + [("dcm", c) for c in dicoms] + [("png", c) for c in pngs] + others


def _in_directory(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a TIFF file with a change in its first directory."""
    data = bytearray(content)
    order = "<" if data[:2] == b"II" else ">"
    start = struct.unpack(order + "I", data[4:8])[0]
    if not 8 <= start < len(data) - 1:  # BigTIFF keeps it elsewhere
        return changed_bytes(content, rng, HEADERS["tif"])
    change_at(data, start + int(rng.integers(min(250, len(data) - start))), rng)
    return bytes(data)


def _with_right_checksums(content: bytes) -> bytes:
    """Return a PNG file whose chunks carry the checksums of what they hold, so that decoders go on."""
    data, at = bytearray(content), 8
    while at + 12 <= len(data):
        end = at + 8 + struct.unpack(">I", data[at : at + 4])[0]
        if end + 4 > len(data):
            break
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(data)


def make_case(folder: Path) -> Case:
    """Return the case that reads a damaged file, whole and its size alone."""
    seeds = good_files()

    def case(number: int) -> None:
        rng = np.random.default_rng([11, number])
        suffix, content = seeds[number % len(seeds)]
        if suffix == "tif" and rng.random() < 0.6:
            content = _in_directory(content, rng)
        else:
            content = changed_bytes(content, rng, HEADERS[suffix])
        if suffix == "png" and rng.random() < 0.7:
            content = _with_right_checksums(content)
        if rng.random() < 0.03:  # a file under another format's name
            suffix = str(rng.choice(list(HEADERS)))
        path = folder / f"part.{suffix}"
        path.write_bytes(content)
        refusals = []
        for read in (radiograph_size, read_radiograph):
            try:
                found = read(path)
            except InputError as error:
                if str(path) not in str(error):
                    raise AssertionError(f"the file is not named: {error}") from error
                refusals.append(error)
                continue
            if read is read_radiograph:
                pixels = found.pixels  # type: ignore[union-attr]
                assert pixels.dtype == np.float32
                assert pixels.ndim == 2
                assert pixels.size
                assert np.isfinite(pixels).all()
                assert pixels.min() >= 0
                assert pixels.max() <= 1
        if refusals:
            raise refusals[0]

    return case
