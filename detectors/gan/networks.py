"""DCGAN (Radford et al. 2016) for patches with defects: generator, discriminator, sampling.

Patches are float32 [N, 1, S, S] in [0, 1]; inside the networks they are in [-1, 1], as published. The paper makes
64 x 64 color pictures with 128 to 1,024 channels; here a patch has one channel and 32 x 32 pixels, so that one
doubling falls away, and the channels are a setting.
"""

import numpy as np
import torch
from torch import Tensor, nn

from data.errors import InputError
from detectors.backbones.batch_norm import BatchNorm2d

START = 4  # side of the first map
SPREAD = 0.02  # standard deviation of the starting weights
SLOPE = 0.2  # of LeakyReLU below 0
BATCH = 256  # noise is drawn in whole batches, so that patch k does not depend on how many are asked for


class Generator(nn.Module):
    """Noise to patches: 4 x 4 cells, doubled by transposed convolutions up to `size` pixels.

    Args:
        size: side of a patch in pixels, a power of two of at least 16.
        latent: numbers of noise that a patch is made from.
        width: channels at half the size; they double with every halving.

    Raises InputError for another size.

    """

    def __init__(self, size: int = 32, latent: int = 100, width: int = 64) -> None:
        super().__init__()
        self.size = size
        self.latent = latent
        channels = width * 2 ** (_doublings(size) - 1)
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, channels, START, bias=False)]
        while channels > width:
            layers += [*_norm(channels), nn.ConvTranspose2d(channels, channels // 2, 4, 2, 1, bias=False)]
            channels //= 2
        layers += [*_norm(channels), nn.ConvTranspose2d(channels, 1, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        start_weights(self)

    def forward(self, noise: Tensor) -> Tensor:
        """Return patches float32 [N, 1, S, S] in [0, 1] for noise [N, latent], each number from N(0, 1)."""
        return (self.layers(noise[:, :, None, None]) + 1) / 2

    def noise(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw noise float32 [count, latent] on the CPU, so that every device gets the same."""
        return torch.randn(count, self.latent, generator=generator)


class Discriminator(nn.Module):
    """Patches to one logit each, positive for real: convolutions of stride 2 down to 4 x 4 cells, then one answer.

    Args:
        size: side of a patch in pixels, a power of two of at least 16.
        width: channels at half the size; they double with every halving.

    Raises InputError for another size.

    """

    def __init__(self, size: int = 32, width: int = 64) -> None:
        super().__init__()
        channels = width
        layers: list[nn.Module] = [nn.Conv2d(1, channels, 4, 2, 1), nn.LeakyReLU(SLOPE, inplace=True)]
        for _ in range(_doublings(size) - 1):
            layers += [
                nn.Conv2d(channels, 2 * channels, 4, 2, 1, bias=False),
                BatchNorm2d(2 * channels),
                nn.LeakyReLU(SLOPE, inplace=True),
            ]
            channels *= 2
        layers.append(nn.Conv2d(channels, 1, START))
        self.layers = nn.Sequential(*layers)
        start_weights(self)

    def forward(self, patches: Tensor) -> Tensor:
        """Return logits [N] of patches [N, 1, S, S] in [0, 1]."""
        return self.layers(2 * patches - 1).flatten()


def start_weights(network: nn.Module) -> None:
    """Draw the published starting weights in place: N(0, 0.02), norms N(1, 0.02), all biases 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, SPREAD)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, SPREAD)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


@torch.no_grad()
def sample_patches(generator: Generator, count: int, seed: int = 0) -> np.ndarray:
    """Return `count` patches float32 [count, S, S] in [0, 1] from the seed.

    The generator is put into evaluation mode for it, and back into the mode it was in.
    """
    mode = generator.training
    generator.eval()
    device = next(generator.parameters()).device
    source = torch.Generator().manual_seed(seed)
    found = [generator(generator.noise(BATCH, source).to(device))[:, 0] for _ in range(-(-count // BATCH))]
    generator.train(mode)
    patches = torch.cat(found).float().cpu().numpy() if found else np.zeros((0, generator.size, generator.size))
    return patches[:count].astype(np.float32)


def _doublings(size: int) -> int:
    """Return how often the first map is doubled to `size` pixels."""
    if size < 4 * START or size & (size - 1):
        raise InputError(f"a DCGAN makes patches whose side is a power of two of at least 16, not {size} pixels")
    return (size // START).bit_length() - 1


def _norm(channels: int) -> list[nn.Module]:
    return [BatchNorm2d(channels), nn.ReLU(inplace=True)]
