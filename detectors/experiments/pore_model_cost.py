"""What models of volumes cost: parameters, multiply-adds, memory and time a patch, and the whole protocol as published.

Counts come from layers without memory (PyTorch's meta device), so that those of any size are had at once. The time at
another size is that measured here, times the ratio of multiply-adds.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from detectors.build import build_model
from detectors.config.files import read_config
from detectors.config.volume_sources import volume_entries
from detectors.experiments.pore_model_plan import AUTOENCODERS, Plan, jobs_of, section_of
from detectors.schema import ModelSection
from detectors.volumes.interface import VolumeModelConfig, VoxelNetwork
from detectors.volumes.vae.interface import VolumeAutoencoder

PASSES = 3
"""Multiply-adds of a training step over those of a forward pass: the backward pass takes twice as many."""

PUBLISHED_TRAINING = 200 * 4 * 2
"""Patches of a training as published: at most 200 epochs of 2 patches from each of 4 volumes."""

PUBLISHED_MAPPING = 24 * 24 * 62 + 29**3
"""Patches of mapping a validation volume of 800 x 800 x 2000 voxels and a cube of 9 mm, half overlapping."""

PUBLISHED_FOLDS = 5


@dataclass(frozen=True)
class Size:
    """A model's `parameters`, `multiply_adds` of a patch, and bytes `kept` for the backward pass of a patch."""

    block: int
    parameters: int
    multiply_adds: int
    kept: int


@dataclass(frozen=True)
class Cost:
    """What a model costs, at its size here and as published; `step` and `forward` are seconds a patch, here."""

    model: str
    here: Size
    published: Size
    step: float
    forward: float

    @property
    def published_seconds(self) -> float:
        """Seconds, on this machine, of one training and its mapping at the published size."""
        each = self.published.multiply_adds / self.here.multiply_adds
        patches = PUBLISHED_TRAINING * self.step + PUBLISHED_MAPPING * self.forward
        return each * patches


def published_section(model: str) -> ModelSection:
    """Return the `model` section of an autoencoder or network at the published size."""
    if model in AUTOENCODERS:
        small = type(read_config(f"ct_{model}").model)
        return small(name=model)  # defaults are the published sizes
    if model == "acc":
        return read_config("am_acc_unet").model
    return read_config("am_unet_plus_plus", [f"model.variant={model}"]).model


def size_of(section: ModelSection) -> Size:
    """Return the size of a model, without making its weights."""
    assert isinstance(section, VolumeModelConfig)
    with torch.device("meta"):
        model = build_model(section, 1)
        patch = torch.zeros(1, 1, *(section.block,) * 3)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        _forward(model.eval(), patch)
    seen: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            seen[id(tensor.untyped_storage())] = tensor.untyped_storage().nbytes()
            alive.append(tensor)
        return tensor

    alive: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _forward(model.train(), patch)
    parameters = sum(p.numel() for p in model.parameters())
    return Size(section.block, parameters, counter.get_total_flops() // 2, sum(seen.values()))


def _forward(model: nn.Module, patch: Tensor) -> Any:
    """Run what a step of training runs before its backward pass, less the loss of masks."""
    if isinstance(model, VolumeAutoencoder):
        return model.autoencoder_losses(patch) if model.training else model.reconstruct(patch)
    assert isinstance(model, VoxelNetwork)
    return model.exits(patch)


def costs(plan: Plan, repeats: int = 2, batch: int = 8) -> list[Cost]:
    """Return the cost of each model of a plan; a few steps of each are timed here."""
    found = []
    for name in (*plan.autoencoders, *plan.nets):
        section = section_of(plan, name)
        step, forward = _seconds(section, repeats, batch)
        found.append(Cost(name, size_of(section), size_of(published_section(name)), step, forward))
    return found


def _seconds(section: ModelSection, repeats: int, batch: int) -> tuple[float, float]:
    """Return the seconds a patch of a training step, optimizer included, and of a forward pass; the least of some."""
    assert isinstance(section, VolumeModelConfig)
    with _seed():
        model = build_model(section, 1)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        side = section.block if isinstance(model, VolumeAutoencoder) else min(section.block, 32)
        patches = torch.rand(batch, 1, side, side, side)
        masks = (patches[:, 0] > 0.9).to(torch.uint8)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
        steps, forwards = [], []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            losses = model.train()(patches, masks)
            sum(losses.values()).backward()
            optimizer.step()
            optimizer.zero_grad()
            steps.append(time.perf_counter() - start)
            start = time.perf_counter()
            with torch.inference_mode():
                model.eval()(patches)
            forwards.append(time.perf_counter() - start)
    scale = (section.block / side) ** 3 / batch
    return min(steps) * scale, min(forwards) * scale


@contextlib.contextmanager
def _seed() -> Iterator[None]:
    """Leave the random numbers of a training as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def published_hours(found: list[Cost], plan: Plan) -> dict[str, float]:
    """Return the hours of this machine that all trainings of each model would take at the published size."""
    trainings = {cost.model: 0 for cost in found}
    for job in jobs_of(plan):
        trainings[job.model] += 1
    shares = {model: count / (plan.folds * plan.seeds) for model, count in trainings.items()}
    return {cost.model: PUBLISHED_FOLDS * shares[cost.model] * cost.published_seconds / 3600 for cost in found}


def planned_seconds(found: list[Cost], plan: Plan) -> float:
    """Return the seconds of this machine that the steps of all trainings of a plan take, less evaluation."""
    step = {cost.model: cost.step for cost in found}
    total = 0.0
    for job in jobs_of(plan):
        config = plan.autoencoder if job.labels is None else plan.net
        parts = sum(len(volume_entries(source)) for source in plan.net.data.train) - 1
        samples = (config.train.samples_per_epoch or 64 * parts) * config.train.epochs
        crop = float(np.prod(config.data.volumes.crop.sides)) / section_block(plan, job.model) ** 3
        total += samples * crop * step[job.model]
    return total


def section_block(plan: Plan, model: str) -> int:
    """Return the side of a model's block in voxels."""
    section = section_of(plan, model)
    assert isinstance(section, VolumeModelConfig)
    return section.block
