"""The gray window in a TIFF of our own: it comes back as it was, and a damaged one is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from data.errors import InputError
from data.gray_levels import FileWindow
from data.gray_window import GrayWindow
from data.radiograph import read_radiograph, write_radiograph
from data.tiff_window import describe_window

LEVELS = np.arange(4096, dtype=np.uint16).reshape(64, 64)
CURVE = 1 / (1 + np.exp(-(np.arange(4096, dtype=np.float32) - 2000) / 300))


@pytest.mark.parametrize("window", [FileWindow(264.5, 383.25, None, "center 324, width 119"),
                                    FileWindow(900.0, 3100.0, CURVE, "µ, sigmoid")])  # fmt: skip
def test_a_window_comes_back(tmp_path: Path, window: FileWindow) -> None:
    write_radiograph(tmp_path / "a.tif", LEVELS / 4095, 12, window)
    read = read_radiograph(tmp_path / "a.tif")
    assert np.array_equal(read.levels, LEVELS)  # nothing is applied
    found = read.file_window
    assert found is not None
    assert (found.low, found.high, found.name) == (window.low, window.high, window.name)
    assert np.array_equal(
        read_radiograph(tmp_path / "a.tif", window=GrayWindow("file")).pixels,
        GrayWindow("file").fit(LEVELS, 12, window)(LEVELS),
    )


def test_without_one_there_is_none_and_a_png_holds_none(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "a.tif", LEVELS / 4095, 12)
    assert read_radiograph(tmp_path / "a.tif").file_window is None
    tifffile.imwrite(tmp_path / "b.tif", LEVELS, description='{"a": "window of somebody else"}')
    assert read_radiograph(tmp_path / "b.tif").file_window is None
    with pytest.raises(InputError, match=r"c\.png.*write a TIFF"):
        write_radiograph(tmp_path / "c.png", LEVELS / 4095, 16, FileWindow(1, 2))


@pytest.mark.parametrize("change", [
    {"low": "x"}, {"low": None}, {"low": float("nan")}, {"high": 0}, {"high": 1e400}, {"low": [1]},
    {"high": 10.0}, {"low": 900.5},
    {"low": {}},
    {"table": 5}, {"table": "!"}, {"table": "AAAA"}, {"table": ""},
])  # fmt: skip
def test_a_damaged_window_is_refused(tmp_path: Path, change: dict) -> None:
    content = json.loads(describe_window(FileWindow(10.0, 900.0, CURVE)))["radiograph_window"] | change
    description = json.dumps({"radiograph_window": content})
    tifffile.imwrite(tmp_path / "a.tif", LEVELS, description=description, metadata=None)
    with pytest.raises(InputError, match=r"a\.tif: .*window"):
        read_radiograph(tmp_path / "a.tif")


def test_a_curve_for_another_depth_is_refused_and_never_read_beyond_its_end(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "a.tif", LEVELS / 4095, 12, FileWindow(900.0, 3100.0, CURVE))
    with pytest.raises(InputError, match="65536 entries"):
        read_radiograph(tmp_path / "a.tif", bit_depth=16)


def test_a_cut_description_is_refused(tmp_path: Path) -> None:
    description = describe_window(FileWindow(10.0, 900.0))[:-4]
    tifffile.imwrite(tmp_path / "a.tif", LEVELS, description=description, metadata=None)
    with pytest.raises(InputError, match=r"a\.tif: not a TIFF file, or corrupt"):
        read_radiograph(tmp_path / "a.tif")
