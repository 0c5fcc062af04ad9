"""How many detections a radiograph may have: a cap for one of ordinary size, which grows with the area."""

from typing import Protocol, runtime_checkable

from torch import nn

from data.errors import InputError
from detectors.interface import Detections

REFERENCE_AREA = 768 * 572
"""Pixels that a cap is meant for, the size of most radiographs of castings in GDXray: a larger one, which shows as
many defects a square centimeter, may have more of them."""

MAX_CAP = 1_000_000
"""Detections that can be asked for."""


@runtime_checkable
class CappedModel(Protocol):
    """A model that returns no more than so many detections of a radiograph, the best ones."""

    detections_asked_for: int | None
    """Raises the cap of every radiograph to this number, if it is lower; None leaves it."""

    def detection_cap(self, height: int, width: int) -> int:
        """Return the most detections of a radiograph of this size in pixels."""
        ...


def grown(cap: int, height: int, width: int) -> int:
    """Return a cap for a radiograph of this size: itself up to `REFERENCE_AREA`, and in proportion beyond."""
    return -(-cap * max(height * width, REFERENCE_AREA) // REFERENCE_AREA)


def raised(cap: int, asked_for: int | None) -> int:
    """Return the cap, or what was asked for where that is more."""
    return cap if asked_for is None else max(cap, asked_for)


def ask_for_detections(model: nn.Module, count: int | None) -> None:
    """Let a model return up to `count` detections of a radiograph, more on a large one; None leaves its own caps.

    Raises InputError for a count out of 1 to `MAX_CAP`, and for a model that detects nothing.
    """
    if count is None:
        return
    if not 1 <= count <= MAX_CAP:
        raise InputError(f"{count} detections of a radiograph cannot be asked for; give 1 to {MAX_CAP}")
    if not isinstance(model, CappedModel):
        raise InputError("this model detects nothing: give a run of a detector")
    model.detections_asked_for = count


def may_lack_detections(
    model: nn.Module, detections: Detections, height: int, width: int, threshold: float = 0.0
) -> bool:
    """Return whether a radiograph has as many detections as its cap allows, all of at least `threshold`.

    Then there may be more that score enough. A cap that cuts the tail of unlikely ones alone costs nothing.
    """
    scores = detections["scores"]
    if not isinstance(model, CappedModel) or len(scores) < model.detection_cap(height, width):
        return False
    return bool(scores.min() >= threshold)
