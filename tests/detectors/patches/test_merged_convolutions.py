"""Convolutions that follow one another become one, which gives what they give for fewer products."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from detectors.build import build_model
from detectors.patches.dense import (
    Lattice,
    cells_per_window,
    compose,
    fuse_conv_bn,
    margin,
    merge_convolutions,
    products_per_pixel,
    slide_layers,
)
from detectors.patches.patch_classifier import PatchClassifier
from detectors.patches.xnet import XnetV2Config

KERNELS = st.tuples(st.integers(1, 4), st.integers(1, 2), st.integers(0, 2), st.integers(1, 6), st.booleans())


def test_two_rows_of_taps_are_one_by_hand() -> None:
    first, second = nn.Conv2d(1, 1, 2, stride=2, padding=1), nn.Conv2d(1, 1, 2)
    first.weight.data, first.bias.data = torch.tensor([[[[1.0, 2.0], [0.0, 0.0]]]]), torch.tensor([1.0])
    second.weight.data, second.bias.data = torch.tensor([[[[3.0, 5.0], [0.0, 0.0]]]]), torch.tensor([7.0])
    both = compose(first, second)
    assert both.weight[0, 0].tolist() == [[3.0, 6.0, 5.0, 10.0], *[[0.0] * 4] * 3]
    assert both.bias.tolist() == [15.0]  # (3 + 5) * 1 + 7
    assert (both.stride, both.padding) == ((2, 2), (1, 1))


@given(first=KERNELS, second=KERNELS, third=KERNELS, stride=st.sampled_from([1, 2, 4, 8]), channels=st.integers(1, 3))
def test_maps_and_windows_stay_as_they_are(
    first: tuple, second: tuple, third: tuple, stride: int, channels: int
) -> None:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    before = channels
    for size, step, padding, out, bias in (first, second, third):
        layers.append(nn.Conv2d(before, out, size, step, padding, bias=bias))
        before = out
    layers.insert(2, nn.ReLU())
    image = torch.rand(1, channels, 41, 38)
    merged = merge_convolutions(layers, stride)
    expected, lattice = slide_layers(layers, image, Lattice(1, 1, stride))
    found, there = slide_layers(merged, image, Lattice(1, 1, stride))
    assert there == lattice
    assert torch.allclose(found, expected, atol=1e-5)
    assert margin(merged, stride) == margin(layers, stride)
    assert cells_per_window(merged, 32) == cells_per_window(layers, 32)
    assert products(merged, stride) <= products(layers, stride)


def products(layers: list[nn.Module], stride: int) -> float:
    """Return the products of all layers for each pixel of a radiograph."""
    lattice, total = Lattice(1, 1, stride), 0.0
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            total += products_per_pixel(layer, lattice)
            lattice = lattice.after(layer)
    return total


@pytest.mark.parametrize(
    "between",
    [nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3, dilation=2), nn.LeakyReLU()],
)
def test_what_something_else_lies_between_stays(between: nn.Module) -> None:
    layers = [nn.Conv2d(1, 4, 3), between, nn.Conv2d(4, 1, 3)]
    assert merge_convolutions(layers, 4) == layers


def test_what_would_take_more_products_stays() -> None:
    layers = [nn.Conv2d(64, 4, 3), nn.Conv2d(4, 64, 3)]
    assert merge_convolutions(layers, 4) == layers


def test_the_map_of_xnet_v2_takes_four_convolutions_instead_of_eight() -> None:
    model = build_model(XnetV2Config(), 1)
    assert isinstance(model, PatchClassifier)
    layers = fuse_conv_bn(model.layers.eval())
    merged = merge_convolutions(layers, 4)
    kernels = [tuple(layer.weight.shape) for layer in merged if isinstance(layer, nn.Conv2d)]
    assert kernels == [(32, 1, 9, 9), (64, 32, 5, 5), (128, 64, 5, 5), (2, 128, 2, 2)]
    assert products(merged, 4) == 81 * 32 / 4 + (25 * 32 * 64 + 25 * 64 * 128 + 4 * 128 * 2) / 16
    assert products(merged, 4) < 0.63 * products(layers, 4)
    image: Tensor = torch.rand(1, 1, 100, 90)
    expected = slide_layers(layers, image, Lattice(1, 1, 4))[0]
    assert torch.allclose(slide_layers(merged, image, Lattice(1, 1, 4))[0], expected, atol=1e-5)
