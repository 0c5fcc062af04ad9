"""Three-dimensional U-Nets: the plain one, with exits at each scale, nested (U-Net++) and fully linked (U-Net 3+).

After Iuso et al. (2024), "Voxel-wise segmentation for porosity investigation of additive manufactured parts ...". The
numbers of parameters at the widths 16-32-64-128 are those of their Table 8.
"""

import itertools
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from data.errors import InputError
from detectors.backbones.weights import load_compatible
from detectors.volumes.interface import ConvolutionConfig, VolumeModelConfig, VoxelNetwork
from detectors.volumes.layers import SLOPE, Block, Join, conv3, enlarge, pad_to_multiple, start_weights

Variant = Literal["unet", "mss", "plus_plus", "three_plus"]


class UNet3DConfig(ConvolutionConfig):
    """The `model` section of a three-dimensional U-Net; the paper's widths are 16, 32, 64, 128."""

    name: Literal["unet3d"] = Field("unet3d", description="A U-Net over blocks of a volume, and its relatives.")
    variant: Variant = Field(
        "unet", description="unet; mss: an exit at each scale; plus_plus: U-Net++; three_plus: U-Net 3+."
    )
    widths: list[int] = Field([8, 16, 32, 64], min_length=2, max_length=6, description="Channels at each scale.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of channels dropped after each block; the paper: 0.1.")


class Encoder(nn.Module):
    """Blocks at falling resolution, halved by average pooling."""

    def __init__(self, widths: list[int], dropout: float, norm: str) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(before, width, dropout, norm) for before, width in zip([1, *widths[:-1]], widths, strict=True)
        )

    def forward(self, volumes: Tensor) -> list[Tensor]:
        """Return the maps of each scale, fine to coarse."""
        maps, features = [], volumes
        for index, block in enumerate(self.blocks):
            features = block(F.avg_pool3d(features, 2) if index else features)
            maps.append(features)
        return maps


class UNet3D(VoxelNetwork):
    """Base of the variants: an encoder, and logits at the size of the input."""

    def __init__(self, config: UNet3DConfig) -> None:
        super().__init__(config)
        self.encoder = Encoder(config.widths, config.dropout, config.norm)
        self.stride = 2 ** (len(config.widths) - 1)

    def exits(self, volumes: Tensor) -> list[Tensor]:
        """Return the logits of each exit [N, D, H, W], coarse to fine, of volumes [N, 1, D, H, W] of any size."""
        size = volumes.shape[2:]
        padded = pad_to_multiple(volumes, self.stride)
        logits = self.decode(self.encoder(padded))
        return [exit_[:, 0, : size[0], : size[1], : size[2]] for exit_ in logits]

    def decode(self, maps: list[Tensor]) -> list[Tensor]:
        """Return logits [N, 1, D, H, W] at full resolution, coarse to fine, of the encoder's maps."""
        raise NotImplementedError


class PlainUNet(UNet3D):
    """U-Net with one exit."""

    def __init__(self, config: UNet3DConfig) -> None:
        super().__init__(config)
        widths = config.widths
        self.up = nn.ModuleList(
            Join(coarse, fine, fine, config.dropout, config.norm)
            for fine, coarse in reversed([*itertools.pairwise(widths)])
        )
        self.head = nn.Conv3d(widths[0], 1, 1)
        start_weights(self, [self.head])

    def climb(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the decoder's maps, coarse to fine."""
        features, climbed = maps[-1], []
        for step, finer in zip(self.up, reversed(maps[:-1]), strict=True):
            features = step(features, finer)
            climbed.append(features)
        return climbed

    def decode(self, maps: list[Tensor]) -> list[Tensor]:
        """Return one exit."""
        return [self.head(self.climb(maps)[-1])]


class MSSUNet(PlainUNet):
    """U-Net with an exit at each scale of the decoder (multi-scale supervision)."""

    def __init__(self, config: UNet3DConfig) -> None:
        super().__init__(config)
        widths = config.widths
        coarse = [(conv3(width, 1), conv3(1, 1)) for width in reversed(widths[1:-1])]
        self.coarse_heads = nn.ModuleList(nn.Sequential(first, nn.LeakyReLU(SLOPE), last) for first, last in coarse)
        self.head = conv3(widths[0], 1)
        start_weights(self, [*(last for _, last in coarse), self.head])

    def decode(self, maps: list[Tensor]) -> list[Tensor]:
        """Return an exit a scale; the coarse ones are enlarged by repeating voxels."""
        climbed = self.climb(maps)
        logits = [
            F.interpolate(head(features), scale_factor=2 ** (len(climbed) - 1 - index), mode="nearest")
            for index, (head, features) in enumerate(zip(self.coarse_heads, climbed[:-1], strict=True))
        ]
        return [*logits, self.head(climbed[-1])]


class NestedUNet(UNet3D):
    """U-Net++: each node joins all earlier nodes of its scale with the one below it; exits at full resolution."""

    def __init__(self, config: UNet3DConfig) -> None:
        super().__init__(config)
        widths = config.widths
        self.columns = nn.ModuleList(
            _Column(
                Join(widths[row + 1], column * widths[row], widths[row], config.dropout, config.norm)
                for row in range(len(widths) - column)
            )
            for column in range(1, len(widths))
        )
        heads = [conv3(widths[0], 1) for _ in self.columns]
        self.heads = nn.ModuleList(heads)
        start_weights(self, heads)

    def decode(self, maps: list[Tensor]) -> list[Tensor]:
        """Return an exit a column."""
        nodes = [[features] for features in maps]
        for column in self.columns:
            for row, features in enumerate(column(nodes)):
                nodes[row].append(features)
        return [head(features) for head, features in zip(self.heads, nodes[0][1:], strict=True)]


class _Column(nn.ModuleList):
    """A column of U-Net++: one node for each scale but the coarsest of the column before."""

    def forward(self, nodes: list[list[Tensor]]) -> list[Tensor]:
        """Return the column's maps, fine to coarse, from all earlier maps of each scale."""
        return [step(nodes[row + 1][-1], *nodes[row]) for row, step in enumerate(self)]


class LinkedUNet(UNet3D):
    """U-Net 3+: each decoder node is linked with every scale, each link brought to the first width."""

    def __init__(self, config: UNet3DConfig) -> None:
        super().__init__(config)
        widths = config.widths
        depth, link = len(widths), widths[0]
        wide = depth * link
        self.down = nn.ModuleList(
            _DownLinks(nn.Sequential(conv3(widths[source], link), nn.LeakyReLU(SLOPE)) for source in range(row + 1))
            for row in range(depth - 1)
        )
        # From each coarser decoder node; the deepest of them is the encoder's last map.
        self.rise = nn.ModuleList(
            _UpLinks(_UpLink(widths[-1] if source == depth - 1 else wide, link) for source in range(row + 1, depth))
            for row in range(depth - 1)
        )
        self.blocks = nn.ModuleList(Block(wide, wide, config.dropout, config.norm) for _ in range(depth - 1))
        coarse = [
            (nn.Conv3d(widths[-1] if row == depth - 1 else wide, 1, 1), conv3(1, 1)) for row in range(depth - 1, 0, -1)
        ]
        self.coarse_heads = nn.ModuleList(_CoarseExit(layers) for layers in coarse)
        self.head = conv3(wide, 1)
        start_weights(self, [*(last for _, last in coarse), self.head])

    def decode(self, maps: list[Tensor]) -> list[Tensor]:
        """Return an exit a scale, that of the deepest map included."""
        depth = len(maps)
        nodes: dict[int, Tensor] = {depth - 1: maps[-1]}
        for row in range(depth - 2, -1, -1):
            links = self.down[row](maps[: row + 1]) + self.rise[row](
                [nodes[source] for source in range(row + 1, depth)]
            )
            nodes[row] = self.blocks[row](torch.cat(links, dim=1))
        coarse = [
            head(nodes[row], 2**row) for row, head in zip(range(depth - 1, 0, -1), self.coarse_heads, strict=True)
        ]
        return [*coarse, self.head(nodes[0])]


class _DownLinks(nn.ModuleList):
    """The links of a node of U-Net 3+ from the encoder, from its own scale and all finer ones."""

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return each map [N, link, D, H, W] at the size of the last."""
        steps = [2 ** (len(maps) - 1 - source) for source in range(len(maps))]
        return [
            link(F.avg_pool3d(features, step) if step > 1 else features)
            for link, features, step in zip(self, maps, steps, strict=True)
        ]


class _UpLinks(nn.ModuleList):
    """The links of a node of U-Net 3+ from the coarser nodes, the next one first."""

    def forward(self, nodes: list[Tensor]) -> list[Tensor]:
        """Return each map [N, link, D, H, W] at the size of the node."""
        return [
            link(features, 2**steps) for steps, (link, features) in enumerate(zip(self, nodes, strict=True), start=1)
        ]


class _CoarseExit(nn.ModuleList):
    """An exit of a coarse node: a convolution to one channel, enlarged, and a convolution that smooths it."""

    def forward(self, features: Tensor, factor: int) -> Tensor:
        """Return logits [N, 1, D, H, W] `factor` times as large."""
        thin, smooth = self
        return smooth(enlarge(thin(features), factor))


class _UpLink(nn.Module):
    """A link from a coarser node: thinned, enlarged, and a convolution."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.thin = nn.Conv3d(channels, width, 1)
        self.smooth = nn.Sequential(conv3(width, width), nn.LeakyReLU(SLOPE))

    def forward(self, features: Tensor, factor: int) -> Tensor:
        """Return [N, width, D, H, W] `factor` times as large."""
        return self.smooth(enlarge(self.thin(features), factor))


VARIANTS: dict[str, type[UNet3D]] = {
    "unet": PlainUNet, "mss": MSSUNet, "plus_plus": NestedUNet, "three_plus": LinkedUNet,
}  # fmt: skip


def build_unet3d(config: UNet3DConfig, num_classes: int) -> UNet3D:
    """Return a U-Net, with the weights of a run if `weights` names one. Raises InputError as `load_volume_weights`."""
    model = VARIANTS[config.variant](config)
    load_volume_weights(model, config, num_classes)
    return model


def load_volume_weights(model: nn.Module, config: VolumeModelConfig, num_classes: int) -> None:
    """Load the weights that a section names.

    Raises InputError for more than one class (a map says pore or not) and for weights that do not fit.
    """
    if num_classes != 1:
        raise InputError(
            f"{config.name} tells pores from the rest, and the data has {num_classes} categories; merge them"
        )
    if config.weights != "none":
        load_compatible(model, Path(config.weights), ())
