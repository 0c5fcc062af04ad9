"""Moments behind layers, against Monte Carlo."""

import pytest
import torch
from torch import Tensor, nn

from detectors.volumes.vae.layers import Decoder
from detectors.volumes.vae.moments import relu_moments, sigmoid_moments, through

DRAWS = 200_000


def drawn(mean: float, variance: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return mean + variance**0.5 * torch.randn(DRAWS, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("mean", [-0.7, -0.2, 0.0, 0.5, 2.0])
@pytest.mark.parametrize("variance", [0.2, 1.0, 3.0])
def test_relu_moments_are_those_of_draws(mean: float, variance: float) -> None:
    values = drawn(mean, variance).relu()
    first, second = relu_moments(torch.tensor(mean), torch.tensor(variance))
    assert float(first) == pytest.approx(float(values.mean()), rel=0.02)
    assert float(second) == pytest.approx(float(values.var()), rel=0.02)


@pytest.mark.parametrize("mean", [-2.0, -0.5, 0.0, 1.0, 3.0])
@pytest.mark.parametrize("variance", [0.002, 0.01, 0.5])
def test_sigmoid_moments_are_those_of_draws(mean: float, variance: float) -> None:
    values = drawn(mean, variance).sigmoid()
    first, second = sigmoid_moments(torch.tensor(mean), torch.tensor(variance))
    assert float(first) == pytest.approx(float(values.mean()), rel=0.02)
    if variance < 0.1:  # the second-order expansion of the variance reaches no farther
        assert float(second) == pytest.approx(float(values.var()), rel=0.02)


def test_sigmoid_moments_stay_possible_far_beyond_their_range() -> None:
    first, second = sigmoid_moments(torch.linspace(-5, 5, 21), torch.full((21,), 100.0))
    assert first.min() >= 0
    assert first.max() <= 1
    assert second.min() >= 0


@pytest.mark.parametrize(
    "layer", [nn.Conv3d(3, 2, 3, padding=1), nn.ConvTranspose3d(3, 2, 2, stride=2), nn.ConvTranspose3d(3, 2, 4)]
)
def test_convolutions_carry_the_moments_of_independent_inputs(layer: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    mean = torch.randn(1, 3, 2, 2, 2, generator=generator)
    variance = torch.rand(1, 3, 2, 2, 2, generator=generator) + 0.1
    with torch.no_grad():
        values = layer(mean + variance.sqrt() * torch.randn(8_000, 3, 2, 2, 2, generator=generator))
        first, second = through(layer, mean, variance)
    torch.testing.assert_close(second[0], values.var(0), rtol=0.12, atol=0)
    assert (second[0].sum() / values.var(0).sum() - 1).abs() < 0.02
    assert ((first[0] - values.mean(0)).abs() < 5 * (second[0] / 8_000).sqrt()).all()


def test_a_decoder_without_variance_is_the_plain_one() -> None:
    torch.manual_seed(0)
    decoder = Decoder([3, 4], 2, 5, relu=True)
    mean = torch.randn(2, 5, 1, 1, 1)
    carried, variance = mean, torch.zeros_like(mean)
    with torch.no_grad():
        for layer in decoder:
            carried, variance = through(layer, carried, variance)
        torch.testing.assert_close(carried, decoder(mean), rtol=1e-4, atol=1e-5)
    assert variance.max() < 1e-6


def test_other_layers_are_refused() -> None:
    with pytest.raises(TypeError, match="Tanh"):
        through(nn.Tanh(), torch.zeros(1), torch.zeros(1))
