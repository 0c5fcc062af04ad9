"""A patch classifier small enough to be trained in a test."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.schema import ModelSection


class TinyConfig(ModelSection):
    task: ClassVar[str] = "patches"
    name: Literal["tiny_patches"] = "tiny_patches"


class TinyPatchClassifier(nn.Module):
    """A network of `logits`; one box for every radiograph."""

    def logits(self, patches: Tensor) -> Tensor:
        raise NotImplementedError

    def classify(self, patches: Tensor) -> Tensor:
        return self.logits(patches).softmax(dim=1)[:, 1]

    def forward(self, images: Tensor | list[Tensor], labels: Tensor | None = None) -> dict | list[dict[str, Tensor]]:
        if self.training:
            return {"loss_classifier": F.cross_entropy(self.logits(images), labels)}
        box = {"boxes": torch.tensor([[10.0, 10, 30, 30]]), "scores": torch.tensor([0.5]), "labels": torch.tensor([1])}
        return [box for _ in images]
