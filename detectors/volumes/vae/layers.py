"""Layers that the autoencoders share: an encoder to one vector, its decoder, and starting weights."""

import itertools
import math

from torch import Tensor, nn

from detectors.volumes.layers import SLOPE


class Encoder(nn.Sequential):
    """Convolutions of 3 voxels that halve a block, and one over all of the coarsest map, without bias.

    From [N, 1, D, H, W] to [N, features, 1, 1, 1]. `relu` takes ReLU in place of leaky ReLU.
    """

    def __init__(self, widths: list[int], bottom: int, features: int, relu: bool = False) -> None:
        layers: list[nn.Module] = []
        for before, width in itertools.pairwise([1, *widths]):
            layers += [nn.Conv3d(before, width, 3, stride=2, padding=1), activation(relu)]
        super().__init__(*layers, nn.Conv3d(widths[-1], features, bottom, bias=False))


class Decoder(nn.Sequential):
    """From a latent [N, latent, 1, 1, 1] to logits [N, 1, D, H, W].

    A transposed convolution makes the coarsest map; at each scale follow a convolution of 3 voxels and a transposed
    one of 2 that doubles the side. The source lists these layers without their widths and biases. With the ones taken
    here (each convolution keeps its width, each doubling goes to the next one and has no bias) the VAE has 29.024 and
    the ceVAE 140.650 million parameters, as published, and 3.7 and 8.3 G multiplications a block.
    """

    def __init__(self, widths: list[int], bottom: int, latent: int, relu: bool = False) -> None:
        layers: list[nn.Module] = [nn.ConvTranspose3d(latent, widths[-1], bottom), activation(relu)]
        for width, finer in itertools.pairwise([*reversed(widths), 1]):
            layers += [nn.Conv3d(width, width, 3, padding=1), activation(relu)]
            layers += [nn.ConvTranspose3d(width, finer, 2, stride=2, bias=False), activation(relu)]
        super().__init__(*layers[:-1])  # the last map is of logits


def activation(relu: bool) -> nn.Module:
    """Return ReLU, or leaky ReLU."""
    return nn.ReLU() if relu else nn.LeakyReLU(SLOPE)


def start_autoencoder(network: nn.Module) -> None:
    """Draw starting weights that keep the variance of the signal, so that a training starts at once.

    Each value of a transposed convolution sums as many products as there are channels, times (side / stride)^3.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, a=SLOPE, nonlinearity="leaky_relu")
        elif isinstance(module, nn.ConvTranspose3d):
            side, stride = module.kernel_size[0], module.stride[0]
            # The first layer of a decoder sees one voxel: its stride of 1 stands for its whole side.
            products = module.in_channels * (side // stride if stride > 1 else 1) ** 3
            nn.init.normal_(module.weight, std=math.sqrt(2 / products))
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, a=SLOPE, nonlinearity="leaky_relu")
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def split_normal(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and log standard deviation, each half of the channels, in float32: exp overflows in half."""
    mean, log_std = features.float().chunk(2, dim=1)
    return mean, log_std


def kl_to_standard(mean: Tensor, log_std: Tensor) -> Tensor:
    """Return KL(N(mean, exp(log_std)^2) || N(0, 1)), summed over the latent and averaged over the batch, in float32."""
    mean, log_std = mean.float(), log_std.float()
    each = 0.5 * (mean.square() + (2 * log_std).exp() - 1) - log_std
    return each.flatten(1).sum(dim=1).mean()
