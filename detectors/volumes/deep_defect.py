"""The deep defect detector: a three-dimensional U-Net, and a stage that refines its map at the borders of pores.

The refinement is that of deep image matting (four convolutions over the image and the first map, added to it), in
three dimensions. Fine-tuning trains it alone: `freeze: stem`.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from detectors.volumes.interface import VolumeModelConfig, VoxelNetwork
from detectors.volumes.layers import conv3
from detectors.volumes.unet3d import PlainUNet, UNet3DConfig, load_volume_weights


class DeepDefectConfig(VolumeModelConfig):
    """The `model` section of a deep defect detector."""

    name: Literal["deep_defect"] = Field(
        "deep_defect", description="The deep defect detector with its refinement stage."
    )
    widths: list[int] = Field([8, 16, 32, 64], min_length=2, max_length=6, description="Channels of the U-Net.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of channels dropped after each block.")
    refine_width: int = Field(16, ge=1, description="Channels of the refinement stage.")
    freeze: Literal["none", "stem"] = Field("none", description="stem: only the refinement stage is trained.")


class DeepDefectDetector(VoxelNetwork):
    """A U-Net whose logits go, with the image, through four convolutions that correct them."""

    def __init__(self, config: DeepDefectConfig) -> None:
        super().__init__(config)
        self.stem = PlainUNet(UNet3DConfig(widths=config.widths, dropout=config.dropout))
        width = config.refine_width
        self.refine = nn.Sequential(
            conv3(2, width), nn.ReLU(), conv3(width, width), nn.ReLU(), conv3(width, width), nn.ReLU(), conv3(width, 1)
        )
        for layer in self.refine[:-1]:
            if isinstance(layer, nn.Conv3d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(self.refine[-1].weight)  # the refined map starts as the first one
        nn.init.zeros_(self.refine[-1].bias)
        if config.freeze == "stem":
            self.stem.requires_grad_(False)

    def exits(self, volumes: Tensor) -> list[Tensor]:
        """Return the first map and the refined one."""
        first = self.stem.exits(volumes)[-1]
        both = torch.cat([volumes, first.sigmoid()[:, None].to(volumes.dtype)], dim=1)
        refined = first + self.refine(both)[:, 0]
        return [refined] if self.config.freeze == "stem" else [first, refined]


def build_deep_defect(config: DeepDefectConfig, num_classes: int) -> DeepDefectDetector:
    """Return a deep defect detector. Raises InputError as `load_volume_weights`."""
    model = DeepDefectDetector(config)
    load_volume_weights(model, config, num_classes)
    return model
