"""The first layers of a graph give what they give in PyTorch."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.backbones.networks import LocalContrast, RGBRepeat
from detectors.boxes.center_net_layers import INPUT_CHANNELS, DefectChannels
from detectors.export.layers import Enlarge, ExportedLocalContrast, export_input, exported_encoding


class Network(nn.Module):
    """An encoding and two convolutions, the first of which sees its three channels."""

    def __init__(self, encoding: nn.Module, bias: bool) -> None:
        super().__init__()
        self.input_encoding = encoding
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 7, 2, 3, bias=bias), nn.ReLU(), nn.Conv2d(4, 2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return [N, 2, h, w] of [N, 1, H, W]."""
        return self.layers(self.input_encoding(images))  # type: ignore[no-any-return]


@pytest.mark.parametrize("bias", [False, True])
def test_repeated_channels_become_two_with_the_same_outcome_to_the_border(bias: bool) -> None:
    torch.manual_seed(0)
    network, images = Network(RGBRepeat(), bias), torch.rand(2, 1, 17, 23)
    expected = network(images)
    export_input(network)
    first, last = network.layers[0], network.layers[2]
    assert isinstance(first, nn.Conv2d)
    assert isinstance(last, nn.Conv2d)
    assert first.in_channels == first.weight.shape[1] == network.input_encoding(images).shape[1] == 2
    assert last.in_channels == 4
    assert torch.allclose(network(images), expected, atol=1e-5)


def test_other_encodings_keep_their_channels() -> None:
    network = Network(LocalContrast(), bias=False)
    export_input(network)
    assert isinstance(network.input_encoding, ExportedLocalContrast)
    assert network.layers[0].weight.shape[1] == 3


@pytest.mark.parametrize("size", [(32, 32), (32, 96), (160, 64)])
@pytest.mark.parametrize("kind", INPUT_CHANNELS)
def test_channels_of_defects_are_those_of_the_model(kind: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    encoding, images = DefectChannels(kind), torch.rand(1, 1, *size)
    images[..., 10:20, 5:9] = 0  # no noise there, so that contrasts are large
    assert torch.allclose(exported_encoding(encoding)(images), encoding(images), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("factor", [2, 4, 5])
def test_enlarged_maps_are_interpolated_to_the_border(factor: int) -> None:
    torch.manual_seed(0)
    images = torch.rand(1, 2, 7, 24)
    expected = F.interpolate(images, scale_factor=float(factor), mode="bilinear", align_corners=False)
    assert torch.allclose(Enlarge(factor)(images), expected, atol=1e-6)
