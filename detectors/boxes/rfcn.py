"""R-FCN on radiographs: every layer runs once an image, and regions only average position-sensitive maps."""

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torchvision.ops import PSRoIAlign

from detectors.backbones.networks import ResNetC4
from detectors.boxes.two_stage import TwoStageConfig, TwoStageDetector, build_body, replace_stride_with_dilation


class RFCNConfig(TwoStageConfig):
    """The `model` section for R-FCN; defaults are the paper's (Ferguson et al. 2017, section III.B)."""

    name: Literal["rfcn"] = Field("rfcn", description="R-FCN.")
    backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101"] = Field(
        "resnet101", description="The network that computes the features."
    )
    stride: Literal[8, 16] = Field(
        16,
        description="Of the shared maps in pixels: 16 in the paper, 8 for defects of 20 px in images that are not "
        "enlarged.",
    )
    stage: Literal[4, 5] = Field(
        5, description="Stage of the ResNet that the maps come out of; 4 costs a third where the network is small."
    )
    reduction: int = Field(
        1024, ge=8, le=4096, description="Channels of the 1 x 1 convolution between the ResNet and the maps."
    )
    bins: int = Field(
        3, ge=1, le=14, description="A proposal is cut into bins x bins parts, each of which has maps of its own."
    )
    crop_size: int = Field(
        18,
        ge=1,
        le=128,
        description="Points along a side at which a proposal is sampled, a multiple of bins: a part's vote is the "
        "average of (crop_size / bins)^2 of them.",
    )

    @model_validator(mode="after")
    def _check(self) -> "RFCNConfig":
        self.check_anchors(1)
        if self.crop_size % self.bins:
            raise ValueError(f"crop_size ({self.crop_size}) must be a multiple of bins ({self.bins})")
        return self


class PositionSensitiveVotes(nn.Module):
    """From features of a whole image to the average votes of its regions (Dai et al. 2016).

    conv5, a 1 x 1 reduction, `bins`^2 * (K + 1) score maps and `bins`^2 * 4 box maps (the same box for every
    class) are computed once an image. Bin (i, j) of a region averages its own maps inside its part of the region,
    and the region's scores and box are the mean over its bins.

    Args:
        config: reduction, bins, pooling and stride.
        conv5: last stage of the residual network at the stride of its input, or the identity.
        channels: of its output.
        num_classes: K, foreground classes.

    """

    def __init__(self, config: RFCNConfig, conv5: nn.Module, channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv5 = conv5
        reduce = nn.Conv2d(channels, config.reduction, 1)
        self.reduce = nn.Sequential(reduce, nn.ReLU(inplace=True))
        self.score = nn.Conv2d(config.reduction, config.bins**2 * (num_classes + 1), 1)
        self.box = nn.Conv2d(config.reduction, config.bins**2 * 4, 1)
        # PyTorch's default would shrink the signal by more than half, and these layers learn slowly as it is.
        nn.init.kaiming_normal_(reduce.weight, nonlinearity="relu")
        # Not PSRoIPool: torchvision's leaves out the map's last row and column, and only in the forward pass.
        self.pool = PSRoIAlign(config.bins, 1 / config.stride, config.crop_size // config.bins)

    def forward(self, features: dict[str, Tensor], regions: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        """Return float32 [R, K + 1 + 4], class scores before box offsets, of all regions of the batch.

        `features` holds one map [N, C, h, w] as "0", `regions` boxes [R_n, 4] an image in pixels; `sizes` is not
        needed: the stride is fixed.
        """
        shared = self.reduce(self.conv5(features["0"]))
        # A vote averages a few cells: in bfloat16 their differences would be lost.
        maps = torch.cat([self.score(shared), self.box(shared)], dim=1).float()
        return self.pool(maps, regions).mean(dim=(2, 3))


class VotedPredictor(nn.Module):
    """Split votes [R, K + 1 + 4] into logits [R, K + 1] and, for every class alike, offsets [R, 4 * (K + 1)]."""

    def forward(self, votes: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and offsets as torchvision's heads expect them."""
        logits, offsets = votes[:, :-4], votes[:, -4:]
        return logits, offsets.repeat(1, logits.shape[1])


class RFCN(TwoStageDetector):
    """A two-stage detector whose head is pooled from position-sensitive maps of the whole image."""

    class_layers = ("roi_heads.box_roi_pool.score.",)

    def __init__(self, config: RFCNConfig, backbone: ResNetC4, votes: PositionSensitiveVotes) -> None:
        super().__init__(config, backbone=backbone, box_head=nn.Identity(), box_predictor=VotedPredictor())
        # torchvision's constructor takes MultiScaleRoIAlign alone.
        self.roi_heads.box_roi_pool = votes


def build_rfcn(config: RFCNConfig, num_classes: int) -> RFCN:
    """Return the model for `num_classes` foreground classes, with its starting weights loaded."""
    body = build_body(config)
    if config.stride == 8:
        replace_stride_with_dilation(body.layer3, dilation=2)
    replace_stride_with_dilation(body.layer4, dilation=32 // config.stride)
    backbone = ResNetC4(body, config.input)
    conv5, channels = (body.layer4, body.inplanes) if config.stage == 5 else (nn.Identity(), backbone.out_channels)
    return RFCN(config, backbone, PositionSensitiveVotes(config, conv5, channels, num_classes))
