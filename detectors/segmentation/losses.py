"""Losses over a probability a pixel: binary cross entropy, Dice, focal Tversky, and their weighted sum.

The overlap losses sum over the whole batch, not over each image: a crop without defects has no overlap to win,
and counts through its false positives in the batch's sum.
"""

from typing import Self

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from torch import Tensor

from data.masks import IGNORED
from data.schema import StrictModel

SMOOTH = 1.0
"""Pixels added to both sides of an overlap ratio: an empty mask predicted empty has loss 0, not 0 / 0."""

LEAST = 1e-6
"""Lowest 1 - TI that is raised to `gamma`: under it the slope of x^gamma would grow without bound."""


class SegmentationLossConfig(StrictModel):
    """Weights of the losses that are summed, 0 leaving one out, and their settings."""

    bce: NonNegativeFloat = Field(1.0, description="Weight of the binary cross entropy of each pixel.")
    dice: NonNegativeFloat = Field(1.0, description="Weight of the Dice loss.")
    focal_tversky: NonNegativeFloat = Field(0.0, description="Weight of the focal Tversky loss.")
    positive_weight: PositiveFloat = Field(1.0, description="Multiplies the cross entropy of defect pixels.")
    alpha: NonNegativeFloat = Field(
        0.3,
        description="Weight of false positives in the Tversky index (Salehi et al. 2017); alpha and beta of 0.5 make "
        "it the Dice coefficient.",
    )
    beta: NonNegativeFloat = Field(
        0.7,
        description="Weight of false negatives in the Tversky index. Iuso et al. (2024) have the letters the other way "
        "round: their alpha 0.633 and beta 0.1 are beta 0.633 and alpha 0.1 here.",
    )
    gamma: PositiveFloat = Field(
        0.75,
        description="Exponent of 1 - TI in the focal Tversky loss: under 1 it raises the slope of examples that are "
        "nearly learned.",
    )

    @model_validator(mode="after")
    def _some_loss(self) -> Self:
        if not (self.bce or self.dice or self.focal_tversky):
            raise ValueError("give 'bce', 'dice' or 'focal_tversky' a weight above 0")
        return self


def segmentation_losses(logits: Tensor, masks: Tensor, config: SegmentationLossConfig) -> dict[str, Tensor]:
    """Return the weighted losses of a batch by name, to be summed; those of weight 0 are left out.

    Args:
        logits: [N, H, W], taken as float32 under any precision.
        masks: the same shape, labels 1 and more on defects, 0 elsewhere, `IGNORED` (255) where nobody knows; such
            pixels count nowhere.
        config: weights and settings.

    """
    with torch.autocast(logits.device.type, enabled=False):
        known = masks != IGNORED
        logits, masks = logits.float()[known], (masks[known] > 0).float()
        losses = {}
        if config.bce:
            weight = logits.new_tensor(config.positive_weight)
            summed = F.binary_cross_entropy_with_logits(logits, masks, pos_weight=weight, reduction="sum")
            losses["bce"] = config.bce * summed / max(len(masks), 1)
        if config.dice:
            losses["dice"] = config.dice * dice_loss(logits, masks)
        if config.focal_tversky:
            focal = focal_tversky_loss(logits, masks, config.alpha, config.beta, config.gamma)
            losses["focal_tversky"] = config.focal_tversky * focal
        return losses


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return 1 - (2 sum pm + 1) / (sum p + sum m + 1) over the batch, in [0, 1]; p the probabilities, m the masks."""
    found = logits.sigmoid()
    shared = (found * masks).sum()
    return 1 - (2 * shared + SMOOTH) / (found.sum() + masks.sum() + SMOOTH)


def focal_tversky_loss(
    logits: Tensor, masks: Tensor, alpha: float = 0.3, beta: float = 0.7, gamma: float = 0.75
) -> Tensor:
    """Return (1 - TI)^gamma over the batch, in [0, 1]; TI = (TP + 1) / (TP + alpha FP + beta FN + 1).

    Args:
        logits: of any shape.
        masks: float of the same shape, 1 on defects and 0 elsewhere.
        alpha: weight of false positives.
        beta: weight of false negatives.
        gamma: exponent (Abraham and Khan 2018 write it 1 / gamma).

    """
    found = logits.sigmoid()
    hits = (found * masks).sum()
    false_positives = (found * (1 - masks)).sum()
    misses = ((1 - found) * masks).sum()
    index = (hits + SMOOTH) / (hits + alpha * false_positives + beta * misses + SMOOTH)
    return (1 - index).clamp(min=LEAST) ** gamma
