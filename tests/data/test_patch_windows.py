"""Which windows are defects, which are negatives, which are neither, and how they are cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.patch_windows import DEFECT, IGNORE, NEGATIVE, WindowPose, cut_window, extent, label_window
from data.patches import PatchConfig, negative_starts

WINDOW = WindowPose(0, 16, 16)  # 32 x 32 pixels from (0, 0)


def label(*box: float, place: WindowPose = WINDOW) -> int:
    return label_window(place, np.array([box], dtype=np.float64), 32)


def test_a_third_of_a_defect_is_a_defect_and_less_is_neither() -> None:
    assert label(22, 5, 52, 15) == DEFECT  # 10 of 30 columns
    assert label(22.5, 5, 52.5, 15) == IGNORE
    assert label(8, 8, 12, 12) == DEFECT
    assert label(31, 31, 40, 40) == IGNORE  # one pixel of it
    assert label(32, 0, 40, 8) == NEGATIVE  # touches the edge


def test_a_defect_larger_than_the_window_fills_a_third_of_it() -> None:
    assert label(21, -50, 300, 200) == DEFECT  # 352 of 1,024 pixels
    assert label(22, -50, 300, 200) == IGNORE  # 320
    assert label(-100, -100, 100, 100) == DEFECT
    # Long and thin: a third of as much of it as fits, 32 x 5 pixels.
    assert label(21, 10, 166, 15) == DEFECT  # 55 of 160
    assert label(22, 10, 167, 15) == IGNORE  # 50 of 160


def test_crowds_are_neither_a_negative_nor_a_defect() -> None:
    boxes, crowd = np.array([[4.0, 4, 20, 20]]), np.array([True])
    assert label_window(WINDOW, boxes, 32, ignored=crowd) == IGNORE


def test_one_of_several_defects_is_enough() -> None:
    boxes = np.array([[31.0, 31, 50, 50], [4, 4, 8, 8]])
    assert label_window(WINDOW, boxes, 32) == DEFECT
    assert label_window(WINDOW, np.zeros((0, 4)), 32) == NEGATIVE


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 359), st.booleans(), st.floats(30, 60), st.floats(30, 60), st.integers(2, 40), st.integers(2, 40))
def test_a_turned_window_holds_what_its_label_says(
    angle: float, mirrored: bool, x: float, y: float, width: int, height: int
) -> None:
    """The pixels cut and the area counted are those of one window."""
    box = np.array([[40.0, 35, 40 + width, 35 + height]])
    levels = np.zeros((96, 96), dtype=np.uint8)
    levels[35 : 35 + height, 40 : 40 + width] = 255
    place = WindowPose(0, x, y, angle, mirrored)
    held = cut_window(levels, place, 32).sum() / min(width, 32) / min(height, 32)
    blurred = 2 * (width + height) / min(width, 32) / min(height, 32)  # half a pixel around the box's edge
    found = label_window(place, box, 32)
    if held > 1 / 3 + blurred:
        assert found == DEFECT
    if held < 1 / 3 - blurred:
        assert found != DEFECT


def test_upright_windows_keep_their_values_and_turned_ones_show_no_black_corner() -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (50, 40)).astype(np.uint16)
    inside = levels[10:26, 5:21].astype(np.float32) / 65535
    assert np.array_equal(cut_window(levels, WindowPose(0, 13, 18), 16), inside)
    assert np.array_equal(cut_window(levels, WindowPose(0, 13, 18, 0, True), 16), inside[:, ::-1])
    assert np.array_equal(cut_window(levels, WindowPose(0, 13, 18, 180), 16), inside[::-1, ::-1])
    # The window is turned clockwise, so that what it shows turns the other way.
    assert np.abs(cut_window(levels, WindowPose(0, 13, 18, 90), 16) - np.rot90(inside)).max() < 1e-4
    bright = np.full((40, 40), 200, dtype=np.uint8)
    for angle in range(0, 360, 30):
        patch = cut_window(bright, WindowPose(0, 16, 24, angle), 32)
        assert np.abs(patch - 200 / 255).max() < 1e-6


def test_the_square_around_a_turned_window() -> None:
    assert extent(32, 0) == extent(32, 180) == 32
    assert extent(32, 60) == 44  # 32 (1/2 + 0.866) = 43.7
    assert extent(31, 60) == 43  # 42.3; odd as the window is
    assert extent(32, 45) == 46  # 45.3


def test_negative_windows_hold_no_annotated_pixel_and_lie_on_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.full((24, 30), 0.5, dtype=np.float32)
    pixels[:, 18:] = 1.0
    part = np.ones(pixels.shape, dtype=bool)
    part[:6] = False
    monkeypatch.setattr("data.patches.segment_test_object", lambda _: part)
    box = np.array([[3.4, 12.2, 6.6, 15.0]])
    config = PatchConfig(size=8, rotation_step=None, on_object=0.75, saturated=0.25)
    found = negative_starts(pixels, box, config)
    expected = []
    for y in range(24 - 8 + 1):
        for x in range(30 - 8 + 1):
            meets = x < 7 and x + 8 > 3 and y < 15 and y + 8 > 12  # whole pixels of the box
            air = (pixels[y : y + 8, x : x + 8] == 1).mean() > 0.25
            outside = part[y : y + 8, x : x + 8].mean() < 0.75 or not part[y + 4, x + 4]
            if not (meets or air or outside):
                expected.append(y * 30 + x)
    assert list(found) == [8]
    assert found[8].tolist() == expected
    assert 0 < len(expected) < 17 * 23
