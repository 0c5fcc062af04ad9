"""3 x 3 convolutions by Winograd's minimal filtering, which ONNX Runtime computes faster where there are many channels.

A tile of 4 x 4 outputs takes 36 products instead of 144, F(4 x 4, 3 x 3) of Lavin and Gray 2016 (CVPR, section 4.3).
What it adds around them, one pass to 36 values of every tile and one back, grows with the channels; the products grow
with their square. So wide layers gain, and narrow ones would lose.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_weights
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from detectors.export.layers import length_of, size_of

TILE = 4
TAPS = TILE + 2
# The three matrices of the transform at the points 0, 1, -1, 2, -2 and infinity.
INPUT = torch.tensor(
    [
        [4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
        [0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
        [0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
        [0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
        [0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
        [0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
    ]
)
KERNEL = torch.tensor(
    [
        [1 / 4, 0.0, 0.0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0.0, 0.0, 1.0],
    ]
)
OUTPUT = torch.tensor(
    [
        [1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        [0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
        [0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
        [0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
    ]
)
LEAST_CHANNELS = 96
"""Least product of a layer's channels in and out over their sum. With AVX-512, 512 and 512 (256) took 0.5
to 0.6 of the time, 256 and 256 (128) 0.7 to 0.8, and 128 and 128 (64) as long."""


class WinogradConvolution(nn.Module):
    """What a 3 x 3 convolution of stride 1 and padding 1 gives, but for rounding (1e-5 of the largest value)."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.outputs, self.inputs = layer.weight.shape[:2]
        # The kernel is transformed by the runtime when it loads the graph, so that the file has 9 values, not 36.
        self.weight = nn.Parameter(layer.weight.detach().permute(2, 3, 0, 1).reshape(9, -1), requires_grad=False)
        self.register_buffer("to_kernel", torch.kron(KERNEL, KERNEL))
        self.register_buffer("to_tiles", torch.kron(INPUT, INPUT).reshape(-1, 1, TAPS, TAPS))
        self.register_buffer("from_tiles", torch.kron(OUTPUT, OUTPUT))
        self.bias = layer.bias

    to_kernel: Tensor
    to_tiles: Tensor
    from_tiles: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """Map float32 [N, inputs, H, W] to [N, outputs, H, W]."""
        height, width = size_of(features)
        count = length_of(features, 0)
        # One below the other, with a row of zeros between: the tiles of all images are then those of one.
        between = TILE * ((count > 1) & (height % TILE == 0)).long()
        below, right = -height % TILE + between, -width % TILE
        stack = F.pad(features, [0, right, 0, below]).transpose(0, 1)
        rows, columns = height + below, width + right
        tiles = F.conv2d(stack.reshape(self.inputs, 1, count * rows, columns), self.to_tiles, stride=TILE, padding=1)
        tiles = tiles.reshape(self.inputs, TAPS**2, -1).transpose(0, 1)
        kernel = torch.matmul(self.to_kernel, self.weight).reshape(TAPS**2, self.outputs, self.inputs)
        products = torch.matmul(kernel, tiles).reshape(TAPS**2, -1)
        found = torch.matmul(self.from_tiles, products).reshape(TILE**2, self.outputs, -1, columns // TILE)
        found = F.pixel_shuffle(found.transpose(0, 1), TILE).reshape(self.outputs, count, rows, columns)
        found = F.pad(found.transpose(0, 1), [0, width - columns, 0, height - rows])  # cut off below and to the right
        return found if self.bias is None else found + self.bias[:, None, None]


def replace_convolutions(module: nn.Module) -> int:
    """Replace the convolutions of a module that gain by it, in place. Returns how many those are."""
    places = [
        (parent, name, layer)
        for parent in module.modules()
        for name, layer in parent.named_children()
        if type(layer) is nn.Conv2d and gains(layer)  # a subclass may compute something else
    ]
    for parent, name, layer in places:
        norm = name.replace("conv", "bn")
        if isinstance(parent, BasicBlock | Bottleneck) and is_folded(getattr(parent, norm)):
            # The runtime folds norms into convolutions, and sees none here.
            layer = fold(layer, getattr(parent, norm))
            setattr(parent, norm, nn.Identity())
        setattr(parent, name, WinogradConvolution(layer))
    return len(places)


def is_folded(norm: nn.Module) -> bool:
    """Return whether a norm is a factor and an offset for each channel, whatever comes in."""
    return isinstance(norm, FrozenBatchNorm2d) or (isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats)


def fold(layer: nn.Conv2d, norm: Any) -> nn.Conv2d:
    """Return a convolution that gives what this one and batch norm in evaluation give."""
    folded = copy.deepcopy(layer)
    statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    folded.weight, folded.bias = fuse_conv_bn_weights(layer.weight, layer.bias, *statistics)
    return folded


def gains(layer: nn.Conv2d) -> bool:
    """Return whether Winograd's filtering can compute a convolution, and that has the channels for it to be faster."""
    fits = (
        layer.kernel_size == (3, 3) and layer.stride == (1, 1) and layer.padding == (1, 1)
        and layer.dilation == (1, 1) and layer.groups == 1 and layer.padding_mode == "zeros"
    )  # fmt: skip
    channels = layer.in_channels * layer.out_channels / (layer.in_channels + layer.out_channels)
    return fits and channels >= LEAST_CHANNELS
