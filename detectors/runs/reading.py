"""Radiographs for a model, and its detections as COCO results: what needs no PyTorch."""

from collections.abc import Mapping, Sequence
from typing import Any

from data.errors import InputError
from data.gray_window import GrayWindow
from data.held_file import AnyFile
from data.radiograph import Radiograph, read_radiograph
from data.records import Category


def read_sized(path: AnyFile, window: GrayWindow | None, size: tuple[int, int] | None = None) -> Radiograph:
    """Return a radiograph through the run's window. Raises InputError if it is not of `size` (width, height)."""
    radiograph = read_radiograph(path, window=window)
    height, width = radiograph.pixels.shape
    if size is not None and (width, height) != size:
        raise InputError(
            f"{path}: it is {width} x {height} pixels, but {size[0]} x {size[1]} by its record; "
            "its boxes would lie elsewhere: correct the record or the file (radiograph check-data)"
        )
    return radiograph


def coco_results(image_id: int, detections: Mapping[str, Any], categories: Sequence[Category]) -> list[dict[str, Any]]:
    """Return COCO results of one image: image_id, category_id, bbox (x, y, width, height in pixels), score.

    `detections` holds `boxes`, `scores` and `labels`, tensors or arrays.
    """
    boxes = detections["boxes"].tolist()
    return [
        {
            "image_id": image_id,
            "category_id": categories[label - 1]["id"],
            "bbox": [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)],
            "score": score,
        }
        for (x1, y1, x2, y2), score, label in zip(
            boxes, detections["scores"].tolist(), detections["labels"].tolist(), strict=True
        )
    ]
