"""CenterNet: a one-stage, anchor-free detector of small defects with one dense map, peaks instead of proposals.

A defect of 11 to 22 px is 3 to 6 cells at stride 4, so that one level serves 8 to 150 px. The focal loss looks at every
cell of every image, so that defect-free radiographs teach as much as others. Batch normalization folds into the
convolutions at export, and no operator beyond convolution, pooling and resizing is needed.
"""

from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn
from torchvision.ops import batched_nms, clip_boxes_to_image

from detectors.boxes.center_net_layers import (
    COARSEST,
    GROUPS,
    CenterBackbone,
    center_losses,
    find_peaks,
)
from detectors.boxes.crowds import crowd_regions
from detectors.boxes.detector import BoxDetector
from detectors.boxes.working_scale import box_scale, rescaled, working_scale
from detectors.caps import grown, raised
from detectors.fields import DetectionsPerImage, NmsIoU, ScoreThreshold
from detectors.interface import Detections, Target, check_targets
from detectors.schema import ModelSection

LEAST_SIDE = 4  # pixels of a box at the working scale; smaller ones are not to be learned
MIRRORS: dict[str, tuple[tuple[tuple[int, ...], tuple[int, int, int, int]], ...]] = {
    "none": (((), (0, 1, 2, 3)),),
    "horizontal": (((), (0, 1, 2, 3)), ((3,), (2, 1, 0, 3))),
    "both": (((), (0, 1, 2, 3)), ((3,), (2, 1, 0, 3)), ((2,), (0, 3, 2, 1)), ((2, 3), (2, 3, 0, 1))),
}
"""Of every `flip_test` the mirror images: the axes that are reversed, and where left, top, right, bottom are then."""
PRIOR_SIZE = 60  # pixels; from there on the size of a defect says nothing about its score


class CenterNetConfig(ModelSection):
    """The `model` section for CenterNet; defaults are the small net for a CPU (0.6 million parameters)."""

    task: ClassVar[str] = "detection"
    former_values: ClassVar = {"flip_test": {True: "horizontal", False: "none"}}

    name: Literal["center_net"] = Field("center_net", description="CenterNet.")
    input_encoding: Literal["gray", "local_contrast", "noise_contrast", "both_contrasts", "line_blind"] = Field(
        "both_contrasts",
        description="What the first layer sees: the gray value; contrast to the surroundings; contrast over the local "
        "noise; both; or both and the latter once more of lines averaged with their neighbors. See "
        "`detectors.boxes.center_net_layers.DefectChannels`.",
    )
    stem_channels: int = Field(16, ge=4, le=1024, description="Channels of the first convolution, at stride 2.")
    stage_channels: tuple[int, int, int, int] = Field(
        (24, 48, 72, 96), description="Channels of the residual stages at strides 4, 8, 16 and 32."
    )
    stage_blocks: tuple[int, int, int, int] = Field((1, 2, 2, 1), description="Residual blocks of each stage.")
    neck_channels: int = Field(32, ge=4, le=1024, description="Channels of the top-down neck and of the head.")
    norm: Literal["batch", "group"] = Field(
        "batch", description="Normalization: 'batch' folds into the convolutions at export; 'group' takes 8 groups."
    )
    box_weight: float = Field(2.0, ge=0, description="Weight of the box loss (GIoU) against the heat map's.")
    flip_test: Literal["none", "horizontal", "both"] = Field(
        "none",
        description="Detects in the radiograph and its mirror images and averages their maps, fewer false calls for "
        "more time: 'horizontal' takes one mirror image (twice the time), 'both' three (four times).",
    )
    noise_limit: float = Field(
        1.5,
        ge=0,
        description="A radiograph with more noise than so many gray levels (of 255) is detected at a coarser scale, at "
        "which it has about so much: at full size a noisy one gives small false calls. See "
        "`detectors.boxes.working_scale`. 0 keeps every radiograph at its size.",
    )
    coarsest_scale: float = Field(
        0.6, gt=0.1, le=1, description="The coarsest of these scales: smaller defects than 10 px at it are missed."
    )
    rescale_in_training: bool = Field(
        True,
        description="Whether training samples are rescaled likewise; false for phantoms that are simulated as they "
        "look at that scale.",
    )
    size_prior: float = Field(
        0.35,
        ge=0,
        le=2,
        description="Scores are multiplied by (size / 60 px) to this power, up to 60 px, the size being the root of "
        "the box's area: small peaks in noise and at edges are the most frequent false calls on parts never seen. 0 "
        "leaves the scores.",
    )
    score_threshold: ScoreThreshold = 0.01
    nms_iou: NmsIoU = 0.5
    detections_per_image: DetectionsPerImage = 100

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        widths = (self.stem_channels, *self.stage_channels, self.neck_channels)
        if self.norm == "group" and any(width % GROUPS for width in widths):
            raise ValueError(f"norm 'group' needs channels that are multiples of {GROUPS}, not {list(widths)}")
        return self


class CenterNet(BoxDetector):
    """CenterNet behind the toolkit's interface (`detectors.interface`).

    Takes a list of float [1, H, W] images in [0, 1] and, in training, a list of targets; returns `loss_heat` and
    `loss_box` in training and detections else. Images are continued by their border to the size of the largest and
    to a multiple of 32. Raises InputError for images of another shape and for degenerate boxes.

    Args:
        config: the model section.
        num_classes: foreground classes.

    """

    class_layers: ClassVar[tuple[str, ...]] = ("heat.",)
    """Prefixes of the parameters whose number depends on the classes."""

    def __init__(self, config: CenterNetConfig, num_classes: int) -> None:
        super().__init__()
        self.config = config
        widths = (config.stem_channels, *config.stage_channels, config.neck_channels)
        self.backbone = CenterBackbone(config.input_encoding, widths, config.stage_blocks, config.norm)
        self.heat = nn.Conv2d(config.neck_channels, num_classes, 1)
        self.sides = nn.Conv2d(config.neck_channels, 4, 1)
        for conv, start in ((self.heat, -2.19), (self.sides, 1.0)):  # a probability of 0.1 everywhere, as published
            if conv.bias is not None:
                nn.init.constant_(conv.bias, start)

    def _losses(self, images: list[Tensor], targets: list[Target] | None) -> dict[str, Tensor]:
        if self.config.rescale_in_training and targets is not None:
            images, targets = self._rescaled(images, targets)
        objects = check_targets(images, targets)
        # Crowd regions are neither defects nor background: what lies there is not known.
        crowds = [_continued(regions.boxes, regions.size) for regions in crowd_regions(images, targets or [])]
        heat, sides = self.maps(_batch(images))
        losses = center_losses(heat, sides, [t["boxes"] for t in objects], [t["labels"] for t in objects], crowds)
        return {"loss_heat": losses["loss_heat"], "loss_box": self.config.box_weight * losses["loss_box"]}

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return heat map logits [N, K, H / 4, W / 4] and box logits [N, 4, H / 4, W / 4] of [N, 1, H, W]."""
        features = self.backbone(images)["0"]
        return self.heat(features), self.sides(features)

    def _rescaled(self, images: list[Tensor], targets: list[Target]) -> tuple[list[Tensor], list[Target]]:
        """Return training samples at their working scales; boxes that are too small there count as crowd regions."""
        # A crop without noise to measure is all black or white: at full size it would only slow its batch down.
        limit, coarsest = self.config.noise_limit, self.config.coarsest_scale
        scales = [working_scale(image, limit, coarsest, unknown=coarsest) for image in images]
        smaller = [rescaled(image, scale) for image, scale in zip(images, scales, strict=True)]
        scaled: list[Target] = []
        for image, small, target in zip(images, smaller, targets, strict=True):
            boxes = target["boxes"] * box_scale(image, small)
            unseen = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1) < LEAST_SIDE
            crowd = target["iscrowd"] if "iscrowd" in target else torch.zeros_like(target["labels"])
            scaled.append({**target, "boxes": boxes, "iscrowd": crowd if small is image else crowd | unseen})
        return smaller, scaled

    def _averaged_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps of [1, 1, H, W], with `flip_test` averaged with those of its mirror images."""
        mirrors = MIRRORS[self.config.flip_test]
        if len(mirrors) == 1:
            return self.maps(images)
        heat, sides = self.maps(torch.cat([images.flip(axes) if axes else images for axes, _ in mirrors]))
        probability = torch.zeros_like(heat[:1], dtype=torch.float32)
        distances = torch.zeros_like(sides[:1])
        for index, (axes, order) in enumerate(mirrors):
            probability = probability + torch.sigmoid(heat[index : index + 1].flip(axes).float())
            distances = distances + sides[index : index + 1].flip(axes)[:, list(order)]
        return torch.logit(probability / len(mirrors), eps=1e-6), distances / len(mirrors)

    def detection_cap(self, height: int, width: int) -> int:
        """Return the most detections of a radiograph of this size in pixels."""
        return raised(grown(self.config.detections_per_image, height, width), self.detections_asked_for)

    def _detect(self, image: Tensor) -> Detections:
        """Return the detections of one image [1, H, W], found at its working scale."""
        config = self.config
        height, width = image.shape[1:]
        scale = working_scale(image, config.noise_limit, config.coarsest_scale)
        small = rescaled(image, scale)
        heat, sides = self._averaged_maps(_batch([small]))
        boxes, scores, labels = (found[0] for found in find_peaks(heat, sides, self.detection_cap(height, width)))
        boxes = clip_boxes_to_image(boxes / box_scale(image, small), (height, width))
        sizes = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1).sqrt()
        scores = scores * (sizes / PRIOR_SIZE).clamp(max=1) ** config.size_prior
        keep = (scores > config.score_threshold) & (boxes[:, 2:] - boxes[:, :2] >= 1).all(dim=1)
        boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
        kept = batched_nms(boxes, scores, labels, config.nms_iou)
        return {"boxes": boxes[kept], "scores": scores[kept], "labels": labels[kept]}


def _continued(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return crowd regions [C, 4] that go on without end where they touch the right or the lower border.

    A batch continues its images there by their border, and so does what is not known of it.
    """
    x1, y1, x2, y2 = boxes.unbind(1)
    endless = boxes.new_tensor(torch.inf)
    return torch.stack(
        [x1, y1, torch.where(x2 > size[1] - 0.1, endless, x2), torch.where(y2 > size[0] - 0.1, endless, y2)], 1
    )


def _batch(images: list[Tensor]) -> Tensor:
    """Return [N, 1, H, W], H and W the largest rounded up to multiples of 32, continued by the border."""
    height, width = (-(-max(image.shape[axis] for image in images) // COARSEST) * COARSEST for axis in (1, 2))
    return torch.cat(
        [
            F.pad(image[None], (0, width - image.shape[2], 0, height - image.shape[1]), mode="replicate")
            for image in images
        ]
    )


def build_center_net(config: CenterNetConfig, num_classes: int) -> CenterNet:
    """Return the model for `num_classes` foreground classes, at its random start."""
    return CenterNet(config, num_classes)
