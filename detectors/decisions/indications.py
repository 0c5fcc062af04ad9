"""What a radiograph shows, as rules see it: boxes, how far they may be off, and how near they are to one another."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from detectors.decisions.size_error import NO_ERROR, SizeError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Errors:
    """How far boxes may be off: `detector` in shares of a box's longer side, `measurement` +- so many pixels."""

    detector: SizeError = NO_ERROR
    measurement: float = 0.0

    def smallest(self, box: Floats) -> Floats:
        """Return the smallest that drawn boxes [N, 4] can be in truth, around their centers."""
        return _scaled(box, self.detector.length[0])

    def largest(self, box: Floats) -> Floats:
        """Return the largest that drawn boxes [N, 4] can be in truth, around their centers."""
        return _scaled(box, self.detector.length[1])

    def sides(self, box: Floats) -> tuple[Floats, Floats]:
        """Return how many pixels outside of drawn boxes [N, 4] a true side lies, least and most, float64 [N] each."""
        longer = (box[:, 2:] - box[:, :2]).max(axis=1, initial=0)
        low, high = self.detector.side
        return low * longer, high * longer


def _scaled(box: Floats, factor: float) -> Floats:
    center, half = (box[:, :2] + box[:, 2:]) / 2, (box[:, 2:] - box[:, :2]) / 2 * factor
    return np.concatenate([center - half, center + half], axis=1)


@dataclass(frozen=True)
class Indications:
    """The indications of one radiograph that a rule is about.

    Attributes:
        row: int64 [N], their places in the detections.
        box: float64 [N, 4], x1 y1 x2 y2 in pixels.
        certain: bool [N], whether their scores suffice to reject.

    """

    row: NDArray[np.int64]
    box: Floats
    certain: Flags

    def __len__(self) -> int:
        return len(self.row)

    def where(self, chosen: Flags) -> "Indications":
        """Return some of them; `chosen` is bool [N]."""
        return Indications(self.row[chosen], self.box[chosen], self.certain[chosen])

    @cached_property
    def center(self) -> Floats:
        """Centers x, y of the boxes, float64 [N, 2]."""
        return (self.box[:, :2] + self.box[:, 2:]) / 2

    @cached_property
    def gaps(self) -> Floats:
        """Distance from box to box, float64 [N, N], 0 where they touch."""
        low = np.maximum(self.box[:, None, :2], self.box[None, :, :2])
        high = np.minimum(self.box[:, None, 2:], self.box[None, :, 2:])
        apart: Floats = np.maximum(low - high, 0)
        return np.hypot(apart[..., 0], apart[..., 1])

    def gap_bounds(self, errors: Errors) -> tuple[Floats, Floats]:
        """Return the least and the most that the distance from box to box can be in truth, float64 [N, N] each."""
        low, high = (side[:, None] + side[None, :] for side in errors.sides(self.box))
        more = errors.measurement
        return np.maximum(self.gaps - high - more, 0), np.maximum(self.gaps - low + more, 0)

    def hulls(self, linked: Flags, box: Floats) -> tuple[NDArray[np.int64], Floats]:
        """Return the cluster of each indication, int64 [N], and the common box of each cluster, float64 [C, 4].

        `linked` bool [N, N] says who touches whom; clusters are what hangs together. `box` [N, 4] are those of the
        indications, as drawn or as they may be.
        """
        cluster = components(linked)
        count = int(cluster.max(initial=-1)) + 1
        hull = np.concatenate([np.full((count, 2), np.inf), np.full((count, 2), -np.inf)], axis=1)
        np.minimum.at(hull[:, :2], cluster, box[:, :2])
        np.maximum.at(hull[:, 2:], cluster, box[:, 2:])
        return cluster, hull


def components(linked: Flags) -> NDArray[np.int64]:
    """Return the number of the component of each of N things, int64 [N], from 0; `linked` bool [N, N] is symmetric."""
    if linked.sum() <= len(linked):  # nobody but oneself
        return np.arange(len(linked))
    cluster = np.full(len(linked), -1, dtype=np.int64)
    count = 0
    for start in range(len(linked)):
        if cluster[start] >= 0:
            continue
        members = np.zeros(len(linked), dtype=bool)
        members[start] = True
        grown = members | linked[start]
        while not np.array_equal(grown, members):
            members, grown = grown, grown | linked[grown].any(axis=0)
        cluster[members] = count
        count += 1
    return cluster
