"""Augmentation of patches of volumes: cube symmetries, elastic, intensity, waves, blur and noise."""

from itertools import permutations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from scipy.ndimage import gaussian_filter, map_coordinates, zoom

from data.schema import StrictModel

Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]
Range = tuple[float, float]


class PatchCropConfig(StrictModel):
    """Where training patches are taken.

    `size` is a side in voxels or (z, y, x); of unequal sides, each patch draws which axis is which, so that slices
    are cut in all three directions. `around_defect` of the patches contain a pore, drawn by its diameter, and
    `around_surface` a surface of the part, `around_hollow` one that metal surrounds, as at the end of a hole, in a
    thread or a groove, the rest any voxel of material: a patch of air alone is never taken.
    """

    size: int | tuple[int, int, int] = Field(32, description="Side in voxels, or (z, y, x).")
    around_defect: float = Field(0.6, ge=0, le=1, description="Share of patches with a pore.")
    around_surface: float = Field(0.2, ge=0, le=1, description="Share of patches with a surface of the part.")
    around_hollow: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of patches at the ends of holes, threads and grooves: surfaces within metal.",
    )

    @field_validator("size")
    @classmethod
    def _positive(cls, value: int | tuple[int, int, int]) -> int | tuple[int, int, int]:
        sides = (value,) if isinstance(value, int) else value
        if min(sides) < 1 or max(sides) < 8:
            raise ValueError("sides are 1 voxel or more, the longest 8 or more")
        return value

    @property
    def sides(self) -> tuple[int, int, int]:
        """The sides (z, y, x)."""
        return (self.size,) * 3 if isinstance(self.size, int) else self.size


class VolumeAugmentationConfig(StrictModel):
    """Random changes of a training patch, whose gray values have air at 0 and metal at 1.

    `symmetries` turns and mirrors the patch into one of the 48 positions of a cube (8 where its sides differ).
    `elastic` voxels is the greatest shift of a smooth deformation. Values become value * (1 + contrast) + brightness;
    `wave` is the amplitude of a slow modulation, as beam hardening and scatter leave. `blur` and `noise` are the least
    and greatest standard deviation, in voxels and of the gray value. `chance` is the probability of each of elastic,
    wave and blur.
    """

    symmetries: bool = Field(True, description="Whether patches are turned and mirrored as a cube can be.")
    contrast: float = Field(0.2, ge=0, lt=1, description="Values are multiplied by up to 1 plus or minus this.")
    brightness: float = Field(0.1, ge=0, description="Up to this is added to values.")
    noise: Range = Field((0.0, 0.06), description="Least and greatest standard deviation of added noise.")
    blur: Range = Field((0.0, 0.7), description="Least and greatest sigma of a blur, in voxels.")
    wave: float = Field(0.1, ge=0, description="Amplitude of a slow modulation of the values.")
    elastic: float = Field(0.0, ge=0, description="Greatest shift of a smooth deformation, in voxels.")
    chance: float = Field(0.3, ge=0, le=1, description="Probability of each of elastic, wave and blur.")


class FixedGrayLevels(StrictModel):
    """Gray values of air and metal in the units of the volumes."""

    air: float = Field(description="Gray value of air.")
    metal: float = Field(description="Gray value of metal.")

    @model_validator(mode="after")
    def _rising(self) -> "FixedGrayLevels":
        if self.metal <= self.air:
            raise ValueError(f"metal ({self.metal}) must be brighter than air ({self.air})")
        return self


class VolumeDataConfig(StrictModel):
    """How training patches are taken out of volumes, and what their gray values and open pores mean."""

    crop: PatchCropConfig = Field(PatchCropConfig(), description="Where training patches are taken.")
    augmentation: VolumeAugmentationConfig = Field(
        VolumeAugmentationConfig(), description="Random changes of training patches."
    )
    open_pores: Literal["ignore", "pore", "background"] = Field(
        "ignore", description="What pores open to the surface are, in training and evaluation."
    )
    closed_air: bool = Field(
        True, description="Whether air that metal encloses is a pore even where the network does not see one."
    )
    outer_air: bool = Field(
        True,
        description="Whether air around the part, with the voxel next to it, is no pore even where the network sees "
        "one, as at the ends of holes; not where open_pores is pore.",
    )
    least_voxels: int = Field(
        4, ge=1, description="Marked regions of fewer voxels are no pores, neither found nor false ones."
    )
    gray_levels: FixedGrayLevels | None = Field(
        None, description="Gray values of air and metal of all volumes; of each one's histogram if null."
    )

    @property
    def drops_outer_air(self) -> bool:
        """Whether pores are closed ones alone, so that what touches the air around the part is none."""
        return self.outer_air and self.open_pores != "pore"


def augment(
    values: Floats, labels: Labels, config: VolumeAugmentationConfig, rng: np.random.Generator
) -> tuple[Floats, Labels]:
    """Return a patch float32 [D, H, W] and its labels uint8 [D, H, W], changed alike; every choice from `rng`."""
    if config.symmetries:
        values, labels = turn(values, labels, rng)
    if config.elastic and rng.random() < config.chance:
        values, labels = deform(values, labels, config.elastic, rng)
    scale = 1 + rng.uniform(-config.contrast, config.contrast)
    values = values * np.float32(scale) + np.float32(rng.uniform(-config.brightness, config.brightness))
    if config.wave and rng.random() < config.chance:
        values *= 1 + wave(values.shape, rng.uniform(0, config.wave), rng)
    if config.blur[1] and rng.random() < config.chance:
        values = gaussian_filter(values, rng.uniform(*config.blur))
    sigma = rng.uniform(*config.noise)
    if sigma:
        values = values + np.float32(sigma) * rng.standard_normal(values.shape, dtype=np.float32)
    return values.astype(np.float32, copy=False), labels


def turn(values: Floats, labels: Labels, rng: np.random.Generator) -> tuple[Floats, Labels]:
    """Return both in one of the positions that keep the patch's sides."""
    fitting = [order for order in permutations(range(3)) if tuple(values.shape[k] for k in order) == values.shape]
    order = fitting[int(rng.integers(len(fitting)))]
    mirrored = tuple(axis for axis in range(3) if rng.random() < 0.5)
    return np.flip(values.transpose(order), mirrored), np.flip(labels.transpose(order), mirrored)


def deform(values: Floats, labels: Labels, reach: float, rng: np.random.Generator) -> tuple[Floats, Labels]:
    """Return both under one smooth shift of at most `reach` voxels; labels keep the nearest value."""
    grid = np.meshgrid(*(np.arange(length, dtype=np.float32) for length in values.shape), indexing="ij")
    coordinates = []
    for axis, places in enumerate(grid):
        if values.shape[axis] == 1:
            coordinates.append(places)
            continue
        coarse = rng.uniform(-reach, reach, size=[min(4, length) for length in values.shape])
        factors = [length / small for length, small in zip(values.shape, coarse.shape, strict=True)]
        coordinates.append(places + zoom(coarse, factors, order=1, mode="nearest", grid_mode=True).astype(np.float32))
    moved = map_coordinates(values, coordinates, order=1, mode="nearest")
    return moved.astype(np.float32), map_coordinates(labels, coordinates, order=0, mode="nearest")


def wave(shape: tuple[int, ...], amplitude: float, rng: np.random.Generator) -> Floats:
    """Return a cosine float32 of `shape` with a wavelength of one to four patches in a random direction."""
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction) * max(shape) * rng.uniform(1, 4)
    grid = np.meshgrid(*(np.arange(length) for length in shape), indexing="ij", sparse=True)
    phase = sum(step * places for step, places in zip(direction, grid, strict=True)) + rng.uniform()
    return (amplitude * np.cos(2 * np.pi * phase)).astype(np.float32)
