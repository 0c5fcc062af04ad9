"""What two-stage detectors share: settings, input scaling, the region proposal network, and the toolkit's interface."""

import math
from typing import Annotated, Any, ClassVar, Self

import torch
import torch.nn.functional as F
from accelerate.utils import convert_to_fp32
from pydantic import Field, model_validator
from torch import Tensor, nn
from torchvision.models.detection import faster_rcnn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.models.resnet import ResNet

from data.schema import StrictModel
from detectors.backbones.config import BackboneSection
from detectors.backbones.networks import build_resnet
from detectors.backbones.weights import load_imagenet
from detectors.boxes.crowds import CrowdAwareRoIHeads, CrowdAwareRPN, crowd_regions
from detectors.boxes.detector import BoxDetector
from detectors.caps import grown, raised
from detectors.fields import DetectionsPerImage, NmsIoU, ScoreThreshold
from detectors.interface import Detections, Target, check_targets

AnchorSize = Annotated[float, Field(ge=1, le=16384)]
"""Pixels."""

AspectRatio = Annotated[float, Field(ge=0.01, le=100)]
"""Height over width."""


class LossWeights(StrictModel):
    """Weights of the four losses; the paper's released settings weigh localization 2 against class 1."""

    objectness: float = Field(1.0, ge=0, description="Of the cross entropy: defect or background at each anchor.")
    rpn_box: float = Field(2.0, ge=0, description="Of the smooth L1 loss of the proposals' boxes.")
    classifier: float = Field(1.0, ge=0, description="Of the cross entropy over the classes of each proposal.")
    box: float = Field(2.0, ge=0, description="Of the smooth L1 loss of the final boxes.")


class RPNConfig(StrictModel):
    """Anchors and proposals of the region proposal network, shared by the two-stage detectors."""

    former_names: ClassVar = {"nms": "nms_iou", "batch": "batch_size"}

    anchor_sizes: list[list[AnchorSize]] = Field(
        [[64, 128, 256, 512]],
        min_length=1,
        max_length=8,
        description="Square roots of the anchors' areas in pixels of the image that the network sees: one list a "
        "feature map, finest first, all of the same length.",
    )
    aspect_ratios: list[AspectRatio] = Field(
        [0.5, 1.0, 2.0], min_length=1, max_length=32, description="Height over width of the anchors."
    )
    proposals: int = Field(
        300,
        ge=1,
        le=100_000,
        description="Proposals of an image that the second stage sees. At test this is for 768 x 572 pixels and grows "
        "with the area.",
    )
    proposals_before_nms: int = Field(
        2000,
        ge=1,
        le=1_000_000,
        description="Best anchors of each feature map that go into non-maximum suppression. At test this is for "
        "768 x 572 pixels and grows with the area.",
    )
    nms_iou: float = Field(
        0.7, gt=0, le=1, description="IoU above which the lesser of two proposals is dropped (non-maximum suppression)."
    )
    positive_iou: float = Field(0.7, gt=0, le=1, description="IoU with a defect from which an anchor is a positive.")
    negative_iou: float = Field(
        0.3, gt=0, le=1, description="IoU with every defect under which an anchor is a negative; between, ignored."
    )
    batch_size: int = Field(256, ge=1, le=100_000, description="Anchors of an image that the losses are taken over.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.negative_iou > self.positive_iou:
            raise ValueError(f"negative_iou ({self.negative_iou}) must not be over positive_iou ({self.positive_iou})")
        return self


class TwoStageConfig(BackboneSection):
    """The settings that Faster R-CNN and R-FCN share; defaults are the paper's (Ferguson et al. 2017, section III)."""

    task: ClassVar[str] = "detection"
    published_weights: ClassVar[tuple[str, ...]] = ("imagenet",)
    former_names: ClassVar = {
        "roi_batch": "roi_batch_size",
        "roi_positive": "roi_positive_fraction",
        "nms": "nms_iou",
        "detections": "detections_per_image",
    }

    min_size: int | None = Field(
        600, ge=32, le=16384, description="Pixels that the shorter edge is scaled to; null keeps an image at its size."
    )
    max_size: int = Field(1024, ge=32, le=16384, description="Most pixels of the longer edge where images are scaled.")
    rpn: RPNConfig = Field(RPNConfig(), description="Anchors and proposals of the first stage.")
    roi_batch_size: int = Field(
        64, ge=1, le=100_000, description="Proposals of an image that the second stage learns from."
    )
    roi_positive_fraction: float = Field(
        0.25, gt=0, le=1, description="Largest fraction of them that overlap a defect by an IoU of 0.5 or more."
    )
    score_threshold: ScoreThreshold = 0.01
    nms_iou: NmsIoU = 0.6
    detections_per_image: DetectionsPerImage = 100
    loss_weights: LossWeights = Field(LossWeights(), description="Weights of the four losses.")

    def check_anchors(self, maps: int) -> None:
        """Raise ValueError unless there is one list of anchor sizes for each of `maps` feature maps."""
        lengths = {len(sizes) for sizes in self.rpn.anchor_sizes}
        if len(self.rpn.anchor_sizes) != maps or len(lengths) != 1 or not lengths <= set(range(1, 33)):
            raise ValueError(f"rpn.anchor_sizes needs {maps} lists of equal length (1 to 32), one a feature map")


class BorderPadding(GeneralizedRCNNTransform):
    """Scale as torchvision does, but pad a batch by repeating the border: a black strip would be an edge."""

    def resize(self, image: Tensor, target: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any] | None]:
        """Return the scaled image and its target with the crowd regions scaled alike."""
        image, target = super().resize(image, target)
        if target is not None and "crowds" in target:
            target["crowds"] = target["crowds"].scaled((image.shape[-2], image.shape[-1]))
        return image, target

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
    """Leave images at their size: scaling them to a common one would shrink defects of 20 px."""

    def resize(self, image: Tensor, target: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any] | None]:
        """Return both as they are."""
        return image, target


class TwoStageDetector(BoxDetector, faster_rcnn.FasterRCNN):
    """torchvision's two-stage detector behind the toolkit's interface (`detectors.interface`).

    Takes a list of float [1, H, W] images in [0, 1] and, in training, a list of targets; returns weighted losses
    (`loss_objectness`, `loss_rpn_box_reg`, `loss_classifier`, `loss_box_reg`) in training and detections else.
    Raises InputError for images of another shape and for degenerate boxes. Radiographs go through it one at a time in
    evaluation, so that the detections of one do not depend on the others. Where images keep their size, the numbers of
    proposals and detections grow with the area (`detectors.caps`); a scaled image shows no more than others.

    Args:
        config: proposals, sampling, thresholds and loss weights.
        parts: torchvision's `backbone`, `box_roi_pool`, `box_head` and `box_predictor`.

    """

    class_layers: ClassVar[tuple[str, ...]] = ()
    """Prefixes of the parameters whose number depends on the classes."""
    backbone: Any  # torchvision ships no types
    rpn: CrowdAwareRPN
    roi_heads: CrowdAwareRoIHeads

    def __init__(self, config: TwoStageConfig, **parts: Any) -> None:
        min_size = config.min_size or 600
        super().__init__(
            min_size=min_size,
            max_size=config.max_size,
            rpn_anchor_generator=build_anchors(config.rpn),
            rpn_pre_nms_top_n_train=config.rpn.proposals_before_nms,
            rpn_pre_nms_top_n_test=config.rpn.proposals_before_nms,
            rpn_post_nms_top_n_train=config.rpn.proposals,
            rpn_post_nms_top_n_test=config.rpn.proposals,
            rpn_nms_thresh=config.rpn.nms_iou,
            rpn_fg_iou_thresh=config.rpn.positive_iou,
            rpn_bg_iou_thresh=config.rpn.negative_iou,
            rpn_batch_size_per_image=config.rpn.batch_size,
            box_score_thresh=config.score_threshold,
            box_nms_thresh=config.nms_iou,
            box_detections_per_img=config.detections_per_image,
            box_batch_size_per_image=config.roi_batch_size,
            box_positive_fraction=config.roi_positive_fraction,
            **parts,
        )
        # torchvision's constructor makes stages that know no crowd regions.
        rpn: Any = self.rpn
        heads: Any = self.roi_heads
        self.rpn = CrowdAwareRPN(
            rpn.anchor_generator,
            rpn.head,
            config.rpn.positive_iou,
            config.rpn.negative_iou,
            config.rpn.batch_size,
            rpn.fg_bg_sampler.positive_fraction,
            rpn._pre_nms_top_n,
            rpn._post_nms_top_n,
            config.rpn.nms_iou,
        )
        self.roi_heads = CrowdAwareRoIHeads(
            heads.box_roi_pool,
            heads.box_head,
            heads.box_predictor,
            heads.proposal_matcher.high_threshold,
            heads.proposal_matcher.low_threshold,
            config.roi_batch_size,
            config.roi_positive_fraction,
            heads.box_coder.weights,
            config.score_threshold,
            config.nms_iou,
            config.detections_per_image,
        )
        # The input expansion normalizes, so the transform must not: its mean is 0 and its deviation 1.
        transform = NativeSize if config.min_size is None else BorderPadding
        self.transform = transform(min_size, config.max_size, [0.0], [1.0])
        # Boxes need float32 whatever the precision of the convolutions: bfloat16 has steps of 4 px above 512.
        for part in (self.backbone, self.rpn.head, self.roi_heads.box_predictor):
            part.register_forward_hook(_to_float32)
        self.config = config
        weights = config.loss_weights
        self.loss_weights = {
            "loss_objectness": weights.objectness,
            "loss_rpn_box_reg": weights.rpn_box,
            "loss_classifier": weights.classifier,
            "loss_box_reg": weights.box,
        }

    def _losses(self, images: list[Tensor], targets: list[Target] | None) -> dict[str, Tensor]:
        objects: list[dict[str, Any]] = [dict(target) for target in check_targets(images, targets)]
        for target, crowds in zip(objects, crowd_regions(images, targets or []), strict=True):
            if len(crowds.boxes):
                target["crowds"] = crowds
        losses = faster_rcnn.FasterRCNN.forward(self, images, objects)
        return {name: self.loss_weights[name] * value for name, value in losses.items()}

    def detection_cap(self, height: int, width: int) -> int:
        """Return the most detections of a radiograph of this size in pixels."""
        return raised(self._grown(self.config.detections_per_image, height, width), self.detections_asked_for)

    def _detect(self, image: Tensor) -> Detections:
        """Return the detections of one radiograph [1, H, W]."""
        height, width = image.shape[1:]
        cap, per_image = self.detection_cap(height, width), self.config.detections_per_image
        self.roi_heads.detections_per_img = cap
        # Detections come out of proposals: whoever asks for more of the one needs more of the other.
        for name, number in (("pre", self.config.rpn.proposals_before_nms), ("post", self.config.rpn.proposals)):
            wanted = max(self._grown(number, height, width), -(-number * cap // per_image))
            getattr(self.rpn, f"_{name}_nms_top_n")["testing"] = wanted
        return faster_rcnn.FasterRCNN.forward(self, [image])[0]

    def _grown(self, number: int, height: int, width: int) -> int:
        return number if self.config.min_size is not None else grown(number, height, width)


def _to_float32(module: nn.Module, inputs: Any, output: Any) -> Any:
    return convert_to_fp32(output)


def build_anchors(config: RPNConfig) -> AnchorGenerator:
    """Return the anchors: len(sizes) x len(ratios) at every cell of every map."""
    sizes = tuple(tuple(sizes) for sizes in config.anchor_sizes)
    return AnchorGenerator(sizes, (tuple(config.aspect_ratios),) * len(sizes))


def build_body(config: TwoStageConfig) -> ResNet:
    """Return the whole ResNet of a configuration, with ImageNet weights if it names them."""
    body = build_resnet(config.backbone, config.resolved_norm(), config.width, config.stem)
    if config.weights == "imagenet":
        load_imagenet(body, config.backbone)
    return body


def replace_stride_with_dilation(stage: nn.Sequential, dilation: int) -> None:
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
