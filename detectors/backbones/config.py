"""The settings of a backbone, shared by the detectors that have one."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from detectors.backbones.networks import BackboneName, InputKind, Norm
from detectors.backbones.weights import read_checkpoint
from detectors.schema import ModelSection


class BackboneSection(ModelSection):
    """A `model` section with a backbone: `width` is the share of its published channels, `input` what it sees."""

    backbone: BackboneName = "resnet101"
    width: float = Field(1.0, gt=0, le=1)
    norm: Literal["auto"] | Norm = "auto"
    input: InputKind = "repeat"

    @model_validator(mode="after")
    def _check_published_weights(self) -> Self:
        published = self.weights in ("imagenet", "coco")
        if published and self.width != 1:
            raise ValueError(f"weights '{self.weights}' are published for width 1 only")
        if published and self.norm == "group" and self.backbone != "vgg16":
            raise ValueError(f"weights '{self.weights}' come with batch norm: set norm to auto, frozen or batch")
        return self

    def resolved_norm(self) -> Norm:
        """Return the norm: published weights keep their statistics frozen; groups suit small batches from scratch."""
        if self.norm != "auto":
            return self.norm
        if self.weights in ("none", "imagenet", "coco"):
            return "group" if self.weights == "none" else "frozen"
        return read_checkpoint(Path(self.weights))["config"]["model"].get("norm", "group")

    def resolved(self) -> Self:
        """Return the section with the norm that 'auto' chose, so that loading a run needs no other file."""
        return self.model_copy(update={"norm": self.resolved_norm()})

    def without_weights(self) -> Self:
        """Return the same layers without weights: the norm that 'auto' chose must stay."""
        return self.resolved().model_copy(update={"weights": "none"})
