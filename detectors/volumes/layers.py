"""Layers of the three-dimensional U-Nets of Iuso et al. (2024): blocks, here with a choice of norm, and exits."""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.volumes.interface import DEFECT_SHARE

SLOPE = 0.01  # of leaky ReLU below 0


class Block(nn.Sequential):
    """Two convolutions of 3 voxels with leaky ReLU, edges repeated, then dropout of whole channels.

    With `norm` batch, each convolution is followed by batch norm.
    """

    def __init__(self, channels: int, width: int, dropout: float, norm: str = "none") -> None:
        super().__init__(
            *activated(conv3(channels, width), norm), *activated(conv3(width, width), norm),
            nn.Dropout3d(dropout) if dropout else nn.Identity(),
        )  # fmt: skip


class Join(nn.Module):
    """A step up: the coarse map enlarged and thinned to the width of the finer ones, joined with them, a block."""

    def __init__(self, coarse: int, finer: int, width: int, dropout: float, norm: str = "none") -> None:
        super().__init__()
        self.thin = nn.Conv3d(coarse, width, 1)
        self.block = Block(width + finer, width, dropout, norm)

    def forward(self, coarse: Tensor, *finer: Tensor) -> Tensor:
        """Return [N, width, D, H, W] of the size of `finer`."""
        # A convolution of one voxel and the enlargement commute; thinned first, there is less to enlarge.
        return self.block(torch.cat([enlarge(self.thin(coarse), 2), *finer], dim=1))


def activated(layer: nn.Conv2d | nn.Conv3d, norm: str) -> list[nn.Module]:
    """Return a convolution, its norm ("none" or "batch") and leaky ReLU."""
    if norm == "none":
        return [layer, nn.LeakyReLU(SLOPE)]
    norms = nn.BatchNorm2d if isinstance(layer, nn.Conv2d) else nn.BatchNorm3d
    return [layer, norms(layer.out_channels), nn.LeakyReLU(SLOPE)]


def conv3(channels: int, width: int) -> nn.Conv3d:
    """Return a convolution of 3 x 3 x 3 that keeps the size by repeating edge voxels."""
    return nn.Conv3d(channels, width, 3, padding=1, padding_mode="replicate")


def enlarge(features: Tensor, factor: int) -> Tensor:
    """Return maps `factor` times as large, trilinear between voxels."""
    if factor == 1:
        return features
    return F.interpolate(features, scale_factor=factor, mode="trilinear", align_corners=False)


def pad_to_multiple(volumes: Tensor, stride: int) -> Tensor:
    """Return volumes [N, 1, D, H, W] continued by their edge voxels to multiples of `stride`."""
    missing = [-length % stride for length in volumes.shape[2:]]
    if not any(missing):
        return volumes
    return F.pad(volumes, (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")


def start_weights(network: nn.Module, heads: Iterable[nn.Conv2d | nn.Conv3d]) -> None:
    """Draw starting weights that keep the variance of the signal, and set the heads so that few voxels are pores.

    Where there is no norm and weights are smaller, torch's own, the signal fades from layer to layer, and a training
    takes hundreds of steps to start.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, a=SLOPE, nonlinearity="leaky_relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for head in heads:
        start_head(head)


def start_head(head: nn.Conv2d | nn.Conv3d) -> None:
    """Set the weights of a convolution that gives logits so that few voxels are pores."""
    nn.init.normal_(head.weight, std=1e-2)
    if head.bias is not None:
        nn.init.constant_(head.bias, math.log(DEFECT_SHARE / (1 - DEFECT_SHARE)))
