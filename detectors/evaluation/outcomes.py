"""What curves and metrics need of a matching, whether it lies in memory or was made image by image."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Criterion = Literal["iou", "center"]


@dataclass(frozen=True)
class Outcomes:
    """The detections that count, in descending score; equal scores by image, then in the order given.

    `score` float [K]; `hit` bool [K], the others are false calls; `label` integer [K], places among the classes.
    `objects` int64 [C], the objects of each class that count. `images`: how many, clean ones included.
    """

    score: NDArray[np.floating[Any]]
    hit: NDArray[np.bool_]
    label: NDArray[np.integer[Any]]
    objects: NDArray[np.int64]
    images: int


class Matched(Protocol):
    """Detections and objects, matched by one criterion."""

    @property
    def outcomes(self) -> Outcomes:
        """What became of the detections."""


class Matchable(Protocol):
    """Detections and objects that can be matched by several criteria."""

    def match(self, iou: float = 0.5, criterion: Criterion = "iou") -> Matched:
        """Return the matching at an IoU, or by center point. Raises InputError for an IoU outside (0, 1]."""
