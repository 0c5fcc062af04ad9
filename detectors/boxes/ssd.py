"""SSD on radiographs: default boxes on several maps, at test in tiles that slide over the full-size image."""

from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn
from torchvision.models import vgg16
from torchvision.models.detection import SSD300_VGG16_Weights

from data.errors import InputError
from data.schema import StrictModel
from detectors.backbones.config import BackboneSection
from detectors.backbones.networks import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    BackboneName,
    ResNetC4,
    ResNetFPN,
    build_resnet,
)
from detectors.backbones.weights import download, load_imagenet, load_matching
from detectors.boxes.default_boxes import BACKGROUND, CODERS, DefaultBoxShapes, Encoding, default_boxes, match_boxes
from detectors.boxes.ssd_layers import VGG16FC7, FurtherMaps, Heads, thin_vgg16_layers
from detectors.interface import Detections, Target, check_images, check_targets
from detectors.tiles import clip, detect_in_tiles, pad_to, suppress


class SSDLossWeights(StrictModel):
    """Weights of the two losses (alpha and 1 in equation 1 of Ferguson et al. 2017)."""

    classifier: float = 1.0
    box: float = 1.0


class SSDConfig(BackboneSection):
    """The `model` section for SSD; defaults are the paper's VGG-16 (Ferguson et al. 2017, sections III.C and IV).

    `further` are the depths of the layers behind the backbone, each with half the cells of the one before. `boxes`
    has one entry a map, finest first: conv4_3 and fc7 of VGG-16, conv4 of a ResNet, or `pyramid_levels` maps of its
    feature pyramid (from stride 4), then the further ones. `encoding` is ssd (variances 0.1 and 0.2), center
    (without variances) or corners (the paper's). A default box is a positive from `positive_iou` on and a
    negative under `negative_iou`. `negatives` are the hard ones a positive; every image gives at least
    `negatives_floor`, so that clean ones teach. At test `tile` pixels slide by `tile_stride`; with `tile` null the
    image is looked at in one piece. `candidates` boxes of a tile go into the merging.
    """

    task: ClassVar[str] = "detection"

    name: Literal["ssd"] = "ssd"
    backbone: BackboneName = "vgg16"
    pyramid: bool = False
    pyramid_levels: Literal[3, 4] = 3
    fpn_channels: int = Field(256, ge=8)
    further: list[int] = [512, 256, 256, 256, 256]
    boxes: list[DefaultBoxShapes] = [
        DefaultBoxShapes(sizes=[10, 16, 26]),
        DefaultBoxShapes(sizes=[40, 58]),
        DefaultBoxShapes(sizes=[84, 116]),
        DefaultBoxShapes(sizes=[150]),
        DefaultBoxShapes(sizes=[195]),
        DefaultBoxShapes(sizes=[240]),
        DefaultBoxShapes(sizes=[285], ratios=[1.0]),
    ]
    head_layers: int = Field(0, ge=0, le=4)
    encoding: Encoding = "corners"
    positive_iou: float = Field(0.5, gt=0, le=1)
    negative_iou: float = Field(0.5, gt=0, le=1)
    negatives: float = Field(3.0, gt=0)
    negatives_floor: int = Field(16, ge=1)
    loss_weights: SSDLossWeights = SSDLossWeights()
    tile: int | None = Field(300, ge=32)
    tile_stride: int = Field(150, ge=1)
    tile_batch: int = Field(4, ge=1)
    candidates: int = Field(400, ge=1)
    score_threshold: float = Field(0.01, ge=0, lt=1)
    nms: float = Field(0.45, gt=0, le=1)
    detections: int = Field(100, ge=1)

    @model_validator(mode="after")
    def _check(self) -> "SSDConfig":
        first = self.pyramid_levels if self.pyramid else 1 + (self.backbone == "vgg16")
        if len(self.boxes) != first + len(self.further):
            raise ValueError(
                f"boxes has {len(self.boxes)} entries for {first + len(self.further)} maps: "
                f"{first} of the backbone and {len(self.further)} further"
            )
        if self.pyramid and self.backbone == "vgg16":
            raise ValueError("pyramid needs a ResNet backbone, not vgg16")
        if self.negative_iou > self.positive_iou:
            raise ValueError(f"negative_iou ({self.negative_iou}) must not be over positive_iou ({self.positive_iou})")
        if self.tile is not None and self.tile_stride > self.tile:
            raise ValueError(f"tile_stride ({self.tile_stride}) leaves gaps between tiles of {self.tile} px")
        if self.weights in ("imagenet", "coco") and self.input != "repeat":
            raise ValueError(f"weights '{self.weights}' are published for input repeat only")
        if self.weights == "coco" and self.backbone != "vgg16":
            raise ValueError("weights 'coco' are published for vgg16 only; use imagenet, none, or a path")
        return self


class SSD(nn.Module):
    """SSD behind the toolkit's interface (`detectors.interface`).

    Takes a list of float [1, H, W] images in [0, 1] and, in training, a list of targets; returns `loss_classifier`
    and `loss_box_reg` in training and detections else. Images of a training batch are continued by their border to
    the size of the largest. Raises InputError for images of another shape and for degenerate boxes.

    Args:
        backbone: maps, finest first, and their strides.
        config: the model section.
        num_classes: foreground classes.

    """

    def __init__(self, backbone: FurtherMaps, config: SSDConfig, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.coder = CODERS[config.encoding]
        counts = [shape.count for shape in config.boxes]
        self.heads = Heads(backbone.channels, counts, num_classes + 1, config.head_layers)

    def forward(
        self, images: list[Tensor], targets: list[Target] | None = None
    ) -> dict[str, Tensor] | list[Detections]:
        """Return losses in training, else detections."""
        check_images(images)
        if self.training:
            return self._losses(images, check_targets(images, targets))
        return [self._detect(image) for image in images]

    def _predict(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits [N, P, K + 1], codes [N, P, 4] and default boxes [P, 4]."""
        maps = list(self.backbone(images).values())
        grids = [tuple(features.shape[2:]) for features in maps]
        boxes = default_boxes(self.config.boxes, self.backbone.strides, grids, images.device)
        return *self.heads(maps), boxes

    def _losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
        logits, codes, defaults = self._predict(torch.cat([pad_to(image[None], height, width) for image in images]))
        config, owners, labels, wanted = self.config, [], [], []
        for target in targets:
            owner = match_boxes(defaults, target["boxes"], config.positive_iou, config.negative_iou)
            positive = owner >= 0
            label = torch.zeros_like(owner)
            label[positive] = target["labels"][owner[positive]]
            owners.append(owner)
            labels.append(label)
            wanted.append(self.coder.encode_single(target["boxes"][owner[positive]], defaults[positive]))
        owner, label = torch.stack(owners), torch.stack(labels)
        positive = owner >= 0
        box = F.smooth_l1_loss(codes[positive], torch.cat(wanted), reduction="sum") / max(1, int(positive.sum()))
        classifier = classification_loss(logits, label, owner, config.negatives, config.negatives_floor)
        weights = config.loss_weights
        return {"loss_classifier": weights.classifier * classifier, "loss_box_reg": weights.box * box}

    def _detect(self, image: Tensor) -> Detections:
        config = self.config
        if config.tile is not None:
            return detect_in_tiles(
                image, config.tile, config.tile_stride, config.tile_batch, self.detect_batch, config.nms,
                config.detections,
            )  # fmt: skip
        return suppress(self.detect_batch(image[None])[0], config.nms, config.detections)

    def detect_batch(self, images: Tensor) -> list[Detections]:
        """Return the best `candidates` boxes of each image of [N, 1, H, W], best first, nothing suppressed."""
        logits, codes, defaults = self._predict(images)
        scores = logits.softmax(dim=2)[:, :, 1:]
        classes = scores.shape[2]
        flat = scores.flatten(1)
        best, index = flat.topk(min(self.config.candidates, flat.shape[1]), dim=1)
        found = []
        for score, place, code in zip(best, index, codes, strict=True):
            count = int((score > self.config.score_threshold).sum())
            rows = place[:count] // classes
            boxes = self.coder.decode_single(code[rows], defaults[rows])
            detections = {"boxes": boxes, "scores": score[:count], "labels": place[:count] % classes + 1}
            found.append(clip(detections, *images.shape[2:]))
        return found


def classification_loss(logits: Tensor, labels: Tensor, owners: Tensor, ratio: float, floor: int) -> Tensor:
    """Return the cross entropy over positives and hard negatives.

    An image gives `ratio` times as many negatives as it has positives, the hardest, and at least `floor`. The sum
    is divided by 1 / (1 + `ratio`) of the boxes that it runs over. Where no image needs the floor, that is the number
    of positives, as in Liu et al. (2016, section 2.2); where one does, the loss stays of the same order.

    Args:
        logits: float [N, P, K + 1], background first.
        labels: int64 [N, P], 0 for background.
        owners: int64 [N, P] of `match_boxes`; ignored boxes count for nothing.
        ratio: negatives a positive.
        floor: least negatives an image.

    """
    entropy = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)
    positive = owners >= 0
    chosen = positive | hard_negatives(entropy.detach(), owners, ratio, floor)
    return entropy[chosen].sum() * (1 + ratio) / max(1, int(chosen.sum()))


def hard_negatives(entropy: Tensor, owners: Tensor, ratio: float, floor: int) -> Tensor:
    """Return which boxes are the hardest negatives, bool [N, P]; see `classification_loss`."""
    chosen = torch.zeros_like(owners, dtype=torch.bool)
    for row, losses, owner in zip(chosen, entropy, owners, strict=True):
        background = (owner == BACKGROUND).nonzero()[:, 0]
        wanted = max(floor, round(ratio * int((owner >= 0).sum())))
        hardest = losses[background].topk(min(wanted, len(background))).indices
        row[background[hardest]] = True
    return chosen


def build_ssd(config: SSDConfig, num_classes: int) -> SSD:
    """Return the model for `num_classes` foreground classes, with its starting weights loaded."""
    backbone = _vgg(config) if config.backbone == "vgg16" else _resnet(config)
    model = SSD(backbone, config, num_classes)
    if config.weights == "coco":
        load_coco(backbone)
    elif config.weights not in ("none", "imagenet"):
        load_matching(model, Path(config.weights), replaceable=("heads.classifier.",))
    # Convolutions in this layout are faster on a CPU and on a GPU with tensor cores.
    return model.to(memory_format=torch.channels_last)


def _vgg(config: SSDConfig) -> FurtherMaps:
    """VGG-16's conv4_3 and fc7; the further layers go without norm as the published weights do."""
    if config.weights == "imagenet":
        body = vgg16(weights=None)
        load_imagenet(body, "vgg16")
        base = VGG16FC7(body.features, config.input)
        base.load_classifier(body.classifier)
    else:
        base = VGG16FC7(thin_vgg16_layers(config.width), config.input)
    return FurtherMaps(base, base.channels, base.strides, config.further, norm=False)


def _resnet(config: SSDConfig) -> FurtherMaps:
    body = build_resnet(config.backbone, config.resolved_norm(), config.width)
    if config.weights == "imagenet":
        load_imagenet(body, config.backbone)
    if not config.pyramid:
        base = ResNetC4(body, config.input)
        return FurtherMaps(base, [base.out_channels], [base.stride], config.further, norm=True)
    norm = None if config.resolved_norm() == "frozen" else config.resolved_norm()
    base = ResNetFPN(body, config.input, config.pyramid_levels, config.fpn_channels, norm)
    channels = [config.fpn_channels] * config.pyramid_levels
    return FurtherMaps(base, channels, base.strides, config.further, norm=True)


def load_coco(backbone: FurtherMaps) -> None:
    """Load the convolutions of torchvision's COCO ssd300_vgg16 that stand before its heads, in place.

    Its default boxes and classes are others, so the heads start anew, as does the fifth further layer, which it
    lacks. Raises InputError where a layer has another shape.
    """
    source = {k.removeprefix("backbone."): v for k, v in download(SSD300_VGG16_Weights.COCO_V1).items()}
    kernels = [name for name, value in source.items() if name.endswith(".weight") and value.dim() == 4]
    kernels = [name for name in kernels if name.startswith(("features.", "extra."))]
    layers = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        for layer, name in zip(layers, kernels, strict=False):
            weight = source[name]
            if weight.shape != layer.weight.shape:
                raise InputError(
                    f"COCO weights: {name} is {tuple(weight.shape)} and the model's layer {tuple(layer.weight.shape)}; "
                    "keep model.further=[512,256,256,256,256], or set model.weights=imagenet"
                )
            layer.weight.copy_(weight)
            layer.bias.copy_(source[name.removesuffix("weight") + "bias"])
        backbone.base.norm4.scale.copy_(source["scale_weight"])
        # The published network takes gray values of 0 to 255 less a mean, ours takes them normalized.
        first, gray = layers[0], 255 * torch.tensor(IMAGENET_MEAN).sub(torch.tensor([0.48235, 0.45882, 0.40784]))
        first.bias += (first.weight * gray.view(1, 3, 1, 1)).sum(dim=(1, 2, 3))
        first.weight *= 255 * torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
