"""Faster R-CNN on radiographs: the paper's single-map forms and the feature pyramid that we recommend."""

import math
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn
from torchvision.models import vgg16
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights, faster_rcnn
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from data.errors import InputError
from detectors.backbones.networks import VGG16C5, ResNetC4, ResNetFPN
from detectors.backbones.weights import download, load_imagenet
from detectors.boxes.two_stage import TwoStageConfig, TwoStageDetector, build_body, replace_stride_with_dilation
from detectors.fields import FPNChannels, Pyramid, PyramidLevels


class FasterRCNNConfig(TwoStageConfig):
    """The `model` section for Faster R-CNN; defaults are the paper's (Ferguson et al. 2017, section III.A)."""

    published_weights: ClassVar[tuple[str, ...]] = ("imagenet", "coco")

    name: Literal["faster_rcnn"] = Field("faster_rcnn", description="Faster R-CNN.")
    pyramid: Pyramid = False
    pyramid_levels: PyramidLevels = 3
    fpn_channels: FPNChannels = 256
    crop_size: int = Field(
        14, ge=2, le=64, description="Cells along a side of the crop that a proposal cuts out of the feature maps."
    )
    head_channels: int = Field(
        1024, ge=8, le=8192, description="Channels of the two dense layers behind a pyramid's crops."
    )

    @model_validator(mode="after")
    def _check(self) -> "FasterRCNNConfig":
        self.check_anchors(self.pyramid_levels if self.pyramid else 1)
        if (self.pyramid or self.width != 1) and self.backbone == "vgg16":
            raise ValueError("pyramid and width need a ResNet backbone, not vgg16")
        if not self.pyramid and self.backbone == "vgg16" and self.crop_size // 2 != 7:
            raise ValueError(f"crop_size is 14 with vgg16, not {self.crop_size}: its fc6 takes 7 x 7 cells")
        if self.weights == "coco" and not (
            self.pyramid and self.backbone == "resnet50" and self.pyramid_levels == 4 and self.fpn_channels == 256
        ):
            raise ValueError(
                "weights 'coco' are published for pyramid resnet50 with pyramid_levels 4 and fpn_channels 256 only; "
                "use imagenet, none, or a path"
            )
        return self


class PooledHead(nn.Module):
    """Max-pool a cropped map to half its size, then apply `layers`: 14 x 14 becomes 7 x 7 (section III.A)."""

    def __init__(self, layers: nn.Module, out_channels: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.layers = layers
        self.out_channels = out_channels

    def forward(self, crops: Tensor) -> Tensor:
        """Map [R, C, 14, 14] to [R, out_channels]."""
        return self.layers(self.pool(crops))


class FasterRCNN(TwoStageDetector):
    """A two-stage detector that computes its head anew on the crop of every proposal."""

    class_layers = ("roi_heads.box_predictor.",)


def build_faster_rcnn(config: FasterRCNNConfig, num_classes: int) -> FasterRCNN:
    """Return the model for `num_classes` foreground classes, with its starting weights loaded."""
    backbone: ResNetFPN | ResNetC4 | VGG16C5
    head: nn.Module
    backbone, head = _pyramid(config) if config.pyramid else _single_map(config)
    model = FasterRCNN(
        config,
        backbone=backbone,
        box_head=head,
        box_predictor=faster_rcnn.FastRCNNPredictor(head.out_channels, num_classes + 1),
        box_roi_pool=crop_pooling(config.crop_size, backbone.strides),
    )
    if config.weights == "coco":
        _load_coco(model)
    return model


def crop_pooling(size: int, strides: list[int]) -> MultiScaleRoIAlign:
    """Return the pooling of crops of `size` x `size` cells from maps of known strides in pixels, finest first.

    Left alone, torchvision's guesses the scales from the first image that it sees, padding included, and keeps them:
    a first image of 40 px, padded to 64, would put all later crops in the wrong place.
    """
    pool = MultiScaleRoIAlign([str(k) for k in range(len(strides))], size, sampling_ratio=2)
    pool.scales = [1 / stride for stride in strides]
    levels = [int(math.log2(stride)) for stride in strides]
    # A proposal of 224 px is cut from the map of stride 16, one of half the size from the map of stride 8, and so on
    # (Lin et al. 2017, equation 1).
    pool.map_levels = initLevelMapper(levels[0], levels[-1], pool.canonical_scale, pool.canonical_level)
    return pool


def _single_map(config: FasterRCNNConfig) -> tuple[ResNetC4 | VGG16C5, PooledHead]:
    """Backbone at stride 16 and the head that sees its crops: conv5 of the ResNet, or VGG's fc6 and fc7."""
    if config.backbone == "vgg16":
        body = vgg16(weights=None)
        if config.weights == "imagenet":
            load_imagenet(body, "vgg16")
        fc6, fc7 = body.classifier[0], body.classifier[3]
        layers = nn.Sequential(nn.Flatten(), fc6, nn.ReLU(), nn.Dropout(), fc7, nn.ReLU(), nn.Dropout())
        return VGG16C5(body, config.input), PooledHead(layers, fc7.out_features)
    body = build_body(config)
    conv5 = body.layer4
    # The crop is already at stride 16; a second halving would leave 4 x 4 cells of a 20-px defect.
    replace_stride_with_dilation(conv5, dilation=1)
    head = PooledHead(nn.Sequential(conv5, nn.AdaptiveAvgPool2d(1), nn.Flatten()), body.inplanes)
    return ResNetC4(body, config.input), head


def _pyramid(config: FasterRCNNConfig) -> tuple[ResNetFPN, nn.Module]:
    norm = None if config.resolved_norm() == "frozen" else config.resolved_norm()
    backbone = ResNetFPN(build_body(config), config.input, config.pyramid_levels, config.fpn_channels, norm)
    head = faster_rcnn.TwoMLPHead(config.fpn_channels * config.crop_size**2, config.head_channels)
    head.out_channels = config.head_channels
    return backbone, head


def _load_coco(model: FasterRCNN) -> None:
    """Load the backbone, pyramid and first head layers of torchvision's COCO model, where shapes agree.

    The proposal head depends on the number of anchors and the predictor on the classes: those start anew.
    """
    source = download(FasterRCNN_ResNet50_FPN_Weights.COCO_V1)
    target = model.state_dict()
    # The published file has older names, which torchvision's modules translate while loading.
    fitting = {k: v for k, v in source.items() if k not in target or v.shape == target[k].shape}
    missing = model.load_state_dict(fitting, strict=False).missing_keys
    anew = ("rpn.head.cls_logits", "rpn.head.bbox_pred", "roi_heads.box_predictor")
    lost = [name for name in missing if not name.startswith(anew) and not name.endswith("num_batches_tracked")]
    if lost:
        raise InputError(
            f"COCO weights lack {len(lost)} of the model's parameters, the first is '{lost[0]}'; keep "
            "model.head_channels=1024 and model.crop_size=7, or set model.weights=imagenet"
        )
