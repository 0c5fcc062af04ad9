"""Patch classifiers: 32 x 32 pixels in, defect or not out; over a radiograph, a heat map and its boxes."""

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from data.errors import InputError
from data.part_mask import segment_test_object
from detectors.backbones.config import FORMER_INPUTS
from detectors.backbones.networks import SoftContrast
from detectors.caps import grown, raised
from detectors.interface import Detections, check_images
from detectors.maps.heat_map import HeatMap
from detectors.maps.regions import BoxExtractionConfig, find_regions
from detectors.patches.dense import (
    Lattice,
    cells_per_window,
    cut_windows,
    floats_per_pixel,
    fuse_conv_bn,
    margin,
    slide_layers,
)
from detectors.schema import ModelSection

WINDOW = 32  # pixels; both papers' networks are made for it
STRIP_FLOATS = 2**25  # values of the largest map of a strip of a radiograph: 128 MiB
BATCH_FLOATS = 2**22  # likewise of a batch of windows that share nothing; more leave the processor's cache


class PatchClassifierConfig(ModelSection):
    """What the `model` sections of all patch classifiers have in common."""

    task: ClassVar[str] = "patches"
    former_values: ClassVar = {"input": FORMER_INPUTS}

    dropout: float = Field(0.25, ge=0, lt=1, description="Fraction of values that dropout zeroes in training.")
    input: Literal["gray", "local_contrast"] = Field(
        "gray",
        description="What the first layer sees. gray: the gray value, as published. local_contrast: the contrast to "
        "the surroundings, which tells a faint pore from the part's own gray values, whatever the exposure.",
    )
    mode: Literal["dense", "sliding"] = Field(
        "dense",
        description="How a heat map is made. dense: what overlapping windows share is computed once. sliding: windows "
        "are cut out one by one, the reference.",
    )
    heat_stride: int = Field(8, ge=1, le=WINDOW, description="Pixels between the windows of a heat map.")
    object_mask: bool = Field(False, description="Whether detections beside the test object are left out.")
    regions: BoxExtractionConfig = Field(BoxExtractionConfig(), description="How boxes come out of a heat map.")


class PatchClassifier(nn.Module):
    """A network for patches, and what makes a detector of it (`detectors.maps.heat_map.HeatMapModel`).

    In training it takes patches float32 [N, 1, 32, 32] in [0, 1] and labels int64 [N], 1 for a defect, and returns
    its losses; in evaluation it takes radiographs as every detector does.

    The map is the probability of a defect in the window around each cell's place. The windows' centers start
    `heat_stride // 2` pixels from the border; beyond the border the radiograph is continued by its last pixels.
    `dense` differs from `sliding` in one thing: where a layer pads a patch with zeros (and the contrast input with
    the patch's edge), a window in a radiograph goes on into the pixels beside it. Layers from `window_from` on are
    computed inside each window in either mode.

    Args:
        layers: convolutions, pools and layers that act on each cell, for patches [N, 1, 32, 32].
        head: from the cells of one window, [N, C, h, h], to logits [N, 2]: no-defect, defect.
        config: how to make maps and boxes.
        window_from: number of layers that overlapping windows share.

    """

    def __init__(
        self, layers: nn.Sequential, head: nn.Module, config: PatchClassifierConfig, window_from: int | None = None
    ) -> None:
        super().__init__()
        self.input_encoding = SoftContrast() if config.input == "local_contrast" else nn.Identity()
        self.layers = layers
        self.head = head
        self.config = config
        self.detections_asked_for: int | None = None
        self.window_from = len(layers) if window_from is None else window_from

    def logits(self, patches: Tensor) -> Tensor:
        """Return [N, 2], no-defect and defect, of patches [N, 1, 32, 32]; InputError for another shape."""
        if patches.dim() != 4 or patches.shape[1:] != (1, WINDOW, WINDOW) or not patches.is_floating_point():
            raise InputError(
                f"patches have shape {tuple(patches.shape)} and type {patches.dtype}; '{self.config.name}' takes "
                f"float [N, 1, {WINDOW}, {WINDOW}]: make patches of {WINDOW} pixels"
            )
        return self.head(self.layers(self.input_encoding(patches)))

    def classify(self, patches: Tensor) -> Tensor:
        """Return the probability of a defect, float32 [N] in [0, 1], of patches float32 [N, 1, 32, 32]."""
        return _probability(self.logits(patches))

    def forward(
        self, images: Tensor | list[Tensor], labels: Tensor | None = None
    ) -> dict[str, Tensor] | list[Detections]:
        """Return losses of patches and labels in training, detections of radiographs in evaluation."""
        if self.training:
            assert isinstance(images, Tensor)
            assert labels is not None
            return self.losses(images, labels)
        images = list(images)
        check_images(images)
        return [self.detections(image, self.heat_map(image)) for image in images]

    def losses(self, patches: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the binary cross entropy of the two-way softmax, and what a network adds to it."""
        return {"loss_classifier": F.cross_entropy(self.logits(patches).float(), labels)}

    def heat_map(self, image: Tensor) -> HeatMap:
        """Return the defect probability of the windows of one radiograph, float32 [1, H, W] in [0, 1]."""
        stride = self.config.heat_stride
        count = self.window_from if self.config.mode == "dense" else 0
        layers = list(self.layers)
        shared, rest = layers[:count], nn.Sequential(self.input_encoding, *layers, self.head)
        if count:
            shared, rest = fuse_conv_bn(shared), nn.Sequential(*fuse_conv_bn(layers[count:]), self.head)
            image = self.input_encoding(image[None])[0]
        border = margin(shared, stride)
        padded, (height, width) = _pad(image, stride, border)
        strip = _rows_at_once(padded.shape[-1] * floats_per_pixel(shared, stride), stride, border)
        values = []
        for first in range(0, height, strip):
            rows = min(strip, height - first)
            part = padded[..., first * stride :, :][..., : (rows - 1) * stride + WINDOW + 2 * border, :]
            maps, lattice = slide_layers(shared, part, Lattice(1, 1, stride))
            values.append(self._classify_windows(rest, maps, lattice, (rows, width), count))
        return HeatMap(torch.cat(values), stride, stride // 2)

    def detections(self, image: Tensor, heat_map: HeatMap) -> Detections:
        """Return boxes [M, 4] of the map's regions in pixels of the radiograph, their scores and labels (all 1)."""
        height, width = image.shape[1:]
        values = heat_map.per_pixel(height, width).float().cpu().numpy()
        inside = segment_test_object(image[0].cpu().numpy()) if self.config.object_mask else None
        boxes, scores = find_regions(values, self.config.regions, inside, self.detection_cap(height, width))
        return {
            "boxes": torch.from_numpy(boxes).to(image.device),
            "scores": torch.from_numpy(scores).to(image.device),
            "labels": torch.ones(len(boxes), dtype=torch.int64, device=image.device),
        }

    def detection_cap(self, height: int, width: int) -> int:
        """Return the most detections of a radiograph of this size in pixels."""
        return raised(grown(self.config.regions.max_regions, height, width), self.detections_asked_for)

    def _classify_windows(
        self, rest: nn.Module, maps: Tensor, lattice: Lattice, shape: tuple[int, int], shared: int
    ) -> Tensor:
        """Return the probabilities of (rows, columns) of windows, from the maps after the first `shared` layers."""
        rows, columns = shape
        cells = cells_per_window(list(self.layers)[:shared], WINDOW)
        largest = floats_per_pixel(self.layers, WINDOW, shared) * WINDOW**2
        step = max(1, int((STRIP_FLOATS if shared else BATCH_FLOATS) / (largest * columns)))
        values = []
        for first in range(0, rows, step):
            windows = cut_windows(maps, lattice, range(first, min(first + step, rows)), columns, cells)
            values.append(_probability(rest(windows)))
        return torch.cat(values).reshape(rows, columns)


def _probability(logits: Tensor) -> Tensor:
    """Return the second of two classes' softmax, float32 [N]."""
    return logits.float().softmax(dim=1)[:, 1]


def _pad(image: Tensor, stride: int, border: int) -> tuple[Tensor, tuple[int, int]]:
    """Return [1, 1, H', W'], which starts `border` pixels before the first window, and the rows and columns of windows.

    The border is repeated: a reflected one would turn every slope of the gray values into a ridge, like a defect.
    """
    offset = stride // 2
    counts = [max(1, math.ceil((length - offset) / stride)) for length in image.shape[1:]]
    before = WINDOW // 2 - offset + border
    after = [
        max(0, offset + (count - 1) * stride + WINDOW // 2 + border - length)
        for count, length in zip(counts, image.shape[1:], strict=True)
    ]
    padded = F.pad(image[None], (before, after[1], before, after[0]), mode="replicate")
    return padded, (counts[0], counts[1])


def _rows_at_once(floats_per_row: float, stride: int, border: int) -> int:
    """Return the rows of windows whose maps hold `STRIP_FLOATS` values, at least enough to be worth their overlap."""
    pixels = STRIP_FLOATS / floats_per_row
    return max(math.ceil(WINDOW / stride), int((pixels - WINDOW - 2 * border) / stride))
