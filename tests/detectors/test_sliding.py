"""Windows over radiographs of any size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.sliding import tile_starts


@pytest.mark.parametrize(
    ("length", "expected"),
    [(100, [0]), (300, [0]), (301, [0, 1]), (450, [0, 150]), (500, [0, 150, 200]), (768, [0, 150, 300, 450, 468])],
)
def test_windows_of_300_every_150(length: int, expected: list[int]) -> None:
    """The last is flush with the end, and there is none twice."""
    assert tile_starts(length, 300, 150) == expected


@given(length=st.integers(1, 2000), size=st.integers(1, 400), stride=st.integers(1, 400))
def test_every_pixel_is_covered(length: int, size: int, stride: int) -> None:
    """Whatever the length, where windows overlap or touch."""
    stride = min(stride, size)
    starts = tile_starts(length, size, stride)
    covered = {pixel for start in starts for pixel in range(start, start + size)}
    assert covered >= set(range(length))
    assert starts == sorted(set(starts))
