"""Issues of a COCO detection file: in its records, and between the records and the image files."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from data.boxes import MIN_BOX_SIDE, clip_box, has_area, trim_bbox
from data.errors import InputError
from data.image_paths import image_path
from data.radiograph import radiograph_size, read_radiograph
from data.records import ImageRecord
from data.rle import mask_runs

# Annotation tools round box corners; this much beyond the frame is rounding and not an issue.
FRAME_TOLERANCE_PX = 0.01
NO_AREA = f"has no area or is thinner than {MIN_BOX_SIDE} pixels inside its image; correct or remove it"

SECTIONS = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}


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


def load_json(path: str | Path) -> Any:
    """Return the content of a JSON file. Raises InputError when it is missing or not JSON."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def load_coco(path: str | Path) -> dict[str, Any]:
    """Return a JSON file's content when it has COCO's three lists. Raises InputError otherwise."""
    content = load_json(path)
    if isinstance(content, list):
        raise InputError(
            f"{path}: a list, as in COCO results; expected a COCO data set with 'images', "
            "'annotations' and 'categories'"
        )
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a COCO file: expected an object with 'images', 'annotations' and 'categories'")
    absent = [name for name in SECTIONS if not isinstance(content.get(name), list)]
    if absent:
        raise InputError(f"{path}: not a COCO file: no list {' and no list '.join(map(repr, absent))}")
    return content


def content_issues(content: dict[str, Any]) -> Iterator[Issue]:
    """Yield every issue in the records of a COCO file whose three lists exist. Reads no images."""
    if not content["images"]:
        yield Issue("error", "no images", None, None, "the list 'images' is empty")
    for section in SECTIONS:
        yield from _id_issues(section, content[section])
    yield from _image_record_issues(content["images"])
    for record in content["categories"]:
        if isinstance(record, dict) and not isinstance(record.get("name", ""), str):
            yield Issue(
                "error", "bad value", None, None, f"category {record.get('id')}: name {record['name']!r} is not text"
            )
    names = Counter(
        record.get("name")
        for record in content["categories"]
        if isinstance(record, dict) and isinstance(record.get("name"), str)
    )
    for name, count in names.items():
        if count > 1:
            yield Issue("error", "duplicate category", None, None, f"{count} categories are named {name!r}")
    yield from _annotation_issues(content)


def check_coco(path: str | Path, image_dir: str | Path, bit_depth: int | None = None) -> list[Issue]:
    """Return every issue of a COCO file and of its images, which are decoded from `image_dir`.

    `bit_depth` is that of the images, where their files state it wrongly.

    Raises InputError when the file is missing, is not JSON or is not COCO, or `image_dir` is no folder.
    """
    image_dir = Path(image_dir)
    if not image_dir.is_dir():
        raise InputError(f"{image_dir}: no such folder of images")
    content = load_coco(path)
    issues = list(content_issues(content))
    for record in content["images"]:
        if isinstance(record, dict) and isinstance(record.get("file_name"), str):
            issues.extend(_image_file_issues(record, image_dir, bit_depth))
    if not any(issue.severity == "error" for issue in content_issues(content)):
        issues.extend(_mask_issues(content))
    return issues


def _mask_issues(content: dict[str, Any]) -> Iterator[Issue]:
    """Yield segmentations that no mask can be made of, in a file whose records are right."""
    sizes = {record["id"]: (record["height"], record["width"]) for record in content["images"]}
    for record in content["annotations"]:
        mask = record.get("segmentation")
        rings = [ring for ring in mask if ring] if isinstance(mask, list) else mask
        try:
            if rings:
                mask_runs(rings, *sizes[record["image_id"]])
        except ValueError as error:
            where = f"annotation {record['id']} of image {record['image_id']}"
            message = f"{where}: segmentation: {error}; boxes can be trained on, masks cannot"
            yield Issue("warning", "unusable mask", record["image_id"], record["id"], message)


def is_integer(value: Any) -> bool:
    """Return whether a JSON value is an integer that fits 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a number, perhaps NaN or infinite."""
    return isinstance(value, float) or is_integer(value)


def _owner(section: str, record: dict) -> tuple[Any, Any]:
    """Return the image id and the annotation id that an issue in this record belongs to."""
    if section == "images":
        return record.get("id"), None
    if section == "annotations":
        return record.get("image_id"), record.get("id")
    return None, None


def _id_issues(section: str, records: list) -> Iterator[Issue]:
    """Yield missing keys, ids that are no integers, ids used twice, and annotation ids of 0."""
    what = {"images": "image", "annotations": "annotation", "categories": "category"}[section]
    seen: set[int] = set()
    for position, record in enumerate(records):
        if not isinstance(record, dict):
            yield Issue("error", "bad record", None, None, f"{section}[{position}] is not an object")
            continue
        image_id, annotation_id = _owner(section, record)
        for key in SECTIONS[section]:
            if key not in record:
                yield Issue(
                    "error",
                    "missing key",
                    image_id,
                    annotation_id,
                    f"{what} {record.get('id', f'at position {position}')}: no {key!r}",
                )
        if "id" not in record:
            continue
        identity = record["id"]
        if not is_integer(identity):
            yield Issue("error", "bad id", image_id, annotation_id, f"{what} id {identity!r} is not an integer")
            continue
        if identity in seen:
            yield Issue("error", "duplicate id", image_id, annotation_id, f"{what} id {identity} is used twice")
        seen.add(identity)
        if section == "annotations" and identity == 0:
            yield Issue(
                "warning",
                "id 0",
                image_id,
                0,
                "annotation id 0: pycocotools counts this object as never found; number from 1",
            )


def _image_record_issues(images: list) -> Iterator[Issue]:
    names: Counter[str] = Counter()
    for record in images:
        if not isinstance(record, dict):
            continue
        identity = record.get("id")
        for key in ("width", "height"):
            value = record.get(key, 1)
            if not is_integer(value) or value < 1:
                yield Issue(
                    "error", "bad value", identity, None, f"image {identity}: {key} {value!r} is not a positive integer"
                )
        name = record.get("file_name", "")
        if not isinstance(name, str) or ("file_name" in record and not name):
            yield Issue("error", "bad value", identity, None, f"image {identity}: file_name {name!r} is not a name")
            continue
        names[name] += 1
        if name and names[name] == 2:
            yield Issue("error", "duplicate file", identity, None, f"image {identity}: {name} is listed twice")


def _annotation_issues(content: dict[str, Any]) -> Iterator[Issue]:
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


def _image_file_issues(record: dict, image_dir: Path, bit_depth: int | None) -> Iterator[Issue]:
    """Yield issues of one image file: missing, unreadable (it is decoded whole), another size."""
    identity = record.get("id")
    try:
        path = image_path(image_dir, cast(ImageRecord, record))
        if not path.is_file():
            yield Issue("error", "missing image", identity, None, f"image {identity}: {path} does not exist")
            return
        height, width = read_radiograph(path, bit_depth).pixels.shape
        stated = radiograph_size(path)
    except (InputError, OSError) as error:
        yield Issue("error", "unreadable image", identity, None, f"image {identity}: {error}")
        return
    for found in {(width, height), stated}:
        if found != (record.get("width"), record.get("height")):
            yield Issue(
                "error",
                "size",
                identity,
                None,
                f"image {identity}: {path} is {found[0]} x {found[1]}, "
                f"the file says {record.get('width')} x {record.get('height')}",
            )
