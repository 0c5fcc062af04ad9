"""Checkpoints: everything that prediction needs, and everything that resuming needs, in one file."""

import random
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data.errors import InputError
from data.files import atomic_path
from detectors.backbones.weights import read_checkpoint
from detectors.build import build_model
from detectors.config.experiment import ExperimentConfig
from detectors.config.files import check_config

VERSION = 1


def save_checkpoint(
    path: Path,
    model: nn.Module,
    config: ExperimentConfig,
    categories: list[dict],
    epoch: int,
    metrics: dict[str, float | None],
    training: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint atomically.

    Args:
        path: the file, `last.ckpt` or `best.ckpt` of a run's folder.
        model: the weights to predict with (the averaged ones if there are any).
        config: the resolved configuration; its `data.window` is the preprocessing that prediction repeats.
        categories: COCO categories; label k of the model is the k-th of them.
        epoch: epochs done.
        metrics: validation figures at this epoch.
        training: what resuming needs besides; see `detectors.training.loop`.

    """
    state = {
        "version": VERSION,
        "model": model.state_dict(),
        "config": config.as_dict(),
        "categories": categories,
        "epoch": epoch,
        "metrics": metrics,
        "training": training,
    }
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def load_model(path: Path) -> tuple[nn.Module, ExperimentConfig, list[dict]]:
    """Return the model of a checkpoint or run folder in evaluation mode, its configuration and categories.

    Raises InputError for a missing or foreign file, and for weights that do not fit their configuration.
    """
    checkpoint = read_checkpoint(path)
    config = check_config(checkpoint["config"])
    # The starting weights are in the checkpoint already: nothing is downloaded again.
    model = build_model(config.model.without_weights(), len(checkpoint["categories"]))
    try:
        model.load_state_dict(checkpoint["model"])
    except RuntimeError as error:
        raise InputError(
            f"{path}: its weights do not fit the {config.model.name} that its configuration describes "
            f"({str(error).splitlines()[-1].strip()}); it is of another version of this toolkit: train again"
        ) from error
    # Convolutions in this layout are about a fifth faster on a CPU.
    return model.to(memory_format=torch.channels_last).eval(), config, checkpoint["categories"]


def random_states() -> dict[str, Any]:
    """Return the states of the generators that models draw on, in types that `weights_only` loading allows.

    Samples need none: each is drawn from (seed, epoch, index).
    """
    return {
        "python": random.getstate(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Put the generators back to `random_states`."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"][: torch.cuda.device_count()])
