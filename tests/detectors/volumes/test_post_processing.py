"""Post-processing of anomaly maps: a constructed map gives its strength and blur back, in slabs as in one piece."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from detectors.volumes import post_processing
from detectors.volumes.post_processing import (
    Rows,
    blurred_gradient,
    corrected_slabs,
    fit_correction,
    weighted_median,
)

Floats = NDArray[np.float32]


def rows(values: Floats) -> Rows:
    return lambda first, last: values[first:last]


def block() -> Floats:
    """Return a soft part in air."""
    values = np.zeros((24, 22, 20), np.float32)
    values[5:19, 5:17, 5:15] = 1
    return gaussian_filter(values, 0.8)


def gradient(values: Floats, sigma: float) -> Floats:
    """Return the blurred gradient of a whole volume, written down a second time."""
    z, y, x = np.gradient(values)
    return gaussian_filter(np.abs(z) + np.abs(y) + np.abs(x), sigma, mode="nearest")


@pytest.mark.parametrize(("strength", "sigma"), [(0.7, 1.5), (0.2, 3.0)])
def test_a_constructed_map_gives_strength_sigma_and_pores_back(strength: float, sigma: float) -> None:
    values = block()
    pores = np.zeros_like(values)
    pores[11:13, 9:12, 8:10] = 0.6
    error = (strength * gradient(values, sigma) + pores).astype(np.float32)
    found = fit_correction(rows(error), rows(values), len(values))
    assert found.sigma == sigma
    assert found.strength == pytest.approx(strength, rel=1e-3)
    left = np.concatenate([*corrected_slabs(rows(error), rows(values), len(values), found)])
    np.testing.assert_allclose(left, pores, atol=1e-3)


def test_the_strength_is_the_least_absolute_deviation() -> None:
    rng = np.random.default_rng(0)
    values = block()
    error = np.abs(rng.normal(0.1, 0.1, values.shape)).astype(np.float32)
    found = fit_correction(rows(error), rows(values), len(values), sigmas=(1.0,))
    blurred = gradient(values, 1.0)

    def residual(strength: float) -> float:
        return float(np.abs(error - strength * blurred).mean(dtype=np.float64))

    assert found.residual == pytest.approx(residual(found.strength), rel=1e-5)
    assert all(residual(found.strength + step) >= found.residual for step in np.linspace(-0.3, 0.3, 61))


@given(st.lists(st.tuples(st.floats(-10, 10, allow_subnormal=False), st.floats(0.01, 5)), min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_the_weighted_median_has_the_least_weighted_distance(pairs: list[tuple[float, float]]) -> None:
    values, weights = np.array(pairs).T
    distance = [float((weights * np.abs(values - place)).sum()) for place in values]
    found = weighted_median(values, weights)
    assert float((weights * np.abs(values - found)).sum()) == pytest.approx(min(distance), rel=1e-9, abs=1e-9)


def test_without_a_gradient_nothing_is_subtracted() -> None:
    flat = np.full((6, 5, 4), 0.5, np.float32)
    error = np.full_like(flat, 0.1)
    found = fit_correction(rows(error), rows(flat), 6)
    assert found.strength == 0
    assert np.array_equal(np.concatenate([*corrected_slabs(rows(error), rows(flat), 6, found)]), error)


def test_slabs_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    values = block()
    whole = gradient(values, 1.5)
    parts = [blurred_gradient(rows(values), 24, first, min(first + 5, 24), 1.5) for first in range(0, 24, 5)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)
    error = (0.7 * whole).astype(np.float32)
    one = fit_correction(rows(error), rows(values), 24)
    monkeypatch.setattr(post_processing, "SLAB", 5)
    many = fit_correction(rows(error), rows(values), 24)
    assert many.sigma == one.sigma
    assert many.strength == pytest.approx(one.strength, rel=1e-4)


def test_a_map_that_goes_on_is_the_rest_of_the_whole_one() -> None:
    values = block()
    error = (0.5 * gradient(values, 1.0) + 0.05).astype(np.float32)
    found = fit_correction(rows(error), rows(values), 24)
    whole = np.concatenate([*corrected_slabs(rows(error), rows(values), 24, found)])
    rest = np.concatenate([*corrected_slabs(rows(error), rows(values), 24, found, first=9)])
    np.testing.assert_allclose(rest, whole[9:], atol=1e-6)
