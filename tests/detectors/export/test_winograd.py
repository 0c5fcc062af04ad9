"""Convolutions by Winograd's filtering give what convolutions give, and are used where they pay."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.resnet import Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from detectors.export.winograd import (
    INPUT,
    KERNEL,
    OUTPUT,
    StackedConvolution,
    WinogradConvolution,
    replace_convolutions,
)


def test_four_outputs_of_a_row_by_hand() -> None:
    row, kernel = torch.tensor([1.0, 4.0, 9.0, 16.0, 25.0, 36.0]), torch.tensor([1.0, 0.0, -1.0])
    found = OUTPUT @ ((KERNEL @ kernel) * (INPUT @ row))
    assert found.tolist() == pytest.approx([-8, -12, -16, -20], abs=1e-4)  # 1 - 9, 4 - 16, ...


@given(
    size=st.tuples(st.integers(1, 3), st.integers(1, 13), st.integers(1, 13)),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    bias=st.booleans(),
)
def test_it_gives_what_the_convolution_gives(size: tuple[int, int, int], channels: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    count, height, width = size
    layer = nn.Conv2d(*channels, 3, padding=1, bias=bias)
    features = torch.randn(count, channels[0], height, width)
    assert torch.allclose(WinogradConvolution(layer)(features), layer(features), atol=1e-4)
    assert torch.allclose(StackedConvolution(layer)(features), layer(features), atol=1e-4)


@pytest.mark.parametrize("form", [WinogradConvolution, StackedConvolution])
def test_a_graph_takes_any_size_and_holds_the_kernel_once(
    tmp_path: Path, form: Callable[[nn.Conv2d], nn.Module]
) -> None:
    torch.manual_seed(0)
    layer, path = nn.Conv2d(64, 96, 3, padding=1), tmp_path / "layer.onnx"
    torch.onnx.export(
        form(layer).eval(), (torch.randn(1, 64, 9, 11),), str(path), dynamo=False, opset_version=17,
        input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "n", 2: "h", 3: "w"}},
    )  # fmt: skip
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for shape in ((1, 64, 9, 11), (3, 64, 4, 8), (1, 64, 8, 8), (2, 64, 17, 6)):
        features = torch.randn(shape)
        (found,) = session.run(None, {"x": features.numpy()})
        np.testing.assert_allclose(found, layer(features).detach().numpy(), atol=1e-4)
    assert path.stat().st_size < 1.2 * 4 * layer.weight.numel()


@pytest.mark.parametrize(
    ("layer", "faster"),
    [
        (nn.Conv2d(256, 256, 3, padding=1), True),
        (nn.Conv2d(1024, 512, 3, padding=1), True),
        (nn.Conv2d(128, 128, 3, padding=1), True),
        (nn.Conv2d(64, 128, 3, padding=1), False),  # too narrow to gain
        (nn.Conv2d(1024, 64, 3, padding=1), False),
        (nn.Conv2d(256, 256, 3, padding=1, stride=2), False),
        (nn.Conv2d(256, 256, 3, padding=2, dilation=2), False),
        (nn.Conv2d(256, 256, 3), False),
        (nn.Conv2d(512, 512, 3, padding=1, groups=2), False),
        (nn.Conv2d(256, 256, 3, padding=1, padding_mode="reflect"), False),
        (nn.Conv2d(512, 512, 1), False),
    ],
)
def test_which_layers_gain(layer: nn.Conv2d, faster: bool) -> None:
    assert replace_convolutions(nn.Sequential(layer, nn.ReLU())) == int(faster)


@pytest.mark.parametrize(("width", "replaced"), [(128, 0), (192, 1)])
def test_layers_of_residual_blocks_must_be_wider(width: int, replaced: int) -> None:
    assert replace_convolutions(Bottleneck(4 * width, width)) == replaced


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, FrozenBatchNorm2d])
def test_a_norm_behind_it_is_folded(norm: Callable[[int], nn.Module]) -> None:
    torch.manual_seed(0)
    block = Bottleneck(64, 192, norm_layer=norm, downsample=nn.Conv2d(64, 768, 1)).eval()
    for name, values in block.state_dict().items():
        if "bn" in name and values.is_floating_point():
            values.uniform_(0.5, 1.5)
    features = torch.randn(2, 64, 7, 9)
    with torch.no_grad():
        expected = block(features)
        assert replace_convolutions(block) == 1
        assert isinstance(block.bn2, nn.Identity)
        assert torch.allclose(block(features), expected, atol=1e-3)


def test_a_norm_of_each_image_is_kept() -> None:
    block = Bottleneck(64, 192, norm_layer=lambda channels: nn.GroupNorm(8, channels), downsample=nn.Conv2d(64, 768, 1))
    assert replace_convolutions(block) == 1
    assert isinstance(block.bn2, nn.GroupNorm)


def test_images_of_regions_are_stacked_and_maps_are_not() -> None:
    layers = [nn.Conv2d(256, 256, 3, padding=1) for _ in range(2)]
    heads = RoIHeads(layers[0], nn.Sequential(layers[1]), None, 0.5, 0.5, 512, 0.25, None, 0.05, 0.5, 100)
    assert replace_convolutions(heads) == 2
    assert isinstance(heads.box_roi_pool, WinogradConvolution)
    assert isinstance(heads.box_head[0], StackedConvolution)
