"""The two gray values of a volume, and volumes that have not two."""

from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from data.volumes.gray_levels import GrayLevels, find_gray_levels
from data.volumes.volume import Volume


def volume(air: float = 9000, metal: float = 30_000, sigma: float = 1500, filled: float = 0.3) -> Volume:
    rng = np.random.default_rng(0)
    values = rng.normal(air, sigma, (20, 60, 60))
    count = int(filled * 60)
    values[:, :count] = rng.normal(metal, sigma, (20, count, 60))
    return Volume(np.clip(values, 0, 65_535).astype(np.uint16), None, Path("scan.tif"))


@pytest.mark.parametrize("filled", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("sigma", [500, 2500])
def test_the_modes_are_found(filled: float, sigma: float) -> None:
    levels = find_gray_levels(volume(sigma=sigma, filled=filled))
    assert levels.air == pytest.approx(9000, abs=0.4 * sigma)
    assert levels.metal == pytest.approx(30_000, abs=0.4 * sigma)


def test_values_are_brought_to_one_scale() -> None:
    normalized = GrayLevels(100, 300).normalize(np.array([100, 300, 200, 0, 1000], np.uint16))
    np.testing.assert_allclose(normalized, [0, 1, 0.5, -0.5, 1.5])
    assert normalized.dtype == np.float32


@pytest.mark.parametrize("filled", [0.0, 1.0])
def test_a_volume_without_metal_or_without_air_is_refused(filled: float) -> None:
    with pytest.raises(InputError, match=r"scan\.tif: its gray values have one mode and not two"):
        find_gray_levels(volume(filled=filled))


def test_a_constant_volume_is_refused() -> None:
    with pytest.raises(InputError, match="all gray values are 7"):
        find_gray_levels(Volume(np.full((4, 5, 6), 7, np.uint8), None, Path("flat.tif")))


def test_nan_is_refused() -> None:
    values = np.zeros((4, 5, 6), np.float32)
    values[3, 2, 1] = np.nan
    with pytest.raises(InputError, match="z 3, y 2, x 1"):
        find_gray_levels(Volume(values))


@pytest.mark.parametrize(("air", "metal"), [(5, 5), (9, 1), (float("nan"), 1)])
def test_metal_is_brighter_than_air(air: float, metal: float) -> None:
    with pytest.raises(InputError, match="must be brighter"):
        GrayLevels(air, metal)
