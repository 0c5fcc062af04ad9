"""Feature extractors: ResNet and VGG-16 at stride 16, ResNet with a feature pyramid, and their gray input."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet, vgg
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.misc import FrozenBatchNorm2d

from detectors.backbones.batch_norm import BatchNorm2d

BackboneName = Literal["resnet18", "resnet34", "resnet50", "resnet101", "vgg16"]
Norm = Literal["group", "batch", "frozen"]
Stem = Literal["published", "thin"]
InputEncoding = Literal["rgb_repeat", "local_contrast"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
STEM_CHANNELS = 64  # of a published ResNet's stem and first stage


def group_norm(channels: int) -> nn.GroupNorm:
    """Return group normalization with 8 channels a group, or a few more: it does not depend on the batch size."""
    groups = next(count for count in range(max(1, channels // 8), 0, -1) if channels % count == 0)
    return nn.GroupNorm(groups, channels)


def fill_bias(layer: nn.Conv2d, value: float = 0.0) -> None:
    """Set all biases of a convolution that has any, in place."""
    if layer.bias is not None:
        nn.init.constant_(layer.bias, value)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "group": group_norm,
    "batch": BatchNorm2d,
    "frozen": FrozenBatchNorm2d,
}


class RGBRepeat(nn.Module):
    """Turn [N, 1, H, W] in [0, 1] into the three normalized channels that ImageNet weights expect."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return [N, 3, H, W]."""
        return (images.expand(-1, 3, -1, -1) - self.mean) / self.std


class LocalContrast(nn.Module):
    """Turn [N, 1, H, W] in [0, 1] into gray and relative contrast at two scales, [N, 3, H, W].

    By Beer-Lambert a cavity multiplies the transmitted intensity, so that what it adds is proportional to its
    surroundings: r = (I - G_s * I) / (G_s * I + offset), with G_s a Gaussian of s pixels. A defect of 3 gray
    levels over 80 has the same r whatever the exposure, which the plain gray value hides among the 200 levels
    that the part itself spans. asinh keeps faint contrasts linear and compresses the part's own edges.

    Args:
        scales: standard deviations of the two Gaussians in pixels.
        unit: the relative contrast that becomes about 1; near the noise of a good radiograph.
        offset: gray level added to the denominator. It keeps noise and specks in the black surroundings of a
            round field small: at 0.05 they were the most frequent false calls on real castings.

    """

    kernel0: Tensor
    kernel1: Tensor

    def __init__(self, scales: tuple[float, float] = (4.0, 12.0), unit: float = 0.02, offset: float = 0.15) -> None:
        super().__init__()
        self.unit = unit
        self.offset = offset
        self.scales = scales
        for index, scale in enumerate(scales):
            self.register_buffer(f"kernel{index}", gaussian_kernel(scale), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return [N, 3, H, W], float32 under any precision: contrasts of 1 % are lost in bfloat16."""
        with torch.autocast(images.device.type, enabled=False):
            images = images.float()
            channels = [(images - 0.4) / 0.25]
            for kernel in (self.kernel0, self.kernel1):
                smooth = blur(images, kernel)
                contrast = (images - smooth) / (smooth + self.offset)
                channels.append(torch.asinh(contrast / self.unit))
            return torch.cat(channels, dim=1)


class SoftContrast(nn.Module):
    """Turn [N, 1, H, W] in [0, 1] into relative contrast in (-1, 1), one channel as before.

    tanh of the relative contrast of `LocalContrast` at one scale: a pore of 3 % contrast gives 0.7, the edge of the
    part no more than 1. A patch classifier with one input channel keeps the layers that its paper states.

    Args:
        scale: standard deviation of the Gaussian in pixels.
        unit: the relative contrast that becomes tanh(1).
        offset: gray level added to the denominator; see `LocalContrast`.

    """

    kernel: Tensor

    def __init__(self, scale: float = 6.0, unit: float = 1 / 30, offset: float = 0.15) -> None:
        super().__init__()
        self.unit = unit
        self.offset = offset
        self.register_buffer("kernel", gaussian_kernel(scale), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return [N, 1, H, W], float32 under any precision."""
        with torch.autocast(images.device.type, enabled=False):
            images = images.float()
            smooth = blur(images, self.kernel)
            return torch.tanh((images - smooth) / (smooth + self.offset) / self.unit)


def gaussian_kernel(scale: float) -> Tensor:
    """Return a Gaussian of 3 standard deviations to either side, float32 [K], its sum 1."""
    radius = round(3 * scale)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float32) / scale) ** 2)
    return kernel / kernel.sum()


def blur(images: Tensor, kernel: Tensor) -> Tensor:
    """Gaussian blur of [N, 1, H, W] with replicated borders, so that the frame is no contrast of its own."""
    radius = len(kernel) // 2
    kernel = kernel.to(images.dtype)
    rows = F.conv2d(F.pad(images, (radius, radius, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    return F.conv2d(F.pad(rows, (0, 0, radius, radius), mode="replicate"), kernel.view(1, 1, -1, 1))


INPUT_ENCODINGS: dict[str, Callable[[], nn.Module]] = {"rgb_repeat": RGBRepeat, "local_contrast": LocalContrast}


class ScaledResNet(resnet.ResNet):
    """torchvision's ResNet with a width multiplier on the channels of its four stages; 1 is the published network.

    Args:
        block: of two or three convolutions.
        layers: blocks of each stage.
        norm_layer: from a number of channels to their normalization.
        width: times the published channels of the stages.
        stem: published: 7 x 7 pixels to 64 channels whatever the width, and a max pooling. thin: two convolutions of
            3 x 3 cells and stride 2, the first to three quarters of the channels of the first stage. With three input
            channels and half the width it is a quarter of the work, and no map has 64 channels at half the size.

    """

    def __init__(
        self,
        block: type[resnet.BasicBlock | resnet.Bottleneck],
        layers: list[int],
        norm_layer: Callable[..., nn.Module],
        width: float,
        stem: Stem = "published",
    ) -> None:
        self.width = width
        self.stem = stem
        super().__init__(block, layers, norm_layer=norm_layer)

    def _make_layer(
        self, block: type[resnet.BasicBlock | resnet.Bottleneck], planes: int, *args: Any, **kwargs: Any
    ) -> nn.Sequential:
        channels = round(planes * self.width)
        if self.stem == "thin" and planes == STEM_CHANNELS:
            self._replace_stem(round(0.75 * channels), channels)
        return super()._make_layer(block, channels, *args, **kwargs)

    def _replace_stem(self, half: int, quarter: int) -> None:
        """Put two strided convolutions in place of the one and the pooling, before the first stage is made."""
        self.conv1 = nn.Conv2d(3, half, 3, 2, 1, bias=False)
        self.bn1 = self._norm_layer(half)
        second = nn.Conv2d(half, quarter, 3, 2, 1, bias=False)
        self.maxpool = nn.Sequential(second, self._norm_layer(quarter), nn.ReLU(inplace=True))  # type: ignore[assignment]
        self.inplanes = quarter


def build_resnet(name: str, norm: Norm, width: float = 1.0, stem: Stem = "published") -> resnet.ResNet:
    """Return torchvision's ResNet with random weights; as published, its state dict fits ImageNet weights."""
    layers = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
    block: type[resnet.BasicBlock | resnet.Bottleneck] = resnet.Bottleneck
    if name in ("resnet18", "resnet34"):
        block = resnet.BasicBlock
    return ScaledResNet(block, list(layers[name]), NORMS[norm], width, stem)


class ResNetC4(nn.Module):
    """ResNet to the last layer of conv4, stride 16 (Ferguson et al. 2017, section III.A).

    Input [N, 1, H, W]; output one map [N, C, ceil(H / 16), ceil(W / 16)], C = 256 (ResNet-18, 34) or 1,024.
    `conv5` is handed to the region head: it is no part of this module.
    """

    strides = [16]

    def __init__(self, body: resnet.ResNet, input_encoding: InputEncoding) -> None:
        super().__init__()
        self.input_encoding = INPUT_ENCODINGS[input_encoding]()
        self.body = IntermediateLayerGetter(body, {"layer3": "0"})
        self.out_channels = body.layer4[0].conv1.in_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return {"0": features}."""
        return self.body(self.input_encoding(images))


class VGG16C5(nn.Module):
    """VGG-16 to conv5_3, stride 16: [N, 1, H, W] to [N, 512, H // 16, W // 16]."""

    strides = [16]
    out_channels = 512

    def __init__(self, body: vgg.VGG, input_encoding: InputEncoding) -> None:
        super().__init__()
        self.input_encoding = INPUT_ENCODINGS[input_encoding]()
        # The last of the 31 layers is the fifth pooling, which would make the stride 32.
        self.body = nn.Sequential(*list(body.features.children())[:-1])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return {"0": features}."""
        return {"0": self.body(self.input_encoding(images))}


class ResNetFPN(nn.Module):
    """ResNet with a feature pyramid: strides 4, 8, 16 (and 32), the same channels at every level.

    Args:
        body: the residual network.
        input_encoding: how one gray channel becomes three.
        levels: 3 (layers 1 to 3) or 4 (layers 1 to 4). Three are enough for defects under 150 px.
        channels: channels of every pyramid map.
        norm: normalization inside the pyramid; None leaves it out, as pretrained COCO weights want it.

    """

    def __init__(
        self, body: resnet.ResNet, input_encoding: InputEncoding, levels: int, channels: int, norm: Norm | None
    ) -> None:
        super().__init__()
        self.input_encoding = INPUT_ENCODINGS[input_encoding]()
        self.body = IntermediateLayerGetter(body, {f"layer{k + 1}": str(k) for k in range(levels)})
        widths = [body.inplanes // 2 ** (3 - k) for k in range(levels)]
        self.fpn = FeaturePyramidNetwork(widths, channels, norm_layer=NORMS[norm] if norm else None)
        self.out_channels = channels
        self.strides = [4 * 2**k for k in range(levels)]

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Return {"0": stride 4, "1": stride 8, ...}, each [N, channels, H / stride, W / stride]."""
        return self.fpn(self.body(self.input_encoding(images)))
