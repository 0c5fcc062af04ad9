"""The slice-wise detector: a two-dimensional U-Net swept along each of the three axes, joined by the maximum.

Strided convolutions take the place of pooling, as in the paper. Training patches are slices, [1, H, W] voxels.
"""

import itertools
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from data.errors import InputError
from detectors.volumes.interface import ConvolutionConfig, VoxelNetwork
from detectors.volumes.layers import activated, start_weights
from detectors.volumes.unet3d import load_volume_weights


class SliceUNetConfig(ConvolutionConfig):
    """The `model` section of a slice-wise U-Net."""

    name: Literal["slice_unet"] = Field(
        "slice_unet", description="A U-Net over slices along three axes, joined by the maximum."
    )
    widths: list[int] = Field([16, 32, 64, 128], min_length=2, max_length=6, description="Channels at each scale.")
    slices: int = Field(16, ge=1, description="Slices mapped at once.")


def _block(channels: int, width: int, norm: str, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        *activated(nn.Conv2d(channels, width, 3, stride, 1, padding_mode="replicate"), norm),
        *activated(nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate"), norm),
    )


class SliceUNet(VoxelNetwork):
    """A U-Net over slices; whole blocks are mapped in all three directions."""

    reach = "slice"

    def __init__(self, config: SliceUNetConfig) -> None:
        super().__init__(config)
        widths, self.slices = config.widths, config.slices
        self.stride = 2 ** (len(widths) - 1)
        self.down = nn.ModuleList(
            _block(before, width, config.norm, 1 if index == 0 else 2)
            for index, (before, width) in enumerate(zip([1, *widths[:-1]], widths, strict=True))
        )
        pairs = [*itertools.pairwise(widths)]
        self.thin = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in reversed(pairs))
        self.up = nn.ModuleList(_block(2 * fine, fine, config.norm) for fine, _ in reversed(pairs))
        self.head = nn.Conv2d(widths[0], 1, 1)
        start_weights(self, [self.head])

    def exits(self, volumes: Tensor) -> list[Tensor]:
        """Return logits [N, 1, H, W] of slices [N, 1, 1, H, W]. Raises InputError for thicker patches."""
        if volumes.shape[2] != 1:
            raise InputError(
                f"slice_unet is trained on slices; set data.volumes.crop.size to [1, 128, 128], not "
                f"{list(volumes.shape[2:])}"
            )
        return [self._logits(volumes[:, :, 0])[:, None]]

    def map_blocks(self, blocks: Tensor) -> Tensor:
        """Return the maximum over the three directions of slices, float32 [N, D, H, W]."""
        best = torch.zeros_like(blocks[:, 0], dtype=torch.float32)
        for axis in (2, 3, 4):
            turned = blocks.movedim(axis, 1)  # [N, slices, 1, H, W]
            flat = turned.reshape(-1, *turned.shape[2:])
            values = torch.cat([self._logits(part).float().sigmoid() for part in flat.split(self.slices)])
            best = torch.maximum(best, values.reshape(turned.shape[:2] + turned.shape[3:]).movedim(1, axis - 1))
        return best

    def _logits(self, slices: Tensor) -> Tensor:
        height, width = slices.shape[2:]
        features = F.pad(slices, (0, -width % self.stride, 0, -height % self.stride), mode="replicate")
        maps = []
        for step in self.down:
            features = step(features)
            maps.append(features)
        maps.pop()
        for thin, step in zip(self.thin, self.up, strict=True):
            raised = F.interpolate(thin(features), scale_factor=2, mode="bilinear", align_corners=False)
            features = step(torch.cat([raised, maps.pop()], dim=1))
        return self.head(features)[:, 0, :height, :width]


def build_slice_unet(config: SliceUNetConfig, num_classes: int) -> SliceUNet:
    """Return a slice-wise U-Net. Raises InputError as `load_volume_weights`."""
    model = SliceUNet(config)
    load_volume_weights(model, config, num_classes)
    return model
