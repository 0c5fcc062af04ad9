"""Thickness maps of simulated welds: plates, beads with ripples and reinforcement."""

from dataclasses import dataclass

import numpy as np

from data.synthesis.casting_parts import inside, texture
from data.synthesis.iqi import WireIqi, draw_wire_iqi, lay_wires
from data.synthesis.part import Part


@dataclass(frozen=True, kw_only=True)
class WeldPart(Part):
    """A kind of weld.

    Attributes:
        half_width: range of half the bead's width, relative to the radiograph's height.
        root: whether a bright root always shows, or in three of ten welds.
        bent: whether the bead is bent and the plate's thickness along the ray grows to the sides, as a pipe's does.

    """

    half_width: tuple[float, float]
    root: bool
    bent: bool


WELD_PARTS = {
    "butt": WeldPart(turns=(0,), half_width=(0.2, 0.36), root=False, bent=False),
    "narrow": WeldPart(turns=(1,), half_width=(0.12, 0.22), root=True, bent=False),
    "girth": WeldPart(turns=(2,), half_width=(0.2, 0.36), root=False, bent=True),
}


@dataclass
class Weld:
    """A weld seen from above.

    Attributes:
        thickness: float32 [H, W], steel along the ray in mm.
        across: float32 [H, W], distance from the bead's center line in half widths; +-1 are its toes.
        heading: the bead's direction in the radiograph in radians.
        half_width: half the bead's width in pixels.
        pixel_mm: the pixel's size in mm.
        wires: the image quality indicator that lies on it, if there is one.

    """

    thickness: np.ndarray
    across: np.ndarray
    heading: float
    half_width: float
    pixel_mm: float
    wires: WireIqi | None = None


def make_weld(rng: np.random.Generator, part: WeldPart, size: tuple[int, int], easy: bool) -> Weld:
    """Return a weld of a kind on `size` (width, height) pixels."""
    width, height = size
    pixel = rng.uniform(0.05, 0.12)
    half = height * rng.uniform(*part.half_width)
    u = np.arange(width, dtype=np.float32) - width / 2
    v = (np.arange(height, dtype=np.float32) - height / 2)[:, None]
    heading = rng.normal(0, 0.02)
    bend = rng.uniform(-0.25, 0.25) * height / width**2 if part.bent else 0.0
    wander = half * np.float32(0.06) * texture(rng, (1, width), width / 6)[0]
    middle = np.float32(rng.normal(0, 0.06) * height)
    center = np.float32(np.tan(heading)) * u + np.float32(bend) * u * u + wander + middle
    toes = half * (1 + np.float32(rng.uniform(0.01, 0.06)) * texture(rng, (1, width), max(half / 2, 12))[0])
    across = ((v - center) / toes).astype(np.float32)
    plate = rng.uniform(6, 20)
    thickness = np.full((height, width), np.float32(plate))
    if part.bent:
        thickness *= 1 + np.float32(rng.uniform(0.05, 0.3)) * (v / (height / 2)) ** 2
    thickness += _bead(rng, across, u, half, plate, part.root)
    wires = None
    if not easy:
        # Blotches of 30 px and more: uneven plate and film, and no defects.
        thickness *= 1 + np.float32(rng.uniform(0, 0.012)) * texture(rng, thickness.shape, rng.uniform(30, 200))
        if rng.random() <= 0.5:
            wires = draw_wire_iqi(rng, thickness.shape)
            lay_wires(thickness, pixel, wires)
        if rng.random() < 0.25:  # a step in the plate, along the weld
            step = v * np.float32(rng.choice([-1, 1])) - np.float32(height * rng.uniform(0.3, 0.48))
            thickness *= 1 - np.float32(rng.uniform(-0.2, 0.2)) * inside(-step, rng.uniform(2, 8), 1.0)
    return Weld(thickness, across, heading, half, pixel, wires)


def _bead(rng: np.random.Generator, across: np.ndarray, u: np.ndarray, half: float, plate: float, root: bool
          ) -> np.ndarray:  # fmt: skip
    """Return the bead's height float32 [H, W] in mm: a flat dome with chevron ripples, and a root."""
    dome = np.clip(1 - np.abs(across) ** np.float32(rng.uniform(1.6, 3.5)), 0, 1) ** np.float32(rng.uniform(0.8, 2.0))
    height = plate * rng.uniform(0.12, 0.4)
    pitch = half * rng.uniform(0.08, 0.35)
    phase = (u + half * np.float32(rng.uniform(0.2, 0.7)) * across**2) * np.float32(2 * np.pi / pitch)
    uneven = np.float32(rng.uniform(0.3, 2.0)) * texture(rng, across.shape, pitch)
    ripple = np.float32(height * rng.uniform(0.0, 0.05)) * np.sin(phase + uneven)
    lumps = np.float32(height * rng.uniform(0.02, 0.1)) * texture(rng, across.shape, half * rng.uniform(0.5, 1.5))
    bead = dome * (np.float32(height) + ripple + lumps)
    if root or rng.random() < 0.3:
        relative = across / np.float32(rng.uniform(0.2, 0.4))
        bead += np.float32(height * rng.uniform(0.15, 0.5)) * np.exp(-relative * relative)
    return bead
