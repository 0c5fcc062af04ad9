"""The table of pores against shapes whose figures are known."""

from pathlib import Path

import numpy as np
import pytest

from data.volumes.components import SLAB, PartMask
from data.volumes.pores import measure_pores, sphericity


def ball(shape: tuple[int, int, int], center: tuple[float, float, float], radius: float) -> np.ndarray:
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return (z - center[0]) ** 2 + (y - center[1]) ** 2 + (x - center[2]) ** 2 <= radius**2


def measured(values: np.ndarray, pores: np.ndarray, folder: Path, **options):
    read = lambda first, last: values[first:last]  # noqa: E731
    part = PartMask(read, values.shape)
    return measure_pores(lambda a, b: pores[a:b], read, part, folder / "labels.npy", **options)


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray]:
    """A block with a ball of radius 5 across two slabs, a ball of radius 3 and a pore open to its side."""
    shape = (2 * SLAB, 40, 40)
    values = np.zeros(shape, np.float32)
    values[4:-4, 4:36, 4:36] = 1
    pores = ball(shape, (SLAB, 20, 20), 5) | ball(shape, (SLAB, 20, 31), 3)
    pores[10:13, 4:7, 15:18] = True
    values[pores] = 0.1
    return values, pores


def test_sizes_places_and_gaps(scene: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    values, pores = scene
    table, porosity = measured(values, pores, tmp_path, voxel_mm=(0.1, 0.1, 0.1))
    large, small = ball(values.shape, (SLAB, 20, 20), 5).sum(), ball(values.shape, (SLAB, 20, 31), 3).sum()
    assert table.voxels.tolist() == [large, small, 27]
    assert table.is_open.tolist() == [False, False, True]
    np.testing.assert_allclose(table.center[0], (SLAB, 20, 20))
    assert table.low[0].tolist() == [SLAB - 5, 15, 15]
    assert table.high[0].tolist() == [SLAB + 6, 26, 26]
    assert table.diameter_voxels[0] == pytest.approx(10, rel=0.02)
    assert table.diameter_mm[0] == pytest.approx(1.0, rel=0.02)
    # Ball voxels reach x = 25 and x = 28: two voxels of metal between; x = 34 and air at 36: one.
    assert table.pore_gap[:2].tolist() == [2, 2]
    assert table.surface_gap.tolist() == [10, 1, 0]
    np.testing.assert_allclose(table.mean_gray, 0.1, atol=1e-6)
    part = (2 * SLAB - 8) * 32 * 32 - 27  # the open pore is outside of the watertight part
    assert porosity.part_voxels == part
    assert porosity.share == pytest.approx((large + small) / part)
    assert porosity.pores_by_plane[0].sum() == porosity.pores_by_plane[2].sum() == large + small
    assert porosity.projections[0][20, 20] == pytest.approx(table.diameter_voxels[0])
    labels = np.load(tmp_path / "labels.npy")
    np.testing.assert_array_equal(labels > 0, pores)
    np.testing.assert_array_equal(labels == 1, ball(values.shape, (SLAB, 20, 20), 5))


def test_records_are_plain_and_have_no_millimeters_without_a_voxel_size(
    scene: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    record = measured(*scene, tmp_path)[0].records()[0]
    assert record["diameter_mm"] is None
    assert record["volume_mm3"] is None
    assert record["z_min"] == SLAB - 5
    assert record["z_max"] == SLAB + 5
    with_size = measured(*scene, tmp_path, voxel_mm=(0.2, 0.1, 0.1))[0].records()[0]
    assert with_size["volume_mm3"] == pytest.approx(record["voxels"] * 0.002)
    assert with_size["center_z_mm"] == pytest.approx(SLAB * 0.2)


def test_small_pores_are_left_out(scene: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    table, _ = measured(*scene, tmp_path, least_voxels=28)
    assert len(table) == 2
    assert set(np.unique(np.load(tmp_path / "labels.npy"))) == {0, 1, 2}


def test_a_part_without_pores(tmp_path: Path) -> None:
    values = np.zeros((10, 12, 12), np.float32)
    values[2:8, 2:10, 2:10] = 1
    table, porosity = measured(values, np.zeros(values.shape, bool), tmp_path)
    assert len(table) == 0
    assert porosity.share == 0
    assert table.records() == []


@pytest.mark.parametrize("radius", [2.5, 4, 8])
def test_a_ball_is_round(radius: float) -> None:
    assert sphericity(ball((25, 25, 25), (12, 12, 12), radius)) == pytest.approx(1, abs=0.02)


def test_a_plate_is_not() -> None:
    mask = np.zeros((3, 20, 20), bool)
    mask[:] = True
    exact = np.pi ** (1 / 3) * (6 * 1200) ** (2 / 3) / (2 * 400 + 4 * 60)
    assert sphericity(mask) == pytest.approx(exact, rel=0.15)
