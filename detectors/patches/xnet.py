"""XnetV2 (Ferguson et al. 2017, Table II) and the Xnet family (Mery 2020, Tables 2 and 3): patch classifiers."""

from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from data.errors import InputError
from data.schema import StrictModel
from detectors.backbones.batch_norm import BatchNorm1d, BatchNorm2d
from detectors.patches.patch_classifier import WINDOW, PatchClassifier, PatchClassifierConfig


class XnetLayers(StrictModel):
    """A member of the family: kernel sizes `p` and channels `d` of its blocks, widths `f` of its dense layers."""

    p: list[Annotated[int, Field(le=WINDOW)]] = Field(
        max_length=8, description="Kernel sizes of the blocks' convolutions in cells, odd, one a block."
    )
    d: list[Annotated[int, Field(le=4096)]] = Field(max_length=8, description="Channels of the blocks.")
    f: list[Annotated[int, Field(le=8192)]] = Field(
        max_length=8, description="Outputs of the dense layers, the last of them 2: no defect, defect."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        deepest = WINDOW.bit_length() - 1
        if len(self.p) != len(self.d) or not 1 <= len(self.p) <= deepest:
            raise ValueError(f"p and d need one number a block, 1 to {deepest} of them")
        if any(size < 1 or size % 2 == 0 for size in self.p):
            raise ValueError(f"p are odd kernel sizes, not {self.p}")
        if min([*self.d, *self.f], default=0) < 1 or self.f[-1:] != [2]:
            raise ValueError("d and f are at least 1, and f ends with the two classes, 2")
        return self


# Table 3 of Mery 2020; row 0 is Xnet, row 6 is Xnet-II.
VARIANTS = [
    XnetLayers(p=p, d=d, f=f)
    for p, d, f in (
        ([7, 5, 3], [32, 64, 128], [256, 64, 2]),
        ([7, 5, 3], [20, 40, 80], [200, 2]),
        ([7, 5, 3, 3], [20, 40, 80, 160], [320, 160, 2]),
        ([7, 5, 3, 3], [40, 80, 120, 160], [320, 160, 2]),
        ([7, 5, 3, 3], [40, 80, 120, 160], [320, 640, 2]),
        ([7, 5, 3, 3, 3], [20, 40, 80, 160, 320], [200, 400, 2]),
        ([7, 5, 3, 3, 3], [20, 40, 80, 160, 640], [320, 160, 2]),
        ([7, 5, 3, 3, 3], [20, 40, 80, 160, 640], [100, 200, 400, 2]),
    )
]


class XnetV2Config(PatchClassifierConfig):
    """The `model` section for XnetV2."""

    name: Literal["xnet_v2"] = Field("xnet_v2", description="XnetV2.")
    l2: float = Field(
        1e-3, ge=0, description="Weight of the sum of squared weights of layers 8, 9, 11 and 12 in the loss."
    )


class XnetConfig(PatchClassifierConfig):
    """The `model` section for the Xnet family: a variant of Table 3, or layers of your own.

    On 2 x 2 cells a 3 x 3 kernel has five of its nine taps in the padding, so that `window_cells` 2 brings the dense
    maps of five blocks nearer to those of `sliding`. The deeper the network, the more the two differ: compare them on
    a trained one (benchmarks/dense_heat_map.py --run RUN --image RADIOGRAPH) before trusting dense maps of it.
    """

    former_names: ClassVar = {"row": "variant"}

    name: Literal["xnet"] = Field("xnet", description="A member of the Xnet family.")
    variant: int | None = Field(
        0,
        ge=0,
        lt=len(VARIANTS),
        description="Row of Table 3 in Mery 2020: 0 is Xnet, 6 Xnet-II; null where 'layers' are given.",
    )
    layers: XnetLayers | None = Field(None, description="Layers of your own, with variant: null.")
    window_cells: int = Field(
        0,
        ge=0,
        le=WINDOW,
        description="In dense mode, blocks whose input has at most this many cells along a window's side are computed "
        "inside each window, padded with zeros as in training; 0 shares every block and is the fastest.",
    )

    @model_validator(mode="after")
    def _one_description(self) -> Self:
        if (self.variant is None) == (self.layers is None):
            raise ValueError("give either variant, or layers (p, d and f) with variant: null")
        return self

    def shape(self) -> XnetLayers:
        """Return kernel sizes, channels and widths."""
        return self.layers or VARIANTS[self.variant or 0]


class SmallMapConv2d(nn.Conv2d):
    """A convolution that keeps the map's size, as one matrix product where its padding would be most of the work.

    On 2 x 2 cells a 3 x 3 kernel meets a cell with four of its nine taps; the product has those alone, and is exact.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, D, H, W]."""
        count, channels, cells, width = maps.shape
        center = self.kernel_size[0] // 2
        if cells != width or cells > center + 1:
            return super().forward(maps)
        place = torch.arange(cells, device=maps.device)
        tap = place[:, None] - place[None, :] + center  # [cell in, cell out]
        weight = self.weight.permute(2, 3, 1, 0)[tap[:, None, :, None], tap[None, :, None, :]]
        matrix = weight.permute(0, 1, 4, 2, 3, 5).reshape(cells**2 * channels, -1)
        maps = (maps.permute(0, 2, 3, 1).reshape(count, -1) @ matrix).view(count, cells, cells, -1)
        return (maps if self.bias is None else maps + self.bias).permute(0, 3, 1, 2)


class XnetV2(PatchClassifier):
    """XnetV2: fully convolutional, 320,674 parameters, 32 x 32 pixels to 1 x 1 x 2 (Table II).

    Layers 1 to 5 pad a patch with zeros, layers 8 to 12 have no padding. Over a radiograph its own stride is 8.
    """

    def __init__(self, config: XnetV2Config) -> None:
        layers = nn.Sequential(
            nn.Conv2d(1, 32, 7, padding=3),
            nn.Conv2d(32, 32, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.Conv2d(64, 64, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Dropout(config.dropout),
            nn.Conv2d(64, 128, 3),
            nn.Conv2d(128, 128, 3, stride=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, 64, 2),
            nn.Conv2d(64, 2, 1),
        )
        super().__init__(layers, nn.Flatten(), config)
        self.l2 = config.l2

    def losses(self, patches: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the cross entropy and the weighted squares of the last four convolutions' weights."""
        last = list(self.layers)[7:]
        squares = [layer.weight.square().sum() for layer in last if isinstance(layer, nn.Conv2d)]
        return {**super().losses(patches, labels), "loss_l2": self.l2 * sum(squares[1:], squares[0])}


class Xnet(PatchClassifier):
    """A member of the Xnet family (Mery 2020, Tables 2 and 3).

    Blocks of convolution, batch norm, 2 x 2 max-pool and dropout, without any other non-linearity; then dense layers
    without bias, each with batch norm, ReLU and dropout, and a last one with a bias.
    """

    def __init__(self, config: XnetConfig) -> None:
        shape = config.shape()
        layers: list[nn.Module] = []
        channels, cells, shared = 1, WINDOW, 0
        for kernel, width in zip(shape.p, shape.d, strict=True):
            if cells > config.window_cells:
                shared = len(layers) + 4
            layers += [
                SmallMapConv2d(channels, width, kernel, padding=kernel // 2),
                BatchNorm2d(width),
                nn.MaxPool2d(2),
                nn.Dropout(config.dropout),
            ]
            channels, cells = width, cells // 2
        head: list[nn.Module] = [nn.Flatten()]
        width = channels * cells**2
        for outputs in shape.f[:-1]:
            head += [
                nn.Linear(width, outputs, bias=False),
                BatchNorm1d(outputs),
                nn.ReLU(inplace=True),
                nn.Dropout(config.dropout),
            ]
            width = outputs
        head.append(nn.Linear(width, shape.f[-1]))
        super().__init__(nn.Sequential(*layers), nn.Sequential(*head), config, shared)


def build_xnet(config: XnetV2Config | XnetConfig, num_classes: int) -> PatchClassifier:
    """Return a patch classifier with its starting weights. Raises InputError for more than one kind of defect."""
    if num_classes != 1:
        raise InputError(
            f"model.name={config.name}: it tells defects from the background, but the data name {num_classes} "
            "categories; merge them into one"
        )
    model = XnetV2(config) if isinstance(config, XnetV2Config) else Xnet(config)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)  # no norm in XnetV2: PyTorch's default start would fade
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model
