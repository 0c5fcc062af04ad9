"""The autoencoder whose latent space is a book of codes (vqVAE).

After van den Oord et al. (2017), with codes that follow moving averages; in three dimensions, with one stage more for
blocks of 64 voxels, as Iuso et al. (2024) have it. Counted are the codes and their moving sums, too: 2.511 million.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from detectors.volumes.unet3d import load_volume_weights
from detectors.volumes.vae.interface import AutoencoderConfig, VolumeAutoencoder
from detectors.volumes.vae.layers import start_autoencoder

STAGES = 3
EPSILON = 1e-5
"""Added to the counts of codes, so that an unused one is not divided by 0."""


class QuantizedVAEConfig(AutoencoderConfig):
    """The `model` section of a vqVAE. Its stages have a quarter, a half and all of `hidden` channels."""

    name: Literal["vq_vae"] = Field("vq_vae", description="An autoencoder with a book of codes.")
    hidden: int = Field(128, ge=4, description="Channels of the coarsest stage, a multiple of 4.")
    residual: int = Field(32, ge=1, description="Channels inside of a residual layer.")
    residual_layers: int = Field(2, ge=0, description="Residual layers in encoder and decoder.")
    codes: int = Field(512, ge=2, description="Codes in the book.")
    code_size: int = Field(64, ge=1, description="Numbers of a code.")
    commitment: float = Field(0.25, ge=0, description="Weight that draws the encoder to its codes.")
    code_decay: float = Field(0.99, gt=0, lt=1, description="Of the moving averages that the codes follow.")

    @property
    def halvings(self) -> int:
        """One a stage."""
        return STAGES

    @model_validator(mode="after")
    def _hidden_can_be_parted(self) -> "QuantizedVAEConfig":
        if self.hidden % 4:
            raise ValueError(f"hidden ({self.hidden}) must be a multiple of 4")
        return self


class _Residual(nn.Module):
    """x + convolution of 1 voxel of a convolution of 3 voxels, both behind ReLU, without biases."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(), nn.Conv3d(channels, inner, 3, padding=1, bias=False), nn.ReLU(),
            nn.Conv3d(inner, channels, 1, bias=False),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)


class CodeBook(nn.Module):
    """The nearest code of each vector; codes are moving averages of the vectors that are nearest to them."""

    counts: Tensor

    def __init__(self, codes: int, size: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        # Counted as parameters, as in the source, but moved by averages and not by gradients.
        self.codes = nn.Parameter(torch.randn(codes, size), requires_grad=False)
        self.sums = nn.Parameter(self.codes.detach().clone(), requires_grad=False)
        self.register_buffer("counts", torch.ones(codes))

    def forward(self, features: Tensor) -> Tensor:
        """Return the nearest codes of features [N, size, D, H, W], in float32; in training, move the codes."""
        vectors = features.float().movedim(1, -1)
        flat = vectors.reshape(-1, vectors.shape[-1])
        distances = flat.square().sum(1, keepdim=True) - 2 * flat @ self.codes.T + self.codes.square().sum(1)
        nearest = distances.argmin(dim=1)
        found = self.codes[nearest].view_as(vectors).movedim(-1, 1)
        if self.training:
            self._follow(flat.detach(), nearest)
        return found

    @torch.no_grad()
    def _follow(self, vectors: Tensor, nearest: Tensor) -> None:
        chosen = F.one_hot(nearest, len(self.codes)).to(vectors.dtype)
        self.counts.mul_(self.decay).add_(chosen.sum(dim=0), alpha=1 - self.decay)
        self.sums.mul_(self.decay).add_(chosen.T @ vectors, alpha=1 - self.decay)
        total = self.counts.sum()
        counts = (self.counts + EPSILON) / (total + len(self.codes) * EPSILON) * total
        self.codes.copy_(self.sums / counts[:, None])


class QuantizedVAE(VolumeAutoencoder):
    """MSE of the reconstruction from the codes, and what draws the encoder to them."""

    config: QuantizedVAEConfig

    def __init__(self, config: QuantizedVAEConfig) -> None:
        super().__init__(config)
        full, half, quarter = config.hidden, config.hidden // 2, config.hidden // 4

        def residuals() -> list[nn.Module]:
            return [*(_Residual(full, config.residual) for _ in range(config.residual_layers)), nn.ReLU()]

        self.encoder = nn.Sequential(
            nn.Conv3d(1, quarter, 4, stride=2, padding=1), nn.ReLU(),
            nn.Conv3d(quarter, half, 4, stride=2, padding=1), nn.ReLU(),
            nn.Conv3d(half, full, 4, stride=2, padding=1), nn.ReLU(),
            nn.Conv3d(full, full, 3, padding=1), *residuals(),
            nn.Conv3d(full, config.code_size, 1),
        )  # fmt: skip
        self.book = CodeBook(config.codes, config.code_size, config.code_decay)
        self.decoder = nn.Sequential(
            nn.Conv3d(config.code_size, full, 3, padding=1), *residuals(),
            nn.ConvTranspose3d(full, half, 4, stride=2, padding=1), nn.ReLU(),
            nn.ConvTranspose3d(half, quarter, 4, stride=2, padding=1), nn.ReLU(),
            nn.ConvTranspose3d(quarter, 1, 4, stride=2, padding=1),
        )  # fmt: skip
        start_autoencoder(self)

    def autoencoder_losses(self, volumes: Tensor) -> dict[str, Tensor]:
        """Return the MSE and the weighted distance to the codes."""
        features = self.encoder(volumes).float()
        codes = self.book(features)
        # The gradient passes the codes by: that of the reconstruction reaches the encoder as it is.
        values = self.decoder(features + (codes - features).detach()).float().sigmoid()
        return {
            "reconstruction": F.mse_loss(values, volumes.float()),
            "commitment": self.config.commitment * F.mse_loss(features, codes),
        }

    def reconstruct(self, blocks: Tensor) -> Tensor:
        """Return the reconstruction from the codes."""
        values: Tensor = self.decoder(self.book(self.encoder(blocks.clamp(0, 1))))
        return values[:, 0].float().sigmoid()


def build_vq_vae(config: QuantizedVAEConfig, num_classes: int) -> QuantizedVAE:
    """Return a vqVAE. Raises InputError as `load_volume_weights`."""
    model = QuantizedVAE(config)
    load_volume_weights(model, config, num_classes)
    return model
