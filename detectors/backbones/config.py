"""The settings of a backbone, shared by the detectors that have one."""

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from detectors.backbones.networks import BackboneName, InputEncoding, Norm, Stem
from detectors.backbones.weights import read_checkpoint
from detectors.schema import ModelSection

FORMER_INPUTS = {"grey": "gray", "repeat": "rgb_repeat", "contrast": "local_contrast"}
"""What the encodings of the input were called."""


class BackboneSection(ModelSection):
    """A `model` section with a backbone."""

    former_values: ClassVar = {"input": FORMER_INPUTS}

    backbone: BackboneName = Field("resnet101", description="The network that computes the features.")
    width: float = Field(
        1.0, ge=1 / 16, le=1, description="Width multiplier: the share of the backbone's published channels."
    )
    stem: Stem = Field(
        "published",
        description="The first layers of a ResNet, to a quarter of the size. published: 7 x 7 pixels to 64 channels, "
        "then max pooling. thin: two strided convolutions of 3 x 3, a quarter of the work at half the width.",
    )
    norm: Literal["auto"] | Norm = Field(
        "auto",
        description="Normalization of the backbone. auto: frozen with published weights, group when trained from "
        "scratch, that of the run with a run's weights.",
    )
    input: InputEncoding = Field(
        "rgb_repeat",
        description="What the first layer sees. rgb_repeat: the gray value three times, normalized as ImageNet "
        "weights expect. local_contrast: the gray value and the relative contrast to two Gaussian surroundings.",
    )

    @model_validator(mode="after")
    def _check_published_weights(self) -> Self:
        published = self.weights in ("imagenet", "coco")
        if published and self.width != 1:
            raise ValueError(f"weights '{self.weights}' are published for width 1 only")
        if published and self.stem != "published":
            raise ValueError(f"weights '{self.weights}' are published for stem 'published' only")
        if self.stem != "published" and self.backbone == "vgg16":
            raise ValueError("stem 'thin' needs a ResNet backbone, not vgg16")
        if published and self.norm == "group" and self.backbone != "vgg16":
            raise ValueError(f"weights '{self.weights}' come with batch norm: set norm to auto, frozen or batch")
        return self

    def resolved_norm(self) -> Norm:
        """Return the norm: published weights keep their statistics frozen; groups suit small batches from scratch."""
        if self.norm != "auto":
            return self.norm
        if self.weights in ("none", "imagenet", "coco"):
            return "group" if self.weights == "none" else "frozen"
        norm = read_checkpoint(Path(self.weights))["config"]["model"].get("norm", "group")
        return norm if norm in ("batch", "frozen") else "group"

    def resolved(self) -> Self:
        """Return the section with the norm decided, so that a run does not need its starting weights again."""
        return self.model_copy(update={"norm": self.resolved_norm()})

    def without_weights(self) -> Self:
        """Return a section that builds the same layers without loading weights."""
        return self.resolved().model_copy(update={"weights": "none"})
