"""The stems of a residual network."""

import pytest
import torch
from torch import nn

from detectors.backbones.networks import ResNetFPN, build_resnet
from detectors.boxes.faster_rcnn import FasterRCNNConfig


def test_the_published_stem_is_torchvisions() -> None:
    body = build_resnet("resnet18", "batch", 0.5)
    assert body.conv1.weight.shape == (64, 3, 7, 7)
    assert isinstance(body.maxpool, nn.MaxPool2d)


@pytest.mark.parametrize(("name", "width", "channels"), [("resnet18", 0.5, (24, 32)), ("resnet50", 0.25, (12, 16))])
def test_a_thin_stem_is_two_small_convolutions(name: str, width: float, channels: tuple[int, int]) -> None:
    body = build_resnet(name, "batch", width, "thin")
    convolutions = [part for part in (body.conv1, *body.maxpool) if isinstance(part, nn.Conv2d)]
    assert [part.weight.shape for part in convolutions] == [
        (channels[0], 3, 3, 3), (channels[1], channels[0], 3, 3)
    ]  # fmt: skip
    maps = ResNetFPN(body.eval(), "local_contrast", 3, 8, "batch").eval()(torch.rand(1, 1, 64, 96))
    assert [tuple(m.shape[2:]) for m in maps.values()] == [(16, 24), (8, 12), (4, 6)]


def test_a_thin_stem_needs_a_resnet_trained_from_scratch() -> None:
    with pytest.raises(ValueError, match="published for stem 'published' only"):
        FasterRCNNConfig(backbone="resnet18", weights="imagenet", stem="thin")
    with pytest.raises(ValueError, match="needs a ResNet"):
        FasterRCNNConfig(backbone="vgg16", stem="thin")
