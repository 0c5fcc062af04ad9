"""The autoencoder without draws: its decoder carries the mean and the variance of the latent space on (RV-VAE).

After Nicodemou et al., as Iuso et al. (2024) take it: the VAE's layers with ReLU.
"""

from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from detectors.volumes.unet3d import load_volume_weights
from detectors.volumes.vae.interface import LatentConfig, VolumeAutoencoder
from detectors.volumes.vae.layers import Decoder, Encoder, activation, kl_to_standard, split_normal, start_autoencoder
from detectors.volumes.vae.moments import sigmoid_moments, through


class RandomVariableVAEConfig(LatentConfig):
    """The `model` section of an RV-VAE; the paper's widths are 32, 64, 128, 256."""

    name: Literal["rv_vae"] = Field("rv_vae", description="An autoencoder that carries mean and variance on.")
    variance_weight: float = Field(50.0, ge=0, description="Weight of the mean squared variance of the reconstruction.")


class RandomVariableVAE(VolumeAutoencoder):
    """MSE of the mean of the reconstruction, its variance, and the divergence of the latent space from N(0, 1)."""

    config: RandomVariableVAEConfig

    def __init__(self, config: RandomVariableVAEConfig) -> None:
        super().__init__(config)
        self.encoder = Encoder(config.widths, config.bottom, 2 * config.latent, relu=True)
        self.after = activation(relu=False)  # ReLU would let no mean be below 0
        self.decoder = Decoder(config.widths, config.bottom, config.latent, relu=True)
        start_autoencoder(self)

    def encode(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation of the latent, float32 [N, latent, 1, 1, 1]."""
        return split_normal(self.after(self.encoder(volumes)))

    def decode(self, mean: Tensor, log_std: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the gray values, float32 [N, 1, D, H, W], of those of the latent."""
        variance = (2 * log_std).exp()
        for layer in self.decoder:
            mean, variance = through(layer, mean, variance)
        return sigmoid_moments(mean, variance)

    def autoencoder_losses(self, volumes: Tensor) -> dict[str, Tensor]:
        """Return the MSE of the means and the weighted variance and divergence."""
        mean, log_std = self.encode(volumes)
        values, variance = self.decode(mean, log_std)
        return {
            "reconstruction": F.mse_loss(values, volumes.float()),
            "variance": self.config.variance_weight * variance.square().mean(),
            "kl": self.config.kl_weight * kl_to_standard(mean, log_std),
        }

    def reconstruct(self, blocks: Tensor) -> Tensor:
        """Return the mean of the reconstruction."""
        return self.decode(*self.encode(blocks.clamp(0, 1)))[0][:, 0]


def build_rv_vae(config: RandomVariableVAEConfig, num_classes: int) -> RandomVariableVAE:
    """Return an RV-VAE. Raises InputError as `load_volume_weights`."""
    model = RandomVariableVAE(config)
    load_volume_weights(model, config, num_classes)
    return model
