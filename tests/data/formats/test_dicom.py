"""DICOM and DICONDE files: levels, polarity, spacing, compression, and what is refused."""

import struct
import tracemalloc
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
import tifffile
from dicom_files import write_dicom
from pydicom import uid
from pydicom.encaps import encapsulate

from data.errors import InputError
from data.limits import LIMIT_VARIABLE
from data.radiograph import (
    find_radiographs,
    image_record,
    radiograph_size,
    read_radiograph,
)

RAMP12 = np.arange(4096, dtype=np.uint16).reshape(32, 128)
RAMP8 = np.arange(256, dtype=np.uint8).reshape(8, 32)


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


@pytest.mark.parametrize("tags", [{}, {"photometric": "MONOCHROME1"}, {"signed": 1}, {"HighBit": 15}])
def test_reading_a_large_dicom_film_takes_a_few_times_its_pixels(tmp_path: Path, tags: dict) -> None:
    levels = np.full((1000, 1500), 7 << 4 if "HighBit" in tags else 7, np.uint16)
    write_dicom(tmp_path / "a.dcm", levels, 12, **tags)
    read_radiograph(tmp_path / "a.dcm")  # what is imported on the way does not count
    tracemalloc.start()
    found = read_radiograph(tmp_path / "a.dcm")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.pixels.shape == (1000, 1500)
    assert peak < 12 * levels.size  # bytes: 6 are returned; int64 and a mask of it would take 17


def test_dicom_signed_values_move_up(tmp_path: Path) -> None:
    signed = RAMP12.astype(np.int16) - 2048
    write_dicom(tmp_path / "a.dcm", signed, 12, signed=1, RescaleSlope=1, RescaleIntercept=2048)
    assert np.allclose(read_radiograph(tmp_path / "a.dcm").pixels, RAMP12 / 4095, atol=1e-7)
    # The same bits without the sign carried on above them.
    write_dicom(tmp_path / "b.dcm", signed & 0x0FFF, 12, signed=1)
    assert np.array_equal(read_radiograph(tmp_path / "b.dcm").levels, RAMP12)
    # Left-aligned: the sign is the highest bit of the word.
    write_dicom(tmp_path / "c.dcm", signed << 4, 12, signed=1, HighBit=15)
    assert np.array_equal(read_radiograph(tmp_path / "c.dcm").levels, RAMP12)


def test_dicom_monochrome1_with_a_negative_slope_is_not_inverted(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    write_dicom(path, RAMP12, 12, photometric="MONOCHROME1", RescaleSlope=-1, RescaleIntercept=4095)
    assert np.array_equal(read_radiograph(path).levels, RAMP12)


@pytest.mark.parametrize("signed", [0, 1])
def test_inverted_radiographs_stay_whole_levels(tmp_path: Path, signed: int) -> None:
    values = RAMP12.astype(np.int16) - 2048 if signed else RAMP12
    write_dicom(tmp_path / "a.dcm", values, 12, signed=signed, photometric="MONOCHROME1")
    found = read_radiograph(tmp_path / "a.dcm")
    assert found.levels.dtype == np.uint16
    assert np.array_equal(found.levels, 4095 - RAMP12)
    assert np.array_equal(found.pixels, (4095 - RAMP12).astype(np.float32) / np.float32(4095))
    tifffile.imwrite(tmp_path / "b.tif", RAMP8, photometric="miniswhite")
    assert np.array_equal(read_radiograph(tmp_path / "b.tif").levels, 255 - RAMP8)


def test_dicom_high_bit_is_honored_and_values_beyond_the_stored_bits_are_refused(tmp_path: Path) -> None:
    write_dicom(tmp_path / "left.dcm", RAMP12 << 4, 12, HighBit=15)
    assert np.array_equal(read_radiograph(tmp_path / "left.dcm").levels, RAMP12)
    ramp14 = np.arange(16384, dtype=np.uint16).reshape(128, 128)
    write_dicom(tmp_path / "beyond.dcm", ramp14, 12)
    with pytest.raises(InputError, match=r"value 16383 is beyond the 12 bits .* give the right bit_depth"):
        read_radiograph(tmp_path / "beyond.dcm")
    assert np.array_equal(read_radiograph(tmp_path / "beyond.dcm", 14).levels, ramp14)
    write_dicom(tmp_path / "low.dcm", (RAMP12 << 4) | 1, 12, HighBit=15)
    with pytest.raises(InputError, match="bits below those stored"):
        read_radiograph(tmp_path / "low.dcm")
    write_dicom(tmp_path / "sign.dcm", ramp14.astype(np.int16), 12, signed=1)
    with pytest.raises(InputError, match="beyond the 12 bits"):
        read_radiograph(tmp_path / "sign.dcm")
    write_dicom(tmp_path / "half.dcm", np.array([[0x1800, 5]], np.int16), 12, signed=1)  # a sign carried half way
    with pytest.raises(InputError, match="value 6144 is beyond the 12 bits"):
        read_radiograph(tmp_path / "half.dcm")
    write_dicom(tmp_path / "odd.dcm", RAMP12, 12, HighBit=16)
    with pytest.raises(InputError, match="HighBit 16 does not fit"):
        read_radiograph(tmp_path / "odd.dcm")


def test_dicom_big_endian(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", RAMP12, 12, syntax=uid.ExplicitVRBigEndian, data=RAMP12.astype(">u2").tobytes())
    assert np.array_equal(read_radiograph(tmp_path / "a.dcm").levels, RAMP12)


def test_dicom_modality_tables_and_wide_words_are_refused(tmp_path: Path) -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData, table.ModalityLUTType = [2, 0, 16], b"\1\0\2\0", "US"
    write_dicom(tmp_path / "a.dcm", RAMP8, 8, ModalityLUTSequence=pydicom.Sequence([table]))
    with pytest.raises(InputError, match="modality look-up table"):
        read_radiograph(tmp_path / "a.dcm")
    write_dicom(tmp_path / "b.dcm", RAMP12.astype(np.uint32), 12)
    with pytest.raises(InputError, match="BitsAllocated is 32"):
        read_radiograph(tmp_path / "b.dcm")


@pytest.mark.parametrize(("tag", "value", "problem"), [
    ("RescaleSlope", b"x", "RescaleSlope"), ("PixelSpacing", b"1", "PixelSpacing"),
    ("NumberOfFrames", b"a", "NumberOfFrames"),
])  # fmt: skip
def test_dicom_headers_that_are_no_numbers_are_refused_in_words(
    tmp_path: Path, tag: str, value: bytes, problem: str
) -> None:
    good = {"RescaleSlope": "1.0", "PixelSpacing": ["0.1", "0.1"], "NumberOfFrames": "1"}
    write_dicom(tmp_path / "a.dcm", RAMP8, 8, **good)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    element = dataset.get_item(tag)
    padded = value.ljust(len(element.value), b" ")
    content = (tmp_path / "a.dcm").read_bytes().replace(element.value, padded, 1)
    (tmp_path / "a.dcm").write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        read_radiograph(tmp_path / "a.dcm")
    assert "\n" not in str(caught.value)


def test_dicom_compressed_data_of_another_size_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    coded = bytearray(imagecodecs.jpegls_encode(RAMP12))
    at = coded.find(b"\xff\xf7")
    coded[at + 5 : at + 9] = struct.pack(">HH", 65000, 65000)
    write_dicom(tmp_path / "a.dcm", RAMP12, 12, syntax=uid.JPEGLSLossless, data=encapsulate([bytes(coded)]))
    with pytest.raises(InputError, match="compressed data of 65000 x 65000 x 1 in a header of 128 x 32"):
        read_radiograph(tmp_path / "a.dcm")


def test_pixel_size_at_the_detector_is_divided_by_the_magnification(tmp_path: Path) -> None:
    header = {"ImagerPixelSpacing": [0.2, 0.2], "EstimatedRadiographicMagnificationFactor": 1.25}
    write_dicom(tmp_path / "a.dcm", RAMP8, 8, **header)
    assert read_radiograph(tmp_path / "a.dcm").pixel_size_mm == pytest.approx((0.16, 0.16))
    assert image_record(7, tmp_path / "a.dcm", "a.dcm") == {
        "id": 7, "file_name": "a.dcm", "width": 32, "height": 8, "pixel_size_mm": pytest.approx(0.16)
    }  # fmt: skip
    write_dicom(tmp_path / "b.dcm", RAMP8, 8, PixelSpacing=[0.2, 0.1])
    assert "pixel_size_mm" not in image_record(1, tmp_path / "b.dcm", "b.dcm")  # not square


def test_dicom_is_known_by_its_magic(tmp_path: Path) -> None:
    names = ("1.2.840.113619.2.5.176258", "IM0001", "deep/film.IMA")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_dicom(tmp_path / name, RAMP8, 8)
        assert np.allclose(read_radiograph(tmp_path / name).pixels, RAMP8 / 255, atol=1e-7)
    (tmp_path / "notes.txt").write_text("nothing")
    assert find_radiographs([tmp_path]) == [tmp_path / name for name in names]


@pytest.mark.parametrize(("syntax", "encode"), [
    (uid.JPEGLossless, lambda values: imagecodecs.ljpeg_encode(values, bitspersample=12)),
    (uid.JPEGLSNearLossless, imagecodecs.jpegls_encode),
    (uid.JPEG2000, lambda values: imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True)),
    (uid.JPEGLosslessSV1, lambda values: imagecodecs.ljpeg_encode(values, bitspersample=12)),
    (uid.JPEGLSLossless, imagecodecs.jpegls_encode),
    (uid.JPEG2000Lossless, lambda values: imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True)),
])  # fmt: skip
def test_dicom_lossless_compression(tmp_path: Path, syntax: uid.UID, encode) -> None:
    write_dicom(tmp_path / "a.dcm", RAMP12, 12, syntax=syntax, data=encapsulate([bytes(encode(RAMP12))]))
    assert np.allclose(read_radiograph(tmp_path / "a.dcm").pixels, RAMP12 / 4095, atol=1e-7)


def test_dicom_run_lengths_and_deflated_headers(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", RAMP12, 12)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    dataset.compress(uid.RLELossless)
    dataset.save_as(tmp_path / "b.dcm")
    write_dicom(tmp_path / "c.dcm", RAMP12, 12, syntax=uid.DeflatedExplicitVRLittleEndian)
    for name in ("b.dcm", "c.dcm"):
        assert np.array_equal(read_radiograph(tmp_path / name).levels, RAMP12)
        assert radiograph_size(tmp_path / name) == (128, 32)


def test_a_deflated_file_that_swells_beyond_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swollen = np.zeros((1000, 1200), np.uint16)
    write_dicom(tmp_path / "a.dcm", swollen, 12, syntax=uid.DeflatedExplicitVRLittleEndian)
    assert read_radiograph(tmp_path / "a.dcm").levels.shape == (1000, 1200)
    monkeypatch.setenv(LIMIT_VARIABLE, "1000")
    with pytest.raises(InputError, match=r"a\.dcm: inflates to more than"):
        radiograph_size(tmp_path / "a.dcm")


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
