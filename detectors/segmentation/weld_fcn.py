"""A fully convolutional network for weld radiographs: a defect probability for every pixel.

The paper (2019; facts in its text: 256 x 256 regions, batch norm before SELU, ELU elsewhere, no ReLU) gives its
layers as a picture only. This is a fair reading, not a copy: an encoder-decoder of the kind of FCN-8s and U-Net,
where each step down is batch norm and SELU, and each step up, added to the encoder's map of that size as FCN-8s adds
its scores, is ELU. Maps at full resolution are the costly ones, so that the encoder starts at stride 2 and only a
light last step joins the input's own pixels.
"""

import math
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from data.errors import InputError
from detectors.backbones.config import FORMER_INPUTS
from detectors.backbones.networks import INPUT_ENCODINGS, NORMS, InputEncoding, fill_bias
from detectors.caps import grown, raised
from detectors.interface import Detections, check_images
from detectors.maps.heat_map import HeatMap
from detectors.maps.regions import BoxExtractionConfig, find_regions
from detectors.schema import ModelSection
from detectors.segmentation.losses import SegmentationLossConfig, segmentation_losses
from detectors.segmentation.windows import predict_in_windows

Activation = Literal["selu", "elu", "relu"]

# What follows a normalized convolution, and what follows the others. torch.nn.SELU has the published constants:
# alpha 1.67326, lambda 1.0507 (Klambauer et al. 2017).
ACTIVATIONS: dict[str, tuple[type[nn.Module], type[nn.Module]]] = {
    "selu": (nn.SELU, nn.ELU),
    "elu": (nn.ELU, nn.ELU),
    "relu": (nn.ReLU, nn.ReLU),
}

DEFECT_SHARE = 0.02
"""Share of defect pixels that a new network starts from: at 0.5 the first steps only learn that defects are rare."""


class WeldFCNConfig(ModelSection):
    """The `model` section of a weld FCN."""

    task: ClassVar[str] = "segmentation"
    former_names: ClassVar = {
        "window": "tile_size",
        "overlap": "tile_overlap",
        "batch": "tile_batch",
        "whole": "max_full_image_pixels",
    }
    former_values: ClassVar = {"input": FORMER_INPUTS}

    name: Literal["weld_fcn"] = Field("weld_fcn", description="A fully convolutional network for welds.")
    width: int = Field(
        16, ge=4, le=512, description="Channels at stride 2; they double with each further halving, up to 8 times this."
    )
    depth: int = Field(3, ge=1, le=6, description="Halvings after the first one.")
    activation: Activation = Field(
        "selu",
        description="selu is the paper's: SELU after batch norm, ELU elsewhere. elu and relu put theirs in all places.",
    )
    norm: Literal["batch", "group"] = Field("batch", description="Normalization of the encoder.")
    input: InputEncoding = Field(
        "local_contrast",
        description="What the first convolution sees. rgb_repeat: the gray value three times. local_contrast: the gray "
        "value and the relative contrast to two Gaussian surroundings.",
    )
    loss: SegmentationLossConfig = Field(SegmentationLossConfig(), description="The losses that are summed.")
    tile_size: int = Field(
        256, ge=32, le=16384, description="Side in pixels of the tiles that a large radiograph is mapped in."
    )
    tile_overlap: int = Field(64, ge=0, description="Pixels that neighboring tiles share at least.")
    tile_batch: int = Field(4, ge=1, le=1024, description="Tiles that go through the network together.")
    max_full_image_pixels: int = Field(
        1_000_000, ge=0, description="Radiographs of up to this many pixels are mapped in one piece."
    )
    regions: BoxExtractionConfig = Field(BoxExtractionConfig(), description="How boxes come out of a heat map.")

    @model_validator(mode="after")
    def _overlap_fits(self) -> Self:
        if self.tile_overlap >= self.tile_size:
            raise ValueError(f"tile_overlap ({self.tile_overlap}) must be under tile_size ({self.tile_size})")
        return self


class WeldFCN(nn.Module):
    """Encoder-decoder with a logit a pixel; also a `HeatMapModel`.

    In training `model(images [N, 1, H, W], masks [N, H, W])` returns the losses; masks are label maps, uint8 or
    float: 0 background, 1 defect, 255 not to be learned. In evaluation `model(list of [1, H, W])` returns boxes, scores
    and labels, as every detector does.
    """

    def __init__(self, config: WeldFCNConfig) -> None:
        super().__init__()
        self.config = config
        self.detections_asked_for: int | None = None
        first, other = ACTIVATIONS[config.activation]
        norm = NORMS[config.norm]
        self.input_encoding = INPUT_ENCODINGS[config.input]()
        widths = [config.width * 2 ** min(step, 3) for step in range(config.depth + 1)]
        self.stride = 2 ** (config.depth + 1)
        encoder, before = [], 3
        for width in widths:
            # A kernel of 4 looks at as many pixels left as right of its cell's center. One of 3 would move the map by
            # half a pixel a step, and enlarging it again would not move it back.
            encoder.append(
                nn.Sequential(
                    nn.Conv2d(before, width, 4, stride=2, padding=1, bias=False), norm(width), first(),
                    nn.Conv2d(width, width, 3, padding=1, bias=False), norm(width), first(),
                )
            )  # fmt: skip
            before = width
        self.encoder = nn.ModuleList(encoder)
        lateral, decoder = [], []
        for width in reversed(widths[:-1]):
            lateral.append(nn.Conv2d(before, width, 1))
            decoder.append(nn.Sequential(nn.Conv2d(width, width, 3, padding=1), other()))
            before = width
        fine = max(before // 2, 4)
        self.lateral = nn.ModuleList([*lateral, nn.Conv2d(before, fine, 1)])
        self.decoder = nn.ModuleList(decoder)
        self.refine = nn.Sequential(nn.Conv2d(fine + 3, fine, 3, padding=1), other())
        self.head = nn.Conv2d(fine, 1, 1)
        self._initialize()

    def forward(
        self, images: Tensor | list[Tensor], masks: Tensor | None = None
    ) -> dict[str, Tensor] | list[Detections]:
        """Return losses in training, detections in evaluation. Raises InputError for shapes that do not fit."""
        if not self.training:
            check_images(list(images))
            return [self.detections(image, self.heat_map(image)) for image in images]
        if masks is None or not isinstance(images, Tensor) or images.shape[:1] + images.shape[2:] != masks.shape:
            found = [tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                     for value in (images, masks)]  # fmt: skip
            raise InputError(
                f"training takes images [N, 1, H, W] and masks [N, H, W] of equal size; these are {found[0]} "
                f"and {found[1]}"
            )
        return segmentation_losses(self.logits(images), masks, self.config.loss)

    def logits(self, images: Tensor) -> Tensor:
        """Return one logit a pixel, float32 [N, H, W], of images [N, 1, H, W] of any size."""
        check_images(list(images))
        height, width = images.shape[-2:]
        # The edge pixels are repeated up to a multiple of the stride, and cut off again at the end.
        images = F.pad(images, (0, -width % self.stride, 0, -height % self.stride), mode="replicate")
        return self.padded_logits(images)[:, :height, :width]

    def padded_logits(self, images: Tensor) -> Tensor:
        """Return the same of images whose height and width are multiples of the stride."""
        pixels = self.input_encoding(images)
        maps, features = [], pixels
        for step in self.encoder:
            features = step(features)
            maps.append(features)
        maps.pop()
        for lateral, step in zip(self.lateral, self.decoder, strict=False):
            features = step(_upsample(lateral(features)) + maps.pop())
        features = _upsample(self.lateral[-1](features))
        logits = self.head(self.refine(torch.cat([features, pixels.to(features.dtype)], dim=1)))
        return logits[:, 0].float()

    def heat_map(self, image: Tensor) -> HeatMap:
        """Return the defect probability of every pixel of a radiograph [1, H, W], stride 1.

        Raises InputError for an image that is not float [1, H, W].
        """
        check_images([image])
        config = self.config
        if image.shape[-2] * image.shape[-1] <= config.max_full_image_pixels:
            values = self._probabilities(image[None])[0]
        else:
            values = predict_in_windows(
                self._probabilities, image, config.tile_size, config.tile_overlap, config.tile_batch
            )
        return HeatMap(values, stride=1, offset=0.5)

    def detections(self, image: Tensor, heat_map: HeatMap) -> Detections:
        """Return the boxes of a map's regions, scored, all of label 1."""
        values = heat_map.per_pixel(*image.shape[-2:]).float().cpu().numpy()
        boxes, scores = find_regions(values, self.config.regions, None, self.detection_cap(*image.shape[-2:]))
        return {
            "boxes": torch.as_tensor(boxes, dtype=torch.float32, device=image.device).reshape(-1, 4),
            "scores": torch.as_tensor(scores, dtype=torch.float32, device=image.device),
            "labels": torch.ones(len(scores), dtype=torch.int64, device=image.device),
        }

    def detection_cap(self, height: int, width: int) -> int:
        """Return the most detections of a radiograph of this size in pixels."""
        return raised(grown(self.config.regions.max_regions, height, width), self.detections_asked_for)

    def _probabilities(self, images: Tensor) -> Tensor:
        return self.logits(images).sigmoid()

    def _initialize(self) -> None:
        """Draw weights that keep the variance of the signal: LeCun's normal for SELU and ELU, Kaiming's for ReLU."""
        gain: Literal["relu", "linear"] = "relu" if self.config.activation == "relu" else "linear"
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity=gain)
                fill_bias(module)
        fill_bias(self.head, math.log(DEFECT_SHARE / (1 - DEFECT_SHARE)))


def _upsample(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


def build_weld_fcn(config: WeldFCNConfig, num_classes: int) -> WeldFCN:
    """Return a weld FCN. Raises InputError for more than one class: the map says defect or not."""
    if num_classes != 1:
        raise InputError(f"weld_fcn tells defects from the rest, and the data has {num_classes} categories; merge them")
    return WeldFCN(config)
