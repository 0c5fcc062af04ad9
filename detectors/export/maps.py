"""The graphs of what makes a heat map: patch classifiers over a whole radiograph, and networks for every pixel."""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_linear_bn_eval

from data.errors import InputError
from detectors.export.layers import continue_border, exported_encoding, size_of
from detectors.patches.dense import (
    Lattice,
    cells_per_window,
    fuse_conv_bn,
    margin,
    merge_convolutions,
    slide_layers,
)
from detectors.patches.patch_classifier import WINDOW, PatchClassifier
from detectors.segmentation.weld_fcn import WeldFCN


class WindowMapGraph(nn.Module):
    """From a radiograph to the defect probability of every window: all layers slide, those of the head as well."""

    def __init__(self, model: PatchClassifier) -> None:
        super().__init__()
        model = copy.deepcopy(model)
        self.stride = model.config.heat_stride
        self.encoding = exported_encoding(model.input_encoding)
        # PyTorch runs the layers as they were trained; here, those that follow one another become one.
        self.layers = nn.ModuleList(merge_convolutions(fuse_conv_bn(model.layers), self.stride))
        self.border = margin(self.layers, self.stride)
        self.head = nn.ModuleList(_as_convolutions(model.head, cells_per_window(self.layers, WINDOW)))

    def forward(self, image: Tensor) -> Tensor:
        """Return float32 [h, w] in [0, 1] of an image float32 [1, 1, H, W] in [0, 1]."""
        offset = self.stride // 2
        before = WINDOW // 2 - offset + self.border
        sizes, after = [], []
        for length in size_of(image):
            count = torch.clamp(torch.div(length - offset + self.stride - 1, self.stride, rounding_mode="floor"), min=1)
            sizes.append(count)
            after.append(torch.clamp(offset + (count - 1) * self.stride + WINDOW // 2 + self.border - length, min=0))
        maps = continue_border(self.encoding(image), before, after[0], before, after[1])
        maps, lattice = slide_layers(self.layers, maps, Lattice(1, 1, self.stride))
        maps, lattice = slide_layers(self.head, maps, lattice)
        step = self.stride // lattice.spacing
        logits = maps[0, :, :: step or 1, :: step or 1][:, : sizes[0], : sizes[1]]
        return logits.softmax(dim=0)[1]


def _as_convolutions(head: nn.Module, cells: int) -> list[nn.Module]:
    """Return the layers of a head [N, C, h, h] to [N, 2] as convolutions: the first one as wide as a window."""
    linear: list[nn.Module] = []
    for layer in [head] if isinstance(head, nn.Flatten) else head.children():
        if isinstance(layer, nn.BatchNorm1d) and linear and isinstance(linear[-1], nn.Linear):
            linear[-1] = fuse_linear_bn_eval(linear[-1], layer)
        elif not isinstance(layer, nn.Flatten | nn.Dropout):
            linear.append(layer)
    converted: list[nn.Module] = []
    size = cells
    for layer in linear:
        if isinstance(layer, nn.Linear):
            conv = nn.Conv2d(layer.in_features // size**2, layer.out_features, size)
            conv.weight.data = layer.weight.data.reshape(conv.weight.shape)
            assert conv.bias is not None
            conv.bias.data = layer.bias.data if layer.bias is not None else torch.zeros(layer.out_features)
            layer, size = conv, 1
        converted.append(layer)
    return converted


def check_window_map(model: PatchClassifier) -> None:
    """Raise InputError, with the reason, for a patch classifier whose map is not one of layers that slide."""
    config = model.config
    if config.mode == "sliding":
        raise InputError(
            f"model '{config.name}' cannot be exported: model.mode is 'sliding', which cuts windows out one by one; "
            "train with 'dense' (or change the run's config)"
        )
    if model.window_from < len(model.layers):
        raise InputError(
            f"model '{config.name}' cannot be exported: with model.window_cells its last blocks are computed inside "
            "each window, and not once for all; set window_cells to 0"
        )


def context(model: PatchClassifier, graph: WindowMapGraph) -> int:
    """Return how far beyond the center of a window its value depends on the radiograph, in pixels."""
    blur = getattr(graph.encoding, "blur", None)
    return WINDOW // 2 + graph.border + (0 if blur is None else blur.radius) + math.ceil(model.config.heat_stride / 2)


class PixelMapGraph(nn.Module):
    """From images to the defect probability of every pixel."""

    def __init__(self, model: WeldFCN) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.model.input_encoding = exported_encoding(model.input_encoding)

    def forward(self, image: Tensor) -> Tensor:
        """Return float32 [N, H, W] in [0, 1] of images float32 [N, 1, H, W] in [0, 1]."""
        model = self.model
        height, width = size_of(image)
        padded = continue_border(image, 0, -height % model.stride, 0, -width % model.stride)
        values = model.padded_logits(padded).sigmoid()
        return values[:, :height, :width]
