"""Convex solids whose sections by a plane, and whose chords along a ray, have a closed form.

Lengths are in voxels, positions (z, y, x) from the center of the volume. A ray lies in a plane of constant z: with
angle a and offset u it is the line u (cos a, sin a) + t (-sin a, cos a), coordinates (x, y), t any real number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

FAR = 1e4
"""Half-length in voxels of what is endless, such as a bore through the whole part."""


@dataclass(frozen=True)
class Section:
    """A convex figure in a plane: an ellipse or a rectangle.

    `center` is (y, x), `half` the half-lengths along the figure's own axes, `angle` turns the second of them (x) away
    from the x axis, in radians.
    """

    shape: Literal["ellipse", "rectangle"]
    center: tuple[float, float]
    half: tuple[float, float]
    angle: float = 0.0

    def interval(self, angles: Floats, offsets: Floats) -> tuple[Floats, Floats]:
        """Return where rays enter and leave the figure, two arrays of t [A, U]; rays that miss it have inf, -inf."""
        normal, along = np.stack([np.sin(angles), np.cos(angles)]), np.stack([np.cos(angles), -np.sin(angles)])
        turn = _turn(self.angle)
        scale = 1 / np.array(self.half, dtype=np.float32)[:, None]
        direction = (turn @ along) * scale  # [2, A]
        center = (turn @ np.array(self.center, dtype=np.float32)) * scale[:, 0]
        foot = ((turn @ normal) * scale)[:, :, None] * offsets - center[:, None, None]  # [2, A, U]
        direction = direction[:, :, None]
        if self.shape == "ellipse":
            a = (direction**2).sum(axis=0)
            b = (direction * foot).sum(axis=0)
            root = b * b - a * ((foot**2).sum(axis=0) - 1)
            reach = np.sqrt(np.maximum(root, 0)) / a
            middle = -b / a
            return np.where(root > 0, middle - reach, np.inf), np.where(root > 0, middle + reach, -np.inf)
        safe = np.where(np.abs(direction) < 1e-7, np.float32(1e-7), direction)
        one, other = (-1 - foot) / safe, (1 - foot) / safe
        start = np.minimum(one, other).max(axis=0)
        end = np.maximum(one, other).min(axis=0)
        hit = end > start
        return np.where(hit, start, np.inf), np.where(hit, end, -np.inf)

    def contains(self, y: Floats, x: Floats) -> NDArray[np.bool_]:
        """Return which points of the plane lie inside; `y` and `x` broadcast."""
        turn = _turn(self.angle)
        dy, dx = y - np.float32(self.center[0]), x - np.float32(self.center[1])
        v = (turn[0, 0] * dy + turn[0, 1] * dx) / np.float32(self.half[0])
        u = (turn[1, 0] * dy + turn[1, 1] * dx) / np.float32(self.half[1])
        return v * v + u * u < 1 if self.shape == "ellipse" else np.maximum(np.abs(v), np.abs(u)) < 1


def _turn(angle: float) -> Floats:
    """Return the matrix that takes (y, x) into the axes of a figure turned by `angle`."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]], dtype=np.float32)


def disc(radius: float, y: float = 0.0, x: float = 0.0) -> Section:
    """Return a circle about (y, x)."""
    return Section("ellipse", (y, x), (radius, radius))


@dataclass(frozen=True)
class Room:
    """What a part has to fit into, in voxels: `radius` of the field of view, `height` above and below the center."""

    radius: float
    height: float


@dataclass(frozen=True)
class Solid:
    """A solid, or with `hole` a cavity that machining or a core left: no defect.

    - prism: `section` between z = `bottom` and `top`, its half-lengths growing by `taper` of themselves from bottom to
      top. With `thread`, the center of the section circles the axis by `thread` voxels once in `pitch` voxels of z,
      which is what a thread looks like in a cut.
    - ellipsoid: half-lengths of `section` in the plane z = (bottom + top) / 2, and (top - bottom) / 2 along z.
    - cross_bore: a cylinder that lies in the plane, along the second axis of `section`; its radius is
      (top - bottom) / 2 and its half-length half[1].
    """

    kind: Literal["prism", "ellipsoid", "cross_bore"]
    section: Section
    bottom: float
    top: float
    hole: bool = False
    taper: float = 0.0
    thread: float = 0.0
    pitch: float = 8.0

    def at(self, z: float) -> Section | None:
        """Return the figure that the plane at `z` cuts out of the solid, None where it misses it."""
        if not self.bottom < z < self.top:
            return None
        figure, middle = self.section, (self.bottom + self.top) / 2
        if self.kind == "prism":
            if not self.taper and not self.thread:
                return figure
            grown = 1 + self.taper * (z - self.bottom) / (self.top - self.bottom)
            phase = 2 * np.pi * z / self.pitch
            return Section(
                figure.shape,
                (figure.center[0] + self.thread * np.sin(phase), figure.center[1] + self.thread * np.cos(phase)),
                (figure.half[0] * grown, figure.half[1] * grown),
                figure.angle,
            )
        radius = (self.top - self.bottom) / 2
        share = float(np.sqrt(max(1 - ((z - middle) / radius) ** 2, 1e-6)))
        if self.kind == "ellipsoid":
            return Section("ellipse", figure.center, (figure.half[0] * share, figure.half[1] * share), figure.angle)
        return Section("rectangle", figure.center, (radius * share, figure.half[1]), figure.angle)

    def contains(self, points: Floats) -> NDArray[np.bool_]:
        """Return which points [N, 3] (z, y, x) lie inside."""
        z, y, x = points.T
        between = (z > self.bottom) & (z < self.top)
        half = np.array(self.section.half)[:, None]
        if self.kind == "prism":
            phase = 2 * np.pi * z / self.pitch
            y, x = y - self.thread * np.sin(phase), x - self.thread * np.cos(phase)
            half = half * (1 + self.taper * (z - self.bottom) / (self.top - self.bottom))
        else:
            radius = (self.top - self.bottom) / 2
            share = np.sqrt(np.maximum(1 - ((z - (self.bottom + self.top) / 2) / radius) ** 2, 1e-6))
            if self.kind == "ellipsoid":
                half = half * share
            else:
                half = np.stack([radius * share, np.full(len(z), self.section.half[1])])
        turn = _turn(self.section.angle)
        away = turn @ np.stack([y - self.section.center[0], x - self.section.center[1]]) / half
        round_ = self.section.shape == "ellipse" and self.kind != "cross_bore"
        return between & ((away**2).sum(axis=0) < 1 if round_ else np.abs(away).max(axis=0) < 1)


def pillar(section: Section, bottom: float, top: float, hole: bool = False) -> Solid:
    """Return a prism with upright walls."""
    return Solid("prism", section, bottom, top, hole)


def around(count: int, radius: float, start: float) -> list[tuple[float, float]]:
    """Return (y, x) of points evenly spaced on a circle, the first at the angle `start` in radians."""
    turns = start + 2 * np.pi * np.arange(count) / count
    return [(float(radius * np.sin(turn)), float(radius * np.cos(turn))) for turn in turns]


def sections(solids: Sequence[Solid], z: float) -> tuple[tuple[Section, ...], tuple[Section, ...]]:
    """Return the figures of material and those of cavities in the plane at `z`."""
    cut = [(solid.hole, solid.at(z)) for solid in solids]
    return (
        tuple(figure for hole, figure in cut if figure is not None and not hole),
        tuple(figure for hole, figure in cut if figure is not None and hole),
    )


def union_length(starts: Floats, ends: Floats) -> Floats:
    """Return the length of the union of K intervals, float [...], from their ends [K, ...]; empty: inf, -inf."""
    order = np.argsort(starts, axis=0)
    starts, ends = np.take_along_axis(starts, order, axis=0), np.take_along_axis(ends, order, axis=0)
    total = np.zeros(starts.shape[1:], dtype=np.float32)
    reached = np.full(starts.shape[1:], -np.inf, dtype=np.float32)
    for start, end in zip(starts, ends, strict=True):
        total += np.maximum(end - np.maximum(start, reached), 0)
        reached = np.maximum(reached, end)
    return total


def material_length(solid: tuple[Section, ...], hole: tuple[Section, ...], angles: Floats, offsets: Floats) -> Floats:
    """Return the length of each ray in the figures `solid` and outside of the figures `hole`, float32 [A, U]."""
    if not solid:
        return np.zeros((len(angles), len(offsets)), dtype=np.float32)
    filled = np.stack([np.stack(figure.interval(angles, offsets)) for figure in solid], axis=1)
    if not hole:
        return union_length(*filled)
    empty = np.stack([np.stack(figure.interval(angles, offsets)) for figure in hole], axis=1)
    both = np.concatenate([filled, empty], axis=1)
    return union_length(*both) - union_length(*empty)


def path_lengths(solids: Sequence[Solid], heights: Floats, angles: Floats, offsets: Floats) -> Floats:
    """Return the length of every ray in the part, float32 [Z, A, U], in voxels.

    Planes that cut the same figures, as most planes of a prismatic part do, are computed once.

    Args:
        solids: the part.
        heights: z of each plane [Z].
        angles: of the projections, radians [A].
        offsets: of the detector's pixels [U].

    """
    known: dict[object, Floats] = {}
    lengths = np.empty((len(heights), len(angles), len(offsets)), dtype=np.float32)
    for index, z in enumerate(heights):
        figures = sections(solids, float(z))
        if figures not in known:
            if len(known) > 4:
                known.clear()
            known[figures] = material_length(*figures, angles, offsets)
        lengths[index] = known[figures]
    return lengths


def voxelize(solids: Sequence[Solid], heights: Floats, side: Floats) -> NDArray[np.bool_]:
    """Return which voxel centers lie in the part, bool [Z, N, N], for z `heights` [Z] and y and x `side` [N]."""
    known: dict[object, NDArray[np.bool_]] = {}
    filled = np.zeros((len(heights), len(side), len(side)), dtype=bool)
    for index, z in enumerate(heights):
        figures = sections(solids, float(z))
        if figures not in known:
            known.clear()
            known[figures] = _inside(*figures, side[:, None], side[None])
        filled[index] = known[figures]
    return filled


def contains(solids: Sequence[Solid], points: Floats) -> NDArray[np.bool_]:
    """Return which points [N, 3] (z, y, x) lie in the part."""
    inside = np.zeros(len(points), dtype=bool)
    for hole in (False, True):
        for solid in solids:
            if solid.hole == hole:
                inside = inside & ~solid.contains(points) if hole else inside | solid.contains(points)
    return inside


def _inside(solid: tuple[Section, ...], hole: tuple[Section, ...], y: Floats, x: Floats) -> NDArray[np.bool_]:
    inside = np.zeros(np.broadcast_shapes(y.shape, x.shape), dtype=bool)
    for figure in solid:
        inside |= figure.contains(y, x)
    for figure in hole:
        inside &= ~figure.contains(y, x)
    return inside
