"""Windows that overlap share their layers: a patch network over a whole radiograph, at any stride.

A window's cells of a layer lie `jump` pixels apart. Where windows start every `stride` pixels, all the cells of
all windows lie on a lattice of gcd(stride, jump) pixels, so that each layer is computed once on that lattice, with
its taps `jump` pixels apart ("à trous", dilated). At stride 8 a pool of stride 2 is a plain one until cells are 8
pixels apart, and a dilated one after that; nothing is shifted and run again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


@dataclass(frozen=True)
class Lattice:
    """Where the cells of a map lie, alike in x and y.

    Attributes:
        spacing: pixels between neighboring cells of the map.
        jump: pixels between neighboring cells of one window.
        stride: pixels between the starts of neighboring windows.

    """

    spacing: int
    jump: int
    stride: int

    def after(self, layer: nn.Conv2d | nn.MaxPool2d) -> Lattice:
        """Return the lattice of a layer's output."""
        jump = self.jump * _square(layer.stride)
        return Lattice(math.gcd(self.stride, jump), jump, self.stride)


def fuse_conv_bn(layers: Iterable[nn.Module]) -> list[nn.Module]:
    """Return layers in evaluation with each batch norm taken into the convolution before it: a pass less over maps."""
    folded: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d) and folded and isinstance(folded[-1], nn.Conv2d):
            folded[-1] = fuse_conv_bn_eval(folded[-1], layer)
        else:
            folded.append(layer)
    return folded


def merge_convolutions(layers: Iterable[nn.Module], stride: int) -> list[nn.Module]:
    """Return layers with convolutions that follow one another as one, where that takes fewer products.

    With nothing between them two convolutions are one, whose kernel is the one spread by the other. As `slide_layers`
    applies them, without zeros around a map, that is exact but for rounding.

    Args:
        layers: in evaluation, batch norm taken in (`fuse_conv_bn`).
        stride: pixels between the starts of neighboring windows.

    """
    merged: list[nn.Module] = []
    before = after = Lattice(1, 1, stride)  # of the last of them
    for layer in layers:
        last = merged[-1] if merged else None
        if _is_plain(last) and _is_plain(layer):
            both = compose(last, layer)
            if products_per_pixel(both, before) < products_per_pixel(last, before) + products_per_pixel(layer, after):
                merged[-1], after = both, before.after(both)
                continue
        merged.append(layer)
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            before, after = after, after.after(layer)
    return merged


def products_per_pixel(layer: nn.Conv2d, lattice: Lattice) -> float:
    """Return the products that a convolution takes for each pixel of the radiograph, by the lattice of its input."""
    return layer.weight.numel() / lattice.after(layer).spacing ** 2


def _is_plain(layer: nn.Module | None) -> TypeGuard[nn.Conv2d]:
    return isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.dilation == (1, 1)


def compose(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """Return the convolution that gives what two give, one after the other, where nothing is padded.

    Kernels [M, C, k, k] and [O, M, l, l] become one [O, C, n, n], n = k + (l - 1) times the stride of the first.
    """
    spread, size = _square(first.stride), _square(first.kernel_size)
    taps = _square(second.kernel_size)
    both = nn.Conv2d(
        first.in_channels, second.out_channels, size + (taps - 1) * spread, spread * _square(second.stride),
        padding=_square(_pixels(first)) + _square(_pixels(second)) * spread,
    )  # fmt: skip
    one, other = first.weight.detach().double(), second.weight.detach().double()
    kernel = torch.zeros(both.weight.shape, dtype=torch.float64)
    for y, x in itertools.product(range(taps), repeat=2):
        part = torch.einsum("om,mihw->oihw", other[:, :, y, x], one)
        kernel[:, :, y * spread : y * spread + size, x * spread : x * spread + size] += part
    bias = torch.zeros(second.out_channels, dtype=torch.float64)
    if first.bias is not None:
        bias += other.sum(dim=(2, 3)) @ first.bias.detach().double()
    if second.bias is not None:
        bias += second.bias.detach().double()
    assert both.bias is not None
    both.weight.data, both.bias.data = kernel.to(first.weight.dtype), bias.to(first.weight.dtype)
    return both


def slide_layers(layers: Iterable[nn.Module], maps: Tensor, lattice: Lattice) -> tuple[Tensor, Lattice]:
    """Apply layers to float maps [1, C, H, W] and return the result and its lattice.

    The maps start `margin` pixels above and left of the first window, the result with the first window's first cell.
    Convolutions and max-pools see the pixels around a window where a patch of its own would be padded with zeros;
    other layers act on each cell, and dropout is expected to be off.
    """
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            maps, lattice = _slide(layer, maps, lattice)
        else:
            maps = layer(maps)
    return maps, lattice


def margin(layers: Iterable[nn.Module], stride: int) -> int:
    """Return the pixels around the windows that `slide_layers` sees: what the paddings of all layers add up to."""
    lattice, total = Lattice(1, 1, stride), 0
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            total += _square(_pixels(layer)) * lattice.jump
            lattice = lattice.after(layer)
    return total


def _pixels(layer: nn.Conv2d | nn.MaxPool2d) -> int | tuple[int, ...]:
    """Return the padding of a layer; words such as "same" do not occur here."""
    assert not isinstance(layer.padding, str)
    return layer.padding


def cells_per_window(layers: Iterable[nn.Module], size: int) -> int:
    """Return the cells along one side of a window of `size` pixels after some layers."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            size = (size + 2 * _square(_pixels(layer)) - _square(layer.kernel_size)) // _square(layer.stride) + 1
    return size


def floats_per_pixel(layers: Iterable[nn.Module], stride: int, start: int = 0) -> float:
    """Return the values that the largest map from layer `start` on holds for each pixel of the radiograph."""
    lattice, channels, sizes = Lattice(1, 1, stride), 1, [1.0]
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            lattice = lattice.after(layer)
            channels = layer.out_channels if isinstance(layer, nn.Conv2d) else channels
        sizes.append(channels / lattice.spacing**2)
    return max(sizes[start:])


def cut_windows(maps: Tensor, lattice: Lattice, rows: range, columns: int, cells: int) -> Tensor:
    """Return the cells of some rows of windows, [len(rows) * columns, C, cells, cells], from maps [1, C, H, W]."""
    dilation, step = lattice.jump // lattice.spacing, lattice.stride // lattice.spacing
    extent = (cells - 1) * dilation + 1
    maps = maps[0, :, rows.start * step : (rows.stop - 1) * step + extent, : (columns - 1) * step + extent]
    windows = maps.unfold(1, extent, step).unfold(2, extent, step)[..., ::dilation, ::dilation]
    return windows.permute(1, 2, 0, 3, 4).reshape(-1, maps.shape[0], cells, cells)


def _slide(layer: nn.Conv2d | nn.MaxPool2d, maps: Tensor, lattice: Lattice) -> tuple[Tensor, Lattice]:
    out = lattice.after(layer)
    step, dilation = out.spacing // lattice.spacing, lattice.jump // lattice.spacing
    if isinstance(layer, nn.MaxPool2d):
        return F.max_pool2d(maps, layer.kernel_size, step, dilation=dilation), out
    return F.conv2d(maps, layer.weight, layer.bias, step, dilation=dilation), out


def _square(value: int | tuple[int, ...]) -> int:
    """Return the one number of a setting that is the same along both axes."""
    return value if isinstance(value, int) else value[0]
