"""The networks of SSD: VGG-16 to conv4_3 and fc7, extra maps that halve, and the heads."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import vgg

from detectors.backbones.networks import INPUT_ENCODINGS, InputEncoding, fill_bias, group_norm

VGG16_LAYERS = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


def scaled_vgg16_layers(width: float) -> nn.Sequential:
    """Return the convolutions of VGG-16 with `width` times the channels; 1 is the published network."""
    layers = [layer if isinstance(layer, str) else round(layer * width) for layer in VGG16_LAYERS]
    features = vgg.make_layers(layers)
    for module in features:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            fill_bias(module)
    return features


class L2Norm(nn.Module):
    """Scale the channel vector of every cell to a learned length (Liu et al. 2016, section 3.1: 20 at the start)."""

    def __init__(self, channels: int, scale: float = 20.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, features: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape."""
        return self.scale.view(1, -1, 1, 1) * F.normalize(features)


class VGG16FC7(nn.Module):
    """VGG-16 to conv4_3 (L2-normalized, stride 8) and fc7 (stride 16), fc6 a dilated convolution.

    Input [N, 1, H, W]; output {"0": [N, 512, ceil(H / 8), ceil(W / 8)], "1": [N, 1024, ceil(H / 16), ceil(W / 16)]}
    at width 1.
    """

    strides = [8, 16]

    def __init__(self, features: nn.Sequential, input_encoding: InputEncoding) -> None:
        super().__init__()
        self.input_encoding = INPUT_ENCODINGS[input_encoding]()
        pools = [index for index, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
        for layer in features:
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = True  # 75 cells become 38, so that the maps cover the whole tile
        last = features[pools[3] - 2]
        assert isinstance(last, nn.Conv2d)
        conv5 = last.out_channels
        self.conv4 = features[: pools[3]]
        self.norm4 = L2Norm(conv5)
        self.conv5 = features[pools[3] : pools[4]]
        self.pool5 = nn.MaxPool2d(3, stride=1, padding=1)
        self.fc6 = nn.Conv2d(conv5, 2 * conv5, 3, padding=6, dilation=6)
        self.fc7 = nn.Conv2d(2 * conv5, 2 * conv5, 1)
        for layer in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            fill_bias(layer)
        self.channels = [conv5, 2 * conv5]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return both maps."""
        conv4 = self.conv4(self.input_encoding(images))
        fc6 = F.relu(self.fc6(self.pool5(self.conv5(conv4))))
        return {"0": self.norm4(conv4), "1": F.relu(self.fc7(fc6))}

    def load_classifier(self, classifier: nn.Sequential) -> None:
        """Take every third of VGG-16's 7 x 7 cells and every fourth of its 4,096 units into fc6 and fc7, in place."""
        fc6, fc7 = classifier.get_submodule("0"), classifier.get_submodule("3")
        assert isinstance(fc6, nn.Linear)
        assert isinstance(fc7, nn.Linear)
        copy_into(self.fc6, fc6.weight.view(-1, self.fc6.in_channels, 7, 7)[::4, :, ::3, ::3], fc6.bias[::4])
        copy_into(self.fc7, fc7.weight[::4, ::4, None, None], fc7.bias[::4])


def copy_into(layer: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    """Copy weights and biases into a convolution."""
    assert layer.bias is not None
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


class ExtraMaps(nn.Module):
    """A backbone and extra layers, each halving the map before: conv 1 x 1 to half the depth, conv 3 x 3.

    Args:
        base: returns a dict of maps, coarsest last.
        channels: depths of its maps.
        strides: strides of its maps in pixels.
        depths: depths of the extra maps.
        norm: whether the extra layers are normalized (groups: any batch will do).

    """

    def __init__(self, base: nn.Module, channels: list[int], strides: list[int], depths: list[int], norm: bool) -> None:
        super().__init__()
        self.base = base
        self.extra = nn.ModuleList()
        self.channels, self.strides = list(channels), list(strides)
        for depth in depths:
            layers = [*_conv(self.channels[-1], depth // 2, 1, 1, norm), *_conv(depth // 2, depth, 3, 2, norm)]
            self.extra.append(nn.Sequential(*layers))
            self.channels.append(depth)
            self.strides.append(2 * self.strides[-1])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return {"0": finest, "1": ...}."""
        maps = dict(self.base(images))
        last = maps[str(len(maps) - 1)]
        for layer in self.extra:
            last = layer(last)
            maps[str(len(maps))] = last
        return maps


def _conv(inputs: int, outputs: int, kernel: int, stride: int, norm: bool) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=not norm)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, group_norm(outputs), nn.ReLU(inplace=True)] if norm else [conv, nn.ReLU(inplace=True)]


class Heads(nn.Module):
    """Scores and box codes of every default box: a 3 x 3 convolution each on every map.

    Args:
        channels: depths of the maps.
        counts: default boxes a cell, one number a map.
        classes: logits a box, background included.
        head_convs: normalized 3 x 3 convolutions before the two; none in the paper's form.

    """

    prior = 0.05
    """Probability of a defect that an untrained head gives: most boxes are background."""

    def __init__(self, channels: list[int], counts: list[int], classes: int, head_convs: int) -> None:
        super().__init__()
        self.classes = classes
        self.head_convs = nn.ModuleList(
            nn.Sequential(*(part for _ in range(head_convs) for part in _conv(depth, depth, 3, 1, norm=True)))
            for depth in channels
        )
        self.classifier = _head(channels, [count * classes for count in counts])
        self.regressor = _head(channels, [count * 4 for count in counts])
        for conv in self.classifier:
            assert isinstance(conv, nn.Conv2d)
            assert conv.bias is not None
            with torch.no_grad():
                conv.bias.view(-1, classes)[:, 0] = math.log((classes - 1) * (1 - self.prior) / self.prior)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits [N, P, classes] and codes [N, P, 4], in float32, ordered as `default_boxes` orders boxes."""
        features = [convs(x) for convs, x in zip(self.head_convs, maps, strict=True)]
        return _flat(self.classifier, features, self.classes), _flat(self.regressor, features, 4)


def _head(channels: list[int], outputs: list[int]) -> nn.ModuleList:
    convs = [nn.Conv2d(depth, count, 3, padding=1) for depth, count in zip(channels, outputs, strict=True)]
    for conv in convs:
        nn.init.normal_(conv.weight, std=0.01)
        fill_bias(conv)
    return nn.ModuleList(convs)


def _flat(convs: nn.ModuleList, features: list[Tensor], last: int) -> Tensor:
    parts = [conv(x).permute(0, 2, 3, 1).flatten(1) for conv, x in zip(convs, features, strict=True)]
    # Boxes need float32 whatever the precision of the convolutions.
    rows = torch.cat(parts, dim=1).float()
    return rows.view(rows.shape[0], -1, last)  # not len(): an exported graph takes any number of images
