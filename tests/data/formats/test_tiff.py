"""TIFF files: depth, polarity, pixel size, pages, and what is refused."""

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from tiff_files import set_tiff_tag, tiff_bytes

from data.errors import InputError
from data.radiograph import (
    radiograph_size,
    read_radiograph,
)

RAMP16 = np.arange(65536, dtype=np.uint16).reshape(128, 512)
RAMP12 = np.arange(4096, dtype=np.uint16).reshape(32, 128)
RAMP8 = np.arange(256, dtype=np.uint8).reshape(8, 32)


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


def test_a_tiff_whose_directories_point_in_a_circle_is_refused(tmp_path: Path) -> None:
    data = bytearray(tiff_bytes(RAMP8))
    at = struct.unpack("<I", data[4:8])[0]
    end = at + 2 + 12 * struct.unpack("<H", data[at : at + 2])[0]
    data[end : end + 4] = struct.pack("<I", at)
    (tmp_path / "a.tif").write_bytes(data)
    for reader in (read_radiograph, radiograph_size):
        with pytest.raises(InputError, match="point in a circle"):
            reader(tmp_path / "a.tif")


def test_a_tiff_of_too_few_strips_or_wide_samples_is_refused(tmp_path: Path) -> None:
    data = bytearray(tiff_bytes(np.full((64, 64), 1000, np.uint16), rowsperstrip=16, compression="zlib"))
    set_tiff_tag(data, 257, 100)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(InputError, match="4 strips or tiles of data, but its size asks for 7"):
        read_radiograph(tmp_path / "a.tif")
    for wide in (np.uint32, np.uint64):
        tifffile.imwrite(tmp_path / "b.tif", RAMP8.astype(wide) * 257, photometric="minisblack")
        with pytest.raises(InputError, match="expected unsigned integers of up to 16 bits"):
            read_radiograph(tmp_path / "b.tif")


def test_thumbnails_in_a_tiff_are_no_radiographs(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(RAMP8[::2, ::4], photometric="minisblack", subfiletype=1)
        writer.write(RAMP8, photometric="minisblack")
    assert radiograph_size(tmp_path / "a.tif") == (32, 8)
    assert np.array_equal(read_radiograph(tmp_path / "a.tif").levels, RAMP8)
