"""What a defect adds to its patch, and its shape on a radiograph."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from data.patch_files import PatchSet, write_patches
from data.synthesis.blending import change_cavity, defect_change, membrane, read_changes


def plane(size: int, level: float, dx: float, dy: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return (level + dx * x + dy * y).astype(np.float32)


def bump(size: int = 32, x: float = 15.5, y: float = 15.5, wide: float = 3.5, high: float | None = None) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return np.exp(-((columns - x) ** 2) / 2 / wide**2 - (rows - y) ** 2 / 2 / (high or wide) ** 2)


slopes = st.floats(-0.008, 0.008)


@settings(max_examples=15, deadline=None)
@given(size=st.sampled_from([5, 16, 32]), level=st.floats(0.3, 0.7), dx=slopes, dy=slopes)
def test_a_plane_is_all_background(size: int, level: float, dx: float, dy: float) -> None:
    flat = plane(size, level, dx, dy)
    np.testing.assert_allclose(membrane(flat), flat, atol=1e-5)
    assert defect_change(flat) is None


def test_a_membrane_is_the_mean_of_its_neighbors_inside() -> None:
    values = np.random.default_rng(0).random((9, 13)).astype(np.float32)
    found = membrane(values).astype(np.float64)
    around = (found[:-2, 1:-1] + found[2:, 1:-1] + found[1:-1, :-2] + found[1:-1, 2:]) / 4
    np.testing.assert_allclose(found[1:-1, 1:-1], around, atol=1e-6)
    rim = np.ones(values.shape, bool)
    rim[1:-1, 1:-1] = False
    np.testing.assert_array_equal(found[rim].astype(np.float32), values[rim])


@pytest.mark.parametrize("contrast", [0.1, -0.1])
def test_a_defect_is_told_from_a_sloping_background(contrast: float) -> None:
    patch = (plane(32, 0.5, 0.004, 0.002) * (1 + contrast * bump())).astype(np.float32)
    change = defect_change(patch)
    assert change.dtype == np.float32
    assert abs(change).max() == pytest.approx(0.1, rel=0.15)
    assert np.sign(change.flat[abs(change).argmax()]) == np.sign(contrast)
    row, column = np.unravel_index(abs(change).argmax(), change.shape)
    assert abs(row - 15.5) < 2
    assert abs(column - 15.5) < 2
    rim = np.ones(change.shape, bool)
    rim[1:-1, 1:-1] = False
    assert not change[rim].any()
    assert (change * np.sign(contrast) >= 0).all()


def test_what_cannot_be_seen_is_no_defect() -> None:
    rng = np.random.default_rng(0)
    flat = plane(32, 0.5, 0, 0)
    assert defect_change((flat + rng.normal(0, 0.02, flat.shape)).astype(np.float32)) is None
    assert defect_change((flat * (1 + 0.005 * bump())).astype(np.float32)) is None
    # As much up as down.
    edge = (flat * (1 + 0.1 * (bump(x=9) - bump(x=22)))).astype(np.float32)
    assert defect_change(edge) is None
    assert defect_change(np.zeros((32, 32), np.float32)) is None


def test_a_flat_patch_changes_nothing() -> None:
    assert defect_change(np.full((32, 32), 0.3, np.float32)) is None
    assert change_cavity(np.zeros((32, 32), np.float32), (25.0, 25.0), (50, 50)).chord.size == 0


def test_sizes_turns_and_mirrors() -> None:
    change = (0.1 * bump(wide=6, high=2)).astype(np.float32)
    change[change < 0.01] = 0
    width = np.ptp(np.flatnonzero(change.any(axis=0))) + 1
    height = np.ptp(np.flatnonzero(change.any(axis=1))) + 1
    shape, place = (200, 200), (100.0, 100.0)
    as_it_is = change_cavity(change, place, shape)
    assert as_it_is.box[2] - as_it_is.box[0] == pytest.approx(width, abs=2)
    assert as_it_is.chord.max() == pytest.approx(change.max(), rel=1e-5)
    twice = change_cavity(change, place, shape, side=2 * width)
    assert twice.box[2] - twice.box[0] == pytest.approx(2 * width, abs=3)
    small = change_cavity(change, place, shape, side=width / 3)
    assert small.box[2] - small.box[0] <= width / 2 + 3
    turned = change_cavity(change, place, shape, angle=90)
    assert turned.box[3] - turned.box[1] == pytest.approx(width, abs=2)
    assert turned.box[2] - turned.box[0] == pytest.approx(height, abs=2)
    lopsided = change * (np.arange(32) / 31)
    middles = []
    for mirrored in (False, True):
        cavity = change_cavity(lopsided, place, shape, mirrored=mirrored)
        weight = cavity.chord.sum(axis=0)
        middles.append(float((weight * (cavity.x0 + 0.5 + np.arange(len(weight)))).sum() / weight.sum()))
    assert middles[0] > 100.5
    assert middles[1] == pytest.approx(200 - middles[0], abs=0.05)


def test_the_radiographs_edge_cuts_a_shape_off() -> None:
    change = (0.2 * bump()).astype(np.float32)
    found = change_cavity(change, (0.0, 59.0), (60, 60))
    assert (found.x0, found.box[3]) == (0, 60)
    assert not change_cavity(change, (300.0, 20.0), (60, 60)).chord.any()


@pytest.mark.parametrize("size", [1, 2])
def test_patches_without_an_inside_are_refused(tmp_path: Path, size: int) -> None:
    pixels, one = np.full((1, size, size), 90, np.uint8), np.ones(1, np.int64)
    places, path = np.full((1, 3), np.nan, np.float32), tmp_path / "small.npz"
    write_patches(path, PatchSet(pixels, one, np.array(["a"]), places, np.array(["real"])))
    with pytest.raises(InputError, match=rf"small\.npz: its patches are {size} x {size} pixels, too small"):
        read_changes(path)


def test_a_file_gives_the_defects_that_show(tmp_path: Path) -> None:
    flat = plane(32, 0.5, 0, 0)
    pixels = np.stack([flat, flat * (1 + 0.2 * bump()), flat * (1 - 0.2 * bump()), flat * (1 + 0.2 * bump())])
    places, origins = np.full((4, 3), np.nan, np.float32), np.full(4, "gan")
    labels, names = np.array([1, 1, 1, 0]), np.array(["a", "b", "c", "d"])
    path = tmp_path / "some.npz"
    write_patches(path, PatchSet((pixels * 65535).astype(np.uint16), labels, names, places, origins))
    assert [change.max() > 0 for change in read_changes(path)] == [True, False]
    assert len(read_changes(path, brighter=False)) == 1
    one = PatchSet((pixels[:2] * 65535).astype(np.uint16), labels[:2], names[:2], places[:2], origins[:2])
    write_patches(path, one)
    with pytest.raises(InputError, match=r"some\.npz: none of its 2 defect patches shows a darker defect"):
        read_changes(path, brighter=False)
