"""One simulated computed tomography volume with its truth, from a seed and a number."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.volumes.ct_parts import MATERIALS, PARTS, make_part
from data.volumes.ct_pores import Pore, rasterize_pores, scatter_pores, subtract_pores
from data.volumes.ct_scan import Scan, beam, fade_ends, project, reconstruct
from data.volumes.labels import MATERIAL, OPEN_PORE, PORE
from data.volumes.solids import Room, path_lengths, voxelize

Quality = Literal["varied", "good", "normal", "poor"]
QUALITIES: tuple[Quality, ...] = ("varied", "good", "normal", "poor")
GRADES = {"good": 0, "normal": 1, "poor": 2}

FIELD_MM = {"Al": (13.0, 32.0), "Ti": (5.0, 13.0), "CoCr": (2.0, 5.0), "steel": (2.0, 5.0)}
"""Width of the reconstructed field: parts are scanned that let enough of the beam through."""
SMALLEST = 32


@dataclass(frozen=True)
class CTPhantom:
    """A simulated volume.

    `values` uint16 [Z, Y, X] gray values as a scanner stores them; `truth` uint8 [Z, Y, X] of `data.volumes.labels`;
    `numbers` uint16 [Z, Y, X], the 1-based row of `pores` at each pore voxel; `volumes` float64 [N], of each pore in
    voxels. Inclusions are rows of `pores` without voxels.
    """

    values: NDArray[np.uint16]
    truth: NDArray[np.uint8]
    numbers: NDArray[np.uint16]
    pores: list[Pore]
    volumes: NDArray[np.float64]
    family: str
    scan: Scan


def make_ct_phantom(
    kind: str,
    seed: int,
    index: int,
    *,
    family: str | None = None,
    size: tuple[int, int] = (160, 64),
    quality: Quality = "varied",
    projections: int | None = None,
    pores: int | None = None,
    exposure: float = 1.0,
    cone: float = 0.0,
) -> CTPhantom:
    """Return volume `index` of the set `seed`; the same arguments give the same voxels.

    The part and its pores do not depend on the scan: `quality`, `projections`, `exposure` and `cone` scan the same part
    again.

    Args:
        kind: "ct_castings" or "ct_am".
        seed: of the set, 0 or more.
        index: number in the set, 0 or more.
        family: of the part, a key of `PARTS[kind]`; by default they take turns.
        size: side in y and x, and number of slices, in voxels.
        quality: grades of noise, beam hardening and rings all 0, 1 or 2 (good, normal, poor), or each drawn (varied).
        projections: number of angles over half a turn; by default 1.25 a voxel of the side.
        pores: how many to try; by default one in 12,000 voxels, from a third to three times as many.
        exposure: photons, relative to those of the grade of noise; above 0.
        cone: what a cone beam does to the slices away from the middle, 0 (nothing) to 1 (`Scan`).

    Raises:
        InputError: an argument is outside of its range.

    """
    side, slices = _check(kind, family, size, quality, projections, seed, index)
    if exposure <= 0 or not 0 <= cone <= 1:
        raise InputError(f"exposure {exposure} must be above 0, and cone {cone} within 0 ... 1")
    families = list(PARTS[kind])
    family = family or families[index % len(families)]
    rng = np.random.default_rng([seed, index, 11])
    solids = make_part(kind, family, rng, Room(radius=side * 0.47, height=slices * 0.44))
    heights, axis = _centers(slices), _centers(side)
    part = voxelize(solids, heights, axis)
    tries = int(part.sum() / 12_000 * 3 ** rng.uniform(-1, 1)) + 1 if pores is None else pores
    occupied = np.argwhere(part[::4, ::4, ::4]) * 4
    if not len(occupied):
        raise InputError(f"{kind} {family} of {side} x {side} x {slices} voxels has no material; make it larger")
    center = np.array([heights[0], axis[0], axis[0]], np.float32)
    low, high = occupied.min(axis=0) + center, occupied.max(axis=0) + center
    placed = scatter_pores(kind, solids, rng, tries, low.astype(np.float32), high.astype(np.float32))
    numbers, volumes = rasterize_pores(placed, solids, heights, axis, part)
    truth = part.astype(np.uint8) * np.uint8(MATERIAL)
    open_rows = np.array([False, *(pore.surface_open for pore in placed)])
    truth[(numbers > 0) & ~open_rows[numbers]] = PORE
    truth[(numbers > 0) & open_rows[numbers]] = OPEN_PORE
    scan = _draw_scan(kind, side, np.random.default_rng([seed, index, 12]), quality, projections or round(1.25 * side))
    scan = replace(scan, exposure=exposure, cone=cone)
    scanner = np.random.default_rng([seed, index, 13, QUALITIES.index(quality), scan.projections])
    angles = (np.pi * np.arange(scan.projections) / scan.projections).astype(np.float32)
    width = int(np.ceil(side * 1.0)) + 8
    offsets = _centers(width)
    lengths = path_lengths(solids, heights, angles, offsets)
    subtract_pores(lengths, placed, solids, heights, angles, offsets)
    measured = project(lengths, scan, scanner)
    shifted = offsets + np.float32(scan.axis_offset)
    field = fade_ends(reconstruct(measured, angles, shifted, axis), cone)
    return CTPhantom(_stored(field, scan, scanner), truth, numbers, placed, volumes, family, scan)


def _centers(count: int) -> NDArray[np.float32]:
    return (np.arange(count) - (count - 1) / 2).astype(np.float32)


def _draw_scan(kind: str, side: int, rng: np.random.Generator, quality: Quality, projections: int) -> Scan:
    """Return a scan; what it draws does not depend on the quality."""
    material = str(rng.choice(MATERIALS[kind]))
    low, high = FIELD_MM[material]
    voxel = float(np.round(low * (high / low) ** rng.uniform() / side, 4))
    noise, hardening, rings = rng.integers(0, 3, size=3).tolist()
    if quality != "varied":
        noise = hardening = rings = GRADES[quality]
    return Scan(
        material, voxel, projections, noise, hardening, rings, blur=float(rng.uniform(0.5, 0.9)),
        scatter=float(rng.uniform(0.02, 0.1)), axis_offset=float(rng.normal(0, 0.1)),
    )  # fmt: skip


def _stored(field: NDArray[np.float32], scan: Scan, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return 16-bit gray values: air and metal lie where the scanner's settings happen to put them."""
    _, _, thin = beam(scan.material)
    metal = thin * scan.voxel_mm
    air, step = rng.uniform(6_000, 14_000), rng.uniform(15_000, 30_000)
    return np.clip(np.rint(air + field * (step / metal)), 0, 65_535).astype(np.uint16)


def _check(
    kind: str, family: str | None, size: tuple[int, int], quality: str, projections: int | None, seed: int, index: int
) -> tuple[int, int]:
    if kind not in PARTS:
        raise InputError(f"kind {kind!r} of volumes is unknown; choose one of {sorted(PARTS)}")
    if family is not None and family not in PARTS[kind]:
        raise InputError(f"family {family!r} of {kind} is unknown; choose one of {sorted(PARTS[kind])}")
    if len(size) != 2 or min(size) < SMALLEST:
        raise InputError(f"size {size} of a simulated volume: give side and slices, {SMALLEST} voxels each or more")
    if quality not in QUALITIES:
        raise InputError(f"quality {quality!r} is unknown; choose one of {list(QUALITIES)}")
    if projections is not None and projections < 2:
        raise InputError(f"projections {projections}: a volume takes 2 or more")
    if seed < 0 or index < 0:
        raise InputError(f"seed {seed} and index {index} must be 0 or more")
    return size
