"""DCGAN as a model of the training loop: both networks' losses out of one forward pass."""

from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.func import functional_call

from data.errors import InputError
from detectors.backbones.weights import load_matching
from detectors.gan.networks import Discriminator, Generator
from detectors.schema import ModelSection


class DCGANConfig(ModelSection):
    """The `model` section for a DCGAN (Radford et al. 2016).

    `size` is the side of a patch in pixels, `latent` the numbers of noise it is made from, `width` the channels at
    half the size. `real_target` below 1 is what the discriminator is asked to say of real patches (one-sided label
    smoothing, Salimans et al. 2016), which keeps it from growing too sure; 1 is as published. `noise` is the standard
    deviation of noise on all that the discriminator sees (Sonderby et al. 2017), full scale being 1: on radiographs
    that were smoothed or stored in few gray levels it cannot then judge by the last bits alone.
    """

    task: ClassVar[str] = "gan"

    name: Literal["dcgan"] = "dcgan"
    size: int = Field(32, ge=16)
    latent: int = Field(100, ge=1)
    width: int = Field(32, ge=1)
    real_target: float = Field(0.9, gt=0.5, le=1)
    noise: float = Field(0.0, ge=0, le=1)

    @field_validator("size")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError("the side of a patch is a power of two, such as 32")
        return value

    @field_validator("weights")
    @classmethod
    def _own_weights(cls, value: str) -> str:
        if value in ("imagenet", "coco"):
            raise ValueError(f"there are no '{value}' weights of a DCGAN: give none or a run")
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
        self.real_target = config.real_target
        self.noise = config.noise

    def forward(self, patches: Tensor) -> dict[str, Tensor]:
        """Return the losses `loss_discriminator` and `loss_generator` (non-saturating), to be summed."""
        if not self.training:
            self.classify(patches)
        made = self._noisy(self.generator(self.generator.noise(len(patches)).to(patches.device)))
        patches = self._noisy(patches)
        # Real and generated patches in batches of their own, as published: batch norm tells their statistics apart.
        real, fake = self.discriminator(patches), self.discriminator(made.detach())
        wrong = 0.5 * (_answer(real, self.real_target) + _answer(fake, 0.0))
        return {"loss_discriminator": wrong, "loss_generator": _answer(self._judged(made), 1.0)}

    def classify(self, patches: Tensor) -> Tensor:
        """Raise InputError: there is no class to tell."""
        raise InputError("a 'dcgan' makes patches with defects and finds none; draw some with tools/sample_gan.py")

    def _noisy(self, patches: Tensor) -> Tensor:
        """Return patches as the discriminator sees them."""
        return patches + self.noise * torch.randn_like(patches) if self.noise else patches

    def _judged(self, made: Tensor) -> Tensor:
        """Return the discriminator's logits of generated patches, as constant as it must be for the generator."""
        weights = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        # The running statistics have seen these patches already.
        statistics = {name: buffer.clone() for name, buffer in self.discriminator.named_buffers()}
        return functional_call(self.discriminator, weights | statistics, (made,))


def _answer(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits, target, dtype=torch.float32))


def build_dcgan(config: DCGANConfig, num_classes: int) -> DCGAN:
    """Return a DCGAN with its starting weights; the number of classes is of no matter to it."""
    model = DCGAN(config)
    if config.weights != "none":
        load_matching(model, Path(config.weights), ())
    return model
