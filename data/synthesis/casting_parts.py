"""Thickness maps of simulated castings: wheels, plates, housings, knuckles, brackets, rings.

Every part is written in millimeters on a grid that is turned, shifted and seen in perspective, with signed
distances (negative inside) turned into walls of a chosen steepness: machined edges are sharp, cast ones oblique.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from data.synthesis.part import Part


@dataclass
class Grid:
    """Coordinates of the pixels on the part: x and y float32 [H, W] in mm, and the pixel's size in mm."""

    x: np.ndarray
    y: np.ndarray
    pixel_mm: float
    tilt: float  # growth of every wall with the distance from the optical axis: perspective

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height of the view in mm."""
        height, width = self.x.shape
        return width * self.pixel_mm, height * self.pixel_mm


def make_grid(rng: np.random.Generator, size: tuple[int, int], pixel_mm: float, center_mm: tuple[float, float]) -> Grid:
    """Return a grid of `size` (width, height) whose middle looks at `center_mm`, turned at random."""
    width, height = size
    u = (np.arange(width, dtype=np.float32) - width / 2).astype(np.float32) * np.float32(pixel_mm)
    v = ((np.arange(height, dtype=np.float32) - height / 2) * pixel_mm).astype(np.float32)[:, None]
    reach = max(width, height) * pixel_mm
    # A mild projective map and a mild stretch: the part is never quite square to the beam.
    scale = 1 + u * np.float32(rng.normal(0, 0.06) / reach) + v * np.float32(rng.normal(0, 0.06) / reach)
    stretch = np.float32(rng.uniform(0.85, 1.0))
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x = (cos * u + sin * v * stretch) / scale + np.float32(center_mm[0])
    y = (cos * v * stretch - sin * u) / scale + np.float32(center_mm[1])
    return Grid(x, y, pixel_mm, float(rng.uniform(0, 0.1)))


def inside(distance: np.ndarray, wall_mm: float, pixel_mm: float) -> np.ndarray:
    """Return 1 inside (negative distance), 0 outside, with a smooth wall of `wall_mm`, at least a pixel."""
    t = np.clip(0.5 - distance * np.float32(1 / max(wall_mm, pixel_mm)), 0, 1)
    return t * t * (3 - 2 * t)


def smooth_min(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    """Return the union of two distances with a fillet of about `radius` mm."""
    blend = np.maximum(np.float32(radius) - np.abs(a - b), 0) * np.float32(1 / radius)
    return np.minimum(a, b) - blend * blend * np.float32(radius / 4)


def smooth_max(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    """Return the intersection of two distances with rounded corners of about `radius` mm."""
    return -smooth_min(-a, -b, radius)


def circle(x: np.ndarray, y: np.ndarray, cx: float, cy: float, radius: float) -> np.ndarray:
    """Return the signed distance to a disc."""
    return np.sqrt((x - np.float32(cx)) ** 2 + (y - np.float32(cy)) ** 2) - np.float32(radius)


def box(x: np.ndarray, y: np.ndarray, cx: float, cy: float, half: tuple[float, float], angle: float,
        corner: float) -> np.ndarray:  # fmt: skip
    """Return the signed distance to a turned rectangle with rounded corners."""
    corner = min(corner, *half)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    dx, dy = x - np.float32(cx), y - np.float32(cy)
    a = np.abs(cos * dx + sin * dy) - np.float32(half[0] - corner)
    b = np.abs(cos * dy - sin * dx) - np.float32(half[1] - corner)
    outer = np.sqrt(np.maximum(a, 0) ** 2 + np.maximum(b, 0) ** 2)
    return outer + np.minimum(np.maximum(a, b), 0) - np.float32(corner)


def capsule(x: np.ndarray, y: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance to a segment and the position along it in [0, 1]."""
    direction = (end - start).astype(np.float32)
    dx, dy = x - np.float32(start[0]), y - np.float32(start[1])
    t = np.clip((dx * direction[0] + dy * direction[1]) / max(float(direction @ direction), 1e-6), 0, 1)
    return np.sqrt((dx - t * direction[0]) ** 2 + (dy - t * direction[1]) ** 2), t


def texture(rng: np.random.Generator, shape: tuple[int, int], cell_px: float) -> np.ndarray:
    """Return a smooth random surface float32 [H, W], about unit variance, features of `cell_px` pixels."""
    rows, columns = (max(int(n / cell_px), 1) + 3 for n in shape)
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    return cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def wheel(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Grid, np.ndarray]:
    """Return a light-alloy wheel: rim, spokes with flanges and pockets, hub, bolt holes, open windows."""
    outer = rng.uniform(180, 230)
    pixel = outer / (rng.uniform(0.6, 1.8) * size[1])
    looks_at = rng.uniform(0.15, 0.8) * outer
    grid = make_grid(rng, size, pixel, (looks_at, 0.0))
    r = np.sqrt(grid.x**2 + grid.y**2)
    theta = np.arctan2(grid.y, grid.x) + np.float32(rng.uniform(0, 6))
    spokes = int(rng.integers(4, 10))
    sector = np.float32(2 * np.pi / spokes)
    folded = theta - sector * np.round(theta / sector)
    along, across = r * np.cos(folded), np.abs(r * np.sin(folded))
    hub, rim = outer * rng.uniform(0.3, 0.45), outer * rng.uniform(0.82, 0.93)
    half = outer * rng.uniform(0.5, 1.1) / spokes
    half_width = half + (along - hub) * np.float32(rng.uniform(-0.08, 0.12))
    corner = rng.uniform(6, 25)
    window = smooth_max(smooth_max(hub - r, r - rim, corner), half_width - across, corner)
    body = rng.uniform(10, 24)
    thickness = body + (r / outer - 0.6) * np.float32(rng.uniform(-12, 6))
    # A rim with a bead, and a flange along every window: the dark bands of a real wheel.
    thickness += np.float32(rng.uniform(4, 14)) * inside(rim - r + rng.uniform(0, 6), rng.uniform(2, 16), pixel)
    flange = np.float32(rng.uniform(3, 14))
    thickness += rng.uniform(2, 14) * np.exp(-(((window - flange) / (0.7 * flange)) ** 2))
    if rng.random() < 0.75:
        start, stop = hub + rng.uniform(4, 20), hub + (rim - hub) * rng.uniform(0.4, 0.85)
        pocket = box(along, across, (start + stop) / 2, 0, (abs(stop - start) / 2, half * rng.uniform(0.3, 0.7)), 0, 5)
        # The pocket's floor is inclined, so that it grows brighter along the spoke.
        inclined = 1 + np.clip((along - start) / (stop - start) - 0.5, -0.5, 0.5) * np.float32(rng.uniform(0, 1.2))
        deep = np.float32(rng.uniform(0.12, 0.45))
        thickness -= thickness * deep * inclined * inside(pocket, rng.uniform(2, 20), pixel)
    if rng.random() < 0.5:  # a slot through the spoke's outer end
        half_slot = (rng.uniform(6, 14), half * rng.uniform(0.3, 0.7))
        slot = box(along, across, rim - rng.uniform(12, 30), 0, half_slot, 0, 5)
        thickness *= 1 - inside(slot, rng.uniform(1, 10), pixel)
    thickness *= 1 - inside(window, rng.uniform(2, 14) + grid.tilt * 40, pixel)
    _hub_holes(rng, grid, thickness, r, theta, hub)
    edge = outer - r
    return grid, thickness * inside(-edge, rng.uniform(2, 8), pixel)


def _hub_holes(rng: np.random.Generator, grid: Grid, thickness: np.ndarray, r: np.ndarray, theta: np.ndarray,
               hub: float) -> None:  # fmt: skip
    """Cut the center bore, the counterbored bolt holes and the small lightening pockets, in place."""
    bolts = int(rng.integers(4, 7))
    sector = np.float32(2 * np.pi / bolts)
    pitch = hub * rng.uniform(0.6, 0.75)
    for phase, deep, radius in ((0.0, 1.0, rng.uniform(5.5, 8)), (0.5, rng.uniform(0.2, 1.0), rng.uniform(3, 5))):
        turned = theta + sector * np.float32(phase)
        folded = turned - sector * np.round(turned / sector)
        a, b = r * np.cos(folded), r * np.sin(folded)
        if phase:
            seat = box(a, b, pitch, 0, (hub * 0.16, hub * 0.16), rng.uniform(-0.2, 0.2), 4)
            seat_depth, seat_wall = rng.uniform(0.1, 0.35), rng.uniform(1, 6)
        else:
            seat = circle(a, b, pitch, 0, radius * rng.uniform(1.5, 2.1))
            seat_depth, seat_wall = rng.uniform(0.3, 0.6), 0.4
        thickness *= 1 - np.float32(seat_depth) * inside(seat, seat_wall, grid.pixel_mm)
        thickness *= 1 - np.float32(deep) * inside(circle(a, b, pitch, 0, radius), rng.uniform(0.2, 1.5), grid.pixel_mm)
    thickness *= 1 - inside(r - np.float32(hub * rng.uniform(0.3, 0.5)), rng.uniform(0.2, 4), grid.pixel_mm)


def plate(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Grid, np.ndarray]:
    """Return a flat casting with steps, a thickness slope, and rounded corners, partly out of view."""
    grid = make_grid(rng, size, rng.uniform(0.12, 0.4), (0.0, 0.0))
    width, height = grid.extent
    half = (width * rng.uniform(0.3, 0.75), height * rng.uniform(0.3, 0.75))
    body = rng.uniform(6, 30)
    outline = box(grid.x, grid.y, rng.normal(0, 0.1) * width, rng.normal(0, 0.1) * height, half, 0, rng.uniform(2, 30))
    thickness = np.full(grid.x.shape, np.float32(body))
    thickness += grid.x * np.float32(rng.normal(0, 0.2) * body / width)
    for _ in range(rng.integers(0, 3)):
        angle = rng.uniform(0, 6.3)
        line = grid.x * np.float32(np.cos(angle)) + grid.y * np.float32(np.sin(angle))
        step = rng.uniform(-0.35, 0.5) * body
        thickness += step * inside(line - rng.normal(0, 0.25) * width, rng.uniform(0.3, 12), grid.pixel_mm)
    return grid, np.maximum(thickness, 1) * inside(outline, rng.uniform(0.5, 8), grid.pixel_mm)


def housing(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Grid, np.ndarray]:
    """Return a ribbed housing: thin floor, high oblique walls, crossing ribs, bosses with bores."""
    grid = make_grid(rng, size, rng.uniform(0.15, 0.5), (0.0, 0.0))
    width, height = grid.extent
    pixel = grid.pixel_mm
    half = (width * rng.uniform(0.3, 0.6), height * rng.uniform(0.3, 0.6))
    corner = rng.uniform(5, 40)
    outline = box(grid.x, grid.y, 0, 0, half, 0, corner)
    floor, wall = rng.uniform(4, 10), rng.uniform(5, 14)
    thickness = np.full(grid.x.shape, np.float32(floor))
    wall_height = rng.uniform(8, 40)
    thickness += np.float32(wall_height) * inside(np.abs(outline + wall / 2) - wall / 2, rng.uniform(2, 10), pixel)
    for _ in range(rng.integers(2, 7)):
        angle = rng.choice([0.0, np.pi / 2, np.pi / 4, rng.uniform(0, 3.1)])
        across = grid.x * np.float32(np.cos(angle)) + grid.y * np.float32(np.sin(angle))
        rib = np.abs(across - np.float32(rng.uniform(-0.4, 0.4) * width)) - np.float32(rng.uniform(1.5, 5))
        thickness = np.maximum(thickness, floor + rng.uniform(3, 20) * inside(rib, rng.uniform(1, 6), pixel))
    for _ in range(rng.integers(1, 6)):
        cx, cy = rng.uniform(-0.9, 0.9) * half[0], rng.uniform(-0.9, 0.9) * half[1]
        radius = rng.uniform(6, 16)
        boss = floor + rng.uniform(6, 30) * inside(circle(grid.x, grid.y, cx, cy, radius), rng.uniform(1, 6), pixel)
        thickness = np.maximum(thickness, boss)
        bore = inside(circle(grid.x, grid.y, cx, cy, radius * rng.uniform(0.3, 0.6)), 0.4, pixel)
        thickness *= 1 - bore * np.float32(rng.choice([1.0, rng.uniform(0.3, 0.8)]))
    return grid, thickness * inside(outline, rng.uniform(0.5, 6), pixel)


def knuckle(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Grid, np.ndarray]:
    """Return a body of round limbs grown together (tapered capsules), with bores at their ends."""
    grid = make_grid(rng, size, rng.uniform(0.09, 0.32), (0.0, 0.0))
    reach = min(grid.extent) / 2
    squared = np.full(grid.x.shape, np.float32(-1e6))
    core = rng.normal(0, 0.15, 2) * reach
    ends: list[np.ndarray] = []
    for limb in range(int(rng.integers(3, 7))):
        start = core if limb < 2 or rng.random() < 0.6 else ends[int(rng.integers(len(ends)))]
        angle = rng.uniform(0, 2 * np.pi)
        end = start + max(reach, 30) * rng.uniform(0.5, 1.4) * np.array([np.cos(angle), np.sin(angle)])
        ends.append(end)
        distance, t = capsule(grid.x, grid.y, start, end)
        radius = rng.uniform(14, 32) + t * np.float32(rng.uniform(-10, 8))
        # The limb's chord through its round section, flattened or deepened along the ray.
        chord = (radius**2 - distance**2) * np.float32(rng.uniform(0.5, 1.4) ** 2)
        squared = smooth_max(squared, chord, 250.0)
    thickness = np.sqrt(np.maximum(squared, 0)) * np.float32(1.5)
    for center in [core, *ends]:
        if rng.random() < 0.6:
            bore = rng.uniform(5, 13)
            through = np.float32(rng.choice([1.0, 1.0, rng.uniform(0.3, 0.9)]))
            hole = circle(grid.x, grid.y, center[0], center[1], bore)
            thickness *= 1 - through * inside(hole, rng.choice([0.3, rng.uniform(0.5, 6)]), grid.pixel_mm)
    return grid, thickness


def bracket(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Grid, np.ndarray]:
    """Return arms of different thickness joined with fillets, with a stiffening web and pockets."""
    grid = make_grid(rng, size, rng.uniform(0.15, 0.4), (0.0, 0.0))
    reach = max(grid.extent) / 2
    pixel = grid.pixel_mm
    base = rng.uniform(6, 18)
    outline = np.full(grid.x.shape, np.float32(1e3))
    thickness = np.full(grid.x.shape, np.float32(base))
    for _ in range(rng.integers(2, 6)):
        center = rng.normal(0, 0.3, 2) * reach
        half = (reach * rng.uniform(0.3, 0.9), reach * rng.uniform(0.1, 0.45))
        angle = rng.uniform(0, np.pi)
        arm = box(grid.x, grid.y, center[0], center[1], half, angle, rng.uniform(1, 12))
        outline = smooth_min(outline, arm, rng.uniform(4, 25))
        extra = rng.uniform(-0.3, 1.0) * base
        thickness += extra * inside(arm + rng.uniform(0, 8), rng.uniform(0.5, 12), pixel)
        if rng.random() < 0.4:
            pocket = box(grid.x, grid.y, center[0], center[1], (half[0] * 0.6, half[1] * 0.5), angle, 4)
            thickness -= thickness * np.float32(rng.uniform(0.2, 0.7)) * inside(pocket, rng.uniform(1, 8), pixel)
    return grid, np.maximum(thickness, 1.5) * inside(outline, rng.uniform(0.5, 9), pixel)


def ring(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Grid, np.ndarray]:
    """Return a tube seen from the side, or a flanged ring seen along its axis."""
    grid = make_grid(rng, size, rng.uniform(0.15, 0.45), (0.0, 0.0))
    reach = min(grid.extent) / 2
    pixel = grid.pixel_mm
    if rng.random() < 0.5:
        outer = reach * rng.uniform(0.4, 1.3)
        wall = rng.uniform(4, 14)
        across = (grid.y - np.float32(rng.normal(0, 0.2) * reach)) ** 2
        chord = np.sqrt(np.maximum(outer**2 - across, 0)) - np.sqrt(np.maximum((outer - wall) ** 2 - across, 0))
        thickness = 2 * chord
        for _ in range(rng.integers(1, 4)):  # flanges and grooves around the tube
            band = np.abs(grid.x - np.float32(rng.uniform(-0.9, 0.9) * reach)) - np.float32(rng.uniform(3, 15))
            thickness *= 1 + np.float32(rng.uniform(-0.3, 0.7)) * inside(band, rng.uniform(0.5, 6), pixel)
        return grid, thickness
    r = np.sqrt((grid.x - np.float32(rng.normal(0, 0.4) * reach)) ** 2 + grid.y**2)
    outer, bore = reach * rng.uniform(0.7, 1.5), reach * rng.uniform(0.2, 0.6)
    body = rng.uniform(8, 30)
    thickness = body * (1 - np.float32(rng.uniform(0.1, 0.6)) * inside(r - outer * rng.uniform(0.6, 0.9), 4, pixel))
    thickness += rng.uniform(2, 15) * inside(np.abs(r - bore - 8) - 8, rng.uniform(1, 10), pixel)
    bolts = np.float32(2 * np.pi / rng.integers(3, 13))
    theta = np.arctan2(grid.y, grid.x)
    theta = theta - bolts * np.round(theta / bolts)
    pitch, radius = outer * rng.uniform(0.75, 0.9), rng.uniform(3, 8)
    thickness *= 1 - inside(circle(r * np.cos(theta), r * np.sin(theta), pitch, 0, radius), 0.5, pixel)
    thickness *= inside(r - outer, rng.uniform(0.5, 6), pixel) * (1 - inside(r - bore, rng.uniform(0.3, 5), pixel))
    return grid, thickness


@dataclass(frozen=True, kw_only=True)
class CastingPart(Part):
    """A kind of casting; `build` returns its grid and its thickness float32 [H, W] in mm."""

    build: Callable[[np.random.Generator, tuple[int, int]], tuple[Grid, np.ndarray]]


# Wheels come twice as often: they are the most varied part, and the most common in GDXray.
CASTING_PARTS = {
    "wheel": CastingPart(build=wheel, turns=(0, 3)),
    "plate": CastingPart(build=plate, turns=(1,)),
    "housing": CastingPart(build=housing, turns=(2,)),
    "knuckle": CastingPart(build=knuckle, turns=(4,)),
    "bracket": CastingPart(build=bracket, turns=(5,)),
    "ring": CastingPart(build=ring, turns=(6,)),
}
