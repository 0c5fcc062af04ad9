"""What the detectors that propose regions share: settings, input scaling, the RPN, and the toolkit's interface."""

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from accelerate.utils import convert_to_fp32
from pydantic import Field
from torch import Tensor, nn
from torchvision.models.detection import faster_rcnn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.models.resnet import ResNet

from data.schema import StrictModel
from detectors.backbones.config import BackboneSection
from detectors.backbones.networks import build_resnet
from detectors.backbones.weights import load_imagenet
from detectors.interface import Detections, Target, check_images, check_targets


class LossWeights(StrictModel):
    """Weights of the four losses; the paper's released settings weigh localization 2 against class 1."""

    objectness: float = 1.0
    rpn_box: float = 2.0
    classifier: float = 1.0
    box: float = 2.0


class RegionProposalConfig(StrictModel):
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


class RegionDetectorConfig(BackboneSection):
    """The settings that Faster R-CNN and R-FCN share; defaults are the paper's (Ferguson et al. 2017, section III).

    Images are scaled to `min_size` px on the shorter edge, at most `max_size` on the longer; None keeps their size.
    """

    task: ClassVar[str] = "detection"

    min_size: int | None = Field(600, ge=32)
    max_size: int = Field(1024, ge=32)
    rpn: RegionProposalConfig = RegionProposalConfig()
    roi_batch: int = Field(64, ge=1)
    roi_positive: float = Field(0.25, gt=0, le=1)
    score_threshold: float = Field(0.01, ge=0, lt=1)
    nms: float = Field(0.6, gt=0, le=1)
    detections: int = Field(100, ge=1)
    loss_weights: LossWeights = LossWeights()

    def check_anchors(self, maps: int) -> None:
        """Raise ValueError unless there is one list of anchor sizes for each of `maps` feature maps."""
        lengths = {len(sizes) for sizes in self.rpn.anchor_sizes}
        if len(self.rpn.anchor_sizes) != maps or len(lengths) != 1 or 0 in lengths:
            raise ValueError(f"rpn.anchor_sizes needs {maps} lists of equal, non-zero length, one a feature map")


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


class RegionDetector(faster_rcnn.FasterRCNN):
    """torchvision's two-stage detector behind the toolkit's interface (`detectors.interface`).

    Takes a list of float [1, H, W] images in [0, 1] and, in training, a list of targets; returns weighted losses
    (`loss_objectness`, `loss_rpn_box_reg`, `loss_classifier`, `loss_box_reg`) in training and detections else.
    Raises InputError for images of another shape and for degenerate boxes.

    Args:
        config: proposals, sampling, thresholds and loss weights.
        parts: torchvision's `backbone`, `box_roi_pool`, `box_head` and `box_predictor`.

    """

    def __init__(self, config: RegionDetectorConfig, **parts: Any) -> None:
        min_size = config.min_size or 600
        super().__init__(
            min_size=min_size,
            max_size=config.max_size,
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
            **parts,
        )
        # The input expansion normalizes, so the transform must not: its mean is 0 and its deviation 1.
        transform = NativeSize if config.min_size is None else BorderPadding
        self.transform = transform(min_size, config.max_size, [0.0], [1.0])
        # Boxes need float32 whatever the precision of the convolutions: bfloat16 has steps of 4 px above 512.
        for part in (self.backbone, self.rpn.head, self.roi_heads.box_predictor):
            part.register_forward_hook(_to_float32)
        weights = config.loss_weights
        self.loss_weights = {
            "loss_objectness": weights.objectness,
            "loss_rpn_box_reg": weights.rpn_box,
            "loss_classifier": weights.classifier,
            "loss_box_reg": weights.box,
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


def build_anchors(config: RegionProposalConfig) -> AnchorGenerator:
    """Return the anchors: len(sizes) x len(ratios) at every cell of every map."""
    sizes = tuple(tuple(sizes) for sizes in config.anchor_sizes)
    return AnchorGenerator(sizes, (tuple(config.aspect_ratios),) * len(sizes))


def build_body(config: RegionDetectorConfig) -> ResNet:
    """Return the whole ResNet of a configuration, with ImageNet weights if it names them."""
    body = build_resnet(config.backbone, config.resolved_norm(), config.width)
    if config.weights == "imagenet":
        load_imagenet(body, config.backbone)
    return body


def keep_stride(stage: nn.Sequential, dilation: int) -> None:
    """Keep a stage of a ResNet at the stride of its input, in place.

    Args:
        stage: residual blocks, the first of which would halve the map.
        dilation: of its 3 x 3 convolutions; 2 sees as far as the halved map did, 1 keeps them as they are.

    """
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (dilation, dilation)
