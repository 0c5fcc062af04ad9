"""The variational autoencoder, and its relative that fills in what is masked (ceVAE).

After Iuso et al. (2024) and the works that they cite; at the published widths with the published parameter counts.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from detectors.volumes.unet3d import load_volume_weights
from detectors.volumes.vae.interface import LatentConfig, VolumeAutoencoder
from detectors.volumes.vae.layers import Decoder, Encoder, activation, kl_to_standard, split_normal, start_autoencoder


class VAEConfig(LatentConfig):
    """The `model` section of a variational autoencoder; the paper's widths are 32, 64, 128, 256."""

    name: Literal["vae"] = Field("vae", description="A variational autoencoder.")


class ContextVAEConfig(LatentConfig):
    """The `model` section of a ceVAE; the paper's widths are 16, 64, 256, 1024.

    In the second half of its loss boxes of the input are set to 0, and the whole patch is to be reconstructed. Boxes
    have sides of a sixteenth to a quarter of a block: 4 to 16 voxels of the published 64.
    """

    name: Literal["ce_vae"] = Field("ce_vae", description="A variational autoencoder that fills in masked boxes.")
    widths: list[int] = Field([16, 64, 256, 1024], min_length=1, max_length=6, description="Channels at each scale.")
    boxes: int = Field(3, ge=1, description="Boxes that are masked in a patch at most.")


class VAE(VolumeAutoencoder):
    """L1 of a reconstruction from a draw of the latent space, and the divergence of that space from N(0, 1)."""

    config: LatentConfig

    def __init__(self, config: LatentConfig) -> None:
        super().__init__(config)
        self.encoder = Encoder(config.widths, config.bottom, 2 * config.latent)
        self.after = activation(relu=False)
        self.decoder = Decoder(config.widths, config.bottom, config.latent)
        start_autoencoder(self)

    def encode(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation of the latent, float32 [N, latent, 1, 1, 1]."""
        return split_normal(self.after(self.encoder(volumes)))

    def decode(self, latent: Tensor) -> Tensor:
        """Return gray values [N, 1, D, H, W] in 0 ... 1 of latents [N, latent, 1, 1, 1]."""
        values: Tensor = self.decoder(latent)
        return values.float().sigmoid()

    def autoencoder_losses(self, volumes: Tensor) -> dict[str, Tensor]:
        """Return the mean L1 and the weighted divergence."""
        mean, log_std = self.encode(volumes)
        drawn = mean + torch.randn_like(mean) * log_std.exp()
        return {
            "reconstruction": F.l1_loss(self.decode(drawn), volumes.float()),
            "kl": self.config.kl_weight * kl_to_standard(mean, log_std),
        }

    def reconstruct(self, blocks: Tensor) -> Tensor:
        """Return the reconstruction from the mean of the latent."""
        return self.decode(self.encode(blocks.clamp(0, 1))[0])[:, 0]


class ContextVAE(VAE):
    """Half of the loss is the VAE's; the other half is the L1 from masked patches, without a draw.

    Both halves compare with the unmasked patch: where the masked one is compared with itself, the network learns to
    draw boxes.
    """

    config: ContextVAEConfig

    def autoencoder_losses(self, volumes: Tensor) -> dict[str, Tensor]:
        """Return the weighted losses of both halves."""
        found = {name: value / 2 for name, value in super().autoencoder_losses(volumes).items()}
        filled = self.decode(self.encode(mask_boxes(volumes, self.config.boxes))[0])
        return found | {"context": F.l1_loss(filled, volumes.float()) / 2}


def mask_boxes(volumes: Tensor, most: int) -> Tensor:
    """Return a copy of volumes [N, 1, S, S, S] in each of which 1 to `most` boxes are 0.

    Their sides are S / 16 to S / 4 voxels. Draws come from torch's generator, which a resumed training restores.
    """
    side = volumes.shape[-1]
    low, high = max(side // 16, 1), max(side // 4, 1)
    masked = volumes.clone()
    for volume in masked:
        for _ in range(int(torch.randint(1, most + 1, ()))):
            sides = torch.randint(low, high + 1, (3,)).tolist()
            z, y, x = (int(torch.randint(0, side - length + 1, ())) for length in sides)
            volume[0, z : z + sides[0], y : y + sides[1], x : x + sides[2]] = 0
    return masked


def build_vae(config: VAEConfig, num_classes: int) -> VAE:
    """Return a VAE. Raises InputError as `load_volume_weights`."""
    model = VAE(config)
    load_volume_weights(model, config, num_classes)
    return model


def build_ce_vae(config: ContextVAEConfig, num_classes: int) -> ContextVAE:
    """Return a ceVAE. Raises InputError as `load_volume_weights`."""
    model = ContextVAE(config)
    load_volume_weights(model, config, num_classes)
    return model
