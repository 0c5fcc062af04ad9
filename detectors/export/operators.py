"""Single operators of ONNX for what PyTorch has no function for, or one that is exported as several passes."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class StridedSums(torch.autograd.Function):
    """Weighted sums along an axis, of every channel for itself, with unlike numbers of zeros before and behind.

    A convolution of PyTorch has as many on either side.
    """

    @staticmethod
    def forward(_: Any, features: Tensor, taps: Tensor, axis: int, stride: int, zeros: Sequence[int]) -> Tensor:
        """Return [N, C, H / stride, W] of [N, C, H, W], taps [C, 1, n, 1] along axis 2, say, and numbers of zeros."""
        padding = [0, 0, *zeros] if axis == 2 else [*zeros, 0, 0]  # the last axis comes first
        strides = (stride, 1) if axis == 2 else (1, stride)
        return F.conv2d(F.pad(features, padding), taps, stride=strides, groups=features.shape[1])

    @staticmethod
    def symbolic(graph: Any, features: Any, taps: Any, axis: int, stride: int, zeros: Sequence[int]) -> Any:
        """Return the operator."""
        strides, pads = [1, 1], [0, 0, 0, 0]
        strides[axis - 2], pads[axis - 2], pads[axis] = stride, *zeros
        channels, _, *kernel = taps.type().sizes()
        return graph.op("Conv", features, taps, strides_i=strides, pads_i=pads, group_i=channels, kernel_shape_i=kernel)


class Crop(torch.autograd.Function):
    """The upper left part of maps: two slices in PyTorch, each of them a pass."""

    @staticmethod
    def forward(_: Any, features: Tensor, like: Tensor) -> Tensor:
        """Return [N, C, h, w] of [N, C, H, W], as high and wide as others [M, D, h, w]."""
        return features[:, :, : like.shape[2], : like.shape[3]].clone()

    @staticmethod
    def symbolic(graph: Any, features: Any, like: Any) -> Any:
        """Return the operator."""
        first, axes = (graph.op("Constant", value_t=torch.tensor(values)) for values in ([0, 0], [2, 3]))
        return graph.op("Slice", features, first, graph.op("Shape", like, start_i=2), axes)
