"""Details of random castings that look like defects: holes, bosses, ejector marks, letters, grids, tool marks, teeth.

As many of them as of the defects have a defect's size and contrast: a detector that never saw them reports them.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from data.synthesis.canvas import Canvas, edge_width, log_uniform, random_point, step


def _positions(rng: np.random.Generator, canvas: Canvas, size: float) -> list[tuple[float, float]]:
    """Return one position, a row, or a circle of positions: details of a part repeat, defects do not."""
    first = random_point(rng, canvas)
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
    size, height, edge = log_uniform(rng, 5, 60), np.float32(log_uniform(rng, 0.03, 0.8)), edge_width(rng)
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
    edge = edge_width(rng)

    def mesh(x: np.ndarray, y: np.ndarray, part: np.ndarray) -> np.ndarray:
        u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
        bars = np.zeros_like(part)
        for axis in (u, v)[:lines]:
            bars = np.maximum(bars, step(np.abs((axis / pitch) % 1 - 0.5) * pitch - pitch * np.float32(0.15), 1.5))
        inside = step(np.hypot(x, y) - np.float32(size / 2), edge)
        return np.maximum(part + height * bars * inside, 0)

    _stamp(canvas, total, random_point(rng, canvas), size * 0.6 + edge, mesh)
    return total


def _machining(rng: np.random.Generator, canvas: Canvas, total: np.ndarray) -> np.ndarray:
    """Add fine concentric or straight tool marks."""
    x, y = canvas.turned(random_point(rng, canvas, 0.6), rng.uniform(0, np.pi))
    radius = np.hypot(x, y) if rng.random() < 0.6 else x
    wave = np.cos(radius * np.float32(2 * np.pi / log_uniform(rng, 3, 30)) + np.float32(rng.uniform(0, 6)))
    low, high = np.sort(rng.uniform(0, 1.2, 2)) * canvas.side
    band = step(np.float32(low) - radius, 6) * step(radius - np.float32(high), 6)
    return np.maximum(total + np.float32(log_uniform(rng, 0.003, 0.06)) * wave * band * np.minimum(total * 5, 1), 0)


def _flash(rng: np.random.Generator, canvas: Canvas, total: np.ndarray) -> np.ndarray:
    """Add a parting line, weld seam or scratch across the part: thin, long, straight or bent."""
    x, y = canvas.turned(random_point(rng, canvas), rng.uniform(0, np.pi))
    bend = np.float32(rng.normal(0, 0.4) / canvas.side)
    line = np.exp(-0.5 * ((y + bend * x * x) / np.float32(log_uniform(rng, 0.7, 5.0))) ** 2)
    return np.maximum(total + np.float32(rng.normal(0, 0.12)) * line * np.minimum(total * 5, 1), 0)


def _teeth(rng: np.random.Generator, canvas: Canvas, total: np.ndarray) -> np.ndarray:
    """Add a ring of teeth, such as a serrated or knurled edge: rows of bumps as large as pores."""
    x, y = canvas.turned(random_point(rng, canvas, 0.4), rng.uniform(0, 2 * np.pi))
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
