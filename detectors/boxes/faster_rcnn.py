"""Faster R-CNN on radiographs: the paper's single-map forms and the feature pyramid that we recommend."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor, nn
from torchvision.models import vgg16
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights, faster_rcnn
from torchvision.ops import MultiScaleRoIAlign

from data.errors import InputError
from detectors.backbones.networks import VGG16C5, ResNetC4, ResNetFPN
from detectors.backbones.weights import download, load_imagenet, load_matching
from detectors.boxes.two_stage import RegionDetector, RegionDetectorConfig, build_body, keep_stride


class FasterRCNNConfig(RegionDetectorConfig):
    """The `model` section for Faster R-CNN; defaults are the paper's (Ferguson et al. 2017, section III.A)."""

    name: Literal["faster_rcnn"] = "faster_rcnn"
    pyramid: bool = False
    pyramid_levels: Literal[3, 4] = 3
    fpn_channels: int = Field(256, ge=8)
    crop_size: int = Field(14, ge=2)
    head_channels: int = Field(1024, ge=8)

    @model_validator(mode="after")
    def _check(self) -> "FasterRCNNConfig":
        self.check_anchors(self.pyramid_levels if self.pyramid else 1)
        if (self.pyramid or self.width != 1) and self.backbone == "vgg16":
            raise ValueError("pyramid and width need a ResNet backbone, not vgg16")
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


class FasterRCNN(RegionDetector):
    """A region detector that computes its head anew on the crop of every proposal."""


def build_faster_rcnn(config: FasterRCNNConfig, num_classes: int) -> FasterRCNN:
    """Return the model for `num_classes` foreground classes, with its starting weights loaded."""
    backbone, head = _pyramid(config) if config.pyramid else _single_map(config)
    names = [str(k) for k in range(len(config.rpn.anchor_sizes))]
    model = FasterRCNN(
        config,
        backbone=backbone,
        box_head=head,
        box_predictor=faster_rcnn.FastRCNNPredictor(head.out_channels, num_classes + 1),
        box_roi_pool=MultiScaleRoIAlign(names, config.crop_size, sampling_ratio=2),
    )
    if config.weights == "coco":
        _load_coco(model)
    elif config.weights not in ("none", "imagenet"):
        load_matching(model, Path(config.weights), replaceable=("roi_heads.box_predictor.",))
    return model


def _single_map(config: FasterRCNNConfig) -> tuple[nn.Module, PooledHead]:
    """Backbone at stride 16 and the head that sees its crops: conv5 of the ResNet, or VGG's fc6 and fc7."""
    pooled = config.crop_size // 2
    if config.backbone == "vgg16":
        body = vgg16(weights=None)
        if config.weights == "imagenet":
            load_imagenet(body, "vgg16")
        fc6, fc7 = body.classifier[0], body.classifier[3]
        if pooled != 7:
            raise InputError(f"model.crop_size={config.crop_size}: VGG-16's fc6 takes 7 x 7 cells, so give 14")
        layers = nn.Sequential(nn.Flatten(), fc6, nn.ReLU(), nn.Dropout(), fc7, nn.ReLU(), nn.Dropout())
        return VGG16C5(body, config.input), PooledHead(layers, fc7.out_features)
    body = build_body(config)
    conv5 = body.layer4
    # The crop is already at stride 16; a second halving would leave 4 x 4 cells of a 20-px defect.
    keep_stride(conv5, dilation=1)
    head = PooledHead(nn.Sequential(conv5, nn.AdaptiveAvgPool2d(1), nn.Flatten()), body.inplanes)
    return ResNetC4(body, config.input), head


def _pyramid(config: FasterRCNNConfig) -> tuple[nn.Module, nn.Module]:
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
