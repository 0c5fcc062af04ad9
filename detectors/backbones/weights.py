"""Starting weights: none, ImageNet, COCO, or a checkpoint of this toolkit."""

import pickle
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision import models

from data.errors import InputError

# What torch.load raises for files that are empty, torn, or something else altogether.
UNREADABLE = (
    RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError, pickle.UnpicklingError,
)  # fmt: skip
IMAGENET = {
    "resnet18": models.ResNet18_Weights.IMAGENET1K_V1,
    "resnet34": models.ResNet34_Weights.IMAGENET1K_V1,
    "resnet50": models.ResNet50_Weights.IMAGENET1K_V1,
    "resnet101": models.ResNet101_Weights.IMAGENET1K_V1,
    "vgg16": models.VGG16_Weights.IMAGENET1K_V1,
}
FORMER_PARAMETERS = {
    "backbone.further.": "backbone.extra.",
    "heads.hidden.": "heads.head_convs.",
    "narrower.": "lateral.",
}
"""How names of parameters began in checkpoints of before, and how they begin now."""


def download(weights: models.WeightsEnum) -> dict[str, Tensor]:
    """Return torchvision's published state dict, from its cache or the network.

    Raises InputError when neither has it, naming the address and the folder where the file can be put by hand.
    """
    try:
        return weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (URLError, OSError, RuntimeError, HTTPException) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise InputError(
            f"weights {weights} could not be had from {weights.url} ({error}); connect to the network, put that "
            f"file into {folder}, or set model.weights=none or a checkpoint's path"
        ) from error


def load_imagenet(body: nn.Module, name: str) -> None:
    """Load ImageNet weights into a whole torchvision classification network, in place."""
    body.load_state_dict(download(IMAGENET[name]))


def read_checkpoint(path: Path) -> dict:
    """Return the checkpoint at `path`, a file or a run's folder (then its best.ckpt), on the CPU.

    Raises InputError for a missing file and for one that is not a checkpoint of this toolkit.
    """
    file = path / "best.ckpt" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{file}: no such checkpoint; give a .ckpt file or the folder of a run that has best.ckpt")
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{file}: not a readable checkpoint ({reason}); train again or copy it anew") from error
    fault = _fault_of(checkpoint)
    if fault is not None:
        raise InputError(f"{file}: no checkpoint of this toolkit: {fault}; give one that tools/train.py wrote")
    training = checkpoint.get("training")
    for section in (checkpoint, training) if isinstance(training, dict) else (checkpoint,):
        for key in ("model", "averaged"):
            if isinstance(section.get(key), Mapping):
                section[key] = {_present_name(name): value for name, value in section[key].items()}
    return checkpoint


def _fault_of(checkpoint: Any) -> str | None:
    """Return what is wrong with the outermost values of a checkpoint, None if they are as `save_checkpoint` writes."""
    if not isinstance(checkpoint, dict) or not {"model", "config", "categories"} <= checkpoint.keys():
        return "it lacks 'model', 'config' or 'categories'"
    state, config, categories = checkpoint["model"], checkpoint["config"], checkpoint["categories"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        return "'model' holds no weights by name"
    if not isinstance(config, Mapping) or not isinstance(config.get("model"), Mapping):
        return "'config' has no section 'model'"
    if not isinstance(categories, list) or not all(
        isinstance(c, Mapping) and isinstance(c.get("id"), int) and isinstance(c.get("name"), str) for c in categories
    ):
        return "'categories' is no list of ids and names"
    return None


def _present_name(name: str) -> str:
    """Return the name of a parameter as modules are called now; an averaged model's names begin with 'module.'."""
    outer = "module." if name.startswith("module.") else ""
    inner = name.removeprefix(outer)
    for former, present in FORMER_PARAMETERS.items():
        if inner.startswith(former):
            return outer + present + inner.removeprefix(former)
    return name


def load_compatible(model: nn.Module, path: Path, may_differ: tuple[str, ...]) -> list[str]:
    """Load a checkpoint's model into `model`, leaving out layers whose size depends on the number of classes.

    Args:
        model: changed in place.
        path: a checkpoint or a run's folder.
        may_differ: prefixes of parameter names that may differ in shape, such as the class predictor's.

    Returns:
        The names of the parameters left at their random start.

    Raises InputError when anything else is missing, left over or of another shape.

    """
    source: dict[str, Tensor] = read_checkpoint(path)["model"]
    target = model.state_dict()
    mismatched = sorted(
        name
        for name in source.keys() | target.keys()
        if name not in source or name not in target or source[name].shape != target[name].shape
    )
    wrong = [name for name in mismatched if not name.startswith(may_differ)]
    if wrong:
        raise InputError(
            f"{path}: {len(wrong)} of its parameters do not fit this model, the first is '{wrong[0]}'; "
            "use the model section of the configuration that it was trained with (its config.yaml)"
        )
    model.load_state_dict({k: v for k, v in source.items() if k not in mismatched}, strict=False)
    return mismatched
