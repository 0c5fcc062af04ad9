"""The settings of SSD."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from data.schema import StrictModel
from detectors.backbones.config import BackboneSection
from detectors.backbones.networks import BackboneName
from detectors.boxes.default_boxes import DefaultBoxShapes, Encoding
from detectors.fields import DetectionsPerImage, FPNChannels, NmsIoU, Pyramid, PyramidLevels, ScoreThreshold


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
