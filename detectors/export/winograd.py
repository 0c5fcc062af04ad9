"""3 x 3 convolutions by Winograd's minimal filtering, which ONNX Runtime computes faster where there are many channels.

A tile of 4 x 4 outputs takes 36 products instead of 144, F(4 x 4, 3 x 3) of Lavin and Gray 2016 (CVPR, section 4.3).
What it adds around them, passes to 36 values of every tile and back, grows with the channels; the products grow with
their square. So wide layers gain, and narrow ones would lose.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_weights
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from detectors.export.layers import length_of, size_of
from detectors.export.operators import Crop, StridedSums

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
LEAST_CHANNELS = 64
"""Least product of a layer's channels in and out over their sum. With AVX-512, layers of 512 and 512 (256) took 0.45 of
the time, 256 and 256 (128) 0.53, 128 and 128 (64) 0.69, and 64 and 64 (32) 1.2."""
LEAST_IN_BLOCKS = 96
"""The same in residual blocks: ONNX Runtime adds what bypasses them within plain convolutions, and in a pass of its own
behind these, since it cannot prove that the two have one size."""


class WinogradConvolution(nn.Module):
    """What a 3 x 3 convolution of stride 1 and padding 1 gives, but for rounding (1e-5 of the largest value).

    All but the last steps are convolutions, so that ONNX Runtime keeps its own order of channels in between: without
    it, its products of matrices are slower, and every change of order is a pass over all values.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.outputs, self.inputs = layer.weight.shape[:2]
        # The kernel is transformed by the runtime when it loads the graph, so that the file has 9 values, not 36.
        self.weight = nn.Parameter(layer.weight.detach().permute(2, 3, 0, 1).reshape(9, -1), requires_grad=False)
        self.register_buffer("to_kernel", torch.kron(KERNEL, KERNEL))
        self.register_buffer("to_tiles", INPUT.clone())
        self.register_buffer("from_tiles", OUTPUT.clone())
        # The product at the points 1 and 1 goes to each of the outputs once: so the bias needs no pass of its own.
        self.register_buffer("at_one", (torch.arange(TAPS**2) == TAPS + 1).float()[:, None])
        self.bias = layer.bias

    to_kernel: Tensor
    to_tiles: Tensor
    from_tiles: Tensor
    at_one: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """Map float32 [N, inputs, H, W] to [N, outputs, H, W]."""
        count = length_of(features, 0)
        columns = self._points(features, self.inputs, axis=3)
        tiles = self._points(columns, self.inputs * TAPS, axis=2)
        kernel = torch.matmul(self.to_kernel, self.weight).reshape(-1, self.inputs, 1, 1)
        bias = None if self.bias is None else torch.matmul(self.at_one, self.bias[None]).flatten()
        products = F.conv2d(tiles, kernel, bias, groups=TAPS**2)
        # Back from columns as rows times a matrix: the four values of a tile then lie side by side.
        found = torch.matmul(products.reshape(count * TAPS, TAPS, -1).transpose(1, 2), self.from_tiles.t())
        found = torch.matmul(self.from_tiles, found.reshape(count, TAPS, -1))
        width_of_tiles = TILE * length_of(products, 3)
        found = found.reshape(count, TILE, -1, width_of_tiles).transpose(1, 2)
        found = found.reshape(count, self.outputs, -1, width_of_tiles)
        return Crop.apply(found, features)  # type: ignore[no-any-return]

    def _points(self, features: Tensor, channels: int, axis: int) -> Tensor:
        """Return the six values of each tile along an axis, [N, C, H, W] to [N, 6 C, H / 4, W] along axis 2, say."""
        shape = [channels, 1, 1, 1]
        shape[axis] = TAPS
        # A pixel before the first tile, and as many behind as the last one may need. Taps are products, which are the
        # runtime's to compute: the exporter would write them out if they were expanded.
        ones = torch.ones(channels, 1)
        taps = [torch.matmul(ones, row).reshape(shape) for row in self.to_tiles.split(1)]
        return torch.cat([StridedSums.apply(features, each, axis, TILE, (1, TILE)) for each in taps], 1)


class StackedConvolution(nn.Module):
    """The same for many small images, as those of regions are: one below the other, they are one image.

    A tile or four at a time would keep the products of matrices too small to be fast.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.stacked = WinogradConvolution(layer)

    def forward(self, features: Tensor) -> Tensor:
        """Map float32 [N, inputs, H, W] to [N, outputs, H, W]."""
        height, width = size_of(features)
        count = length_of(features, 0)
        below = TILE - height % TILE  # zeros between images, a row at least; tiles start with an image
        stack = F.pad(features, [0, 0, 0, below]).transpose(0, 1)
        found = self.stacked(stack.reshape(1, self.stacked.inputs, -1, width))
        return found.reshape(self.stacked.outputs, count, -1, width).transpose(0, 1)[:, :, :height]


def replace_convolutions(module: nn.Module) -> int:
    """Replace the convolutions of a module that gain by it, in place. Returns how many those are."""
    heads = [part for part in module.modules() if isinstance(part, RoIHeads)]
    of_regions = {part for head in heads if isinstance(head.box_head, nn.Module) for part in head.box_head.modules()}
    places = [
        (parent, name, layer)
        for parent in module.modules()
        for name, layer in parent.named_children()
        if type(layer) is nn.Conv2d  # a subclass may compute something else
        and gains(layer, LEAST_IN_BLOCKS if isinstance(parent, BasicBlock | Bottleneck) else LEAST_CHANNELS)
    ]
    for parent, name, layer in places:
        norm = name.replace("conv", "bn")
        if isinstance(parent, BasicBlock | Bottleneck) and is_folded(getattr(parent, norm)):
            # The runtime folds norms into convolutions, and sees none here.
            layer = fold(layer, getattr(parent, norm))
            setattr(parent, norm, nn.Identity())
        setattr(parent, name, (StackedConvolution if parent in of_regions else WinogradConvolution)(layer))
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


def gains(layer: nn.Conv2d, least_channels: float) -> bool:
    """Return whether Winograd's filtering can compute a convolution, and that has the channels for it to be faster."""
    fits = (
        layer.kernel_size == (3, 3) and layer.stride == (1, 1) and layer.padding == (1, 1)
        and layer.dilation == (1, 1) and layer.groups == 1 and layer.padding_mode == "zeros"
    )  # fmt: skip
    channels = layer.in_channels * layer.out_channels / (layer.in_channels + layer.out_channels)
    return fits and channels >= least_channels
