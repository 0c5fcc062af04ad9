"""SSD on radiographs: default boxes on several maps, at test in tiles that slide over the full-size image."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import vgg16
from torchvision.models.detection import SSD300_VGG16_Weights

from data.errors import InputError
from detectors.backbones.networks import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ResNetC4,
    ResNetFPN,
    build_resnet,
)
from detectors.backbones.weights import download, load_imagenet
from detectors.boxes.crowds import crowd_regions
from detectors.boxes.default_boxes import BACKGROUND, CODERS, default_boxes, match_boxes
from detectors.boxes.detector import BoxDetector
from detectors.boxes.ssd_config import SSDConfig
from detectors.boxes.ssd_layers import VGG16FC7, ExtraMaps, Heads, L2Norm, copy_into, scaled_vgg16_layers
from detectors.caps import grown, raised
from detectors.interface import Detections, Target, check_targets
from detectors.tiles import clip, detect_in_tiles, pad_to, suppress


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
    body = build_resnet(config.backbone, config.resolved_norm(), config.width, config.stem)
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
