"""ACC-U-Net in three dimensions: blocks that look far, links that exchange what they hold, channels that are weighed.

After Ibtehaz and Kihara (2023), "ACC-UNet: a completely convolutional UNet model for the 2020s", as Iuso et al. (2024)
use it for pores. Blocks look at means and maxima of ever larger neighborhoods (HANC), links from encoder to decoder
exchange what the four scales found (MLFC). Much memory: for a GPU, or for small widths.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from detectors.volumes.interface import SupervisedConfig, VoxelNetwork
from detectors.volumes.layers import SLOPE, pad_to_multiple, start_head
from detectors.volumes.unet3d import load_volume_weights

REDUCTION = 8
"""Channels over those that the squeeze-and-excitation sees."""

WIDENING = 3
"""Channels inside of a block over those that come in."""

WIDE_BLOCK = 34
"""The same of one decoder block: the published code has it, and the published number of parameters is with it."""

PATHS = (4, 3, 2, 1)
"""Convolutions on the link of each scale, fine to coarse."""

EXCHANGES = 3


class ACCUNetConfig(SupervisedConfig):
    """The `model` section of an ACC-U-Net of five scales; the paper's width is 16."""

    name: Literal["acc_unet"] = Field("acc_unet", description="ACC-U-Net, with an exit at three scales of the decoder.")
    width: int = Field(16, description="Channels at the finest scale, a multiple of 8; they double at each scale.")

    @field_validator("width")
    @classmethod
    def _multiple(cls, value: int) -> int:
        if value < REDUCTION or value % REDUCTION:
            raise ValueError(f"width is a multiple of {REDUCTION}, not {value}")
        return value


class Excite(nn.Module):
    """Squeeze and excitation: channels weighed by what all of them average to, then batch norm and leaky ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // REDUCTION)
        self.excite = nn.Linear(channels // REDUCTION, channels)
        self.norm = nn.BatchNorm3d(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Return [N, C, D, H, W] of the same size."""
        weights = self.excite(_act(self.squeeze(features.mean(dim=(2, 3, 4))))).sigmoid()
        return _act(self.norm(features * weights[:, :, None, None, None]))


class Neighborhood(nn.Module):
    """Each voxel beside the mean and the maximum of cubes of 2, 4 ... 2^(levels - 1) voxels around it, then mixed."""

    def __init__(self, channels: int, width: int, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.mix = nn.Conv3d((2 * levels - 1) * channels, width, 1)
        self.norm = nn.BatchNorm3d(width)

    def forward(self, features: Tensor) -> Tensor:
        """Return [N, width, D, H, W]; sides are multiples of 2^(levels - 1)."""
        sides = [2**level for level in range(1, self.levels)]
        seen = [features]
        for pool in (F.avg_pool3d, F.max_pool3d):
            seen += [F.interpolate(pool(features, side), scale_factor=side, mode="nearest") for side in sides]
        return _act(self.norm(self.mix(torch.cat(seen, dim=1))))


class HANCBlock(nn.Module):
    """Widened, smoothed channel by channel, mixed with the neighborhood, added to what came in, and weighed."""

    def __init__(self, channels: int, width: int, levels: int, widening: int = WIDENING) -> None:
        super().__init__()
        wide = channels * widening
        self.widen = nn.Sequential(nn.Conv3d(channels, wide, 1), nn.BatchNorm3d(wide), nn.LeakyReLU(SLOPE))
        self.smooth = nn.Sequential(
            nn.Conv3d(wide, wide, 3, padding=1, groups=wide), nn.BatchNorm3d(wide), nn.LeakyReLU(SLOPE)
        )
        self.neighborhood = Neighborhood(wide, channels, levels)
        self.norm = nn.BatchNorm3d(channels)
        self.out = nn.Sequential(nn.Conv3d(channels, width, 1), nn.BatchNorm3d(width), nn.LeakyReLU(SLOPE))
        self.excite = Excite(width)

    def forward(self, features: Tensor) -> Tensor:
        """Return [N, width, D, H, W]."""
        found = self.neighborhood(self.smooth(self.widen(features)))
        return self.excite(self.out(self.norm(found + features)))


class ResidualPath(nn.Module):
    """Convolutions on a link, each added to what came in."""

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(channels, channels, 3, padding=1), nn.BatchNorm3d(channels), nn.LeakyReLU(SLOPE),
                Excite(channels),
            ) for _ in range(length)
        )  # fmt: skip
        self.out = nn.Sequential(nn.BatchNorm3d(channels), nn.LeakyReLU(SLOPE), nn.BatchNorm3d(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Return [N, C, D, H, W]."""
        for step in self.steps:
            features = features + step(features)
        found: Tensor = self.out(features)
        return found


class Exchange(nn.Module):
    """Each of four scales mixed with all of them, brought to its size, and added to what it was (MLFC)."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.gather = nn.ModuleList(_mix(sum(widths), width) for width in widths)
        self.gather_norms = nn.ModuleList(nn.BatchNorm3d(width) for width in widths)
        self.merge = nn.ModuleList(_mix(2 * width, width) for width in widths)
        self.merge_norms = nn.ModuleList(nn.BatchNorm3d(width) for width in widths)
        self.excite = nn.ModuleList(Excite(width) for width in widths)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the maps [N, C, D, H, W] of each scale, fine to coarse."""
        found = []
        for scale, features in enumerate(maps):
            around = torch.cat([_resized(other, row - scale) for row, other in enumerate(maps)], dim=1)
            gathered = _act(self.gather_norms[scale](self.gather[scale](around)))
            merged = self.merge[scale](torch.cat([gathered, features], dim=1))
            found.append(self.excite[scale](_act(self.merge_norms[scale](merged + features))))
        return found


def _mix(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(channels, width, 1), nn.BatchNorm3d(width), nn.LeakyReLU(SLOPE), Excite(width)
    )  # fmt: skip


def _act(features: Tensor) -> Tensor:
    return F.leaky_relu(features, SLOPE)


def _resized(features: Tensor, steps: int) -> Tensor:
    """Return maps of a scale `steps` coarser brought to a finer one, or of a finer one (negative) averaged."""
    if steps > 0:
        return F.interpolate(features, scale_factor=2**steps, mode="nearest")
    return F.avg_pool3d(features, 2**-steps) if steps else features


class ACCUNet(VoxelNetwork):
    """Encoder and decoder of HANC blocks, their links exchanged three times, and an exit at three scales."""

    def __init__(self, config: ACCUNetConfig) -> None:
        super().__init__(config)
        widths = [config.width * 2**scale for scale in range(5)]
        levels = (3, 3, 3, 2, 1)
        self.down = nn.ModuleList(
            nn.Sequential(HANCBlock(before, width, level), HANCBlock(width, width, level))
            for before, width, level in zip([1, *widths[:-1]], widths, levels, strict=True)
        )
        self.paths = nn.ModuleList(
            ResidualPath(width, length) for width, length in zip(widths[:-1], PATHS, strict=True)
        )
        self.exchanges = nn.ModuleList(Exchange(widths[:-1]) for _ in range(EXCHANGES))
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose3d(2 * width, width, 2, stride=2) for width in reversed(widths[:-1])
        )
        self.up = nn.ModuleList(
            nn.Sequential(
                HANCBlock(2 * width, width, level),
                HANCBlock(width, width, level, WIDE_BLOCK if width == widths[2] else WIDENING),
            )
            for width, level in zip(reversed(widths[:-1]), reversed(levels[:-1]), strict=True)
        )
        heads = [nn.Conv3d(width, 1, 1) for width in reversed(widths[:3])]
        for head in heads:
            start_head(head)
        self.heads = nn.ModuleList(heads)

    def exits(self, volumes: Tensor) -> list[Tensor]:
        """Return the logits of each exit [N, D, H, W], coarse to fine, of volumes [N, 1, D, H, W] of any size."""
        size = volumes.shape[2:]
        maps = []
        features = pad_to_multiple(volumes, 16)
        for scale, block in enumerate(self.down):
            features = block(F.max_pool3d(features, 2) if scale else features)
            maps.append(features)
        links = [path(found) for path, found in zip(self.paths, maps[:-1], strict=True)]
        for exchange in self.exchanges:
            links = exchange(links)
        logits = []
        for index, (enlarge, block, link) in enumerate(zip(self.enlarge, self.up, reversed(links), strict=True)):
            features = block(torch.cat([enlarge(features), link], dim=1))
            if index:
                exit_ = F.interpolate(self.heads[index - 1](features), scale_factor=2 ** (3 - index), mode="nearest")
                logits.append(exit_[:, 0, : size[0], : size[1], : size[2]])
        return logits


def build_acc_unet(config: ACCUNetConfig, num_classes: int) -> ACCUNet:
    """Return an ACC-U-Net. Raises InputError as `load_volume_weights`."""
    model = ACCUNet(config)
    load_volume_weights(model, config, num_classes)
    return model
