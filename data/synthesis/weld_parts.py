"""Thickness maps of simulated welds: plates, beads with ripples and reinforcement, wire indicators."""

from dataclasses import dataclass

import numpy as np

from data.synthesis.casting_parts import inside, texture

WELD_FAMILIES = ("butt", "narrow", "girth")


@dataclass
class Weld:
    """A weld seen from above.

    Attributes:
        thickness: float32 [H, W], steel along the ray in mm.
        across: float32 [H, W], distance from the bead's center line in half widths; +-1 are its toes.
        heading: the bead's direction in the radiograph in radians.
        half_width: half the bead's width in pixels.
        pixel_mm: the pixel's size in mm.

    """

    thickness: np.ndarray
    across: np.ndarray
    heading: float
    half_width: float
    pixel_mm: float


def make_weld(rng: np.random.Generator, family: str, size: tuple[int, int], plain: bool) -> Weld:
    """Return a weld of a family of `WELD_FAMILIES` on `size` (width, height) pixels.

    "butt" has a broad bead with reinforcement, "narrow" a slim one with a bright root, "girth" is bent and lies on
    a plate whose thickness along the ray grows towards one side, as a pipe's does.
    """
    width, height = size
    pixel = rng.uniform(0.05, 0.12)
    half = height * (rng.uniform(0.12, 0.22) if family == "narrow" else rng.uniform(0.2, 0.36))
    u = np.arange(width, dtype=np.float32) - width / 2
    v = (np.arange(height, dtype=np.float32) - height / 2)[:, None]
    heading = rng.normal(0, 0.02)
    bend = rng.uniform(-0.25, 0.25) * height / width**2 if family == "girth" else 0.0
    wander = half * np.float32(0.06) * texture(rng, (1, width), width / 6)[0]
    middle = np.float32(rng.normal(0, 0.06) * height)
    center = np.float32(np.tan(heading)) * u + np.float32(bend) * u * u + wander + middle
    toes = half * (1 + np.float32(rng.uniform(0.01, 0.06)) * texture(rng, (1, width), max(half / 2, 12))[0])
    across = ((v - center) / toes).astype(np.float32)
    plate = rng.uniform(6, 20)
    thickness = np.full((height, width), np.float32(plate))
    if family == "girth":
        thickness *= 1 + np.float32(rng.uniform(0.05, 0.3)) * (v / (height / 2)) ** 2
    thickness += _bead(rng, across, u, half, plate, family)
    if not plain:
        # Blotches of 30 px and more: uneven plate and film, and no defects.
        thickness *= 1 + np.float32(rng.uniform(0, 0.012)) * texture(rng, thickness.shape, rng.uniform(30, 200))
        _add_wires(rng, thickness, pixel)
        if rng.random() < 0.25:  # a step in the plate, along the weld
            step = v * np.float32(rng.choice([-1, 1])) - np.float32(height * rng.uniform(0.3, 0.48))
            thickness *= 1 - np.float32(rng.uniform(-0.2, 0.2)) * inside(-step, rng.uniform(2, 8), 1.0)
    return Weld(thickness, across, heading, half, pixel)


def _bead(rng: np.random.Generator, across: np.ndarray, u: np.ndarray, half: float, plate: float, family: str
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
    if family == "narrow" or rng.random() < 0.3:
        root = across / np.float32(rng.uniform(0.2, 0.4))
        bead += np.float32(height * rng.uniform(0.15, 0.5)) * np.exp(-root * root)
    return bead


def _add_wires(rng: np.random.Generator, thickness: np.ndarray, pixel: float) -> None:
    """Lay an image quality indicator across the weld, in place: seven wires, each 0.8 times the one before."""
    if rng.random() > 0.5:
        return
    height, width = thickness.shape
    spacing, diameter = rng.uniform(20, 45), rng.uniform(0.4, 0.8)
    start, length = rng.uniform(0, 0.8) * width, height * rng.uniform(0.4, 0.9)
    top = int(rng.uniform(0, height - length))
    lean = np.float32(rng.normal(0, 0.02))
    rows = np.arange(top, int(top + length))
    for wire in range(7):
        center = start + wire * spacing
        left, right = int(center - 30), int(center + 30)
        if left < 0 or right > width:
            continue
        x = (np.arange(left, right) - center - lean * (rows - top)[:, None]).astype(np.float32) * np.float32(pixel)
        radius = diameter * 0.8**wire / 2
        # A wire thinner than a pixel still takes its share of the pixel.
        chord = 2 * np.sqrt(np.maximum(max(radius, pixel / 2) ** 2 - x * x, 0)) * min(1.0, radius / (pixel / 2))
        thickness[rows[0] : rows[-1] + 1, left:right] += chord
