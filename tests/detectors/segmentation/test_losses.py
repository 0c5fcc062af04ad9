"""Losses a pixel: worked by hand, defined on empty masks, with slopes that stay finite."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from detectors.segmentation.losses import (
    SegmentationLossConfig,
    dice_loss,
    focal_tversky_loss,
    segmentation_losses,
)

ALL = SegmentationLossConfig(bce=1, dice=1, focal_tversky=1)


def logit(*probabilities: float) -> Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).logit().float().view(1, 1, -1)


def mask(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.uint8).view(1, 1, -1)


# Probabilities 0.75, 0.5, 0.25, 0.5 over the mask 1, 1, 0, 0: TP = 1.25, FP = 0.75, FN = 0.75.
FOUND, TRUE = logit(0.75, 0.5, 0.25, 0.5), mask(1, 1, 0, 0)


def test_binary_cross_entropy_by_hand() -> None:
    losses = segmentation_losses(FOUND, TRUE, SegmentationLossConfig(bce=2, dice=0))
    expected = -2 * (math.log(0.75) + math.log(0.5) + math.log(0.75) + math.log(0.5)) / 4
    assert losses.keys() == {"bce"}
    assert losses["bce"].item() == pytest.approx(expected, rel=1e-6)


def test_positive_weight_multiplies_the_defect_pixels_alone() -> None:
    losses = segmentation_losses(FOUND, TRUE, SegmentationLossConfig(dice=0, positive_weight=3))
    expected = -(3 * (math.log(0.75) + math.log(0.5)) + math.log(0.75) + math.log(0.5)) / 4
    assert losses["bce"].item() == pytest.approx(expected, rel=1e-6)


def test_dice_by_hand() -> None:
    assert dice_loss(FOUND, TRUE.float()).item() == pytest.approx(1 - (2 * 1.25 + 1) / (2 + 2 + 1), rel=1e-6)


def test_focal_tversky_by_hand() -> None:
    index = (1.25 + 1) / (1.25 + 0.2 * 0.75 + 0.6 * 0.75 + 1)
    found = focal_tversky_loss(FOUND, TRUE.float(), alpha=0.2, beta=0.6, gamma=0.5)
    assert found.item() == pytest.approx((1 - index) ** 0.5, rel=1e-6)


def test_beta_punishes_misses_and_alpha_false_alarms() -> None:
    timid, bold = logit(0.1, 0.1, 0.1, 0.1), logit(0.9, 0.9, 0.9, 0.9)

    def loss(logits: Tensor, alpha: float, beta: float) -> float:
        return focal_tversky_loss(logits, TRUE.float(), alpha, beta).item()

    assert loss(timid, 0.1, 0.9) > loss(timid, 0.9, 0.1)
    assert loss(bold, 0.1, 0.9) < loss(bold, 0.9, 0.1)


def test_tversky_with_equal_halves_is_dice_up_to_the_smoothing() -> None:
    torch.manual_seed(0)
    logits, masks = torch.randn(2, 200, 200), (torch.rand(2, 200, 200) > 0.9).float()
    tversky = focal_tversky_loss(logits, masks, alpha=0.5, beta=0.5, gamma=1)
    assert tversky.item() == pytest.approx(dice_loss(logits, masks).item(), abs=1e-4)


def test_an_empty_mask_predicted_empty_costs_nothing() -> None:
    losses = segmentation_losses(torch.full((2, 8, 8), -40.0), torch.zeros(2, 8, 8, dtype=torch.uint8), ALL)
    assert losses["bce"].item() == losses["dice"].item() == 0
    assert losses["focal_tversky"].item() < 1e-4


def test_an_empty_mask_predicted_full_costs_nearly_all() -> None:
    losses = segmentation_losses(torch.full((2, 8, 8), 40.0), torch.zeros(2, 8, 8), ALL)
    assert losses["dice"].item() == pytest.approx(1 - 1 / 129)
    assert losses["focal_tversky"].item() > 0.9


def test_pixels_where_nobody_knows_count_nowhere() -> None:
    known = segmentation_losses(FOUND, TRUE, ALL)
    padded = segmentation_losses(logit(0.75, 0.5, 0.25, 0.5, 0.99, 0.01), mask(1, 1, 0, 0, 255, 255), ALL)
    assert {k: v.item() for k, v in padded.items()} == pytest.approx({k: v.item() for k, v in known.items()})


def test_a_batch_of_unknown_pixels_alone_has_no_loss() -> None:
    logits = torch.zeros(1, 4, 4, requires_grad=True)
    losses = segmentation_losses(logits, torch.full((1, 4, 4), 255, dtype=torch.uint8), ALL)
    sum(losses.values()).backward()
    assert losses["bce"].item() == losses["dice"].item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


@settings(max_examples=30, deadline=None)
@given(
    level=st.floats(-100, 100),
    share=st.sampled_from([0.0, 0.01, 0.5, 1.0]),
    gamma=st.sampled_from([0.25, 0.75, 1.0, 2.0]),
)
def test_losses_and_slopes_are_finite(level: float, share: float, gamma: float) -> None:
    masks = (torch.linspace(0, 1, 100).view(1, 10, 10) < share).float()
    logits = torch.full((1, 10, 10), level, requires_grad=True)
    losses = segmentation_losses(logits, masks, ALL.model_copy(update={"gamma": gamma}))
    sum(losses.values()).backward()
    assert all(value.isfinite() and value >= 0 for value in losses.values())
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_half_precision_logits_are_summed_in_full() -> None:
    """Sums over a million pixels overflow float16."""
    losses = segmentation_losses(torch.full((1, 512, 512), 2.0, dtype=torch.float16), torch.ones(1, 512, 512), ALL)
    assert all(value.isfinite() and value.dtype == torch.float32 for value in losses.values())


def test_some_loss_is_needed() -> None:
    with pytest.raises(ValidationError, match="a weight above 0"):
        SegmentationLossConfig(bce=0, dice=0)
