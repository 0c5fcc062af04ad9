"""The reader keeps depth, polarity and scale, and refuses what it cannot read whole."""

from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pydicom
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate

from data.errors import InputError
from data.radiograph import (
    PercentileWindow,
    find_radiographs,
    radiograph_size,
    read_radiograph,
    write_radiograph,
)

RAMP16 = np.arange(65536, dtype=np.uint16).reshape(128, 512)
RAMP12 = np.arange(4096, dtype=np.uint16).reshape(32, 128)
RAMP8 = np.arange(256, dtype=np.uint8).reshape(8, 32)


def write_dicom(path: Path, values: np.ndarray, bits: int, *, signed: int = 0, photometric: str = "MONOCHROME2",
                syntax: uid.UID = uid.ExplicitVRLittleEndian, data: bytes | None = None,
                **tags: object) -> None:  # fmt: skip
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.BitsAllocated = values.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, signed
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = data or values.tobytes()
    dataset["PixelData"].VR = "OB" if syntax.is_compressed else "OW"
    dataset.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_ramp_keeps_every_level(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"ramp{suffix}"
    if suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(RAMP16))
    else:
        tifffile.imwrite(path, RAMP16)
    found = read_radiograph(path)
    assert found.bit_depth == 16
    assert found.pixels.dtype == np.float32
    assert len(np.unique(found.pixels)) == 65536
    assert found.pixels.min() == 0
    assert found.pixels.max() == 1
    assert np.allclose(found.pixels, RAMP16 / 65535, atol=1e-7)
    assert radiograph_size(path) == (512, 128)


@settings(max_examples=25, deadline=None)
@given(bits=st.sampled_from([(".png", 8), (".png", 16), (".tif", 8), (".tif", 12), (".tiff", 14), (".tif", 16)]),
       seed=st.integers(0, 99))  # fmt: skip
def test_writing_then_reading_is_within_half_a_level(tmp_path_factory, bits, seed) -> None:
    suffix, depth = bits
    pixels = np.random.default_rng(seed).random((5, 7)).astype(np.float32)
    path = tmp_path_factory.mktemp("round") / f"r{suffix}"
    write_radiograph(path, pixels, depth)
    found = read_radiograph(path)
    assert found.bit_depth == depth
    assert np.abs(found.pixels - pixels).max() <= 0.5 / (2**depth - 1) + 1e-7
    write_radiograph(path, found.pixels, depth)
    assert np.array_equal(read_radiograph(path).pixels, found.pixels)


@pytest.mark.parametrize("bad", [np.array([[1.01]]), np.array([[-0.01]]), np.array([[np.nan]])])
def test_writing_refuses_values_outside(tmp_path: Path, bad: np.ndarray) -> None:
    with pytest.raises(InputError, match="not within 0"):
        write_radiograph(tmp_path / "a.png", bad)
    assert list(tmp_path.iterdir()) == []


def test_writing_refuses_other_formats(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="written as"):
        write_radiograph(tmp_path / "a.jpg", np.zeros((2, 2)))
    with pytest.raises(InputError, match="12 bits"):
        write_radiograph(tmp_path / "a.png", np.zeros((2, 2)), 12)
    with pytest.raises(InputError, match="expected float"):
        write_radiograph(tmp_path / "a.png", RAMP8)


def test_12_bits_in_a_16_bit_png_need_the_argument(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(RAMP12))
    assert read_radiograph(path).pixels.max() == pytest.approx(4095 / 65535)
    assert read_radiograph(path, 12).pixels.max() == 1
    with pytest.raises(InputError, match="4095 is above 1023"):
        read_radiograph(path, 10)


def test_12_bits_in_a_16_bit_tiff_are_found_by_the_tag(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RAMP12, extratags=[("MaxSampleValue", "H", 1, 4095, True)])
    assert read_radiograph(path).bit_depth == 12
    assert np.allclose(read_radiograph(path).pixels, RAMP12 / 4095, atol=1e-7)
    tifffile.imwrite(path, RAMP12, extratags=[("MaxSampleValue", "H", 1, 3000, True)])  # the image's own maximum
    assert read_radiograph(path).bit_depth == 16


@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
def test_truncated_and_corrupt_tiff_is_refused(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RAMP16, compression=compression, rowsperstrip=16)
    assert np.array_equal(read_radiograph(path).pixels, (RAMP16 / 65535).astype(np.float32))
    whole = path.read_bytes()
    for length in (len(whole) * 2 // 3, len(whole) // 3, 20, 5):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"a\.tif"):
            read_radiograph(path)


def test_tiff_white_is_zero_is_turned_as_displayed(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RAMP8, photometric="miniswhite")
    assert np.allclose(read_radiograph(tmp_path / "a.tif").pixels, 1 - RAMP8 / 255, atol=1e-6)


@pytest.mark.parametrize(("unit", "expected"), [("NONE", None), ("INCH", (0.1, 0.2)), ("CENTIMETER", (0.1, 0.2))])
def test_tiff_pixel_size_needs_a_unit(tmp_path: Path, unit: str, expected: tuple | None) -> None:
    per_unit = 10 if unit == "CENTIMETER" else 25.4
    tifffile.imwrite(tmp_path / "a.tif", RAMP8, resolution=(per_unit / 0.2, per_unit / 0.1), resolutionunit=unit)
    found = read_radiograph(tmp_path / "a.tif").pixel_size_mm
    assert found == (pytest.approx(expected) if expected else None)


def test_tiff_of_several_pages_or_floats_or_color_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.stack([RAMP8, RAMP8]), photometric="minisblack")
    with pytest.raises(InputError, match="several images"):
        read_radiograph(path)
    tifffile.imwrite(path, RAMP8.astype(np.float32))
    with pytest.raises(InputError, match="float32"):
        read_radiograph(path)
    tifffile.imwrite(path, np.stack([RAMP8, RAMP8, RAMP8 // 2], axis=-1), photometric="rgb")
    with pytest.raises(InputError, match="color"):
        read_radiograph(path)


def test_gray_in_color_clothes_is_gray_and_true_color_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    opaque = np.full_like(RAMP8, 255)
    for channels in ([RAMP8] * 3, [RAMP8] * 3 + [opaque], [RAMP8, opaque]):
        path.write_bytes(imagecodecs.png_encode(np.stack(channels, axis=-1)))
        assert np.allclose(read_radiograph(path).pixels, RAMP8 / 255, atol=1e-7)
    path.write_bytes(imagecodecs.png_encode(np.stack([RAMP8, RAMP8, RAMP8[::-1]], axis=-1)))
    with pytest.raises(InputError, match="color image"):
        read_radiograph(path)
    path.write_bytes(imagecodecs.png_encode(np.stack([RAMP8, opaque // 2], axis=-1)))
    with pytest.raises(InputError, match="transparent"):
        read_radiograph(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".pgm"])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8))
    assert radiograph_size(path) == (64, 64)
    assert read_radiograph(path).bit_depth == 8
    whole = path.read_bytes()
    for length in (len(whole) - 20, len(whole) // 2, 10):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=f"a{suffix}"):
            read_radiograph(path)


def test_png_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    content = bytearray(imagecodecs.png_encode(RAMP16))
    content[len(content) // 2] ^= 1
    (tmp_path / "a.png").write_bytes(bytes(content))
    with pytest.raises(InputError, match="corrupt"):
        read_radiograph(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.dcm", "a.jpg"])
def test_empty_missing_and_alien_files_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for reader in (read_radiograph, radiograph_size):
        path.unlink(missing_ok=True)
        with pytest.raises(InputError, match="no such file"):
            reader(path)
        path.touch()
        with pytest.raises(InputError, match="empty"):
            reader(path)
        path.write_text("not a picture at all, but long enough to hold a header of any kind" * 4)
        with pytest.raises(InputError, match=name):
            reader(path)


def test_dicom_scale_polarity_and_spacing(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    write_dicom(path, RAMP12, 12, PixelSpacing=[0.1, 0.2], ImagerPixelSpacing=[0.3, 0.3])
    found = read_radiograph(path)
    assert (found.bit_depth, found.pixel_size_mm) == (12, (0.1, 0.2))
    assert np.allclose(found.pixels, RAMP12 / 4095, atol=1e-7)
    assert radiograph_size(path) == (128, 32)
    write_dicom(path, RAMP12, 12, photometric="MONOCHROME1", ImagerPixelSpacing=[0.3, 0.4])
    assert np.allclose(read_radiograph(path).pixels, 1 - RAMP12 / 4095, atol=1e-6)
    assert read_radiograph(path).pixel_size_mm == (0.3, 0.4)
    write_dicom(path, RAMP12, 12, RescaleSlope=-1, RescaleIntercept=4095)
    assert np.allclose(read_radiograph(path).pixels, 1 - RAMP12 / 4095, atol=1e-6)


def test_dicom_signed_values_move_up(tmp_path: Path) -> None:
    signed = RAMP12.astype(np.int16) - 2048
    write_dicom(tmp_path / "a.dcm", signed, 12, signed=1, RescaleSlope=1, RescaleIntercept=2048)
    assert np.allclose(read_radiograph(tmp_path / "a.dcm").pixels, RAMP12 / 4095, atol=1e-7)


def test_dicom_is_known_by_its_magic(tmp_path: Path) -> None:
    write_dicom(tmp_path / "IM0001", RAMP8, 8)
    assert find_radiographs([tmp_path]) == [tmp_path / "IM0001"]
    assert np.allclose(read_radiograph(tmp_path / "IM0001").pixels, RAMP8 / 255, atol=1e-7)


@pytest.mark.parametrize(("syntax", "encode"), [
    (uid.JPEGLosslessSV1, lambda values: imagecodecs.ljpeg_encode(values, bitspersample=12)),
    (uid.JPEGLSLossless, imagecodecs.jpegls_encode),
    (uid.JPEG2000Lossless, lambda values: imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True)),
])  # fmt: skip
def test_dicom_lossless_compression(tmp_path: Path, syntax: uid.UID, encode) -> None:
    write_dicom(tmp_path / "a.dcm", RAMP12, 12, syntax=syntax, data=encapsulate([bytes(encode(RAMP12))]))
    assert np.allclose(read_radiograph(tmp_path / "a.dcm").pixels, RAMP12 / 4095, atol=1e-7)


def test_dicom_that_is_no_single_gray_frame_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    write_dicom(path, RAMP8, 8, syntax=uid.HTJ2KLossless, data=encapsulate([b"1234"]))
    with pytest.raises(InputError, match=r"1\.2\.840\.10008\.1\.2\.4\.201"):
        read_radiograph(path)
    write_dicom(path, RAMP8, 8, NumberOfFrames=2, data=RAMP8.tobytes() * 2)
    with pytest.raises(InputError, match="2 frames"):
        read_radiograph(path)
    write_dicom(path, RAMP8, 8, SamplesPerPixel=3, photometric="RGB", PlanarConfiguration=0, data=RAMP8.tobytes() * 3)
    with pytest.raises(InputError, match="color"):
        read_radiograph(path)
    write_dicom(path, RAMP8, 8)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="truncated"):
        read_radiograph(path)


def test_percentile_window() -> None:
    pixels = np.linspace(0.2, 0.6, 101, dtype=np.float32).reshape(1, -1)
    stretched = PercentileWindow(10, 90)(pixels)
    assert stretched.dtype == np.float32
    assert stretched[0, [0, 10, 50, 90, 100]] == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-5)
    constant = np.full((3, 3), 0.4, np.float32)
    assert np.array_equal(PercentileWindow(1, 99)(constant), constant)
    with pytest.raises(InputError, match="percentile"):
        PercentileWindow(50, 50)


def test_finding_files_in_folders(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.TIF", "a.dcm", "b/notes.txt", "b/.hidden.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    expected = [tmp_path / name for name in ("a.dcm", "b/1.TIF", "b/2.png")]
    assert find_radiographs([tmp_path, tmp_path / "a.dcm"]) == expected
    (tmp_path / "empty").mkdir()
    for path, problem in ((tmp_path / "empty", "no radiographs"), (tmp_path / "none", "no such file"),
                          (tmp_path / "b/notes.txt", "not a radiograph")):  # fmt: skip
        with pytest.raises(InputError, match=problem):
            find_radiographs([path])
