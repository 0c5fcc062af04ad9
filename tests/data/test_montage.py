"""Heat maps drawn over radiographs."""

import numpy as np
import pytest

from data.drawing import draw_heat_map


def test_likely_is_red_and_unlikely_blue() -> None:
    pixels = np.full((4, 6), 0.5, np.float32)
    values = np.zeros((4, 6), np.float32)
    values[:, 3:] = 0.9
    drawn = draw_heat_map(pixels, values)
    assert drawn.shape == (4, 6, 3)
    assert drawn.dtype == np.uint8
    red, green, blue = drawn[0, 0].astype(int)
    assert blue > red == green
    red, green, blue = drawn[0, 3].astype(int)
    assert red > max(green, blue) + 80


def test_the_radiograph_shows_through() -> None:
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (2, 1))
    for value, least in ((0.0, 200), (0.2, 150), (1.0, 90)):
        drawn = draw_heat_map(ramp, np.full(ramp.shape, value)).astype(int)
        assert (np.diff(drawn[0, :, 1]) >= 0).all()
        assert drawn[0, -1, 1] - drawn[0, 0, 1] >= least


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[3, 4\].*\[4, 4\]"):
        draw_heat_map(np.zeros((4, 4)), np.zeros((3, 4)))
