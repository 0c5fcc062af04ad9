"""Issues in the annotation records of a COCO file, and what an issue is."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from data.boxes import MIN_BOX_SIDE, clip_box, has_area, trim_bbox

# Annotation tools round box corners; this much beyond the frame is rounding and not an issue.
FRAME_TOLERANCE_PX = 0.01
NO_AREA = f"has no area or is thinner than {MIN_BOX_SIDE} pixels inside its image; correct or remove it"


@dataclass(frozen=True)
class Issue:
    """One thing wrong with a COCO file.

    `severity` is "error" (the file cannot be used) or "warning" (some other tool stumbles over it);
    `kind` a short fixed word such as "duplicate id"; `image_id` and `annotation_id` are as written in the
    file, or None where the issue belongs to neither.
    """

    severity: str
    kind: str
    image_id: Any
    annotation_id: Any
    message: str


def is_integer(value: Any) -> bool:
    """Return whether a JSON value is an integer that fits 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a number, perhaps NaN or infinite."""
    return isinstance(value, float) or is_integer(value)


def annotation_issues(content: dict[str, Any]) -> Iterator[Issue]:
    """Yield the issues of the annotations of a COCO file whose three lists exist."""
    sizes = {
        record["id"]: (record.get("width"), record.get("height"))
        for record in content["images"]
        if isinstance(record, dict) and is_integer(record.get("id"))
    }
    categories = {
        record.get("id")
        for record in content["categories"]
        if isinstance(record, dict) and is_integer(record.get("id"))
    }
    for record in content["annotations"]:
        if not isinstance(record, dict):
            continue
        image_id, identity = record.get("image_id"), record.get("id")
        known = is_integer(image_id) and image_id in sizes
        if "image_id" in record and not known:
            yield Issue(
                "error", "dangling id", image_id, identity, f"annotation {identity}: no image has id {image_id!r}"
            )
        category = record.get("category_id")
        if "category_id" in record and not (is_integer(category) and category in categories):
            yield Issue(
                "error", "dangling id", image_id, identity, f"annotation {identity}: no category has id {category!r}"
            )
        size = sizes[image_id] if known else (None, None)
        if "bbox" in record:
            yield from _box_issues(record, *size)
        yield from _optional_issues(record, *size)


def _box_issues(record: dict, width: Any, height: Any) -> Iterator[Issue]:
    """Yield at most one issue of an annotation's `bbox`, which is x, y, width, height in pixels."""
    image_id, identity, box = record.get("image_id"), record.get("id"), record["bbox"]
    where = f"annotation {identity} of image {image_id}: bbox {box}"
    if not isinstance(box, list) or len(box) != 4 or not all(is_number(value) for value in box):
        yield Issue("error", "bad box", image_id, identity, f"{where} is not four numbers x, y, width, height")
    elif not all(math.isfinite(value) for value in box):
        yield Issue("error", "not finite", image_id, identity, f"{where} holds NaN or infinity")
    elif not (is_integer(width) and is_integer(height)):
        if box[2] < MIN_BOX_SIDE or box[3] < MIN_BOX_SIDE:
            yield Issue("error", "no area", image_id, identity, f"{where} {NO_AREA}")
    else:
        x, y, w, h = box
        tolerance = FRAME_TOLERANCE_PX
        over = x < -tolerance or y < -tolerance or x + w > width + tolerance or y + h > height + tolerance
        beyond = x + w <= 0 or y + h <= 0 or x >= width or y >= height  # nothing would be left inside
        if over or beyond:
            yield Issue("error", "outside", image_id, identity, f"{where} leaves the frame of {width} x {height}")
        elif not has_area(clip_box(trim_bbox(box, width, height), width, height)):
            yield Issue("error", "no area", image_id, identity, f"{where} {NO_AREA}")


def _optional_issues(record: dict, width: Any, height: Any) -> Iterator[Issue]:
    """Yield issues of the keys that may be absent: area, iscrowd, segmentation."""
    image_id, identity = record.get("image_id"), record.get("id")
    where = f"annotation {identity} of image {image_id}"
    area = record.get("area", 0)
    if not is_number(area) or not math.isfinite(area) or area < 0:
        yield Issue("error", "bad value", image_id, identity, f"{where}: area {area!r} is not a number of pixels")
    if record.get("iscrowd", 0) not in (0, 1):
        yield Issue("error", "bad value", image_id, identity, f"{where}: iscrowd {record['iscrowd']!r} is not 0 or 1")
    mask = record.get("segmentation")
    if isinstance(mask, dict):
        if "counts" not in mask or (width is not None and mask.get("size") != [height, width]):
            yield Issue(
                "error",
                "bad mask",
                image_id,
                identity,
                f"{where}: run-length mask of size {mask.get('size')} on an image of {[height, width]}",
            )
    elif mask is not None and not (isinstance(mask, list) and all(map(_is_polygon, mask))):
        yield Issue(
            "error",
            "bad mask",
            image_id,
            identity,
            f"{where}: segmentation is neither polygons of three or more points nor a run-length mask",
        )


def _is_polygon(ring: Any) -> bool:
    """Return whether this is x, y, x, y ... of three or more points; some tools write an empty list for none."""
    return isinstance(ring, list) and len(ring) != 2 and len(ring) != 4 and len(ring) % 2 == 0 and all(
        is_number(value) and math.isfinite(value) for value in ring)  # fmt: skip
