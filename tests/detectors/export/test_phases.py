"""Dilated stages computed on every other row and column give what they give."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchvision.models.resnet import BasicBlock

from detectors.backbones.networks import group_norm
from detectors.boxes.two_stage import replace_stride_with_dilation
from detectors.export.two_stage import joined, phases, undilate


def test_phases_of_four_columns_by_hand() -> None:
    found = phases(torch.arange(8.0).reshape(1, 1, 2, 4), 2)
    assert found.tolist() == [[[[0, 2]]], [[[1, 3]]], [[[4, 6]]], [[[5, 7]]]]


@given(every=st.integers(1, 4), cells=st.tuples(st.integers(1, 4), st.integers(1, 4)), channels=st.integers(1, 3))
def test_a_plain_convolution_of_phases_is_a_dilated_one(every: int, cells: tuple[int, int], channels: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, 2, 3, padding=every, dilation=every)
    features = torch.randn(1, channels, *(every * count for count in cells))
    expected = layer(features)
    layer.padding = layer.dilation = (1, 1)
    assert torch.allclose(joined(layer(phases(features, every)), every), expected, atol=1e-5)


@pytest.mark.parametrize(("norm", "taken_apart"), [(nn.BatchNorm2d, True), (group_norm, False)])
def test_a_dilated_stage_is_taken_apart_unless_a_norm_sees_whole_maps(
    norm: Callable[[int], nn.Module], taken_apart: bool
) -> None:
    torch.manual_seed(0)
    stage = nn.Sequential(BasicBlock(8, 8, norm_layer=norm), BasicBlock(8, 8, norm_layer=norm)).eval()
    replace_stride_with_dilation(stage, dilation=2)
    features = torch.randn(1, 8, 6, 10)
    expected = stage(features)
    every = undilate(stage)
    assert every == (2 if taken_apart else 1)
    assert all(layer.dilation == (2 // every, 2 // every) for layer in stage.modules() if isinstance(layer, nn.Conv2d))
    assert torch.allclose(joined(stage(phases(features, every)), every), expected, atol=1e-5)
