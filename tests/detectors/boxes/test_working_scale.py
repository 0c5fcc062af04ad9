import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detectors.boxes.center_net_layers import compressed
from detectors.boxes.working_scale import noise_level, rescaled, working_scale


def flat(sigma: float, level: float = 0.5) -> torch.Tensor:
    noise = torch.randn(1, 200, 220, generator=torch.Generator().manual_seed(0))
    return (level + noise * sigma / 255).clamp(0, 1)


@pytest.mark.parametrize("sigma", [1.0, 4.0, 10.0])
def test_white_noise_is_measured_as_the_median_distance_from_the_mean_of_nine(sigma: float) -> None:
    # A pixel minus the mean of nine that holds it has variance 8/9; the median of |N(0, 1)| is 0.6745.
    assert noise_level(flat(sigma)) == pytest.approx(0.6745 * math.sqrt(8 / 9) * sigma, rel=0.02)


def test_edges_of_a_part_hardly_count() -> None:
    image = flat(2.0)
    stepped = image.clone()
    stepped[:, :, 100:] += 0.2
    assert noise_level(stepped) == pytest.approx(noise_level(image), rel=0.05)


def test_what_is_saturated_says_nothing_of_the_noise() -> None:
    image = flat(6.0)
    image[:, :, :150] = 0.0
    assert noise_level(image) == pytest.approx(noise_level(flat(6.0)), rel=0.05)
    assert noise_level(torch.ones(1, 200, 200)) == 0
    assert working_scale(torch.ones(1, 200, 200), 1.5, 0.5) == 1
    assert working_scale(torch.ones(1, 200, 200), 1.5, 0.5, unknown=0.5) == 0.5
    assert noise_level(torch.rand(1, 2, 500)) == 0


def test_the_scale_follows_the_noise_between_its_ends() -> None:
    scales = [working_scale(flat(sigma), 1.5, 0.6) for sigma in (0.5, 2.0, 3.0, 20.0)]
    assert scales == [1.0, 1.0, 0.8, 0.6]  # 1.5 / (0.636 x 3) = 0.79
    assert working_scale(flat(20.0), 0.0, 0.6) == 1


def test_rescaling_averages_noise_away_and_keeps_the_mean() -> None:
    image = flat(8.0)
    small = rescaled(image, 0.5)
    assert small.shape == (1, 100, 110)
    assert float(small.mean()) == pytest.approx(float(image.mean()), abs=1e-3)
    assert float(small.std()) < 0.6 * float(image.std())
    assert rescaled(image, 1.0) is image


@given(st.floats(-1e4, 1e4, width=32))
def test_the_compression_is_the_inverse_hyperbolic_sine(value: float) -> None:
    assert float(compressed(torch.tensor(value))) == pytest.approx(math.asinh(value), abs=2e-6, rel=1e-6)
