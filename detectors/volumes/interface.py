"""What every model of volumes is, to the loop, to prediction and to evaluation."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from data.errors import InputError
from detectors.schema import ModelSection
from detectors.segmentation.losses import SegmentationLossConfig, segmentation_losses

DEFECT_SHARE = 0.02
"""Share of pore voxels that a new network starts from: at 0.5 the first steps only learn that pores are rare."""


class VolumeModelConfig(ModelSection):
    """The part of a `model` section that all models of volumes share.

    Whole volumes are mapped in cubes of `block` voxels a side, of which neighbors share at least `overlap`, `batch`
    at a time.
    """

    task: ClassVar[str] = "volumes"

    block: int = Field(64, ge=8, description="Side of the cubes in voxels that a volume is mapped in.")
    overlap: int = Field(16, ge=0, description="Voxels that neighboring cubes share at least.")
    batch: int = Field(1, ge=1, description="Cubes mapped at once.")

    @model_validator(mode="after")
    def _overlap_fits(self) -> "VolumeModelConfig":
        if self.overlap >= self.block:
            raise ValueError(f"overlap ({self.overlap}) must be under block ({self.block})")
        return self


class SupervisedConfig(VolumeModelConfig):
    """The part of a `model` section that networks which learn from masks share.

    `loss` is that of one map; networks with several exits weight them 1, 1/2, 1/4 ... from the last.
    """

    loss: SegmentationLossConfig = Field(
        SegmentationLossConfig(), description="What is minimized, and how rare pores are weighed."
    )

    @model_validator(mode="before")
    @classmethod
    def _nothing_to_process(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "post_processing" in values:
            raise ValueError(f"model '{values.get('name')}' reconstructs nothing, so that there is nothing to "
                             "post-process; leave out post_processing, or choose an autoencoder")  # fmt: skip
        return values


class UnsupervisedConfig(VolumeModelConfig):
    """The part of a `model` section that models without masks share; the `loss` that they once had did nothing."""

    @model_validator(mode="before")
    @classmethod
    def _without_loss(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if k != "loss"} if isinstance(values, Mapping) else values


class ConvolutionConfig(SupervisedConfig):
    """The part of a `model` section that networks of plain convolutions share."""

    norm: Literal["none", "batch"] = Field(
        "none", description="Normalization behind each convolution; the papers have none, and learn many times slower."
    )


@runtime_checkable
class VolumeModel(Protocol):
    """A model of volumes.

    In training, `model(volumes float32 [N, 1, D, H, W], masks uint8 [N, D, H, W])` returns losses to be summed; gray
    values have air at 0 and metal at 1, masks are 1 on pores and `IGNORED` (255) where nobody knows.
    """

    config: VolumeModelConfig

    def map_blocks(self, blocks: Tensor) -> Tensor:
        """Return the pore probability of every voxel, float32 [N, D, H, W], of blocks [N, 1, D, H, W]."""
        ...


class VoxelNetwork(nn.Module):
    """Base of the networks: losses in training and probabilities in evaluation, from the logits of its exits.

    A network of its own defines `exits`, logits [N, D, H, W] at full resolution, the last of them the best.
    """

    reach: Literal["volume", "slice"] = "volume"

    def __init__(self, config: VolumeModelConfig) -> None:
        super().__init__()
        self.config = config

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the network as `torch.nn.Module.to`; the layout of pictures becomes that of volumes.

        A step on a CPU takes 0.7 of the time of the usual layout.
        """
        if kwargs.get("memory_format") is torch.channels_last and self.reach == "volume":
            kwargs["memory_format"] = torch.channels_last_3d
        return super().to(*args, **kwargs)

    def exits(self, volumes: Tensor) -> list[Tensor]:
        """Return the logits of each exit, coarse to fine."""
        raise NotImplementedError

    def forward(self, volumes: Tensor, masks: Tensor | None = None) -> dict[str, Tensor] | Tensor:
        """Return losses in training, probabilities [N, D, H, W] in evaluation. Raises InputError for odd shapes."""
        check_volumes(volumes)
        if not self.training:
            return self.map_blocks(volumes)
        if masks is None or masks.shape != volumes.shape[:1] + volumes.shape[2:]:
            raise InputError(
                f"training takes volumes [N, 1, D, H, W] and masks [N, D, H, W] of equal size; these are "
                f"{tuple(volumes.shape)} and {None if masks is None else tuple(masks.shape)}"
            )
        assert isinstance(self.config, SupervisedConfig)
        return supervised_losses(self.exits(volumes), masks, self.config.loss)

    def map_blocks(self, blocks: Tensor) -> Tensor:
        """Return the pore probability of every voxel, float32 [N, D, H, W]."""
        return self.exits(blocks)[-1].float().sigmoid()


def supervised_losses(exits: list[Tensor], masks: Tensor, config: SegmentationLossConfig) -> dict[str, Tensor]:
    """Return the losses of all exits by name, averaged with the weights 1, 1/2, 1/4 ... from the last exit on."""
    weights = [0.5**k for k in range(len(exits))]
    total: dict[str, Tensor] = {}
    for weight, logits in zip(weights, reversed(exits), strict=True):
        for name, value in segmentation_losses(logits, masks, config).items():
            share = value * (weight / sum(weights))
            total[name] = total[name] + share if name in total else share
    return total


def check_volumes(volumes: Tensor) -> None:
    """Raise InputError for what is not float [N, 1, D, H, W]."""
    if volumes.dim() != 5 or volumes.shape[1] != 1 or not torch.is_floating_point(volumes):
        raise InputError(f"volumes are float [N, 1, D, H, W] with one gray channel; this is {tuple(volumes.shape)}, "
                         f"{volumes.dtype}")  # fmt: skip
