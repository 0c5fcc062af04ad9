"""The autoencoder whose latent space is a mixture of Gaussians (gmVAE).

After Dilokthanakul et al. (2016), in three dimensions: a patch has a latent z of what it looks like and a latent w that
moves the `components` Gaussians of which z is one; which one follows from z and w.
"""

import itertools
import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from detectors.volumes.layers import SLOPE
from detectors.volumes.unet3d import load_volume_weights
from detectors.volumes.vae.interface import LatentConfig, VolumeAutoencoder
from detectors.volumes.vae.layers import Decoder, Encoder, activation, kl_to_standard, split_normal, start_autoencoder


class MixtureVAEConfig(LatentConfig):
    """The `model` section of a gmVAE; its latent z has 200 numbers, w has 150, and there are 500 components.

    The source gives these sizes and three weights, 1e-12, 1e-7 and 1e-9, which are taken here for the divergences of
    z, w and the component in this order. It gives no layers between w and the Gaussians: `prior_widths` are such that
    the model has the published 383.650 million parameters.
    """

    name: Literal["gm_vae"] = Field("gm_vae", description="A variational autoencoder with a mixture of Gaussians.")
    widths: list[int] = Field([16, 64, 256, 1024], min_length=1, max_length=6, description="Channels at each scale.")
    features: int = Field(1024, ge=1, description="Numbers that z and w are read from.")
    latent: int = Field(200, ge=1, description="Numbers of z, which a block is reduced to.")
    latent_w: int = Field(150, ge=1, description="Numbers of w, which moves the Gaussians.")
    components: int = Field(500, ge=1, description="Gaussians in the mixture.")
    prior_widths: list[int] = Field(
        [636, 1308],
        max_length=4,
        description="Widths of the layers from w to the means and variances of the Gaussians.",
    )
    kl_weight: float = Field(1e-12, ge=0, description="Weight of the divergence of z from the mixture.")
    kl_weight_w: float = Field(1e-7, ge=0, description="Weight of the divergence of w from N(0, 1).")
    kl_weight_component: float = Field(1e-9, ge=0, description="Weight of the divergence of the component from chance.")


BOUND = 6.0
"""Of log standard deviations: weights as small as the published ones let them run away, to infinity."""


class MixtureVAE(VolumeAutoencoder):
    """L1 of the reconstruction from a draw of z, and three divergences."""

    config: MixtureVAEConfig

    def __init__(self, config: MixtureVAEConfig) -> None:
        super().__init__(config)
        self.encoder = Encoder(config.widths, config.bottom, config.features)
        self.after = activation(relu=False)
        self.heads = nn.Linear(config.features, 2 * (config.latent + config.latent_w))
        layers: list[nn.Module] = []
        for before, width in itertools.pairwise([config.latent_w, *config.prior_widths]):
            layers += [nn.Linear(before, width), nn.LeakyReLU(SLOPE)]
        last = [config.latent_w, *config.prior_widths][-1]
        gaussians = nn.Linear(last, 2 * config.components * config.latent)
        self.prior = nn.Sequential(*layers, gaussians)
        self.decoder = Decoder(config.widths, config.bottom, config.latent)
        start_autoencoder(self)
        # Components start near one another, with a standard deviation near 1.
        nn.init.normal_(gaussians.weight, std=0.1 / math.sqrt(last))

    def encode(self, volumes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return mean and log standard deviation of z [N, latent], and those of w [N, latent_w], in float32."""
        features = self.heads(self.after(self.encoder(volumes)).flatten(1))
        of_z, of_w = features.split([2 * self.config.latent, 2 * self.config.latent_w], dim=1)
        mean, log_std = split_normal(of_z)
        mean_w, log_std_w = split_normal(of_w)
        return mean, log_std.clamp(-BOUND, BOUND), mean_w, log_std_w.clamp(-BOUND, BOUND)

    def decode(self, z: Tensor) -> Tensor:
        """Return gray values [N, 1, D, H, W] in 0 ... 1 of z [N, latent]."""
        values: Tensor = self.decoder(z[:, :, None, None, None])
        return values.float().sigmoid()

    def autoencoder_losses(self, volumes: Tensor) -> dict[str, Tensor]:
        """Return the mean L1 and the weighted divergences."""
        config = self.config
        mean, log_std, mean_w, log_std_w = self.encode(volumes)
        z = mean + torch.randn_like(mean) * log_std.exp()
        w = mean_w + torch.randn_like(mean_w) * log_std_w.exp()
        means, log_stds = self.prior(w).float().view(len(w), config.components, 2, config.latent).unbind(2)
        log_stds = log_stds.clamp(-BOUND, BOUND)
        log_share = component_log_shares(z, means, log_stds)
        each = kl_between(mean[:, None], log_std[:, None], means, log_stds)
        return {
            "reconstruction": F.l1_loss(self.decode(z), volumes.float()),
            "kl": config.kl_weight * (log_share.exp() * each).sum(dim=1).mean(),
            "kl_w": config.kl_weight_w * kl_to_standard(mean_w, log_std_w),
            "kl_component": config.kl_weight_component * kl_to_uniform(log_share),
        }

    def reconstruct(self, blocks: Tensor) -> Tensor:
        """Return the reconstruction from the mean of z."""
        return self.decode(self.encode(blocks.clamp(0, 1))[0])[:, 0]


def component_log_shares(z: Tensor, means: Tensor, log_stds: Tensor) -> Tensor:
    """Return the log probability float32 [N, K] that z [N, L] is of each of K equally likely Gaussians [N, K, L]."""
    z = z.float()[:, None]
    log_density = -(0.5 * ((z - means.float()) / log_stds.float().exp()).square() + log_stds.float()).sum(dim=2)
    return log_density.log_softmax(dim=1)


def kl_between(mean: Tensor, log_std: Tensor, other_mean: Tensor, other_log_std: Tensor) -> Tensor:
    """Return KL(N(mean, exp(log_std)^2) || N(other ...)), summed over the last axis, in float32."""
    mean, log_std, other_mean, other_log_std = (t.float() for t in (mean, log_std, other_mean, other_log_std))
    ratio = (2 * (log_std - other_log_std)).exp()
    distance = ((mean - other_mean) / other_log_std.exp()).square()
    return (0.5 * (ratio + distance - 1) - log_std + other_log_std).sum(dim=-1)


def kl_to_uniform(log_shares: Tensor) -> Tensor:
    """Return the divergence of shares, given by their logs [N, K], from 1 / K each, averaged over the batch."""
    return ((log_shares.exp() * log_shares).sum(dim=1) + math.log(log_shares.shape[1])).mean()


def build_gm_vae(config: MixtureVAEConfig, num_classes: int) -> MixtureVAE:
    """Return a gmVAE. Raises InputError as `load_volume_weights`."""
    model = MixtureVAE(config)
    load_volume_weights(model, config, num_classes)
    return model
