"""The reader keeps depth, polarity and scale, and refuses what it cannot read whole."""

import struct
import zlib
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pydicom
import pytest
import tifffile
from dicom_files import write_dicom
from hypothesis import given, settings
from hypothesis import strategies as st
from tiff_files import set_tiff_tag, tiff_bytes

from data.errors import InputError
from data.gray_levels import gray_channel
from data.limits import LIMIT_VARIABLE
from data.radiograph import (
    find_radiographs,
    radiograph_size,
    read_radiograph,
    write_radiograph,
)

RAMP16 = np.arange(65536, dtype=np.uint16).reshape(128, 512)
RAMP12 = np.arange(4096, dtype=np.uint16).reshape(32, 128)
RAMP8 = np.arange(256, dtype=np.uint8).reshape(8, 32)


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


def test_linked_folders_are_followed_once_and_hidden_ones_are_not(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "all/a.png", RAMP8 / 255)
    write_radiograph(tmp_path / "elsewhere/b.png", RAMP8 / 255)
    write_radiograph(tmp_path / "all/.staged/c.png", RAMP8 / 255)
    (tmp_path / "all/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "all/again").symlink_to(tmp_path / "all")
    (tmp_path / "elsewhere/up").symlink_to(tmp_path / "all")
    assert find_radiographs([tmp_path / "all"]) == [tmp_path / "all/a.png", tmp_path / "all/link/b.png"]


def test_names_that_no_file_can_have_are_refused(tmp_path: Path) -> None:
    for name in ("x" * 300 + ".png", "a\0b.png"):
        for reader in (read_radiograph, radiograph_size):
            with pytest.raises(InputError, match=r"cannot be read|no such file"):
                reader(tmp_path / name)
    (tmp_path / "a.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"cannot be read|no such file"):
        read_radiograph(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.dcm", "IM1"])
def test_a_file_that_the_system_does_not_let_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_bytes(b"x" * 200)

    def refuse(self: Path, *arguments: object, **named: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    for reader in (read_radiograph, radiograph_size):
        with pytest.raises(InputError, match=f"{name}: .*Permission denied"):
            reader(tmp_path / name)


def promise(path: Path, width: int, height: int) -> None:
    """Write a file whose header promises an image that is not there."""
    if path.suffix == ".png":
        head = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
        chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")]
        framed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))
    elif path.suffix == ".jpg":
        content = bytearray(imagecodecs.jpeg8_encode(RAMP8))
        at = content.find(b"\xff\xc0")
        content[at + 5 : at + 9] = struct.pack(">HH", height, width)
        path.write_bytes(content)
    elif path.suffix == ".bmp":
        content = bytearray(cv2.imencode(".bmp", RAMP8)[1].tobytes())
        content[18:26] = struct.pack("<ii", width, height)
        path.write_bytes(content)
    elif path.suffix == ".pgm":
        path.write_bytes(f"P5 {width} {height} 255\n".encode())
    elif path.suffix == ".dcm":
        write_dicom(path, RAMP8, 8, Rows=height, Columns=width)
        dataset = pydicom.dcmread(path)
        dataset.Rows, dataset.Columns = height, width
        dataset.save_as(path)
    else:
        out = bytearray(tiff_bytes(RAMP8))
        set_tiff_tag(out, 256, width)
        set_tiff_tag(out, 257, height)
        path.write_bytes(out)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".pgm", ".dcm", ".tif"])
def test_a_header_that_promises_too_many_pixels_is_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    promise(path, 60000, 60000)
    for reader in (read_radiograph, radiograph_size):
        with pytest.raises(InputError, match=rf"60000 x 60000, more than the limit .* {LIMIT_VARIABLE}=3600000000"):
            reader(path)
    monkeypatch.setenv(LIMIT_VARIABLE, str(len(RAMP8.ravel()) - 1))
    write_radiograph(tmp_path / "small.png", RAMP8 / 255)
    with pytest.raises(InputError, match="32 x 8, more than the limit of 255 pixels"):
        read_radiograph(tmp_path / "small.png")
    monkeypatch.setenv(LIMIT_VARIABLE, "256")
    assert read_radiograph(tmp_path / "small.png").pixels.shape == (8, 32)
    monkeypatch.setenv(LIMIT_VARIABLE, "many")
    with pytest.raises(InputError, match="RADIOGRAPH_MAX_PIXELS is 'many'"):
        read_radiograph(tmp_path / "small.png")


UPRIGHT = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: np.transpose,
           6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).T, 8: np.rot90}  # fmt: skip


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
def test_orientation_is_applied(tmp_path: Path, suffix: str, value: int) -> None:
    path, expected = tmp_path / f"a{suffix}", UPRIGHT[value](RAMP8)
    exif = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 274, 3, 1, value, 0) + bytes(4)
    if suffix == ".tif":
        tifffile.imwrite(path, RAMP8, photometric="minisblack", extratags=[(274, "H", 1, value, True)],
                         resolution=(10, 20), resolutionunit=3)  # fmt: skip
        rows, columns = read_radiograph(path).pixel_size_mm
        assert (rows, columns) == pytest.approx((0.5, 1.0) if value < 5 else (1.0, 0.5))
    elif suffix == ".png":
        content = imagecodecs.png_encode(RAMP8)
        chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
        path.write_bytes(content[:33] + chunk + content[33:])
    else:
        content = imagecodecs.jpeg8_encode(RAMP8, level=100)
        path.write_bytes(
            content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif + content[2:]
        )
    found = read_radiograph(path).levels.astype(int)
    assert np.abs(found - expected).max() <= (2 if suffix == ".jpg" else 0)
    assert radiograph_size(path) == expected.shape[::-1]


def test_another_orientation_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RAMP8, photometric="minisblack", extratags=[(274, "H", 1, 9, True)])
    with pytest.raises(InputError, match="orientation 9"):
        read_radiograph(tmp_path / "a.tif")


def test_a_jpeg_that_lacks_data_before_its_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    whole = imagecodecs.jpeg8_encode(np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8))
    path.write_bytes(whole)
    assert read_radiograph(path).pixels.shape == (64, 64)
    path.write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    with pytest.raises(InputError, match="data are missing"):
        read_radiograph(path)


@pytest.mark.parametrize(("text", "levels"), [
    ("P2\n4 1\n127\n0 1 2 60\n", [0, 1, 2, 60]), ("P2 # a\n# b\n4 1 # c\n1023\n0 1 # d\n2 1000", [0, 1, 2, 1000]),
])  # fmt: skip
def test_ascii_pgm_keeps_its_values(tmp_path: Path, text: str, levels: list[int]) -> None:
    (tmp_path / "a.pgm").write_text(text)
    assert read_radiograph(tmp_path / "a.pgm").levels.tolist() == [levels]


def test_pgm_of_16_bits_is_big_endian(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 65535\n\x01\x00\x00\x02")
    assert read_radiograph(tmp_path / "a.pgm").levels.tolist() == [[256, 2]]
    (tmp_path / "a.pgm").write_text("P2 2 1 127 0 128")
    with pytest.raises(InputError, match=r"values 0 ... 128, but the greatest is stated as 127"):
        read_radiograph(tmp_path / "a.pgm")


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


def test_a_color_in_the_second_channel_alone_is_a_color() -> None:
    values = np.full((4, 5, 3), 9, np.uint8)
    assert gray_channel(values, Path("a.png")).shape == (4, 5)
    values[2, 2, 1] = 10
    with pytest.raises(InputError, match="color image"):
        gray_channel(values, Path("a.png"))
