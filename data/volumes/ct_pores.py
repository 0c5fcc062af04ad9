"""Pores of simulated volumes: gas, shrinkage, lack of fusion, pores open to the surface; and denser inclusions.

A pore is a union of ellipsoids, so that its chord along a ray has a closed form, as the part's has.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data.volumes.solids import Solid, contains, sections, union_length

Floats = NDArray[np.float32]
Kind = Literal["gas", "shrinkage", "lack_of_fusion", "inclusion"]

CLEARANCE = 1.5
"""Voxels of metal that are left at least between a closed pore and the surface or another pore."""

ATTEMPTS = 60

SHARES: dict[str, dict[Kind, float]] = {
    "ct_castings": {"gas": 0.86, "shrinkage": 0.08, "inclusion": 0.06},
    "ct_am": {"gas": 0.62, "lack_of_fusion": 0.34, "inclusion": 0.04},
}
"""How often each kind of anomaly is drawn."""


@dataclass(frozen=True)
class Pore:
    """A union of ellipsoids.

    `centers` float32 [N, 3] (z, y, x) in voxels from the center of the volume; `shapes` float32 [N, 3, 3], with
    (p - c)' shape (p - c) < 1 inside; `reach` float32 [N, 3], half the size of each ellipsoid's bounding box.
    `surface_open` where the pore breaks through the part's surface. `density` is that of its filling, relative to the
    part's: 0 for a pore, over 1 for an inclusion, which is no pore.
    """

    kind: Kind
    centers: Floats
    shapes: Floats
    reach: Floats
    surface_open: bool = False
    density: float = 0.0

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """The lowest and highest z, y, x."""
        return (self.centers - self.reach).min(axis=0), (self.centers + self.reach).max(axis=0)

    def moved(self, offset: Floats) -> "Pore":
        """Return the pore shifted by `offset` (z, y, x)."""
        return replace(self, centers=(self.centers + offset).astype(np.float32))

    def contains(self, points: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Return which points [..., 3] lie inside."""
        inside = np.zeros(points.shape[:-1], dtype=bool)
        for center, shape in zip(self.centers, self.shapes, strict=True):
            away = points - center
            inside |= np.einsum("...i,ij,...j->...", away, shape, away) < 1
        return inside

    def intervals(self, heights: Floats, angles: Floats, offsets: Floats) -> tuple[Floats, Floats]:
        """Return where rays enter and leave each ellipsoid, [N, Z, A, W]; those that miss it have inf, -inf.

        `heights` are the planes [Z], `angles` the projections [A] and `offsets` the pixels of each one [A, W].
        """
        zero = np.zeros_like(angles)
        along = np.stack([zero, np.cos(angles), -np.sin(angles)], axis=1)  # [A, 3]
        normal = np.stack([zero, np.sin(angles), np.cos(angles)], axis=1)
        starts, ends = [], []
        for center, shape in zip(self.centers, self.shapes, strict=True):
            foot = normal[None, :, None] * offsets[None, :, :, None] - center  # [1, A, W, 3]
            foot = np.repeat(foot, len(heights), axis=0)
            foot[..., 0] += heights[:, None, None]
            a = np.einsum("ai,ij,aj->a", along, shape, along)[None, :, None]
            b = np.einsum("ai,ij,zawj->zaw", along, shape, foot, optimize=True)
            c = ((foot @ shape) * foot).sum(axis=-1) - 1
            root = b * b - a * c
            half = np.sqrt(np.maximum(root, 0)) / a
            starts.append(np.where(root > 0, -b / a - half, np.inf).astype(np.float32))
            ends.append(np.where(root > 0, -b / a + half, -np.inf).astype(np.float32))
        return np.stack(starts), np.stack(ends)


def ellipsoid(
    rng: np.random.Generator, half: NDArray[np.floating[Any]], upright: bool = False
) -> tuple[Floats, Floats]:
    """Return shape [3, 3] and reach [3] of an ellipsoid of half-lengths (z, y, x), turned at random.

    `upright` turns it about z alone.
    """
    if upright:
        turn = rng.uniform(0, 2 * np.pi)
        c, s = np.cos(turn), np.sin(turn)
        axes = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    else:
        axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    covariance = axes @ np.diag(np.square(half, dtype=np.float64)) @ axes.T
    return np.linalg.inv(covariance).astype(np.float32), np.sqrt(np.diag(covariance)).astype(np.float32)


def draw_pore(kind: Kind, rng: np.random.Generator, diameter: float) -> Pore:
    """Return a pore of about an equivalent `diameter` in voxels, at the center of the volume.

    Gas is nearly round; shrinkage a branching cluster of ellipsoids; lack of fusion flat, across the direction of
    building (z); an inclusion is round and denser than the part.
    """
    half = diameter / 2
    if kind in ("gas", "inclusion"):
        ratio = np.exp(rng.normal(0, 0.15, 3))
        shape, reach = ellipsoid(rng, half * ratio / np.cbrt(ratio.prod()))
        density = float(rng.uniform(1.6, 3.0)) if kind == "inclusion" else 0.0
        return Pore(kind, np.zeros((1, 3), np.float32), shape[None], reach[None], density=density)
    if kind == "lack_of_fusion":
        flat = rng.uniform(0.25, 0.5)
        wide = np.exp(rng.normal(0, 0.25))
        ratio = np.array([flat, wide / np.sqrt(flat), 1 / wide / np.sqrt(flat)])
        shape, reach = ellipsoid(rng, half * ratio, upright=True)
        return Pore(kind, np.zeros((1, 3), np.float32), shape[None], reach[None])
    count = int(rng.integers(4, 11))
    centers, shapes, reaches = [np.zeros(3)], [], []
    for index in range(count):
        lengths = half * rng.uniform(0.25, 0.5) * np.array([1, rng.uniform(0.5, 1), rng.uniform(0.5, 1.6)])
        shape, reach = ellipsoid(rng, np.maximum(lengths, 0.5))
        shapes.append(shape)
        reaches.append(reach)
        if index:
            # Each branch starts near the skin of an earlier one, so that the whole hangs together.
            start = int(rng.integers(index))
            direction = rng.normal(size=3)
            centers.append(centers[start] + direction / np.linalg.norm(direction) * reaches[start].min() * 1.2)
    return Pore(kind, np.array(centers, np.float32), np.array(shapes), np.array(reaches))


def scatter_pores(
    kind: str, solids: Sequence[Solid], rng: np.random.Generator, count: int, low: Floats, high: Floats
) -> list[Pore]:
    """Return about `count` anomalies in a part, at least `CLEARANCE` apart and, if closed, as far from the surface.

    Diameters are log-normal with a median of 3 voxels: many pores are as small as a scan resolves, some are large.
    About one in twelve pores is open to the surface. Where the part is too thin for a pore, it is left out.

    Args:
        kind: of volume, a key of `SHARES`.
        solids: the part.
        rng: every random choice comes from it.
        count: anomalies to try.
        low: least z, y, x of the part in voxels from the center.
        high: greatest z, y, x.

    """
    kinds = list(SHARES[kind])
    shares = np.array(list(SHARES[kind].values()))
    placed: list[Pore] = []
    boxes: list[tuple[Floats, Floats]] = []
    for _ in range(count):
        chosen = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
        diameter = float(np.clip(np.exp(rng.normal(np.log(3.0), 0.5)), 1.2, 14))
        if chosen == "shrinkage":
            diameter = float(rng.uniform(6, 16))
        pore = draw_pore(chosen, rng, diameter)
        wants_open = chosen != "inclusion" and rng.random() < 1 / 12
        for _ in range(ATTEMPTS):
            moved = pore.moved(rng.uniform(low, high).astype(np.float32))
            first, last = moved.bounds
            if any((first < other[1] + CLEARANCE).all() and (last > other[0] - CLEARANCE).all() for other in boxes):
                continue
            if not contains(solids, moved.centers[:1])[0]:
                continue
            inside = contains(solids, _skin(moved, CLEARANCE))
            if not (0.5 <= inside.mean() <= 0.9 if wants_open else inside.all()):
                continue
            placed.append(replace(moved, surface_open=wants_open))
            boxes.append((first, last))
            break
    return placed


_DIRECTIONS = np.array(
    [[z, y, x] for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1) if (z, y, x) != (0, 0, 0)], dtype=np.float32
)


def _skin(pore: Pore, margin: float) -> Floats:
    """Return points [M, 3] around each ellipsoid, `margin` voxels outside of its bounding ellipsoid."""
    unit = _DIRECTIONS / np.linalg.norm(_DIRECTIONS, axis=1, keepdims=True)
    return np.concatenate([c + unit * (r + margin) for c, r in zip(pore.centers, pore.reach, strict=True)])


def subtract_pores(
    lengths: Floats, pores: Sequence[Pore], solids: Sequence[Solid], heights: Floats, angles: Floats, offsets: Floats
) -> None:
    """Take the pores' chords off `lengths` [Z, A, U] of the part, in place; an inclusion adds its own.

    The offsets are equally spaced. A pore touches the few planes and pixels that it throws its shadow on.
    """
    spacing = float(offsets[1] - offsets[0])
    rows = np.arange(len(angles))[:, None]
    for pore in pores:
        first, last = pore.bounds
        planes = np.flatnonzero((heights > first[0]) & (heights < last[0]))
        if not len(planes):
            continue
        middle = (first + last) / 2
        radius = float(np.linalg.norm((last - first)[1:]) / 2) + 1
        shadow = middle[1] * np.sin(angles) + middle[2] * np.cos(angles)
        left = np.floor((shadow - radius - offsets[0]) / spacing).astype(int)
        width = min(int(np.ceil(2 * radius / spacing)) + 2, len(offsets))
        columns = np.clip(left, 0, len(offsets) - width)[:, None] + np.arange(width)
        starts, ends = pore.intervals(heights[planes], angles, offsets[columns])
        chord = union_length(starts, ends) if len(starts) > 1 else np.maximum(ends[0] - starts[0], 0)
        if pore.surface_open:
            chord = _inside_length(solids, heights[planes], angles, offsets, columns, starts, ends)
        view = lengths[planes[0] : planes[-1] + 1]
        view[:, rows, columns] += (pore.density - 1) * chord
    np.maximum(lengths, 0, out=lengths)


def _inside_length(
    solids: Sequence[Solid],
    heights: Floats,
    angles: Floats,
    offsets: Floats,
    columns: NDArray[np.int_],
    starts: Floats,
    ends: Floats,
) -> Floats:
    """Return the length of each ray in a pore and in the part, [Z, A, W]: |part| - |part without the pore|."""
    rows = np.arange(len(angles))[:, None]
    chord = np.zeros((len(heights), len(angles), columns.shape[1]), dtype=np.float32)
    for index, z in enumerate(heights):
        filled, empty = sections(solids, float(z))
        if not filled:
            continue

        def ends_of(figures: Sequence) -> Floats:
            found = [np.stack(figure.interval(angles, offsets))[:, rows, columns] for figure in figures]
            return np.stack(found, axis=1) if found else np.zeros((2, 0, *columns.shape), np.float32)

        material, holes = ends_of(filled), ends_of(empty)
        pore = np.stack([starts[:, index], ends[:, index]])
        with_holes = np.concatenate([material, holes], axis=1)
        chord[index] = union_length(*with_holes) - (union_length(*holes) if holes.shape[1] else 0)
        both = np.concatenate([holes, pore], axis=1)
        chord[index] -= union_length(*np.concatenate([material, both], axis=1)) - union_length(*both)
    return chord


def rasterize_pores(
    pores: Sequence[Pore], solids: Sequence[Solid], heights: Floats, side: Floats, part: NDArray[np.bool_]
) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
    """Return the number of the pore at each voxel, uint16 [Z, N, N], 0 elsewhere, and each pore's volume in voxels.

    A voxel belongs to a pore that fills at least half of it, measured at 27 points. The volume adds what the pore
    takes of every voxel, inside the part. Inclusions are left out, and have the volume 0.
    """
    numbers = np.zeros(part.shape, dtype=np.uint16)
    volumes = np.zeros(len(pores))
    step = float(side[1] - side[0])
    fine = np.array([-1, 0, 1], dtype=np.float32) / 3 * step
    for number, pore in enumerate(pores, start=1):
        if pore.density:
            continue
        first, last = pore.bounds
        z, y, x = (np.flatnonzero((axis > low - 1) & (axis < high + 1))
                   for axis, low, high in zip((heights, side, side), first, last, strict=True))  # fmt: skip
        if not (len(z) and len(y) and len(x)):
            continue
        points = np.stack(
            np.meshgrid(
                *((axis[index][:, None] + fine).ravel() for axis, index in
                  zip((heights, side, side), (z, y, x), strict=True)), indexing="ij"
            ), axis=-1,
        )  # fmt: skip
        inside = pore.contains(points).reshape(len(z), 3, len(y), 3, len(x), 3).mean(axis=(1, 3, 5))
        box = np.ix_(z, y, x)
        if pore.surface_open:
            inside = inside * part[box]
        volumes[number - 1] = inside.sum()
        found = numbers[box]
        found[(inside >= 0.5) & part[box]] = number
        numbers[box] = found
    return numbers, volumes
