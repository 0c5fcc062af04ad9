"""How many detections a radiograph may have: a cap for one of ordinary size, which grows with the area."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from data.errors import InputError

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


def ask_for_detections(model: object, count: int | None) -> None:
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


def capped_images(
    model: object, images: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]], threshold: float
) -> list[str]:
    """Return the names of radiographs that have as many detections as their cap allows, all of at least `threshold`.

    There may be more in them that score enough. A cap that cuts the tail of unlikely ones alone costs nothing.

    Args:
        model: that made the results.
        images: COCO records of images, with `id`, `file_name`, `width` and `height`.
        results: COCO results, with `image_id` and `score`.
        threshold: score from which a detection counts.

    """
    if not isinstance(model, CappedModel):
        return []
    enough = Counter(result["image_id"] for result in results if result["score"] >= threshold)
    return [
        str(image["file_name"])
        for image in images
        if enough[image["id"]] >= model.detection_cap(image["height"], image["width"])
    ]


def cap_notice(names: Sequence[str], remedy: str) -> str:
    """Return the line that says which radiographs reached their cap; `remedy` names what raises it."""
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return (
        f"{names[0]}{others}: as many detections above the threshold as a radiograph of that size may have, so that "
        f"defects may be left out; {remedy}"
    )
