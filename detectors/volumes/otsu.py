"""Algorithm 1 as a model without training, so that it is evaluated and used as the networks are."""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from data.errors import InputError
from data.volumes.otsu import OtsuRule
from detectors.volumes.interface import UnsupervisedConfig


class OtsuConfig(UnsupervisedConfig):
    """The `model` section of pores by two of Otsu's thresholds (Iuso et al. 2024, Algorithm 1)."""

    name: Literal["otsu"] = Field("otsu", description="Two of Otsu's thresholds, without training.")
    rule: OtsuRule = Field(OtsuRule(), description="The paper's rule, or options that close its two traps.")


class OtsuModel(nn.Module):
    """Nothing to train: `detectors.volumes.inference.map_volume` applies the rule to the whole volume."""

    def __init__(self, config: OtsuConfig) -> None:
        super().__init__()
        self.config = config

    def map_blocks(self, blocks: Tensor) -> Tensor:
        """Raise InputError: thresholds are those of a whole volume."""
        raise InputError("otsu works on whole volumes, not on blocks")

    def forward(self, volumes: Tensor, masks: Tensor | None = None) -> Tensor:
        """Raise InputError: there is nothing to train."""
        raise InputError("otsu has nothing to train; evaluate it with the command eval, or use analyze-pores --otsu")


def build_otsu(config: OtsuConfig, num_classes: int) -> OtsuModel:
    """Return the model. Raises InputError for more than one class."""
    if num_classes != 1:
        raise InputError(f"otsu tells pores from the rest, and the data has {num_classes} categories; merge them")
    return OtsuModel(config)
