"""From the `model` section of a configuration to a model: one line a detector."""

from collections.abc import Callable

from torch import nn

from detectors.faster_rcnn import FasterRCNNConfig, build_faster_rcnn
from detectors.schema import ModelSection

MODELS: dict[str, tuple[type[ModelSection], Callable[..., nn.Module]]] = {
    "faster_rcnn": (FasterRCNNConfig, build_faster_rcnn),
}


def build_model(config: ModelSection, num_classes: int) -> nn.Module:
    """Return the model that a `model` section describes, with its starting weights.

    Args:
        config: one of the classes in `MODELS`.
        num_classes: foreground classes; background is the model's own affair.

    """
    _, build = MODELS[config.name]
    return build(config, num_classes)
