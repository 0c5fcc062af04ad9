"""What every autoencoder of volumes is: losses without labels, and a reconstruction whose error is the score."""

from pydantic import Field, model_validator
from torch import Tensor

from data.errors import InputError
from detectors.volumes.interface import UnsupervisedConfig, VoxelNetwork, check_volumes


class AutoencoderConfig(UnsupervisedConfig):
    """The part of a `model` section that all autoencoders of volumes share.

    Patches in training have the side of a block, because the latent space has no place for another one.
    """

    overlap: int = Field(32, ge=0, description="Voxels that neighboring cubes share at least; the paper: half a cube.")
    post_processing: bool = Field(
        True, description="Whether the blurred gradient of the reconstruction is subtracted from its error."
    )

    @property
    def halvings(self) -> int:
        """How often the encoder halves a block."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _block_can_be_halved(self) -> "AutoencoderConfig":
        least = 2**self.halvings
        if self.block % least:
            raise ValueError(f"block ({self.block}) must be a multiple of {least}, which the encoder halves "
                             f"{self.halvings} times")  # fmt: skip
        return self


class LatentConfig(AutoencoderConfig):
    """The part of a `model` section of autoencoders that halve a block to one vector."""

    widths: list[int] = Field([32, 64, 128, 256], min_length=1, max_length=6, description="Channels at each scale.")
    latent: int = Field(512, ge=1, description="Numbers that a block is reduced to.")
    kl_weight: float = Field(1e-5, ge=0, description="Weight of the divergence of the latent space from N(0, 1).")

    @property
    def halvings(self) -> int:
        """One a width."""
        return len(self.widths)

    @property
    def bottom(self) -> int:
        """Side of the coarsest map in voxels; 4 at the published size."""
        return self.block // 2**self.halvings


class VolumeAutoencoder(VoxelNetwork):
    """Base of the autoencoders. One of its own defines `autoencoder_losses` and `reconstruct`.

    Gray values are cut to 0 (air) ... 1 (metal), the range of the sigmoid that ends every one of them.
    """

    config: AutoencoderConfig

    def forward(self, volumes: Tensor, masks: Tensor | None = None) -> dict[str, Tensor] | Tensor:
        """Return losses in training, errors of the reconstruction [N, D, H, W] in evaluation; masks are not looked at.

        Raises InputError for volumes that are not [N, 1, block, block, block].
        """
        self.check_blocks(volumes)
        return self.autoencoder_losses(volumes.clamp(0, 1)) if self.training else self.map_blocks(volumes)

    def autoencoder_losses(self, volumes: Tensor) -> dict[str, Tensor]:
        """Return the weighted losses of volumes [N, 1, D, H, W] in 0 ... 1, scalars by name, to be summed."""
        raise NotImplementedError

    def reconstruct(self, blocks: Tensor) -> Tensor:
        """Return what the model makes of blocks [N, 1, D, H, W], float32 [N, D, H, W] in 0 ... 1, without a draw."""
        raise NotImplementedError

    def map_blocks(self, blocks: Tensor) -> Tensor:
        """Return |x - reconstruction| of every voxel, float32 [N, D, H, W] in 0 ... 1."""
        self.check_blocks(blocks)
        return (blocks[:, 0].float().clamp(0, 1) - self.reconstruct(blocks)).abs()

    def check_blocks(self, volumes: Tensor) -> None:
        """Raise InputError for what is not float [N, 1, block, block, block]."""
        check_volumes(volumes)
        side = self.config.block
        if tuple(volumes.shape[2:]) != (side,) * 3:
            raise InputError(
                f"{self.config.name} takes blocks of {side} voxels a side, and these are {tuple(volumes.shape[2:])}; "
                "give data.volumes.crop.size and model.block the same number"
            )
