"""Pores of a volume as a table: sizes, shapes, places, distances; and where the porosity is worst."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes, mesh_surface_area

from data.volumes.components import SLAB, Bools, PartMask, SlabComponents, label
from data.volumes.volume import VoxelSize, isotropic
from data.volumes.writing import SlabWriter

Floats = NDArray[np.float64]
ByPlane = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
Read = Callable[[int, int], NDArray[np.float32]]
Masks = Callable[[int, int], Bools]

LEAST_FOR_SHAPE = 8
"""Voxels from which a pore has a sphericity: smaller ones are all corners."""

NEIGHBORS = 16
"""Pores by distance of their centers among which the nearest is looked for."""


@dataclass(frozen=True)
class PoreTable:
    """One row a pore, largest first; lengths in mm where the voxel size is known, else None.

    `id` int64 [N] is the value in the label volume. `voxels` int64 [N]. `diameter_voxels` and `diameter_mm` are of the
    sphere of the same volume, `volume_mm3` its volume. `sphericity` is the surface of that sphere over the pore's own,
    NaN under 8 voxels. `center` float64 [N, 3] (z, y, x) in voxels; `low` and `high` int64 [N, 3], its bounding box
    (high excluded). `surface_gap` and `pore_gap`: metal between the pore and the surface, and the nearest other pore,
    in voxels, 0 for an open pore and NaN without one. `mean_gray` normalized, air 0 and metal 1. `is_open` bool [N]:
    the pore touches the air around the part.
    """

    id: NDArray[np.int64]
    voxels: NDArray[np.int64]
    diameter_voxels: Floats
    sphericity: Floats
    center: Floats
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    surface_gap: Floats
    pore_gap: Floats
    mean_gray: Floats
    is_open: NDArray[np.bool_]
    voxel_mm: VoxelSize | None = None

    def __len__(self) -> int:
        return len(self.id)

    @property
    def diameter_mm(self) -> Floats | None:
        """Equivalent diameter in mm."""
        side = isotropic(self.voxel_mm)
        return None if side is None else self.diameter_voxels * side

    def records(self) -> list[dict[str, float | int | bool | None]]:
        """Return the rows as plain values for CSV and JSON; millimeters are None where the voxel size is unknown."""
        side = isotropic(self.voxel_mm)
        rows = []
        for k in range(len(self)):
            rows.append({
                "id": int(self.id[k]), "voxels": int(self.voxels[k]),
                "volume_mm3": _known(self.voxels[k] * side**3 if side else None),
                "diameter_voxels": _known(self.diameter_voxels[k]),
                "diameter_mm": _known(self.diameter_voxels[k] * side if side else None),
                "sphericity": _known(self.sphericity[k]),
                **{f"center_{axis}": _known(self.center[k, n]) for n, axis in enumerate("zyx")},
                **{f"center_{axis}_mm": _known(self.center[k, n] * self.voxel_mm[n] if self.voxel_mm else None)
                   for n, axis in enumerate("zyx")},
                **{f"{axis}_min": int(self.low[k, n]) for n, axis in enumerate("zyx")},
                **{f"{axis}_max": int(self.high[k, n]) - 1 for n, axis in enumerate("zyx")},
                "surface_gap_voxels": _known(self.surface_gap[k]),
                "surface_gap_mm": _known(self.surface_gap[k] * side if side else None),
                "pore_gap_voxels": _known(self.pore_gap[k]),
                "pore_gap_mm": _known(self.pore_gap[k] * side if side else None),
                "mean_gray": _known(self.mean_gray[k]), "open": bool(self.is_open[k]),
            })  # fmt: skip
        return rows

    def take(self, rows: NDArray[np.int_] | NDArray[np.bool_]) -> "PoreTable":
        """Return some of the rows."""
        return PoreTable(**{
            field.name: getattr(self, field.name) if field.name == "voxel_mm" else getattr(self, field.name)[rows]
            for field in fields(self)
        })  # fmt: skip


def _known(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


@dataclass(frozen=True)
class Porosity:
    """What was counted beside the table.

    `part_voxels`, closed pores included. `pores_by_plane` and `part_by_plane`: for the axes z, y, x, closed pore and
    part voxels of each plane, int64. `projections`: largest equivalent diameter in voxels along z and along y, float32
    [Y, X] and [Z, X].
    """

    part_voxels: int
    pores_by_plane: ByPlane
    part_by_plane: ByPlane
    projections: tuple[NDArray[np.float32], NDArray[np.float32]]

    @property
    def pore_voxels(self) -> int:
        """Voxels of closed pores."""
        return int(self.pores_by_plane[0].sum())

    @property
    def share(self) -> float:
        """Porosity of the part: closed pores over the part, both in voxels."""
        return self.pore_voxels / self.part_voxels if self.part_voxels else 0.0


def measure_pores(
    pores: Masks,
    read: Read,
    part: PartMask,
    labels_path: Path,
    voxel_mm: VoxelSize | None = None,
    least_voxels: int = 2,
    on_slab: Callable[[int], None] = lambda done: None,
) -> tuple[PoreTable, Porosity]:
    """Return the table of pores and write their numbers as a label volume, uint32 NPY [Z, Y, X], 0 elsewhere.

    Pores are 26-connected. Two passes in slabs: memory grows with the area of a slice, the number of pores and the
    surface of the part, and not with the depth.

    Args:
        pores: which voxels of slices from a first up to a last are pores, bool [D, Y, X].
        read: gray values of the same slices, float32 with air at 0 and metal at 1.
        part: the part.
        labels_path: of the label volume.
        voxel_mm: size of a voxel (z, y, x).
        least_voxels: smaller pores are left out.
        on_slab: called with the slices done, of twice the depth in all.

    """
    shape = part.shape
    found = _first_pass(pores, read, part, on_slab)
    kept = found["voxels"] >= least_voxels
    order = np.flatnonzero(kept)[np.argsort(-found["voxels"][kept], kind="stable")]
    new = np.zeros(len(kept) + 1, np.int64)  # root -> rank
    new[order + 1] = np.arange(1, len(order) + 1)
    number_of = new[found["roots"]]
    diameter = np.cbrt(6 * found["voxels"][order] / np.pi)
    count = len(order)
    is_open, shown = np.zeros(count + 1, bool), np.concatenate([[0], diameter]).astype(np.float32)
    pores_by_plane, part_by_plane = _zeros_by_plane(shape), _zeros_by_plane(shape)
    projections = np.zeros(shape[1:], np.float32), np.zeros((shape[0], shape[2]), np.float32)
    writer = SlabWriter(labels_path, shape, np.uint32)
    surface: list[NDArray[np.int32]] = []
    for first, last in _slabs(shape[0]):
        mask = pores(first, last)
        local, _ = label(mask)
        numbers = number_of[np.where(local > 0, local + found["starts"][first // SLAB], 0)]
        writer.append(numbers.astype(np.uint32))
        inside = part.rows(first - 1, last + 1)
        outside, top = ~inside, first - max(first - 1, 0)
        near_air = ndimage.binary_dilation(outside)
        here = slice(top, top + last - first)
        is_open[np.unique(numbers[near_air[here]])] = True
        found_there = np.argwhere((outside & ndimage.binary_dilation(inside))[here]).astype(np.int32)
        surface.append(found_there + np.array([first, 0, 0], np.int32))
        closed = inside[here] & (numbers > 0)
        for axis in range(3):
            others = tuple(k for k in range(3) if k != axis)
            target = slice(first, last) if axis == 0 else slice(None)
            pores_by_plane[axis][target] += closed.sum(axis=others)
            part_by_plane[axis][target] += inside[here].sum(axis=others)
        sizes = shown[numbers]
        np.maximum(projections[0], sizes.max(axis=0), out=projections[0])
        projections[1][first:last] = sizes.max(axis=1)
        on_slab(shape[0] + last)
    writer.finish()
    is_open[0] = False
    stats = {name: found[name][order] for name in ("voxels", "center", "low", "high", "mean_gray")}
    volume = np.load(labels_path, mmap_mode="r")
    sphericity, surface_gap, pore_gap = _shapes(volume, stats, is_open[1:], _points(surface))
    table = PoreTable(
        id=np.arange(1, count + 1), diameter_voxels=diameter, sphericity=sphericity, surface_gap=surface_gap,
        pore_gap=pore_gap, is_open=is_open[1:], voxel_mm=voxel_mm, **stats,
    )  # fmt: skip
    return table, Porosity(part.voxels, pores_by_plane, part_by_plane, projections)


def _zeros_by_plane(shape: tuple[int, int, int]) -> ByPlane:
    z, y, x = (np.zeros(length, np.int64) for length in shape)
    return z, y, x


def _slabs(depth: int) -> Iterator[tuple[int, int]]:
    for first in range(0, depth, SLAB):
        yield first, min(first + SLAB, depth)


def _points(parts: list[NDArray[np.int32]]) -> Floats:
    return np.concatenate(parts).astype(np.float64) if parts else np.zeros((0, 3))


def _first_pass(pores: Masks, read: Read, part: PartMask, on_slab: Callable[[int], None]) -> dict[str, NDArray]:
    """Return sums a component and what brings provisional numbers to components."""
    components, starts = SlabComponents(26), []
    rows: list[NDArray[np.float64]] = []
    for first, last in _slabs(part.shape[0]):
        starts.append(components.count)
        numbers = components.add(pores(first, last))
        z, y, x = np.nonzero(numbers)
        on_slab(last)
        if not len(z):
            continue
        local = numbers[z, y, x] - starts[-1] - 1
        size = components.count - starts[-1]
        gray = read(first, last)[z, y, x]
        places = np.stack([z + first, y, x])
        low, high = np.full((size, 3), 2**40), np.zeros((size, 3), np.int64)
        np.minimum.at(low, local, places.T)
        np.maximum.at(high, local, places.T + 1)
        sums = [np.bincount(local, weights=weight, minlength=size) for weight in (np.ones(len(z)), gray, *places)]
        rows.append(np.column_stack([*sums, low, high]))
    count, roots = components.roots()
    every = np.concatenate(rows) if rows else np.zeros((0, 11))
    target = roots[1:] - 1
    totals = np.stack([np.bincount(target, weights=every[:, k], minlength=count) for k in range(5)], axis=1)
    low, high = np.full((count, 3), 2**40), np.zeros((count, 3), np.int64)
    np.minimum.at(low, target, every[:, 5:8].astype(np.int64))
    np.maximum.at(high, target, every[:, 8:11].astype(np.int64))
    voxels = totals[:, 0]
    return {
        "starts": np.array(starts), "roots": roots, "voxels": voxels.astype(np.int64), "low": low, "high": high,
        "mean_gray": totals[:, 1] / np.maximum(voxels, 1), "center": totals[:, 2:] / np.maximum(voxels, 1)[:, None],
    }  # fmt: skip


def _shapes(
    labels: NDArray[np.uint32], stats: dict[str, NDArray], is_open: NDArray[np.bool_], surface: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return sphericity, gap to the surface and gap to the nearest pore, float64 [N] each, in voxels."""
    count = len(is_open)
    spheres, to_surface, to_pore = (np.full(count, np.nan) for _ in range(3))
    tree = cKDTree(surface) if len(surface) else None
    skins = []
    for k in range(count):
        box = tuple(slice(low, high) for low, high in zip(stats["low"][k], stats["high"][k], strict=True))
        mask = np.asarray(labels[box]) == k + 1
        inner = ndimage.binary_erosion(mask, structure=np.ones((3, 3, 3)))
        skin = np.argwhere(mask & ~inner) + stats["low"][k]
        skins.append(skin)
        if stats["voxels"][k] >= LEAST_FOR_SHAPE:
            spheres[k] = sphericity(mask)
        if is_open[k]:
            to_surface[k] = 0.0
        elif tree is not None:
            # Centers of neighboring voxels are 1 apart, with nothing between them.
            to_surface[k] = max(float(tree.query(skin)[0].min()) - 1, 0.0)
    if count > 1:
        trees = [cKDTree(skin) for skin in skins]
        centers = cKDTree(stats["center"])
        for k in range(count):
            _, near = centers.query(stats["center"][k], k=min(NEIGHBORS + 1, count))
            gaps = [float(trees[n].query(skins[k])[0].min()) for n in np.atleast_1d(near) if n != k]
            to_pore[k] = max(min(gaps) - 1, 0.0)
    return spheres, to_surface, to_pore


def sphericity(mask: Bools) -> float:
    """Return the surface of the sphere of a shape's volume over the shape's own surface, at most 1.

    Of the smoothed shape: the steps of voxels would add half to the surface.
    """
    smooth = ndimage.gaussian_filter(np.pad(mask, 4).astype(np.float32), 1.0)
    level = min(0.5, 0.5 * float(smooth.max()))
    corners, faces, _, _ = marching_cubes(smooth, level)
    triangle = corners[faces]
    volume = abs(float(np.einsum("ni,ni->n", triangle[:, 0], np.cross(triangle[:, 1], triangle[:, 2])).sum()) / 6)
    return min(float(np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / mesh_surface_area(corners, faces)), 1.0)
