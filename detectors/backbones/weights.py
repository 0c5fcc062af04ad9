"""Starting weights: none, ImageNet, COCO, or a checkpoint of this toolkit."""

from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision import models

from data.errors import InputError
from detectors.backbones.checkpoint_file import read_checkpoint

IMAGENET = {
    "resnet18": models.ResNet18_Weights.IMAGENET1K_V1,
    "resnet34": models.ResNet34_Weights.IMAGENET1K_V1,
    "resnet50": models.ResNet50_Weights.IMAGENET1K_V1,
    "resnet101": models.ResNet101_Weights.IMAGENET1K_V1,
    "vgg16": models.VGG16_Weights.IMAGENET1K_V1,
}


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
