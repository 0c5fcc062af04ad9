"""Run lengths and polygons: pycocotools is the oracle for what is well-formed; the rest is refused before it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from data.rle import mask_runs, paint, polygon_problem, run_lengths

SIZE = (7, 9)


def painted(segmentation: object, height: int, width: int) -> np.ndarray:
    columns = np.zeros((width, height), np.uint8)
    paint(columns, mask_runs(segmentation, height, width), 1)
    return columns.T


@settings(max_examples=150, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_compressed_run_lengths_are_read_as_pycocotools_wrote_them(mask: np.ndarray) -> None:
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = run_lengths(encoded["counts"].decode())
    assert np.array_equal(painted(encoded, *mask.shape), mask)
    assert np.array_equal(painted({"counts": counts.tolist()}, *mask.shape), mask)


def test_long_runs_need_several_characters() -> None:
    mask = np.zeros((3000, 2000), np.uint8, order="F")
    mask[17:2900, 40:1700] = 1
    assert np.array_equal(painted(coco_mask.encode(mask), 3000, 2000), mask)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.floats(-9, 18, width=32), min_size=6, max_size=12).map(lambda p: p[: len(p) // 2 * 2]),
                min_size=1, max_size=3))  # fmt: skip
def test_polygons_are_drawn_as_pycocotools_does(polygons: list[list[float]]) -> None:
    height, width = SIZE
    inside = [[min(max(v, -size), 2 * size) for v, size in zip(p, (width, height) * (len(p) // 2), strict=True)]
              for p in polygons]  # fmt: skip
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(inside, height, width)))
    assert np.array_equal(painted(inside, height, width), expected)


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(codec="ascii"), max_size=40) | st.binary(max_size=20))
def test_any_string_is_an_answer_or_a_value_error(counts: str | bytes) -> None:
    try:
        runs = mask_runs({"size": list(SIZE), "counts": counts}, *SIZE)
    except ValueError:
        return
    assert ((runs >= 0) & (runs <= SIZE[0] * SIZE[1])).all()


@pytest.mark.parametrize(("counts", "problem"), [
    ("o7:X10[n1", "not 7 x 9"), ("PP", "middle of a number"), ("1" * 30 + "o", "middle"), ("11111", "not 7 x 9"),
    ("é", "not ASCII"), ("a b", "a character"), ("o" * 9 + "0", "too large"), (5, "run lengths are int"),
    ({"a": 1}, "run lengths are dict"), (["a", 63], "other than whole numbers"), ([True, 62], "other than whole"),
    ([70, -7], "at least 0"), ([[1], [62]], "other than whole"), ([1, 2], "add up to 3, not 7 x 9"),
    ([2**63], "other than whole"), ([], "add up to 0"),
])  # fmt: skip
def test_malformed_run_lengths_are_refused_in_words(counts: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        mask_runs({"size": list(SIZE), "counts": counts}, *SIZE)


def test_run_lengths_of_another_image_are_refused() -> None:
    with pytest.raises(ValueError, match=r"an image of \[9, 7\] \(height, width\), not \[7, 9\]"):
        mask_runs({"size": [9, 7], "counts": [63]}, 7, 9)


@pytest.mark.parametrize(("points", "problem"), [
    ([0, 0, 1e9, 0, 1e9, 1e9], r"corner 1e\+09, 0, far outside of the 9 x 7 image"),
    ([0, 0, 1e300, 0, 1, 1], "far outside"),
    ([0, 0, float("nan"), 0, 1, 1], "far outside"), ([0, 0, 18.1, 0, 1, 1], "far"),
    ([1, 2, 3, 4], "three points or more"), ([1, 2, 3, 4, 5, 6, 7], "three points"), ("abcdef", "three points"),
    ([0, 0, "1", 0, 1, 1], "other than numbers"), ([0, 0, 10**400, 0, 1, 1], "too large"),
    ([0, 0, 9, 7] * 200_000, "outline of"),
])  # fmt: skip
def test_polygons_that_cannot_be_drawn_are_refused_in_words(points: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        mask_runs([points], 7, 9)


def test_a_polygon_may_reach_over_the_edge() -> None:
    assert polygon_problem([-9, -7, 18, -7, 18, 14, -9, 14], 7, 9) is None
    assert painted([[-9, -7, 18, -7, 18, 14, -9, 14]], 7, 9).all()
