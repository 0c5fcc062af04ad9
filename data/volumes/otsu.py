"""Pores by thresholds: Algorithm 1 of Iuso et al. (2024), which needs no training, and options for its two traps."""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from data.schema import StrictModel
from data.volumes.components import SLAB, Background, Bools, PartMask, SlabComponents
from data.volumes.gray_levels import HIGH, LOW, otsu_bin

BINS = 1024
Read = Callable[[int, int], NDArray[np.float32]]


class OtsuRule(StrictModel):
    """How pores are found by thresholds. The defaults are the paper's.

    - `background` corner: flood fill of the low voxels from one corner. It takes a bore that is cut off by the volume's
      border for a pore; border is the rule that does not.
    - `threshold` second: Otsu's threshold again, of the voxels inside of the object. With few pores they have no second
      mode, and it cuts off the blurred shell at the surface; first takes the threshold of the whole volume instead.
    - `shell`: voxels at the surface of the object that are left out, for the same reason; about the blur's width.
    - `least_extent`: components whose bounding box is smaller in at least one dimension are dropped.
    """

    background: Background = Field("corner", description="Where the flood fill of what is no part starts.")
    threshold: Literal["second", "first"] = Field("second", description="Which of Otsu's thresholds parts the pores.")
    shell: int = Field(0, ge=0, description="Voxels at the surface of the part that are left out.")
    least_extent: int = Field(2, ge=1, description="Least side of a pore's bounding box in voxels.")


FIXED = OtsuRule(background="border", threshold="first", shell=1)
"""The rule with both traps closed."""


class OtsuPores:
    """The pores of a volume by Algorithm 1.

    Attributes:
        first, second: the two thresholds, in normalized gray values.
        part: the watertight object.

    Args:
        read: slices from a first up to a last, float32 [D, Y, X] with air at 0 and metal at 1.
        shape: slices, rows and columns.
        rule: how.
        name: of the volume, for messages.

    Raises InputError for a volume without material, and without air where the rule floods it.

    """

    def __init__(self, read: Read, shape: tuple[int, int, int], rule: OtsuRule, name: str = "volume") -> None:
        self._read, self._shape, self._rule = read, shape, rule
        self.first = self._otsu(lambda first, last: None)
        self.part = PartMask(read, shape, self.first, rule.background, name)
        self.second = self._otsu(self._object) if rule.threshold == "second" else self.first
        self._starts, self._kept = self._components()

    def slabs(self) -> Iterator[Bools]:
        """Yield which voxels are pores, bool [D, Y, X], from the first slices to the last."""
        for index, first in enumerate(range(0, self._shape[0], SLAB)):
            numbers, _ = ndimage.label(self._low(first), structure=ndimage.generate_binary_structure(3, 1))
            yield self._kept[np.where(numbers > 0, numbers + self._starts[index], 0)]

    def _otsu(self, inside: Callable[[int, int], Bools | None]) -> float:
        counts = np.zeros(BINS, np.int64)
        for first in range(0, self._shape[0], SLAB):
            last = min(first + SLAB, self._shape[0])
            values, mask = self._read(first, last), inside(first, last)
            values = values if mask is None else values[mask]
            counts += np.histogram(values, bins=BINS, range=(LOW, HIGH))[0]
        return LOW + (otsu_bin(counts) + 1) * (HIGH - LOW) / BINS

    def _object(self, first: int, last: int) -> Bools:
        """Return the object without its shell."""
        shell = self._rule.shell
        if not shell:
            return self.part.rows(first, last)
        low, high = max(first - shell, 0), min(last + shell, self._shape[0])
        # At the volume's border the object goes on: what is cut off there is no surface.
        mask = ndimage.binary_erosion(self.part.rows(low, high), iterations=shell, border_value=1)
        return mask[first - low : last - low]

    def _low(self, first: int) -> Bools:
        last = min(first + SLAB, self._shape[0])
        return self._object(first, last) & (self._read(first, last) < self.second)

    def _components(self) -> tuple[list[int], NDArray[np.bool_]]:
        """Return where the provisional numbers of each slab start, and which of them are of pores."""
        components, starts = SlabComponents(6), []
        boxes: list[NDArray[np.int64]] = [np.zeros((1, 6), np.int64)]
        for first in range(0, self._shape[0], SLAB):
            starts.append(components.count)
            numbers = components.add(self._low(first))
            local = np.where(numbers > 0, numbers - starts[-1], 0).astype(np.int32)
            found = [[s.start for s in box] + [s.stop for s in box] for box in ndimage.find_objects(local)]
            if found:
                place = np.array(found, np.int64)
                place[:, [0, 3]] += first
                boxes.append(place)
        count, roots = components.roots()
        every = np.concatenate(boxes)
        low, high = np.full((count + 1, 3), 2**40), np.zeros((count + 1, 3), np.int64)
        np.minimum.at(low, roots, every[:, :3])
        np.maximum.at(high, roots, every[:, 3:])
        kept = (high - low).min(axis=1) >= self._rule.least_extent
        kept[0] = False
        return starts, kept[roots]
