"""COCO detection data and results: read, write, merge.

COCO JSON is the interface of the toolkit: every source is turned into it, and what comes after reads nothing else.
A file holds `images` (id, file_name, width, height), `annotations` (id, image_id, category_id, bbox as
x, y, width, height in pixels, area, iscrowd, segmentation) and `categories` (id, name). Ids are any unique
integers. Images without annotations are negatives, and are kept everywhere.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data.annotation_check import is_integer, is_number
from data.boxes import trim_bbox
from data.coco_check import SECTIONS, content_issues, load_coco, load_json
from data.errors import InputError
from data.files import write_json
from data.records import Annotation, Category, ImageRecord, Result

__all__ = ["CocoDataset", "coco_of", "merge_coco", "read_coco", "read_results", "write_coco", "write_results"]


@dataclass
class CocoDataset:
    """A COCO detection data set in memory: the records as dicts, keys that COCO does not know included.

    `path` is the file it came from, `info` COCO's free description, `extra` any other top-level keys
    (licenses, for instance). Lookups are indexed once, at first use: do not change the lists afterwards.
    """

    images: list[ImageRecord]
    annotations: list[Annotation]
    categories: list[Category]
    path: Path | None = None
    info: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def annotations_of(self, image_id: int) -> list[Annotation]:
        """Return the annotations of one image, an empty list for a negative. Raises KeyError for an unknown id."""
        return self._index[image_id]

    def boxes_xyxy(self, image_id: int) -> np.ndarray:
        """Return the boxes of one image as x1, y1, x2, y2 in pixels, float64 [N, 4], in the order of its annotations.

        Crowds are among them. Nothing is clipped: `read_coco` gives boxes inside their images. Raises KeyError for an
        unknown id.
        """
        boxes = np.array([a["bbox"] for a in self.annotations_of(image_id)], dtype=np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return boxes

    @cached_property
    def _index(self) -> dict[int, list[Annotation]]:
        index: dict[int, list[Annotation]] = {image["id"]: [] for image in self.images}
        for annotation in self.annotations:
            index[annotation["image_id"]].append(annotation)
        return index

    @cached_property
    def label_of(self) -> dict[int, int]:
        """Category id -> label 1 ... K, contiguous, in the order of the category ids; 0 is background."""
        return {identity: label for label, identity in enumerate(sorted(c["id"] for c in self.categories), start=1)}

    @property
    def class_names(self) -> list[str]:
        """The K class names; label `k` is `class_names[k - 1]`."""
        return [category["name"] for category in sorted(self.categories, key=lambda c: c["id"])]

    def subset(self, image_ids: Iterable[int]) -> "CocoDataset":
        """Return the data set of these images alone, in the order they have here, with all categories.

        Raises InputError for an id that no image has.
        """
        wanted = set(image_ids)
        unknown = wanted.difference(image["id"] for image in self.images)
        if unknown:
            raise InputError(f"{self.path or 'data set'}: no image has id {min(unknown)} ({len(unknown)} unknown)")
        return CocoDataset(
            images=[image for image in self.images if image["id"] in wanted],
            annotations=[a for a in self.annotations if a["image_id"] in wanted],
            categories=self.categories,
            path=self.path,
            info=self.info,
            extra=self.extra,
        )

    def with_margin(self, pixels: float) -> "CocoDataset":
        """Return the data set with `pixels` added to each side of every box, clipped to its image.

        Annotators draw loose boxes, simulated ones are tight; areas and segmentations stay as they are.
        """
        sizes = {image["id"]: (image["width"], image["height"]) for image in self.images}
        padded: list[Annotation] = [
            {**a, "bbox": _padded(a["bbox"], pixels, *sizes[a["image_id"]])} for a in self.annotations
        ]
        return replace(self, annotations=padded)


def _padded(bbox: list[float], pixels: float, width: float, height: float) -> list[float]:
    x, y, w, h = bbox
    left, top = max(0.0, x - pixels), max(0.0, y - pixels)
    return [left, top, min(width, x + w + pixels) - left, min(height, y + h + pixels) - top]


def read_coco(path: str | Path) -> CocoDataset:
    """Read a COCO detection file.

    A missing `area` becomes width x height of the box, a missing `iscrowd` 0, and a box that leaves the
    frame by no more than rounding (0.01 px) is trimmed to it. Ids, extra keys and segmentations stay as
    they are, but for empty polygons. Raises InputError with the first issue and the number of issues.
    """
    return coco_of(load_coco(path), Path(path))


def coco_of(content: dict[str, Any], path: Path) -> CocoDataset:
    """Return the content of a COCO file, whose three lists are there, as a data set; see `read_coco`."""
    issues = [issue for issue in content_issues(content) if issue.severity == "error"]
    if issues:
        more = f" (the first of {len(issues)} issues; radiograph check-data lists them)" if len(issues) > 1 else ""
        raise InputError(f"{path}: {issues[0].message}{more}")
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    annotations = [_completed(annotation, *sizes[annotation["image_id"]]) for annotation in content["annotations"]]
    extra = {key: value for key, value in content.items() if key not in SECTIONS and key != "info"}
    info = content.get("info")
    return CocoDataset(
        content["images"], annotations, content["categories"], path, info if isinstance(info, dict) else {}, extra
    )


def _completed(annotation: Annotation, width: int, height: int) -> Annotation:
    _, _, w, h = annotation["bbox"]
    annotation["bbox"] = trim_bbox(annotation["bbox"], width, height)
    annotation.setdefault("area", w * h)
    annotation.setdefault("iscrowd", 0)
    outline = annotation.get("segmentation")
    if isinstance(outline, list):
        annotation["segmentation"] = [ring for ring in outline if ring]
    return annotation


def write_coco(path: str | Path, dataset: CocoDataset) -> None:
    """Write a data set as COCO JSON, atomically. Ids are written as they are.

    Raises InputError for NaN or infinity in any key: JSON has neither.
    """
    content = {"info": dataset.info, **dataset.extra, "images": dataset.images, "annotations": dataset.annotations,
               "categories": dataset.categories}  # fmt: skip
    try:
        write_json(path, content)
    except ValueError as error:
        raise InputError(f"{path}: cannot be written: {error}") from error


def merge_coco(datasets: Sequence[CocoDataset], prefixes: Sequence[str] | None = None) -> CocoDataset:
    """Return one data set out of several: ids counted from 1, categories merged by name.

    File names become `<prefix>/<file_name>`, so that equal names of two sources stay apart. Without
    `prefixes` they are the names of the folders that the JSON files lie in, or source1, source2 ... where
    those are unknown or alike; an empty prefix leaves the names alone. Raises InputError when the file
    names collide.
    """
    if prefixes is None:
        prefixes = _default_prefixes(datasets)
    names = list(dict.fromkeys(name for dataset in datasets for name in dataset.class_names))
    merged = CocoDataset([], [], [{"id": k, "name": name} for k, name in enumerate(names, start=1)])
    for dataset, prefix in zip(datasets, prefixes, strict=True):
        image_ids = {}
        for image in dataset.images:
            image_ids[image["id"]] = len(merged.images) + 1
            name = f"{prefix}/{image['file_name']}" if prefix else image["file_name"]
            merged.images.append({**image, "id": image_ids[image["id"]], "file_name": name})
        categories = {c["id"]: names.index(c["name"]) + 1 for c in dataset.categories}
        for annotation in dataset.annotations:
            merged.annotations.append(
                {
                    **annotation,
                    "id": len(merged.annotations) + 1,
                    "image_id": image_ids[annotation["image_id"]],
                    "category_id": categories[annotation["category_id"]],
                }
            )
    seen: set[str] = set()
    for image in merged.images:
        if image["file_name"] in seen:
            raise InputError(f"merged data: {image['file_name']} comes from two sources; give each its own prefix")
        seen.add(image["file_name"])
    return merged


def _default_prefixes(datasets: Sequence[CocoDataset]) -> list[str]:
    folders = [dataset.path.resolve().parent.name if dataset.path else "" for dataset in datasets]
    if all(folders) and len(set(folders)) == len(folders):
        return folders
    return [f"source{k}" for k in range(1, len(datasets) + 1)]


def read_results(path: str | Path) -> list[Result]:
    """Read COCO results: a list of image_id, category_id, bbox (x, y, width, height in pixels), score.

    An empty list is a valid result. Extra keys are kept. Raises InputError with the first issue and the
    number of issues.
    """
    results = load_json(path)
    if not isinstance(results, list):
        raise InputError(f"{path}: not COCO results: expected a list of image_id, category_id, bbox, score")
    issues = [f"result {k}: {issue}" for k, issue in enumerate(map(_result_issue, results)) if issue]
    if issues:
        raise InputError(f"{path}: {issues[0]} (faulty results: {len(issues)} of {len(results)})")
    return results


def write_results(path: str | Path, results: Iterable[Mapping[str, Any]]) -> None:
    """Write COCO results atomically; numbers may be NumPy scalars. Raises InputError for a faulty result."""
    plain = []
    for k, result in enumerate(results):
        record = {**result}
        try:
            record |= {
                "image_id": int(result["image_id"]),
                "category_id": int(result["category_id"]),
                "bbox": [float(value) for value in result["bbox"]],
                "score": float(result["score"]),
            }
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: result {k}: {result} lacks a number or a key: {error}") from error
        issue = _result_issue(record)
        if issue:
            raise InputError(f"{path}: result {k}: {issue}")
        plain.append(record)
    write_json(path, plain)


def _result_issue(result: Any) -> str | None:
    """Return what is wrong with one result record, None when nothing is."""
    if not isinstance(result, dict):
        return f"{result!r} is not an object"
    for key in ("image_id", "category_id", "bbox", "score"):
        if key not in result:
            return f"no {key!r}"
    for key in ("image_id", "category_id"):
        if not is_integer(result[key]):
            return f"{key} {result[key]!r} is not an integer"
    box, score = result["bbox"], result["score"]
    if not is_number(score) or not math.isfinite(score):
        return f"image {result['image_id']}: score {score!r} is not a finite number"
    if (
        not isinstance(box, list)
        or len(box) != 4
        or not all(is_number(value) and math.isfinite(value) for value in box)
    ):
        return f"image {result['image_id']}: bbox {box!r} is not four finite numbers"
    if box[2] < 0 or box[3] < 0:
        return f"image {result['image_id']}: bbox {box!r} has a negative size"
    return None
