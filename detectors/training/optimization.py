"""Parameter groups, optimizers, learning-rate schedules and averaged weights."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from detectors.config.experiment import ScheduleConfig, TrainConfig

Tensors = tuple[Tensor, ...] | list[Tensor]


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Return two groups: weights with decay; biases and normalization (one-dimensional) without.

    Frozen parameters are in neither.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]


def build_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """Return SGD with momentum or AdamW over the parameter groups."""
    groups = parameter_groups(model, config.weight_decay)
    if config.optimizer == "sgd":
        return SGD(groups, lr=config.lr, momentum=config.momentum)
    return AdamW(groups, lr=config.lr, betas=config.betas)


def learning_rate_factor(config: ScheduleConfig, total_steps: int) -> Callable[[int], float]:
    """Return the factor on the learning rate at a step: linear warm-up, then the chosen course."""

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / (config.warmup_steps + 1))
        if config.kind == "cosine":
            low = config.min_lr_factor
            done = min(1.0, step / max(1, total_steps))
            return warm * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * done)))
        if config.kind == "step":
            return warm * config.gamma ** sum(step >= milestone for milestone in config.milestones)
        return warm

    return factor


def build_schedule(optimizer: Optimizer, config: ScheduleConfig, total_steps: int) -> LambdaLR:
    """Return the schedule, stepped once an optimizer step."""
    return LambdaLR(optimizer, learning_rate_factor(config, total_steps))


def averaged_model(model: nn.Module, decay: float) -> AveragedModel:
    """Return an exponential moving average of the weights.

    The decay grows as (1 + n) / (10 + n) up to `decay`, so that the random start is forgotten in short runs.
    Statistics of batch norm are averaged likewise: those of the current weights would not fit averaged ones.
    """

    def average(averaged: Tensors, current: Tensors, n: Tensor | int) -> None:
        count = int(n)
        if not averaged[0].is_floating_point():  # batch norm counts its batches
            torch._foreach_copy_(averaged, current)
            return
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + count) / (10 + count)))

    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)
