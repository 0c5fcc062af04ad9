"""The shapes of defects, as relative chord lengths along the ray, float32 [h, w], for a size in pixels."""

import cv2
import numpy as np

from data.synthesis.casting_parts import texture


def pore(rng: np.random.Generator, size: float) -> np.ndarray:
    """Return the chord of a gas pore: one ellipsoid, or a few grown together."""
    side = _side(size * 1.5)
    chord = np.zeros((side, side), np.float32)
    lobes = 1 if rng.random() < 0.55 else int(rng.integers(2, 5))
    for lobe in range(lobes):
        share = 1.0 if lobe == 0 else rng.uniform(0.35, 0.8)
        offset = (0.0, 0.0) if lobe == 0 else rng.normal(0, size * 0.25, 2)
        axes = (size / 2 * share, size / 2 * share * rng.uniform(0.55, 1.0))
        chord = np.maximum(chord, share * _ellipsoid(side, offset, axes, rng.uniform(0, np.pi)))
    return chord


def cluster(rng: np.random.Generator, size: float) -> np.ndarray:
    """Return the chords of a dense group of gas pores."""
    side = _side(size * 1.6)
    chord = np.zeros((side, side), np.float32)
    squash, turn = rng.uniform(0.4, 1.0), rng.uniform(0, np.pi)
    for _ in range(int(rng.integers(4, 26))):
        a, b = rng.normal(0, size / 4, 2) * (1, squash)
        offset = (a * np.cos(turn) - b * np.sin(turn), a * np.sin(turn) + b * np.cos(turn))
        radius = max(size * rng.uniform(0.05, 0.14), 1.2)
        axes = (radius, radius * rng.uniform(0.6, 1))
        chord += rng.uniform(0.4, 1) * _ellipsoid(side, offset, axes, rng.uniform(0, 3))
    return np.minimum(chord, 1.5)


def sponge_shrinkage(rng: np.random.Generator, size: float) -> np.ndarray:
    """Return the chords of sponge shrinkage: a cloud of small cavities inside an irregular outline."""
    side = _side(size * 1.5)
    outline = _ellipsoid(side, (0, 0), (size / 2, size / 2 * rng.uniform(0.35, 1)), rng.uniform(0, np.pi))
    fine = texture(rng, (side, side), rng.uniform(1.5, 4))
    coarse = texture(rng, (side, side), max(size / 4, 3))
    return np.maximum(fine + coarse * 0.8 + rng.uniform(0, 0.8), 0) * outline * np.clip(1 + coarse, 0, 1)


def dendritic_shrinkage(rng: np.random.Generator, size: float) -> np.ndarray:
    """Return the chords of dendritic shrinkage: worm-like channels that branch."""
    side = _side(size * 1.3)
    chord: np.ndarray = np.zeros((side, side), np.float32)
    thickness = max(1, round(size * rng.uniform(0.03, 0.09)))
    heading = rng.uniform(0, 2 * np.pi)
    for _ in range(int(rng.integers(3, 9))):
        start = side / 2 + rng.normal(0, size * 0.12, 2)
        turned = heading + rng.normal(0, 0.9) + np.pi * rng.integers(2)
        points = random_walk(rng, start, turned, size * rng.uniform(0.2, 0.55), 0.7)
        stroke = np.zeros_like(chord)
        cv2.polylines(stroke, [np.round(points * 8).astype(np.int32)], False, 1.0, thickness, cv2.LINE_8, 3)
        chord = np.maximum(chord, stroke * np.float32(rng.uniform(0.4, 1)))
    chord = cv2.GaussianBlur(chord, (0, 0), max(thickness * 0.35, 0.6))
    return chord * np.clip(1 + 0.6 * texture(rng, chord.shape, max(size / 10, 2)), 0.1, 2)


def crack(rng: np.random.Generator, size: float) -> np.ndarray:
    """Return the chords of a crack: one thin, bent line that tapers."""
    size = max(size, 14)
    side = _side(size * 1.3)
    heading = rng.uniform(0, 2 * np.pi)
    middle = np.array([side / 2, side / 2])
    start = middle - 0.5 * size * np.array([np.cos(heading), np.sin(heading)])
    points = random_walk(rng, start, heading, size, 0.25)
    chord = np.zeros((side, side), np.float32)
    width = int(rng.integers(1, 3))
    for k in range(len(points) - 1):
        taper = float(np.sin(np.pi * (k + 1) / len(points)) ** 0.6)
        ends = np.round(points[k : k + 2] * 8).astype(np.int32)
        cv2.polylines(chord, [ends], False, taper, width, cv2.LINE_8, 3)
    return cv2.GaussianBlur(chord, (0, 0), 0.6)


def inclusion(rng: np.random.Generator, size: float) -> np.ndarray:
    """Return the added metal, as negative chords, of a dense inclusion: a small angular grain."""
    side = _side(size * 1.5)
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(5, 10))))
    radii = size / 2 * rng.uniform(0.6, 1.0, len(angles))
    points = side / 2 + np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]
    grain = np.zeros((side, side), np.float32)
    cv2.fillPoly(grain, [np.round(points * 8).astype(np.int32)], 1.0, cv2.LINE_8, 3)
    return -cv2.GaussianBlur(grain, (0, 0), max(size * 0.08, 0.6))


def _side(size: float) -> int:
    """Return an odd side in pixels that holds `size` with a pixel of air around it."""
    return int(np.ceil(size)) // 2 * 2 + 3


def _ellipsoid(
    side: int, offset: tuple[float, float] | np.ndarray, axes: tuple[float, float], angle: float
) -> np.ndarray:
    """Return the relative chord sqrt(1 - q^2) of an ellipsoid seen on `side` x `side` pixels."""
    u = np.arange(side, dtype=np.float32) - side // 2
    x, y = u[None] - np.float32(offset[0]), u[:, None] - np.float32(offset[1])
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    a, b = (cos * x + sin * y) / np.float32(axes[0]), (cos * y - sin * x) / np.float32(axes[1])
    return np.sqrt(np.maximum(1 - a * a - b * b, 0))


def random_walk(rng: np.random.Generator, start: np.ndarray, heading: float, length: float, bend: float) -> np.ndarray:
    """Return points [K, 2] of a random walk that bends by about `bend` radians a step."""
    steps = max(int(length / 3), 4)
    headings = heading + np.cumsum(rng.normal(0, bend, steps))
    moves = np.stack([np.cos(headings), np.sin(headings)], 1) * (length / steps)
    return start + np.concatenate([np.zeros((1, 2)), np.cumsum(moves, 0)])
