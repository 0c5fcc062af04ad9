"""Layers that give what the models' own give, written so that ONNX Runtime computes them quickly at any image size."""

import math
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.backbones.networks import LocalContrast, RGBRepeat, SoftContrast
from detectors.boxes.center_net_layers import COARSE, DefectChannels

LARGE = 1e30  # times this all but rounding errors are beyond -1 and 1
BLOCK = 16  # pixels that become channels of a blur, so that it is a product of matrices
ENLARGED = 8  # pixels of a row that are enlarged by one product of matrices


Function = TypeVar("Function", bound=Callable[..., Any])

Size = Any
"""An int64 scalar that stands for a number of pixels or images; PyTorch's own types know numbers alone."""


def size_of(images: Tensor) -> tuple[Size, Size]:
    """Return height and width of [N, C, H, W], which a traced graph computes anew for every image."""
    return length_of(images, 2), length_of(images, 3)


def length_of(values: Tensor, axis: int) -> Size:
    """Return the length of an axis, which a traced graph computes anew for every image."""
    return torch._shape_as_tensor(values)[axis]


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Continue [N, C, H, W] to the right and below by its border, to multiples of so many pixels."""
    height, width = size_of(images)
    return continue_border(images, 0, -height % multiple, 0, -width % multiple)


def continue_border(images: Tensor, above: Size, below: Size, left: Size, right: Size) -> Tensor:
    """Continue [N, C, H, W] by so many pixels of its border, which may be numbers that the graph computes."""
    return F.pad(images, [left, right, above, below], mode="replicate")


def asinh(values: Tensor) -> Tensor:
    """Return the inverse hyperbolic sine from a logarithm, which is vectorized where asinh itself is not.

    The sign is a clamped product, which takes a third of the time of the operator.
    """
    size = values.abs()
    return (values * LARGE).clamp(-1, 1) * torch.log(size + torch.sqrt(size * size + 1))


def scripted(function: Function) -> Function:
    """Return a function whose branches a graph keeps. PyTorch would have other means used, which its exporter lacks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.jit.script(function)


@scripted
def rescaled(images: Tensor, scale: Tensor) -> Tensor:
    """Return [1, 1, H, W] at a scale, an int64 scalar of twentieths up to 20, as `detectors.boxes.working_scale` does.

    Antialiased bilinear resizing, as a product with a matrix of triangles for each axis. It is a script, so that a
    graph leaves it out where the scale is 1.
    """
    if int(scale) < 20:
        share = scale.to(torch.float64) / 20
        for axis in (2, 3):
            length = torch._shape_as_tensor(images)[axis]
            count = torch.round(length.to(torch.float64) * share).clamp(min=1)
            step = length.to(torch.float64) / count
            centers = (torch.arange(int(count)) + 0.5) * step.to(torch.float32)
            offset = (torch.arange(int(length)) + 0.5)[:, None] - centers[None, :]
            weights = (1 - torch.abs(offset) / step.to(torch.float32)).clamp(min=0)
            weights = weights / weights.sum(0, keepdim=True)
            images = torch.matmul(images, weights) if axis == 3 else torch.matmul(weights.t(), images)
    return images


class Blur(nn.Module):
    """`detectors.backbones.networks.blur` with one kernel [K], borders continued.

    Blocks of 16 pixels along an axis become channels: a convolution of one channel by 73 taps is then one of 16 by 16
    channels and 7 taps, for which there are fast products of matrices.
    """

    def __init__(self, kernel: Tensor) -> None:
        super().__init__()
        taps = len(kernel)
        self.radius = taps // 2
        self.blocks = -(-(BLOCK - 1 + taps) // BLOCK)
        weight = torch.zeros(BLOCK, BLOCK, self.blocks)
        for out in range(BLOCK):
            for tap in range(taps):
                block, place = divmod(out + tap, BLOCK)
                weight[out, place, block] = kernel[tap]
        self.register_buffer("weight", weight)

    weight: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, 1, H, W] to the same shape."""
        height, width = size_of(images)
        right = self.radius + -width % BLOCK + (self.blocks * BLOCK - BLOCK - 2 * self.radius)
        blocks = continue_border(images, 0, 0, self.radius, right)
        count = length_of(images, 0)
        blocks = blocks.reshape(count, height, -1, BLOCK).permute(0, 3, 1, 2)
        rows = F.conv2d(blocks, self.weight[:, :, None, :]).permute(0, 2, 3, 1).reshape(count, 1, height, -1)
        rows = rows[:, :, :, :width]
        below = self.radius + -height % BLOCK + (self.blocks * BLOCK - BLOCK - 2 * self.radius)
        blocks = continue_border(rows, self.radius, below, 0, 0).reshape(count, -1, BLOCK, width).permute(0, 2, 1, 3)
        columns = F.conv2d(blocks, self.weight[:, :, :, None]).permute(0, 2, 1, 3).reshape(count, 1, -1, width)
        return columns[:, :, :height]


class Enlarge(nn.Module):
    """Bilinear enlargement of [1, C, H, W] by a whole factor, W a multiple of 8.

    Both axes are products with small matrices, whose results lie in memory as pixels do: along a row, 8 pixels and the
    two beside them give 8 times the factor. Channels of a convolution would have to be moved to their places.
    """

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor
        taps = torch.zeros(factor, 3)
        for phase in range(factor):
            place = (phase + 0.5) / factor - 0.5  # in cells from the cell's own center
            left = math.floor(place)
            taps[phase, left + 1] += 1 - (place - left)
            taps[phase, left + 2] += place - left
        along = torch.zeros(ENLARGED + 2, ENLARGED * factor)
        for cell in range(ENLARGED):
            along[cell : cell + 3, cell * factor : (cell + 1) * factor] = taps.t()
        self.register_buffer("taps", taps)
        self.register_buffer("along", along)

    taps: Tensor
    along: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Return [1, C, H * factor, W * factor]."""
        images = F.pad(images, (1, 1, 1, 1), mode="replicate")[0]
        neighbors = torch.stack([images[:, :-2], images[:, 1:-1], images[:, 2:]], dim=2)  # [C, H, 3, W + 2]
        rows = torch.matmul(self.taps, neighbors).flatten(1, 2)
        own, beside = (part.unflatten(2, (-1, ENLARGED)) for part in (rows[..., :-2], rows[..., 2:]))
        return torch.matmul(torch.cat([own, beside[..., -2:]], dim=3), self.along).flatten(2)[None]


class ExportedDefectChannels(nn.Module):
    """`DefectChannels` for a graph."""

    def __init__(self, encoding: DefectChannels) -> None:
        super().__init__()
        self.kind = encoding.kind
        self.channels = encoding.channels
        self.near, self.far = Blur(encoding.near), Blur(encoding.far)
        self.enlarge = Enlarge(COARSE)

    def forward(self, images: Tensor) -> Tensor:
        """Return [1, C, H, W] of [1, 1, H, W], height a multiple of 4 and width of 32."""
        channels = [(images - 0.4) / 0.25]
        if self.kind == "gray":
            return channels[0]
        small = F.avg_pool2d(images, COARSE)
        smooth = self.enlarge(torch.cat([self.near(small), self.far(small)], dim=1))
        rest = images - smooth
        # Contrasts are compressed kind by kind: fewer of them at once stay in the processor's caches.
        if self.kind in ("local_contrast", "both_contrasts", "line_blind"):
            channels.append(asinh(rest / (0.02 * smooth + 0.02 * 0.15)))
        if self.kind in ("noise_contrast", "both_contrasts", "line_blind"):
            fine = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
            rough = F.avg_pool2d((images - fine).abs().clamp(max=0.05), COARSE)
            # What is divided by is enlarged from a quarter of the size: its scale and offset may be taken before.
            unit = self.enlarge(1.5 * (1.5 * self.far(rough) + 1 / 255))
            if self.kind == "line_blind":
                above, below = images[:, :, :1], images[:, :, -1:]
                padded = torch.cat([above, images, below], dim=2)
                lines = (padded[:, :, :-2] + 2 * images + padded[:, :, 2:]) / 4
                rest = torch.cat([rest, lines - smooth[:, :1]], dim=1)
            channels.append(asinh(rest / unit))
        return torch.cat(channels, dim=1)


class ExportedLocalContrast(nn.Module):
    """`LocalContrast` for a graph."""

    def __init__(self, encoding: LocalContrast) -> None:
        super().__init__()
        self.unit, self.offset = encoding.unit, encoding.offset
        self.blurs = nn.ModuleList(Blur(kernel) for kernel in (encoding.kernel0, encoding.kernel1))

    def forward(self, images: Tensor) -> Tensor:
        """Return [N, 3, H, W] of [N, 1, H, W]."""
        smooth = torch.cat([blur(images) for blur in self.blurs], dim=1)
        contrast = (images - smooth) / (self.unit * smooth + self.unit * self.offset)
        return torch.cat([(images - 0.4) / 0.25, asinh(contrast)], dim=1)


class ExportedSoftContrast(nn.Module):
    """`SoftContrast` for a graph."""

    def __init__(self, encoding: SoftContrast) -> None:
        super().__init__()
        self.unit, self.offset = encoding.unit, encoding.offset
        self.blur = Blur(encoding.kernel)

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, 1, H, W] to the same shape."""
        smooth = self.blur(images)
        return torch.tanh((images - smooth) / (self.unit * smooth + self.unit * self.offset))


class GrayAndOnes(nn.Module):
    """What replaces `RGBRepeat`, whose three channels differ by factors and offsets alone."""

    def forward(self, images: Tensor) -> Tensor:
        """Return [N, 2, H, W] of [N, 1, H, W]."""
        return torch.cat([images, torch.ones_like(images)], dim=1)


def export_input(network: nn.Module) -> None:
    """Replace what turns gray values into channels, in place; `network` has it as `input_encoding`, used once.

    Three repeated channels become two, so that the first convolution, which takes over their factors and offsets, has a
    third less to do. The offsets are a channel of ones and no bias, since convolutions see zeros beyond the border.
    """
    encoding = network.input_encoding
    if not isinstance(encoding, RGBRepeat):
        network.input_encoding = exported_encoding(encoding)  # type: ignore[arg-type]
        return
    network.input_encoding = GrayAndOnes()
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    gray, ones = first.weight / encoding.std, first.weight * -encoding.mean / encoding.std
    first.weight = nn.Parameter(torch.stack([gray.sum(1), ones.sum(1)], dim=1).detach())
    first.in_channels = 2


def exported_encoding(encoding: nn.Module) -> nn.Module:
    """Return the layer of a graph for what turns a gray value into the channels of the first convolution."""
    if isinstance(encoding, DefectChannels):
        return ExportedDefectChannels(encoding)
    if isinstance(encoding, LocalContrast):
        return ExportedLocalContrast(encoding)
    if isinstance(encoding, SoftContrast):
        return ExportedSoftContrast(encoding)
    return encoding


def encoding_names(module: nn.Module) -> list[str]:
    """Return the names of what turns gray values into channels in a graph, as they occur in those of its operators."""
    kinds = (ExportedDefectChannels, ExportedLocalContrast, ExportedSoftContrast)
    return [name.rpartition(".")[2] for name, part in module.named_modules() if isinstance(part, kinds)]
