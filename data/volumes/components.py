"""Connected components of masks that come slab by slab, and the part that a volume shows: no whole volume in memory."""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data.errors import InputError

Bools = NDArray[np.bool_]
Connectivity = Literal[6, 26]
Background = Literal["border", "corner", "none"]

SLAB = 32
"""Slices in memory at once."""

ISLAND = 1e-3
"""Pieces of material under this share of the largest one are noise in air, and no part."""

STRUCTURES = {6: ndimage.generate_binary_structure(3, 1), 26: np.ones((3, 3, 3), dtype=bool)}


class SlabComponents:
    """Numbers the components of a mask given in slabs, one below the other.

    Each slab has numbers of its own, provisional ones; `roots` says which of them are one component.
    """

    def __init__(self, connectivity: Connectivity = 26) -> None:
        self.count = 0
        self._connectivity = connectivity
        self._last: NDArray[np.int64] | None = None
        self._edges: list[NDArray[np.int64]] = []

    def add(self, mask: Bools) -> NDArray[np.int64]:
        """Return the provisional numbers int64 [D, Y, X] of the next slab, from 1 on over all slabs, 0 outside."""
        of_slab, found = label(mask, self._connectivity)
        numbers = np.where(of_slab > 0, of_slab.astype(np.int64) + self.count, 0)
        if self._last is not None:
            self._link(self._last, numbers[0])
        self.count += found
        self._last = numbers[-1].copy()
        return numbers

    def _link(self, above: NDArray[np.int64], below: NDArray[np.int64]) -> None:
        shifts = [(0, 0)] if self._connectivity == 6 else [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
        height, width = above.shape
        for y, x in shifts:
            one = above[max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)]
            other = below[max(-y, 0) : height + min(-y, 0), max(-x, 0) : width + min(-x, 0)]
            both = (one > 0) & (other > 0)
            if both.any():
                self._edges.append(np.unique(np.stack([one[both], other[both]], axis=1), axis=0))

    def roots(self) -> tuple[int, NDArray[np.int64]]:
        """Return the number of components and the component, from 1 on, of each provisional number; [0] is 0."""
        edges = np.concatenate(self._edges) if self._edges else np.zeros((0, 2), np.int64)
        size = self.count + 1
        graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(size, size))
        _, groups = connected_components(graph, directed=False)
        # In the order of their first provisional number; number 0 is a group of its own.
        _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
        ranks = np.empty(len(first), np.int64)
        ranks[np.argsort(first)] = np.arange(len(first))
        return len(first) - 1, ranks[inverse]


def label(mask: Bools, connectivity: Connectivity = 26) -> tuple[NDArray[np.int32], int]:
    """Return the numbers [Z, Y, X] of a mask's components from 1 on, and how many there are."""
    numbers, count = ndimage.label(mask, structure=STRUCTURES[connectivity])
    return numbers, int(count)


class PartMask:
    """The watertight part of a volume: all that is not air connected with the outside.

    Voxels under `threshold` are low; those of low components (6-connected) that touch the volume's border, or that
    hold its first voxel, are background. What is left, closed pores included, is the part.

    Args:
        read: slices from a first up to a last, float32 [D, Y, X].
        shape: slices, rows and columns.
        threshold: between air and metal.
        background: border: every low component that touches a face of the volume, a bore through it too; corner: the
            one at voxel (0, 0, 0), the paper's rule; none: the volume lies inside of the part.

    Raises InputError where there is no material, and for border and corner where there is no air.

    """

    def __init__(
        self,
        read: Callable[[int, int], NDArray[np.float32]],
        shape: tuple[int, int, int],
        threshold: float = 0.5,
        background: Background = "border",
        name: str = "volume",
    ) -> None:
        self.shape, self.threshold, self._read = shape, threshold, read
        self._starts: list[int] = []
        self._outside = np.zeros(1, dtype=bool) if background == "none" else self._find_outside(background, name)
        self._piece_starts: list[int] = []
        self._kept, self.voxels = self._drop_islands()
        if not self.voxels:
            raise InputError(f"{name}: no material: all voxels are under {threshold:.3g}; check the gray values of air "
                             "and metal")  # fmt: skip
        self._slab = lru_cache(maxsize=3)(self._compute)

    def rows(self, first: int, last: int) -> Bools:
        """Return which voxels of slices `first` up to `last` lie in the part, bool [D, Y, X]."""
        first, last = max(first, 0), min(last, self.shape[0])
        slabs = range(first // SLAB, -(-last // SLAB))
        mask = np.concatenate([self._slab(k) for k in slabs])
        start = slabs.start * SLAB
        return mask[first - start : last - start]

    def closed_air(self, first: int, last: int) -> Bools:
        """Return which voxels of slices `first` up to `last` are air that the part encloses, bool [D, Y, X]."""
        first, last = max(first, 0), min(last, self.shape[0])
        return self.rows(first, last) & (self._read(first, last) < self.threshold)

    def near_outside(self, first: int, last: int) -> Bools:
        """Return which voxels of slices `first` up to `last` lie outside of the part or touch it, bool [D, Y, X].

        Those that touch it are its skin, one voxel thick, where the blurred surface has the gray values of a pore.
        """
        first, last = max(first, 0), min(last, self.shape[0])
        above = max(first - 1, 0)
        near = ndimage.binary_dilation(~self.rows(above, last + 1))
        return near[first - above : last - above]

    def _slabs(self) -> range:
        return range(-(-self.shape[0] // SLAB))

    def _low(self, slab: int) -> Bools:
        return self._read(slab * SLAB, min((slab + 1) * SLAB, self.shape[0])) < self.threshold

    def _find_outside(self, background: Background, name: str) -> NDArray[np.bool_]:
        """Return which provisional low components are background."""
        components, touching = SlabComponents(6), []
        last_slab = self._slabs()[-1]
        for slab in self._slabs():
            self._starts.append(components.count)
            numbers = components.add(self._low(slab))
            if background == "corner":
                faces = [numbers[0, :1, :1]] if slab == 0 else []
            else:
                faces = [numbers[:, 0], numbers[:, -1], numbers[:, :, 0], numbers[:, :, -1]]
                faces += [numbers[0]] if slab == 0 else []
                faces += [numbers[-1]] if slab == last_slab else []
            touching += [np.unique(face) for face in faces]
        _, roots = components.roots()
        touched = np.unique(np.concatenate(touching))
        touched = touched[touched > 0]
        if not len(touched):
            where = "at its first voxel" if background == "corner" else "at its border"
            raise InputError(f"{name}: no air {where}; give the background as 'none' where the volume lies inside of "
                             "a part")  # fmt: skip
        return np.isin(roots, roots[touched])

    def _filled(self, slab: int) -> Bools:
        """Return what is not background, noise in air included."""
        low = self._low(slab)
        if len(self._outside) == 1:
            return np.ones_like(low)
        numbers, _ = label(low, 6)
        return ~self._outside[np.where(numbers > 0, numbers.astype(np.int64) + self._starts[slab], 0)]

    def _drop_islands(self) -> tuple[Bools, int]:
        """Return which provisional pieces of material are large enough, and their voxels."""
        components = SlabComponents(6)
        sizes: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]
        for slab in self._slabs():
            self._piece_starts.append(components.count)
            before = components.count
            numbers = components.add(self._filled(slab))
            sizes.append(np.bincount((numbers[numbers > 0] - before - 1).ravel(), minlength=components.count - before))
        count, roots = components.roots()
        totals = np.bincount(roots, weights=np.concatenate(sizes), minlength=count + 1)
        kept = totals >= max(ISLAND * totals.max(), 1)
        kept[0] = False
        return kept[roots], int(totals[kept].sum())

    def _compute(self, slab: int) -> Bools:
        numbers, _ = label(self._filled(slab), 6)
        return self._kept[np.where(numbers > 0, numbers.astype(np.int64) + self._piece_starts[slab], 0)]
