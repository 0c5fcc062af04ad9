"""Faster R-CNN on radiographs: the paper's single-map forms and the feature pyramid that we recommend."""

import math
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from accelerate.utils import convert_to_fp32
from pydantic import Field, model_validator
from torch import Tensor, nn
from torchvision.models import vgg16
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights, faster_rcnn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.models.resnet import ResNet
from torchvision.ops import MultiScaleRoIAlign

from data.errors import InputError
from detectors.backbones import (
    VGG16C5,
    BackboneName,
    InputKind,
    Norm,
    ResNetC4,
    ResNetFPN,
    build_resnet,
)
from detectors.contract import Detections, Target, check_images, check_targets
from detectors.schema import ModelSection, Strict
from detectors.weights import download, load_imagenet, load_matching, read_checkpoint


class LossWeights(Strict):
    """Weights of the four losses; the paper's released settings weigh localisation 2 against class 1."""

    objectness: float = 1.0
    rpn_box: float = 2.0
    classifier: float = 1.0
    box: float = 2.0


class RegionProposalConfig(Strict):
    """Anchors and proposals, shared by the detectors that propose regions.

    `anchor_sizes` are square roots of areas in pixels of the image that the network sees, one list a feature
    map (all of the same length); `aspect_ratios` are height over width.
    """

    anchor_sizes: list[list[float]] = [[64, 128, 256, 512]]
    aspect_ratios: list[float] = [0.5, 1.0, 2.0]
    proposals: int = Field(300, ge=1)
    proposals_before_nms: int = Field(2000, ge=1)
    nms: float = Field(0.7, gt=0, le=1)
    positive_iou: float = Field(0.7, gt=0, le=1)
    negative_iou: float = Field(0.3, gt=0, le=1)
    batch: int = Field(256, ge=1)


class FasterRCNNConfig(ModelSection):
    """The `model` section for Faster R-CNN; defaults are the paper's (Ferguson et al. 2017, section III.A)."""

    task: ClassVar[str] = "detection"

    name: Literal["faster_rcnn"] = "faster_rcnn"
    backbone: BackboneName = "resnet101"
    width: float = Field(1.0, gt=0, le=1)
    pyramid: bool = False
    pyramid_levels: Literal[3, 4] = 3
    fpn_channels: int = Field(256, ge=8)
    norm: Literal["auto"] | Norm = "auto"
    input: InputKind = "repeat"
    min_size: int | None = Field(600, ge=32)
    max_size: int = Field(1024, ge=32)
    rpn: RegionProposalConfig = RegionProposalConfig()
    crop_size: int = Field(14, ge=2)
    head_channels: int = Field(1024, ge=8)
    roi_batch: int = Field(64, ge=1)
    roi_positive: float = Field(0.25, gt=0, le=1)
    score_threshold: float = Field(0.01, ge=0, lt=1)
    nms: float = Field(0.6, gt=0, le=1)
    detections: int = Field(100, ge=1)
    loss_weights: LossWeights = LossWeights()

    @model_validator(mode="after")
    def _check(self) -> "FasterRCNNConfig":
        maps = self.pyramid_levels if self.pyramid else 1
        lengths = {len(sizes) for sizes in self.rpn.anchor_sizes}
        if len(self.rpn.anchor_sizes) != maps or len(lengths) != 1 or 0 in lengths:
            raise ValueError(f"rpn.anchor_sizes needs {maps} lists of equal, non-zero length, one a feature map")
        if (self.pyramid or self.width != 1) and self.backbone == "vgg16":
            raise ValueError("pyramid and width need a ResNet backbone, not vgg16")
        if self.width != 1 and self.weights in ("imagenet", "coco"):
            raise ValueError(f"weights '{self.weights}' are published for width 1 only")
        if self.weights == "coco" and not (
            self.pyramid and self.backbone == "resnet50" and self.pyramid_levels == 4 and self.fpn_channels == 256
        ):
            raise ValueError(
                "weights 'coco' are published for pyramid resnet50 with pyramid_levels 4 and fpn_channels 256 only; "
                "use imagenet, none, or a path"
            )
        if self.weights in ("imagenet", "coco") and self.norm == "group" and self.backbone != "vgg16":
            raise ValueError(f"weights '{self.weights}' come with batch norm: set norm to auto, frozen or batch")
        return self

    def resolved_norm(self) -> Norm:
        """Return the norm: published weights keep their statistics frozen; groups suit small batches from scratch."""
        if self.norm != "auto":
            return self.norm
        if self.weights in ("none", "imagenet", "coco"):
            return "group" if self.weights == "none" else "frozen"
        return read_checkpoint(Path(self.weights))["config"]["model"].get("norm", "group")

    def pinned(self) -> "FasterRCNNConfig":
        """Return the section with the norm that 'auto' chose, so that loading a run needs no other file."""
        return self.model_copy(update={"norm": self.resolved_norm()})

    def blank(self) -> "FasterRCNNConfig":
        """Return the same layers without weights: the norm that 'auto' chose must stay."""
        return self.pinned().model_copy(update={"weights": "none"})


class BorderPadding(GeneralizedRCNNTransform):
    """Scale as torchvision does, but pad a batch by repeating the border: a black strip would be an edge."""

    def batch_images(self, images: list[Tensor], size_divisible: int = 32) -> Tensor:
        """Return [N, 1, H, W] with H and W the largest of the batch, rounded up to `size_divisible`."""
        height, width = (
            math.ceil(max(image.shape[axis] for image in images) / size_divisible) * size_divisible for axis in (1, 2)
        )
        padded = [
            F.pad(image[None], (0, width - image.shape[2], 0, height - image.shape[1]), mode="replicate")
            for image in images
        ]
        return torch.cat(padded)


class NativeSize(BorderPadding):
    """Leave images at their size: a 20-px defect is worth more than a common scale."""

    def resize(self, image: Tensor, target: Target | None = None) -> tuple[Tensor, Target | None]:
        """Return both as they are."""
        return image, target


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


class FasterRCNN(faster_rcnn.FasterRCNN):
    """torchvision's Faster R-CNN behind the toolkit's contract (`detectors.contract`).

    Takes a list of float [1, H, W] images in [0, 1] and, in training, a list of targets; returns weighted losses
    (`loss_objectness`, `loss_rpn_box_reg`, `loss_classifier`, `loss_box_reg`) in training and detections else.
    Raises InputError for images of another shape and for degenerate boxes.
    """

    def __init__(self, loss_weights: LossWeights, native_size: bool, **parts: Any) -> None:
        # The input expansion normalises, so the transform must not: its mean is 0 and its deviation 1.
        super().__init__(**parts)
        transform = NativeSize if native_size else BorderPadding
        self.transform = transform(parts["min_size"], parts["max_size"], [0.0], [1.0])
        # Boxes need float32 whatever the precision of the convolutions: bfloat16 has steps of 4 px above 512.
        for part in (self.backbone, self.rpn.head, self.roi_heads.box_predictor):
            part.register_forward_hook(_to_float32)
        self.loss_weights = {
            "loss_objectness": loss_weights.objectness,
            "loss_rpn_box_reg": loss_weights.rpn_box,
            "loss_classifier": loss_weights.classifier,
            "loss_box_reg": loss_weights.box,
        }

    def forward(
        self, images: list[Tensor], targets: list[Target] | None = None
    ) -> dict[str, Tensor] | list[Detections]:
        """Return losses in training, else detections."""
        check_images(images)
        if not self.training:
            return super().forward(images)
        losses = super().forward(images, check_targets(images, targets))
        return {name: self.loss_weights[name] * value for name, value in losses.items()}


def _to_float32(module: nn.Module, inputs: Any, output: Any) -> Any:
    return convert_to_fp32(output)


def build_faster_rcnn(config: FasterRCNNConfig, num_classes: int) -> FasterRCNN:
    """Return the model for `num_classes` foreground classes, with its starting weights loaded."""
    published = config.weights in ("imagenet", "coco")
    backbone, head = _pyramid(config) if config.pyramid else _single_map(config)
    names = [str(k) for k in range(len(config.rpn.anchor_sizes))]
    model = FasterRCNN(
        config.loss_weights,
        native_size=config.min_size is None,
        backbone=backbone,
        min_size=config.min_size or 600,
        max_size=config.max_size,
        box_head=head,
        box_predictor=faster_rcnn.FastRCNNPredictor(head.out_channels, num_classes + 1),
        box_roi_pool=MultiScaleRoIAlign(names, config.crop_size, sampling_ratio=2),
        rpn_anchor_generator=build_anchors(config.rpn),
        rpn_pre_nms_top_n_train=config.rpn.proposals_before_nms,
        rpn_pre_nms_top_n_test=config.rpn.proposals_before_nms,
        rpn_post_nms_top_n_train=config.rpn.proposals,
        rpn_post_nms_top_n_test=config.rpn.proposals,
        rpn_nms_thresh=config.rpn.nms,
        rpn_fg_iou_thresh=config.rpn.positive_iou,
        rpn_bg_iou_thresh=config.rpn.negative_iou,
        rpn_batch_size_per_image=config.rpn.batch,
        box_score_thresh=config.score_threshold,
        box_nms_thresh=config.nms,
        box_detections_per_img=config.detections,
        box_batch_size_per_image=config.roi_batch,
        box_positive_fraction=config.roi_positive,
    )
    if config.weights == "coco":
        _load_coco(model)
    elif config.weights != "none" and not published:
        load_matching(model, Path(config.weights), replaceable=("roi_heads.box_predictor.",))
    return model


def build_anchors(config: RegionProposalConfig) -> AnchorGenerator:
    """Return the anchors: len(sizes) x len(ratios) at every cell of every map."""
    sizes = tuple(tuple(sizes) for sizes in config.anchor_sizes)
    return AnchorGenerator(sizes, (tuple(config.aspect_ratios),) * len(sizes))


def _resnet(config: FasterRCNNConfig) -> ResNet:
    body = build_resnet(config.backbone, config.resolved_norm(), config.width)
    if config.weights == "imagenet":
        load_imagenet(body, config.backbone)
    return body


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
    body = _resnet(config)
    conv5 = body.layer4
    # The crop is already at stride 16; a second halving would leave 4 x 4 cells of a 20-px defect.
    for module in conv5[0].modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)
    head = PooledHead(nn.Sequential(conv5, nn.AdaptiveAvgPool2d(1), nn.Flatten()), body.inplanes)
    return ResNetC4(body, config.input), head


def _pyramid(config: FasterRCNNConfig) -> tuple[nn.Module, nn.Module]:
    norm = None if config.resolved_norm() == "frozen" else config.resolved_norm()
    backbone = ResNetFPN(_resnet(config), config.input, config.pyramid_levels, config.fpn_channels, norm)
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
