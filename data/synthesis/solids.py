"""Optical thickness of random castings with depth: several walls in one ray, and details that look like defects.

A part is a sum of walls, one behind the other, each a map of its own: what a ray crosses is added up, so that edges
of different depth cross in the picture. Every wall is built from signed distances (negative inside, in pixels),
turned into steps of a chosen width: machined edges are sharp, cast ones oblique. All values are optical thickness
(attenuation coefficient times length), so that no unit of length is needed; exp(-value) is what passes.
"""

from collections.abc import Callable, Sequence

import numpy as np

from data.synthesis.canvas import Canvas, Shape, edge_width, log_uniform, random_point, smooth_noise, step
from data.synthesis.solid_details import DETAILS


def _polygon(rng: np.random.Generator, canvas: Canvas, center: Sequence[float], size: float) -> np.ndarray:
    """Return the signed distance float32 [H, W] of an irregular, rounded outline of about `size` pixels."""
    x, y = canvas.turned(center, rng.uniform(0, 2 * np.pi))
    angle, radius = np.arctan2(y, x * np.float32(rng.uniform(0.5, 1.0))), np.hypot(x, y)
    outline = np.float32(size / 2)
    for order in range(2, int(rng.integers(3, 8))):
        outline = outline + np.float32(size * rng.normal(0, 0.18) / order) * np.cos(
            np.float32(order) * angle + np.float32(rng.uniform(0, 2 * np.pi))
        )
    return radius - outline


def _plate(rng: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """Return a wall that fills the view, with a slope and a step or two."""
    x, y = canvas.turned(random_point(rng, canvas), rng.uniform(0, 2 * np.pi))
    wall = 1 + np.float32(rng.normal(0, 0.25) / canvas.side) * x + np.float32(rng.normal(0, 0.15) / canvas.side) * y
    for _ in range(int(rng.integers(0, 3))):
        x, _y = canvas.turned(random_point(rng, canvas), rng.uniform(0, 2 * np.pi))
        wall = wall * (1 - np.float32(rng.uniform(0.15, 0.9)) * step(x, edge_width(rng)))
    return np.maximum(wall, 0)


def _turned_part(rng: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """Return a wheel, hub, ring or flange: a profile over the radius, with spokes and circles of holes."""
    side = canvas.side
    close_up = rng.random() < 0.6
    center = random_point(rng, canvas, 0.7 if close_up else 0.1)
    x, y = canvas.turned(center, rng.uniform(0, 2 * np.pi))
    squeeze = np.float32(rng.uniform(0.75, 1.0))  # seen obliquely
    radius, angle = np.hypot(x, y / squeeze), np.arctan2(y / squeeze, x)
    outer = side * (rng.uniform(0.7, 1.8) if close_up else rng.uniform(0.3, 0.75))
    wall: np.ndarray = np.full(canvas.shape, np.float32(rng.uniform(0.3, 1.2)))
    for _ in range(int(rng.integers(2, 8))):
        edge, width = rng.uniform(0.05, 1.0) * outer, edge_width(rng)
        wall = wall + np.float32(rng.normal(0, 0.45)) * step(radius - np.float32(edge), width)
    wall = np.clip(wall, np.float32(rng.choice([0.0, 0.05, 0.2])), None)
    wall = wall * step(radius - np.float32(outer), edge_width(rng))
    if rng.random() < 0.6:  # windows between spokes
        number = int(rng.integers(3, 26))
        inner, rim = sorted(rng.uniform(0.15, 0.95, 2) * outer)
        wave = np.cos(number * angle) - np.float32(rng.uniform(-0.5, 0.5))
        across = -wave * np.maximum(radius, 1) / np.float32(number)
        window = step(across, edge_width(rng)) * step(np.float32(inner) - radius, edge_width(rng))
        window = window * step(radius - np.float32(rim), edge_width(rng))
        wall = wall * (1 - np.float32(rng.uniform(0.3, 1.0)) * window)
    for _ in range(int(rng.integers(0, 3))):  # circles of holes, some countersunk
        number, orbit = int(rng.integers(3, 13)), rng.uniform(0.15, 0.9) * outer
        size, phase = side * log_uniform(rng, 0.02, 0.22), rng.uniform(0, 2 * np.pi)
        steps = [(size, rng.uniform(0.2, 0.8), edge_width(rng)), (size * rng.uniform(0.45, 0.9), 1.0, edge_width(rng))]
        drift, oblique = side * rng.normal(0, 0.01, 2), rng.uniform(0.8, 1.0)
        for k in range(number):
            turn = phase + 2 * np.pi * k / number
            hx, hy = x - np.float32(orbit * np.cos(turn)), y / squeeze - np.float32(orbit * np.sin(turn))
            if float(np.abs(hx).min()) > size * 2 and float(np.abs(hy).min()) > size * 2:
                continue
            for level, (extent, depth, edge) in enumerate(steps):
                distance = np.hypot(hx - np.float32(level * drift[0]), (hy - np.float32(level * drift[1])) / oblique)
                wall = wall * (1 - np.float32(depth) * step(distance - np.float32(extent), edge))
    return wall


def _tube(rng: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """Return a pipe, shaft or bore lying in the picture: the chord of a cylinder less that of its bore."""
    x, y = canvas.turned(random_point(rng, canvas), rng.uniform(0, 2 * np.pi))
    radius = np.float32(canvas.side * log_uniform(rng, 0.06, 0.6))
    y = y * (1 + x * np.float32(rng.normal(0, 0.15) / canvas.side))  # conical
    chord = np.sqrt(np.maximum(1 - (y / radius) ** 2, 0))
    if rng.random() < 0.75:
        bore = np.float32(rng.uniform(0.3, 0.92))
        chord = chord - np.sqrt(np.maximum(bore**2 - (y / radius) ** 2, 0)) * step(
            x - np.float32(rng.uniform(-0.6, 1.2) * canvas.side), edge_width(rng)
        )
    if rng.random() < 0.35:  # a thread
        pitch = np.float32(log_uniform(rng, 4, 24))
        saw = np.abs(((x + np.float32(rng.choice([0.0, 0.3])) * y) / pitch) % 1 - 0.5) * 2
        chord = chord * (1 + np.float32(rng.uniform(0.03, 0.2)) * (saw - 0.5))
    if rng.random() < 0.5:
        chord = chord * step(x - np.float32(rng.uniform(-0.4, 0.6) * canvas.side), edge_width(rng))
    return chord


def _ribs(rng: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """Return ribs in rows, crossing each other in half of the parts; or narrow gaps between them."""
    wall = np.zeros(canvas.shape, np.float32)
    angle = rng.uniform(0, np.pi)
    for _ in range(1 + int(rng.random() < 0.5)):
        x, _y = canvas.turned(random_point(rng, canvas), angle)
        pitch = np.float32(canvas.side * log_uniform(rng, 0.05, 0.5))
        fan = 1 + _y * np.float32(rng.normal(0, 0.3) / canvas.side)
        ridge = np.abs((x / (pitch * np.maximum(fan, 0.3))) % 1 - 0.5) * pitch
        wall = wall + step(ridge - pitch * np.float32(rng.uniform(0.08, 0.35)), edge_width(rng))
        angle += rng.uniform(0.3, 1.6)
    return wall * np.float32(rng.uniform(0.2, 0.8))


def _block(rng: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """Return a body of irregular outline, with pockets."""
    size = canvas.side * rng.uniform(0.4, 1.6)
    center = random_point(rng, canvas, 0.2)
    wall = step(_polygon(rng, canvas, center, size), edge_width(rng))
    for _ in range(int(rng.integers(0, 4))):
        near = (center[0] + rng.normal(0, size / 4), center[1] + rng.normal(0, size / 4))
        pocket = step(_polygon(rng, canvas, near, size * rng.uniform(0.1, 0.5)), edge_width(rng))
        wall = wall * (1 - np.float32(rng.uniform(0.2, 1.0)) * pocket)
    return wall * np.float32(rng.uniform(0.4, 1.2))


def _dome(rng: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """Return a sphere, dome or torus: rounded walls without an edge."""
    x, y = canvas.turned(random_point(rng, canvas, 0.3), rng.uniform(0, np.pi))
    radius = np.hypot(x, y * np.float32(rng.uniform(1.0, 1.8)))
    extent = np.float32(canvas.side * log_uniform(rng, 0.1, 0.8))
    if rng.random() < 0.5:
        return np.sqrt(np.maximum(1 - (radius / extent) ** 2, 0)) * np.float32(rng.uniform(0.4, 1.4))
    thick = extent * np.float32(rng.uniform(0.08, 0.4))
    return np.sqrt(np.maximum(1 - ((radius - extent) / thick) ** 2, 0)) * np.float32(rng.uniform(0.4, 1.4))


WALLS: dict[str, tuple[Callable[[np.random.Generator, Canvas], np.ndarray], float]] = {
    "turned_part": (_turned_part, 0.36),
    "plate": (_plate, 0.18),
    "block": (_block, 0.16),
    "tube": (_tube, 0.14),
    "ribs": (_ribs, 0.08),
    "dome": (_dome, 0.08),
}


def make_part(rng: np.random.Generator, shape: Shape, leading: str | None = None, largest_frame: float = 1.0
              ) -> np.ndarray:  # fmt: skip
    """Return the optical thickness float32 [H, W] of one random part, its thickest place about 1.5 to 6.

    The part is laid out in a frame of up to `largest_frame` times the view's sides; the view shows a piece of it.
    `leading` names the first wall, one of `WALLS`; by default it is drawn, as those behind it are.
    """
    zoom = log_uniform(rng, 1.0, max(largest_frame, 1.0))
    frame = (round(shape[0] * zoom), round(shape[1] * zoom))
    origin = (int(rng.integers(frame[0] - shape[0] + 1)), int(rng.integers(frame[1] - shape[1] + 1)))
    canvas = Canvas.of(shape, frame, origin)
    names, shares = list(WALLS), np.array([share for _, share in WALLS.values()])
    number = int(rng.choice([1, 2, 3, 4], p=[0.4, 0.33, 0.19, 0.08]))
    total = np.zeros(shape, np.float32)
    for k in range(number):
        name = names[int(rng.choice(len(names), p=shares / shares.sum()))]
        wall = WALLS[leading if k == 0 and leading else name][0](rng, canvas)
        total += wall * np.float32(1.0 if k == 0 else log_uniform(rng, 0.1, 1.0))
    if rng.random() < 0.5:  # cast surfaces are wavy
        total *= 1 + np.float32(log_uniform(rng, 0.003, 0.04)) * smooth_noise(rng, shape, log_uniform(rng, 8, 120))
    total *= np.float32(log_uniform(rng, 1.5, 6.0) / max(float(total.max()), 1e-3))
    for _ in range(int(rng.poisson(log_uniform(rng, 0.5, 8.0) * zoom))):
        names = list(DETAILS)
        total = DETAILS[names[int(rng.integers(len(names)))]](rng, canvas, total)
    return np.maximum(total, 0)
