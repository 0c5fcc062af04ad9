"""Issues of a COCO detection file: in its records, and between the records and the image files."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from data.annotation_check import Issue, annotation_issues, is_integer
from data.errors import InputError
from data.image_paths import image_path
from data.radiograph import radiograph_size, read_radiograph
from data.records import ImageRecord
from data.rle import mask_runs

SECTIONS = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}


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
    yield from annotation_issues(content)


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
