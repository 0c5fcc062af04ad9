"""Checkpoints: everything that prediction needs, and everything that resuming needs, in one file."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data.errors import InputError
from data.files import atomic_path
from data.records import Category
from detectors.backbones.checkpoint_file import read_checkpoint
from detectors.build import build_model
from detectors.config.experiment import ExperimentConfig
from detectors.config.files import Layer, check_config
from detectors.schema import ModelSection

VERSION = 1


def save_checkpoint(
    path: Path,
    model: nn.Module,
    config: ExperimentConfig,
    categories: list[Category],
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
        metrics: validation metrics at this epoch.
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
    with atomic_path(path, durable=True) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # what torch makes of a full disk
            raise InputError(f"{path}: cannot be written, most likely because the disk is full; make room") from error


def load_model(path: Path) -> tuple[nn.Module, ExperimentConfig, list[Category]]:
    """Return the model of a checkpoint or run folder in evaluation mode, its configuration and categories.

    Raises InputError for a missing or foreign file, and for weights that do not fit their configuration.
    """
    checkpoint = read_checkpoint(path)
    return model_of(path, checkpoint), checkpoint_config(path, checkpoint), checkpoint["categories"]


def model_of(path: Path, checkpoint: dict[str, Any]) -> nn.Module:
    """Return the model of a checkpoint that was read from `path`, in evaluation mode.

    Raises InputError for weights that do not fit their configuration.
    """
    config = checkpoint_config(path, checkpoint)
    # The starting weights are in the checkpoint already: nothing is downloaded again.
    section, classes = config.model.without_weights(), len(checkpoint["categories"])
    _check_shapes(path, section, classes, checkpoint["model"])
    model = build_model(section, classes)
    model.load_state_dict(checkpoint["model"])
    # Convolutions in this layout are about a fifth faster on a CPU.
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this one
    return model.eval()


def checkpoint_config(path: Path, checkpoint: dict[str, Any]) -> ExperimentConfig:
    """Return the configuration of a checkpoint read from `path`. Raises InputError where it is invalid."""
    return check_config(checkpoint["config"], [Layer(f"{path}: its configuration", checkpoint["config"])])


def _check_shapes(path: Path, section: ModelSection, classes: int, weights: dict[str, Tensor]) -> None:
    """Raise InputError for weights that are not those of the layers that their configuration describes.

    The layers are made without memory first: a configuration that was tampered with may describe any size.
    """
    try:
        with torch.device("meta"):
            layers = build_model(section, classes).state_dict()
        first = next((n for n in layers.keys() | weights.keys() if not _equal(layers.get(n), weights.get(n))), None)
        issue = f"'{first}' differs" if first else None
    except (RuntimeError, TypeError, ValueError, ArithmeticError, MemoryError) as error:
        issue = " ".join(str(error).split())[:200]
    if issue:
        raise InputError(
            f"{path}: its weights do not fit the {section.name} that its configuration describes ({issue}); it is "
            "of another version of this toolkit: train again"
        )


def _equal(layer: Tensor | None, weight: Tensor | None) -> bool:
    return layer is not None and weight is not None and layer.shape == weight.shape and layer.dtype == weight.dtype
