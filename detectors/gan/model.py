"""DCGAN as a model of the training loop: both networks' losses out of one forward pass."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.func import functional_call

from data.errors import InputError
from detectors.fields import Fraction
from detectors.gan.networks import Discriminator, Generator
from detectors.schema import ModelSection

DETECTS_NOTHING = "a 'dcgan' generates patches with defects and detects none; generate some with radiograph sample-gan"


class DCGANConfig(ModelSection):
    """The `model` section for a DCGAN (Radford et al. 2016)."""

    task: ClassVar[str] = "gan"
    former_names: ClassVar = {"real_target": "real_label"}

    name: Literal["dcgan"] = Field("dcgan", description="DCGAN, a generator of patches.")
    size: int = Field(32, ge=16, le=512, description="Side of a patch in pixels, a power of two.")
    latent: int = Field(100, ge=1, le=16384, description="Numbers of noise that a patch is generated from.")
    width: int = Field(32, ge=1, le=1024, description="Channels at half a patch's size; each halving doubles them.")
    real_label: float = Field(
        0.9,
        gt=0.5,
        le=1,
        description="What the discriminator is asked to say of real patches: under 1 (one-sided label smoothing, "
        "Salimans et al. 2016) it does not grow too sure; 1 is as published.",
    )
    noise: Fraction = Field(
        0.0,
        description="Standard deviation of noise on all that the discriminator sees (Sonderby et al. 2017), full scale "
        "being 1: on radiographs of few gray levels it cannot tell real ones by the last bits alone.",
    )

    @field_validator("size")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError("the side of a patch is a power of two, such as 32")
        return value


class DCGAN(nn.Module):
    """Generator and discriminator, trained at once.

    In training mode it takes patches float32 [N, 1, S, S] in [0, 1] and returns the losses of both networks for one
    backward pass of their sum: each reaches its own network alone. The paper takes turns; here both step from the
    same weights, and the discriminator sees every generated patch once. A DCGAN detects nothing: evaluation mode
    raises InputError.
    """

    def __init__(self, config: DCGANConfig) -> None:
        super().__init__()
        self.generator = Generator(config.size, config.latent, config.width)
        self.discriminator = Discriminator(config.size, config.width)
        self.real_label = config.real_label
        self.noise = config.noise

    def forward(self, patches: Tensor) -> dict[str, Tensor]:
        """Return the losses `loss_discriminator` and `loss_generator` (non-saturating), to be summed."""
        if not self.training:
            raise InputError(DETECTS_NOTHING)
        generated = self._noisy(self.generator(self.generator.noise(len(patches)).to(patches.device)))
        patches = self._noisy(patches)
        # Real and generated patches in batches of their own, as published: batch norm tells their statistics apart.
        real, fake = self.discriminator(patches), self.discriminator(generated.detach())
        loss = 0.5 * (_adversarial_loss(real, self.real_label) + _adversarial_loss(fake, 0.0))
        return {"loss_discriminator": loss, "loss_generator": _adversarial_loss(self._frozen_logits(generated), 1.0)}

    def classify(self, patches: Tensor) -> Tensor:
        """Raise InputError: there is no class to tell."""
        raise InputError(DETECTS_NOTHING)

    def _noisy(self, patches: Tensor) -> Tensor:
        """Return patches as the discriminator sees them."""
        return patches + self.noise * torch.randn_like(patches) if self.noise else patches

    def _frozen_logits(self, generated: Tensor) -> Tensor:
        """Return the discriminator's logits of generated patches, its weights held constant for the generator."""
        weights = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        # The running statistics have seen these patches already.
        statistics = {name: buffer.clone() for name, buffer in self.discriminator.named_buffers()}
        return functional_call(self.discriminator, weights | statistics, (generated,))


def _adversarial_loss(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits, target, dtype=torch.float32))


def build_dcgan(config: DCGANConfig, num_classes: int) -> DCGAN:
    """Return a DCGAN with its starting weights; the number of classes is of no matter to it."""
    return DCGAN(config)
