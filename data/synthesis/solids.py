"""Optical thickness of random castings with depth: several walls in one ray, and details that look like defects.

A part is a sum of walls, one behind the other, each a map of its own: what a ray crosses is added up, so that edges
of different depth cross in the picture. Every wall is built from signed distances (negative inside, in pixels),
turned into steps of a chosen width: machined edges are sharp, cast ones oblique. All values are optical thickness
(attenuation coefficient times length), so that no unit of length is needed; exp(-value) is what passes.

As many details as defects (blind holes, ejector marks, bosses, threads, grids, letters) have a defect's size and
contrast: a detector that never saw them calls them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

Shape = tuple[int, int]


@dataclass(frozen=True)
class Canvas:
    """A window into a larger frame: `x` float32 [1, W] and `y` float32 [H, 1] are pixel coordinates in the frame.

    Parts are laid out in the `frame` (height, width), so that a small window shows what a close-up of a large
    radiograph shows: few, wide structures.
    """

    x: np.ndarray
    y: np.ndarray
    frame: Shape

    @classmethod
    def of(cls, shape: Shape, frame: Shape | None = None, origin: Shape = (0, 0)) -> "Canvas":
        """Return the window of `shape` (height, width) at `origin` (y, x) of a frame; by default the window alone."""
        height, width = shape
        x = np.arange(width, dtype=np.float32)[None] + np.float32(origin[1])
        y = np.arange(height, dtype=np.float32)[:, None] + np.float32(origin[0])
        return cls(x, y, frame or shape)

    @property
    def shape(self) -> Shape:
        """Height and width of the window in pixels."""
        return self.y.shape[0], self.x.shape[1]

    @property
    def origin(self) -> tuple[float, float]:
        """Where the window's first pixel lies in the frame, x and y."""
        return float(self.x[0, 0]), float(self.y[0, 0])

    @property
    def side(self) -> float:
        """The geometric mean of the frame's height and width in pixels."""
        return float(np.sqrt(self.frame[0] * self.frame[1]))

    def turned(self, center: Sequence[float], angle: float) -> tuple[np.ndarray, np.ndarray]:
        """Return coordinates float32 [H, W] about `center` (x, y), turned by `angle` in radians."""
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        x, y = self.x - np.float32(center[0]), self.y - np.float32(center[1])
        return cos * x + sin * y, cos * y - sin * x


def step(distance: np.ndarray, width: float) -> np.ndarray:
    """Return 1 inside (distance < 0), 0 outside, a ramp of `width` pixels between them; float32."""
    return np.clip(np.float32(0.5) - distance / np.float32(max(width, 0.3)), 0, 1)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a number between `low` and `high` whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def smooth_noise(rng: np.random.Generator, shape: Shape, reach: float) -> np.ndarray:
    """Return smooth Gaussian noise float32 [H, W] of unit variance; `reach` is its correlation length in pixels."""
    height, width = (max(int(np.ceil(side / max(reach, 1.0))) + 3, 2) for side in shape)
    coarse = rng.standard_normal((height, width), dtype=np.float32)
    scale = max(reach, 1.0)
    matrix = np.array([[1 / scale, 0, rng.uniform(0, 1)], [0, 1 / scale, rng.uniform(0, 1)]], np.float32)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(coarse, matrix, (shape[1], shape[0]), flags=flags, borderMode=cv2.BORDER_REFLECT)


def _edge(rng: np.random.Generator) -> float:
    """Return the width in pixels of an edge: half of them machined, half cast or seen obliquely."""
    return log_uniform(rng, 0.5, 4.0) if rng.random() < 0.5 else log_uniform(rng, 3.0, 40.0)


def _somewhere(rng: np.random.Generator, canvas: Canvas, beyond: float = 0.0) -> tuple[float, float]:
    """Return a point x, y in the frame, or up to `beyond` of a side outside."""
    height, width = canvas.frame
    return (float(rng.uniform(-beyond, 1 + beyond) * width), float(rng.uniform(-beyond, 1 + beyond) * height))


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
    x, y = canvas.turned(_somewhere(rng, canvas), rng.uniform(0, 2 * np.pi))
    wall = 1 + np.float32(rng.normal(0, 0.25) / canvas.side) * x + np.float32(rng.normal(0, 0.15) / canvas.side) * y
    for _ in range(int(rng.integers(0, 3))):
        x, _y = canvas.turned(_somewhere(rng, canvas), rng.uniform(0, 2 * np.pi))
        wall = wall * (1 - np.float32(rng.uniform(0.15, 0.9)) * step(x, _edge(rng)))
    return np.maximum(wall, 0)


def _turned_part(rng: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """Return a wheel, hub, ring or flange: a profile over the radius, with spokes and circles of holes."""
    side = canvas.side
    close_up = rng.random() < 0.6
    center = _somewhere(rng, canvas, 0.7 if close_up else 0.1)
    x, y = canvas.turned(center, rng.uniform(0, 2 * np.pi))
    squeeze = np.float32(rng.uniform(0.75, 1.0))  # seen obliquely
    radius, angle = np.hypot(x, y / squeeze), np.arctan2(y / squeeze, x)
    outer = side * (rng.uniform(0.7, 1.8) if close_up else rng.uniform(0.3, 0.75))
    wall: np.ndarray = np.full(canvas.shape, np.float32(rng.uniform(0.3, 1.2)))
    for _ in range(int(rng.integers(2, 8))):
        edge, width = rng.uniform(0.05, 1.0) * outer, _edge(rng)
        wall = wall + np.float32(rng.normal(0, 0.45)) * step(radius - np.float32(edge), width)
    wall = np.clip(wall, np.float32(rng.choice([0.0, 0.05, 0.2])), None)
    wall = wall * step(radius - np.float32(outer), _edge(rng))
    if rng.random() < 0.6:  # windows between spokes
        number = int(rng.integers(3, 26))
        inner, rim = sorted(rng.uniform(0.15, 0.95, 2) * outer)
        wave = np.cos(number * angle) - np.float32(rng.uniform(-0.5, 0.5))
        across = -wave * np.maximum(radius, 1) / np.float32(number)
        window = step(across, _edge(rng)) * step(np.float32(inner) - radius, _edge(rng))
        window = window * step(radius - np.float32(rim), _edge(rng))
        wall = wall * (1 - np.float32(rng.uniform(0.3, 1.0)) * window)
    for _ in range(int(rng.integers(0, 3))):  # circles of holes, some countersunk
        number, orbit = int(rng.integers(3, 13)), rng.uniform(0.15, 0.9) * outer
        size, phase = side * log_uniform(rng, 0.02, 0.22), rng.uniform(0, 2 * np.pi)
        steps = [(size, rng.uniform(0.2, 0.8), _edge(rng)), (size * rng.uniform(0.45, 0.9), 1.0, _edge(rng))]
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
    x, y = canvas.turned(_somewhere(rng, canvas), rng.uniform(0, 2 * np.pi))
    radius = np.float32(canvas.side * log_uniform(rng, 0.06, 0.6))
    y = y * (1 + x * np.float32(rng.normal(0, 0.15) / canvas.side))  # conical
    chord = np.sqrt(np.maximum(1 - (y / radius) ** 2, 0))
    if rng.random() < 0.75:
        bore = np.float32(rng.uniform(0.3, 0.92))
        chord = chord - np.sqrt(np.maximum(bore**2 - (y / radius) ** 2, 0)) * step(
            x - np.float32(rng.uniform(-0.6, 1.2) * canvas.side), _edge(rng)
        )
    if rng.random() < 0.35:  # a thread
        pitch = np.float32(log_uniform(rng, 4, 24))
        saw = np.abs(((x + np.float32(rng.choice([0.0, 0.3])) * y) / pitch) % 1 - 0.5) * 2
        chord = chord * (1 + np.float32(rng.uniform(0.03, 0.2)) * (saw - 0.5))
    if rng.random() < 0.5:
        chord = chord * step(x - np.float32(rng.uniform(-0.4, 0.6) * canvas.side), _edge(rng))
    return chord


def _ribs(rng: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """Return ribs in rows, crossing each other in half of the parts; or narrow gaps between them."""
    wall = np.zeros(canvas.shape, np.float32)
    angle = rng.uniform(0, np.pi)
    for _ in range(1 + int(rng.random() < 0.5)):
        x, _y = canvas.turned(_somewhere(rng, canvas), angle)
        pitch = np.float32(canvas.side * log_uniform(rng, 0.05, 0.5))
        fan = 1 + _y * np.float32(rng.normal(0, 0.3) / canvas.side)
        ridge = np.abs((x / (pitch * np.maximum(fan, 0.3))) % 1 - 0.5) * pitch
        wall = wall + step(ridge - pitch * np.float32(rng.uniform(0.08, 0.35)), _edge(rng))
        angle += rng.uniform(0.3, 1.6)
    return wall * np.float32(rng.uniform(0.2, 0.8))


def _block(rng: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """Return a body of irregular outline, with pockets."""
    size = canvas.side * rng.uniform(0.4, 1.6)
    center = _somewhere(rng, canvas, 0.2)
    wall = step(_polygon(rng, canvas, center, size), _edge(rng))
    for _ in range(int(rng.integers(0, 4))):
        near = (center[0] + rng.normal(0, size / 4), center[1] + rng.normal(0, size / 4))
        pocket = step(_polygon(rng, canvas, near, size * rng.uniform(0.1, 0.5)), _edge(rng))
        wall = wall * (1 - np.float32(rng.uniform(0.2, 1.0)) * pocket)
    return wall * np.float32(rng.uniform(0.4, 1.2))


def _dome(rng: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """Return a sphere, dome or torus: rounded walls without an edge."""
    x, y = canvas.turned(_somewhere(rng, canvas, 0.3), rng.uniform(0, np.pi))
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


def _positions(rng: np.random.Generator, canvas: Canvas, size: float) -> list[tuple[float, float]]:
    """Return one position, a row, or a circle of positions: details of a part repeat, defects do not."""
    first = _somewhere(rng, canvas)
    kind = rng.random()
    if kind < 0.4:
        return [first]
    number = int(rng.integers(2, 9))
    if kind < 0.75:
        turn, gap = rng.uniform(0, 2 * np.pi), size * rng.uniform(1.2, 4.0)
        return [(first[0] + k * gap * np.cos(turn), first[1] + k * gap * np.sin(turn)) for k in range(number)]
    orbit, phase = size * rng.uniform(1.5, 8.0), rng.uniform(0, 2 * np.pi)
    turns = phase + 2 * np.pi * np.arange(number) / number
    return [(first[0] + orbit * np.cos(t), first[1] + orbit * np.sin(t)) for t in turns]


def _stamp(canvas: Canvas, total: np.ndarray, position: Sequence[float], size: float,
           change: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> None:  # fmt: skip
    """Apply `change(x, y, part)` to the window of about `size` pixels around a position, in place."""
    reach = int(np.ceil(size)) + 3
    position = (position[0] - canvas.origin[0], position[1] - canvas.origin[1])
    x0, y0 = int(position[0]) - reach, int(position[1]) - reach
    left, top = max(x0, 0), max(y0, 0)
    right, bottom = min(x0 + 2 * reach, total.shape[1]), min(y0 + 2 * reach, total.shape[0])
    if left >= right or top >= bottom:
        return
    x = np.arange(left, right, dtype=np.float32)[None] - np.float32(position[0])
    y = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(position[1])
    total[top:bottom, left:right] = change(x, y, total[top:bottom, left:right])


def _hole(rng: np.random.Generator, canvas: Canvas, total: np.ndarray) -> np.ndarray:
    """Add blind and through holes, round or slots: bright, as a pore is, but sharp and regular."""
    size = log_uniform(rng, 3, 50)
    depth = np.float32(1.0 if rng.random() < 0.3 else log_uniform(rng, 0.03, 0.7))
    edge, slot, turn = log_uniform(rng, 0.5, max(size * 0.5, 0.6)), rng.choice([0.0, 0.0, rng.uniform(0.3, 2.0)]), 0.0
    turn = rng.uniform(0, np.pi)
    half = np.float32(slot * size)

    def bore(x: np.ndarray, y: np.ndarray, part: np.ndarray) -> np.ndarray:
        along, across = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
        along = np.maximum(np.abs(along) - half, 0)
        distance = np.hypot(along, across) - np.float32(size / 2)
        return part * (1 - depth * step(distance, edge).astype(np.float32))

    for position in _positions(rng, canvas, size * (1 + slot)):
        _stamp(canvas, total, position, size * (1 + slot), bore)
    return total


def _boss(rng: np.random.Generator, canvas: Canvas, total: np.ndarray) -> np.ndarray:
    """Add bosses, rivets, screw heads: darker discs, some with a brighter bore or a slot."""
    size, height, edge = log_uniform(rng, 5, 60), np.float32(log_uniform(rng, 0.03, 0.8)), _edge(rng)
    bore, depth = rng.choice([0.0, rng.uniform(0.2, 0.7)]), np.float32(rng.uniform(0.3, 1.5))

    def grow(x: np.ndarray, y: np.ndarray, part: np.ndarray) -> np.ndarray:
        radius = np.hypot(x, y)
        disc = step(radius - np.float32(size / 2), min(edge, size / 2))
        if bore:
            disc = disc - depth * step(radius - np.float32(bore * size / 2), min(edge, size / 4))
        return np.maximum(part + height * disc * np.minimum(part * 5, 1), 0)

    for position in _positions(rng, canvas, size):
        _stamp(canvas, total, position, size, grow)
    return total


def _ring(rng: np.random.Generator, canvas: Canvas, total: np.ndarray) -> np.ndarray:
    """Add ejector marks and machined rings: thin bright or dark circles."""
    size, height = log_uniform(rng, 6, 90), np.float32(rng.normal(0, 0.12))
    thick = np.float32(log_uniform(rng, 1.0, 6.0))

    def engrave(x: np.ndarray, y: np.ndarray, part: np.ndarray) -> np.ndarray:
        ring = np.exp(-0.5 * ((np.hypot(x, y) - np.float32(size / 2)) / thick) ** 2)
        return np.maximum(part + height * ring * np.minimum(part * 5, 1), 0)

    for position in _positions(rng, canvas, size):
        _stamp(canvas, total, position, size * 0.7 + 3 * float(thick), engrave)
    return total


def _letters(rng: np.random.Generator, canvas: Canvas, total: np.ndarray) -> np.ndarray:
    """Add cast letters and numbers, raised or sunk."""
    text = "".join(rng.choice(list("0123456789ABCDEFHKLMNPRSTX-"), int(rng.integers(1, 7))))
    ink: np.ndarray = np.zeros(canvas.shape, np.uint8)
    x, y = rng.uniform(0, canvas.shape[1]), rng.uniform(0, canvas.shape[0])
    scale = log_uniform(rng, 0.4, 2.5)
    cv2.putText(ink, text, (int(x), int(y)), int(rng.integers(0, 8)), scale, 255, max(int(2 * scale), 1), cv2.LINE_AA)
    turn = cv2.getRotationMatrix2D((x, y), float(rng.uniform(0, 360)), 1.0)
    ink = cv2.warpAffine(ink, turn, (canvas.shape[1], canvas.shape[0])).astype(np.float32) / 255
    ink = cv2.GaussianBlur(ink, (0, 0), log_uniform(rng, 0.4, 2.0))
    return np.maximum(total + np.float32(rng.normal(0, 0.15)) * ink * np.minimum(total * 5, 1), 0)


def _grid(rng: np.random.Generator, canvas: Canvas, total: np.ndarray) -> np.ndarray:
    """Add a mesh, knurl or row of fins inside a disc, such as a hub's grid."""
    size = canvas.side * log_uniform(rng, 0.08, 0.4)
    pitch, turn = np.float32(log_uniform(rng, 5, 22)), rng.uniform(0, np.pi)
    height, lines = np.float32(rng.normal(0, 0.3)), int(rng.integers(1, 3))
    edge = _edge(rng)

    def mesh(x: np.ndarray, y: np.ndarray, part: np.ndarray) -> np.ndarray:
        u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
        bars = np.zeros_like(part)
        for axis in (u, v)[:lines]:
            bars = np.maximum(bars, step(np.abs((axis / pitch) % 1 - 0.5) * pitch - pitch * np.float32(0.15), 1.5))
        inside = step(np.hypot(x, y) - np.float32(size / 2), edge)
        return np.maximum(part + height * bars * inside, 0)

    _stamp(canvas, total, _somewhere(rng, canvas), size * 0.6 + edge, mesh)
    return total


def _machining(rng: np.random.Generator, canvas: Canvas, total: np.ndarray) -> np.ndarray:
    """Add fine concentric or straight tool marks."""
    x, y = canvas.turned(_somewhere(rng, canvas, 0.6), rng.uniform(0, np.pi))
    radius = np.hypot(x, y) if rng.random() < 0.6 else x
    wave = np.cos(radius * np.float32(2 * np.pi / log_uniform(rng, 3, 30)) + np.float32(rng.uniform(0, 6)))
    low, high = np.sort(rng.uniform(0, 1.2, 2)) * canvas.side
    band = step(np.float32(low) - radius, 6) * step(radius - np.float32(high), 6)
    return np.maximum(total + np.float32(log_uniform(rng, 0.003, 0.06)) * wave * band * np.minimum(total * 5, 1), 0)


def _flash(rng: np.random.Generator, canvas: Canvas, total: np.ndarray) -> np.ndarray:
    """Add a parting line, weld seam or scratch across the part: thin, long, straight or bent."""
    x, y = canvas.turned(_somewhere(rng, canvas), rng.uniform(0, np.pi))
    bend = np.float32(rng.normal(0, 0.4) / canvas.side)
    line = np.exp(-0.5 * ((y + bend * x * x) / np.float32(log_uniform(rng, 0.7, 5.0))) ** 2)
    return np.maximum(total + np.float32(rng.normal(0, 0.12)) * line * np.minimum(total * 5, 1), 0)


def _teeth(rng: np.random.Generator, canvas: Canvas, total: np.ndarray) -> np.ndarray:
    """Add a ring of teeth, such as a serrated or knurled edge: rows of bumps as large as pores."""
    x, y = canvas.turned(_somewhere(rng, canvas, 0.4), rng.uniform(0, 2 * np.pi))
    radius, angle = np.hypot(x, y / np.float32(rng.uniform(0.85, 1.0))), np.arctan2(y, x)
    mean = canvas.side * log_uniform(rng, 0.06, 0.6)
    pitch = log_uniform(rng, 6, 30)
    wave = np.cos(angle * np.float32(max(round(2 * np.pi * mean / pitch), 3)))
    wave = step(-wave - np.float32(rng.uniform(-0.5, 0.6)), log_uniform(rng, 0.2, 2.0))
    band = np.exp(-0.5 * ((radius - np.float32(mean)) / np.float32(pitch * rng.uniform(0.25, 0.8))) ** 2)
    height = np.float32(rng.choice([-1, 1]) * log_uniform(rng, 0.03, 0.8))
    return np.maximum(total * (1 + height * wave * band), 0)


DETAILS: dict[str, Callable[[np.random.Generator, Canvas, np.ndarray], np.ndarray]] = {
    "hole": _hole,
    "boss": _boss,
    "ring": _ring,
    "letters": _letters,
    "grid": _grid,
    "machining": _machining,
    "flash": _flash,
    "teeth": _teeth,
}
