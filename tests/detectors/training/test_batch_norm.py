"""Running statistics that fit the weights."""

import pytest
import torch
from torch import nn

from detectors.training.batch_norm import has_batch_norm, recalibrate_batch_norm


def test_statistics_are_plain_means_without_dropout() -> None:
    """Two batches with means 1 and 3: the mean is 2, and dropout, which would double the variance, is off."""
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(1)).eval()
    model[1].running_mean.fill_(100)
    batches = [torch.tensor([[0.0], [2.0]]), torch.tensor([[2.0], [4.0]])]
    recalibrate_batch_norm(model, lambda model, batch: model(batch), batches)
    assert model[1].running_mean.item() == pytest.approx(2)
    assert model[1].running_var.item() == pytest.approx(2)
    assert model[1].momentum == 0.1
    assert not any(module.training for module in model.modules())


def test_only_batch_norm_has_statistics() -> None:
    """Group norm has none."""
    assert has_batch_norm(nn.Sequential(nn.BatchNorm2d(3)))
    assert not has_batch_norm(nn.Sequential(nn.GroupNorm(1, 3), nn.BatchNorm2d(3, track_running_stats=False)))
