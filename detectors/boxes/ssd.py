"""SSD on radiographs: default boxes on several maps, at test in tiles that slide over the full-size image."""

from typing import Annotated, ClassVar, Literal, Self

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
from detectors.backbones.weights import download, load_imagenet
from detectors.boxes.crowds import crowd_regions
from detectors.boxes.default_boxes import BACKGROUND, CODERS, DefaultBoxShapes, Encoding, default_boxes, match_boxes
from detectors.boxes.detector import BoxDetector
from detectors.boxes.ssd_layers import VGG16FC7, ExtraMaps, Heads, L2Norm, copy_into, scaled_vgg16_layers
from detectors.caps import grown, raised
from detectors.fields import DetectionsPerImage, FPNChannels, NmsIoU, Pyramid, PyramidLevels, ScoreThreshold
from detectors.interface import Detections, Target, check_targets
from detectors.tiles import clip, detect_in_tiles, pad_to, suppress


class SSDLossWeights(StrictModel):
    """Weights of the two losses (alpha and 1 in equation 1 of Ferguson et al. 2017)."""

    classifier: float = Field(1.0, ge=0, description="Of the cross entropy over positives and hard negatives.")
    box: float = Field(1.0, ge=0, description="Of the smooth L1 loss of the positives' boxes.")


class SSDConfig(BackboneSection):
    """The `model` section for SSD; defaults are the paper's VGG-16 (Ferguson et al. 2017, sections III.C and IV)."""

    task: ClassVar[str] = "detection"
    published_weights: ClassVar[tuple[str, ...]] = ("imagenet", "coco")
    former_names: ClassVar = {
        "further": "extra_channels",
        "head_layers": "head_convs",
        "negatives": "neg_pos_ratio",
        "negatives_floor": "min_negatives",
        "candidates": "topk_candidates",
        "nms": "nms_iou",
        "detections": "detections_per_image",
    }

    name: Literal["ssd"] = Field("ssd", description="SSD, the Single Shot MultiBox Detector.")
    backbone: BackboneName = Field("vgg16", description="The network that computes the features.")
    pyramid: Pyramid = False
    pyramid_levels: PyramidLevels = 3
    fpn_channels: FPNChannels = 256
    extra_channels: list[Annotated[int, Field(ge=8, le=4096)]] = Field(
        [512, 256, 256, 256, 256],
        max_length=10,
        description="Channels of the extra layers behind the backbone, each with half the cells of the one before.",
    )
    boxes: list[DefaultBoxShapes] = Field(
        [
            DefaultBoxShapes(sizes=[10, 16, 26]),
            DefaultBoxShapes(sizes=[40, 58]),
            DefaultBoxShapes(sizes=[84, 116]),
            DefaultBoxShapes(sizes=[150]),
            DefaultBoxShapes(sizes=[195]),
            DefaultBoxShapes(sizes=[240]),
            DefaultBoxShapes(sizes=[285], ratios=[1.0]),
        ],
        min_length=1,
        max_length=16,
        description="Default boxes, one entry a map, finest first: conv4_3 and fc7 of VGG-16, conv4 of a ResNet, or "
        "the maps of its pyramid; then the extra layers.",
    )
    head_convs: int = Field(0, ge=0, le=4, description="3 x 3 convolutions in front of the heads of every map.")
    encoding: Encoding = Field(
        "corners",
        description="How boxes are encoded against default boxes: ssd (center and log extent, variances 0.1 and 0.2), "
        "center (the same without variances) or corners (the paper's Table I).",
    )
    positive_iou: float = Field(
        0.5, gt=0, le=1, description="IoU with a defect from which a default box is a positive."
    )
    negative_iou: float = Field(
        0.5, gt=0, le=1, description="IoU with every defect under which it is a negative; between, it is ignored."
    )
    neg_pos_ratio: float = Field(3.0, gt=0, le=1000, description="Hard negatives for every positive.")
    min_negatives: int = Field(
        16, ge=1, le=100_000, description="Least hard negatives of an image, so that defect-free ones teach."
    )
    loss_weights: SSDLossWeights = Field(SSDLossWeights(), description="Weights of the two losses.")
    tile: int | None = Field(
        300,
        ge=32,
        le=16384,
        description="Side in pixels of the tiles that slide over a radiograph at test; null looks at it in one piece.",
    )
    tile_stride: int = Field(150, ge=1, le=16384, description="Pixels from tile to tile.")
    tile_batch: int = Field(4, ge=1, le=1024, description="Tiles that go through the network together.")
    topk_candidates: int = Field(
        400, ge=1, le=100_000, description="Best boxes of a tile that go on to non-maximum suppression."
    )
    score_threshold: ScoreThreshold = 0.01
    nms_iou: NmsIoU = 0.45
    detections_per_image: DetectionsPerImage = 100

    @model_validator(mode="after")
    def _check(self) -> Self:
        first = self.pyramid_levels if self.pyramid else 1 + (self.backbone == "vgg16")
        if len(self.boxes) != first + len(self.extra_channels):
            raise ValueError(
                f"boxes has {len(self.boxes)} entries for {first + len(self.extra_channels)} maps: "
                f"{first} of the backbone and {len(self.extra_channels)} extra"
            )
        if self.pyramid and self.backbone == "vgg16":
            raise ValueError("pyramid needs a ResNet backbone, not vgg16")
        if self.negative_iou > self.positive_iou:
            raise ValueError(f"negative_iou ({self.negative_iou}) must not be over positive_iou ({self.positive_iou})")
        if self.tile is not None and self.tile_stride > self.tile:
            raise ValueError(f"tile_stride ({self.tile_stride}) leaves gaps between tiles of {self.tile} px")
        if self.weights in ("imagenet", "coco") and self.input != "rgb_repeat":
            raise ValueError(f"weights '{self.weights}' are published for input rgb_repeat only")
        if self.weights == "coco" and self.backbone != "vgg16":
            raise ValueError("weights 'coco' are published for vgg16 only; use imagenet, none, or a path")
        return self


class SSD(BoxDetector):
    """SSD behind the toolkit's interface (`detectors.interface`).

    Takes a list of float [1, H, W] images in [0, 1] and, in training, a list of targets; returns `loss_classifier`
    and `loss_box_reg` in training and detections else. Images of a training batch are continued by their border to
    the size of the largest. Raises InputError for images of another shape and for degenerate boxes.

    Args:
        backbone: maps, finest first, and their strides.
        config: the model section.
        num_classes: foreground classes.

    """

    class_layers: ClassVar[tuple[str, ...]] = ("heads.classifier.",)
    """Prefixes of the parameters whose number depends on the classes."""

    def __init__(self, backbone: ExtraMaps, config: SSDConfig, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.coder = CODERS[config.encoding]
        counts = [shape.count for shape in config.boxes]
        self.heads = Heads(backbone.channels, counts, num_classes + 1, config.head_convs)

    def _predict(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits [N, P, K + 1], codes [N, P, 4] and default boxes [P, 4]."""
        maps = list(self.backbone(images).values())
        grids = [tuple(features.shape[2:]) for features in maps]
        boxes = default_boxes(self.config.boxes, self.backbone.strides, grids, images.device)
        return *self.heads(maps), boxes

    def _losses(self, images: list[Tensor], targets: list[Target] | None) -> dict[str, Tensor]:
        height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
        logits, codes, defaults = self._predict(torch.cat([pad_to(image[None], height, width) for image in images]))
        config = self.config
        owners: list[Tensor] = []
        labels: list[Tensor] = []
        codes_wanted: list[Tensor] = []
        objects, crowds = check_targets(images, targets), crowd_regions(images, targets or [])
        for target, regions in zip(objects, crowds, strict=True):
            owner = match_boxes(defaults, target["boxes"], config.positive_iou, config.negative_iou, regions)
            positive = owner >= 0
            label = torch.zeros_like(owner)
            label[positive] = target["labels"][owner[positive]]
            owners.append(owner)
            labels.append(label)
            codes_wanted.append(self.coder.encode_single(target["boxes"][owner[positive]], defaults[positive]))
        owner, label = torch.stack(owners), torch.stack(labels)
        positive = owner >= 0
        box = F.smooth_l1_loss(codes[positive], torch.cat(codes_wanted), reduction="sum") / max(1, int(positive.sum()))
        classifier = classification_loss(logits, label, owner, config.neg_pos_ratio, config.min_negatives)
        weights = config.loss_weights
        return {"loss_classifier": weights.classifier * classifier, "loss_box_reg": weights.box * box}

    def _detect(self, image: Tensor) -> Detections:
        config = self.config
        cap = self.detection_cap(*image.shape[1:])
        if config.tile is not None:
            return detect_in_tiles(
                image, config.tile, config.tile_stride, config.tile_batch, self.detect_batch, config.nms_iou, cap
            )  # fmt: skip
        return suppress(self.detect_batch(image[None])[0], config.nms_iou, cap)

    def detection_cap(self, height: int, width: int) -> int:
        """Return the most detections of a radiograph of this size in pixels."""
        return raised(grown(self.config.detections_per_image, height, width), self.detections_asked_for)

    def _candidates(self, height: int, width: int) -> int:
        """Return how many boxes of a tile, or of a radiograph in one piece, go on: in proportion to the detections."""
        config = self.config
        if config.tile is not None:
            return max(config.topk_candidates, self.detections_asked_for or 0)
        return -(-config.topk_candidates * self.detection_cap(height, width) // config.detections_per_image)

    def detect_batch(self, images: Tensor) -> list[Detections]:
        """Return the best `topk_candidates` boxes of each image of [N, 1, H, W], best first, nothing suppressed."""
        logits, codes, defaults = self._predict(images)
        scores = logits.softmax(dim=2)[:, :, 1:]
        classes = scores.shape[2]
        flat = scores.flatten(1)
        best, index = flat.topk(min(self._candidates(*images.shape[2:]), flat.shape[1]), dim=1)
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
    # Convolutions in this layout are faster on a CPU and on a GPU with tensor cores.
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this one
    return model


def _vgg(config: SSDConfig) -> ExtraMaps:
    """VGG-16's conv4_3 and fc7; the extra layers go without norm as the published weights do."""
    if config.weights == "imagenet":
        body = vgg16(weights=None)
        load_imagenet(body, "vgg16")
        base = VGG16FC7(body.features, config.input)
        base.load_classifier(body.classifier)
    else:
        base = VGG16FC7(scaled_vgg16_layers(config.width), config.input)
    return ExtraMaps(base, base.channels, base.strides, config.extra_channels, norm=False)


def _resnet(config: SSDConfig) -> ExtraMaps:
    body = build_resnet(config.backbone, config.resolved_norm(), config.width)
    if config.weights == "imagenet":
        load_imagenet(body, config.backbone)
    if not config.pyramid:
        single = ResNetC4(body, config.input)
        return ExtraMaps(single, [single.out_channels], single.strides, config.extra_channels, norm=True)
    norm = None if config.resolved_norm() == "frozen" else config.resolved_norm()
    base = ResNetFPN(body, config.input, config.pyramid_levels, config.fpn_channels, norm)
    channels = [config.fpn_channels] * config.pyramid_levels
    return ExtraMaps(base, channels, base.strides, config.extra_channels, norm=True)


def load_coco(backbone: ExtraMaps) -> None:
    """Load the convolutions of torchvision's COCO ssd300_vgg16 that stand before its heads, in place.

    Its default boxes and classes are others, so the heads start anew, as does the fifth extra layer, which it
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
                    "keep model.extra_channels=[512,256,256,256,256], or set model.weights=imagenet"
                )
            copy_into(layer, weight, source[name.removesuffix("weight") + "bias"])
        norm4 = backbone.base.get_submodule("norm4")
        assert isinstance(norm4, L2Norm)
        norm4.scale.copy_(source["scale_weight"])
        # The published network takes gray values of 0 to 255 less a mean, ours takes them normalized.
        first, gray = layers[0], 255 * torch.tensor(IMAGENET_MEAN).sub(torch.tensor([0.48235, 0.45882, 0.40784]))
        assert first.bias is not None
        first.bias += (first.weight * gray.view(1, 3, 1, 1)).sum(dim=(1, 2, 3))
        first.weight *= 255 * torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
