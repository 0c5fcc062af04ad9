"""The deep defect detector: a three-dimensional U-Net, and a stage that refines its map at the borders of pores.

The refinement is that of deep image matting (four convolutions over the image and the first map, added to it), in
three dimensions. Fine-tuning trains it alone: `freeze: stem`.
"""

from typing import Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from detectors.volumes.interface import ConvolutionConfig, VoxelNetwork
from detectors.volumes.layers import conv3
from detectors.volumes.unet3d import PlainUNet, UNet3DConfig, load_volume_weights


class DeepDefectConfig(ConvolutionConfig):
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
        self.stem = PlainUNet(UNet3DConfig(widths=config.widths, dropout=config.dropout, norm=config.norm))
        width = config.refine_width
        first, second, third, last = (
            conv3(channels, out) for channels, out in ((2, width), (width, width), (width, width), (width, 1))
        )
        self.refine = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third, nn.ReLU(), last)
        for layer in (first, second, third):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        for parameter in last.parameters():
            nn.init.zeros_(parameter)  # the refined map starts as the first one
        self.stem_is_frozen = config.freeze == "stem"
        if self.stem_is_frozen:
            self.stem.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set the mode as `torch.nn.Module.train`; a frozen stem keeps its batch statistics."""
        super().train(mode)
        if self.stem_is_frozen:
            self.stem.eval()
        return self

    def exits(self, volumes: Tensor) -> list[Tensor]:
        """Return the first map and the refined one."""
        first = self.stem.exits(volumes)[-1]
        both = torch.cat([volumes, first.sigmoid()[:, None].to(volumes.dtype)], dim=1)
        refined = first + self.refine(both)[:, 0]
        return [refined] if self.stem_is_frozen else [first, refined]


def build_deep_defect(config: DeepDefectConfig, num_classes: int) -> DeepDefectDetector:
    """Return a deep defect detector. Raises InputError as `load_volume_weights`."""
    model = DeepDefectDetector(config)
    load_volume_weights(model, config, num_classes)
    return model
