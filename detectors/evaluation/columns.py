"""Images, objects and detections as columns, from COCO records; faulty records are named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.coco import CocoDataset
from data.errors import InputError


@dataclass(frozen=True)
class ImageColumns:
    """One row an image, sorted by id: `ids`, `names`, `series` object [I], `pixel_mm` float64 [I] or NaN."""

    ids: NDArray[np.object_]
    names: NDArray[np.object_]
    series: NDArray[np.object_]
    pixel_mm: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class GroundTruthColumns:
    """One row a ground-truth box, sorted by image.

    `ids` object [G] annotation ids; `image`, `label` int64 [G] rows of images and classes; `box` float64
    [G, 4], x y width height in px; `crowd` bool [G]; `depth_mm` float64 [G], NaN where the data do not tell
    it.
    """

    ids: NDArray[np.object_]
    image: NDArray[np.int64]
    label: NDArray[np.int64]
    box: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    depth_mm: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.image)

    @property
    def size(self) -> NDArray[np.float64]:
        """Square root of the box's area, px, float64 [G]."""
        return np.sqrt(self.box[:, 2] * self.box[:, 3])

    @property
    def length(self) -> NDArray[np.float64]:
        """Longer side of the box, px, float64 [G]."""
        return self.box[:, 2:].max(axis=1, initial=0.0)


@dataclass(frozen=True)
class DetectionColumns:
    """One row a detection, in descending score; equal scores by image, then in the order given.

    `row` int64 [D] place in the results; `image`, `label` int64 [D]; `score` float64 [D]; `box` float64 [D,
    4], x y width height in px.
    """

    row: NDArray[np.int64]
    image: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float64]
    box: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.image)


def _objects(values: list[Any]) -> NDArray[np.object_]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def image_columns(dataset: CocoDataset) -> ImageColumns:
    """Return the images of a data set, clean ones included, sorted by id."""
    records = sorted(dataset.images, key=lambda record: record["id"])
    return ImageColumns(
        ids=_objects([record["id"] for record in records]),
        names=_objects([record.get("file_name", str(record["id"])) for record in records]),
        series=_objects([str(record.get("series") or "") for record in records]),
        pixel_mm=np.array([_number(record.get("pixel_size_mm")) for record in records], dtype=float),
    )


def _number(value: Any) -> float:
    """Return a number that may be absent, NaN for none; of a pair (row and column spacing) the mean."""
    if isinstance(value, list | tuple):
        return float(np.mean(value)) if value else float("nan")
    return float("nan") if value is None else float(value)


def ground_truth_columns(
    dataset: CocoDataset, image_row: Mapping[Any, int], label_row: Mapping[Any, int]
) -> GroundTruthColumns:
    """Return the boxes of a data set by image; `image_row`, `label_row` give the row of each id.

    Raises InputError for an annotation of an image or category that is not in the file.
    """
    rows = []
    for record in dataset.annotations:
        image, label = image_row.get(record["image_id"]), label_row.get(record["category_id"])
        if image is None or label is None:
            missing = f"image_id {record['image_id']}" if image is None else f"category_id {record['category_id']}"
            raise InputError(
                f"{dataset.path}: annotation {record.get('id')}: {missing} is not in the file; "
                "add it or drop the annotation"
            )
        rows.append((image, label, record))
    rows.sort(key=lambda row: row[0])
    return GroundTruthColumns(
        ids=_objects([record.get("id") for _, _, record in rows]),
        image=np.array([image for image, _, _ in rows], dtype=np.int64),
        label=np.array([label for _, label, _ in rows], dtype=np.int64),
        box=np.array([record["bbox"] for _, _, record in rows], dtype=float).reshape(-1, 4),
        crowd=np.array([bool(record.get("iscrowd", 0)) for _, _, record in rows], dtype=bool),
        depth_mm=np.array([_number(record.get("depth_mm")) for _, _, record in rows], dtype=float),
    )


def detection_columns(
    dataset: CocoDataset, results: Sequence[Mapping[str, Any]], image_row: Mapping[Any, int], label_row: dict[Any, int]
) -> DetectionColumns:
    """Return COCO results in descending score; raises InputError that names the first faulty one."""
    try:
        image = np.array([image_row[result["image_id"]] for result in results], dtype=np.int64)
        label = np.array([label_row[result["category_id"]] for result in results], dtype=np.int64)
        score = np.array([result["score"] for result in results], dtype=float)
        box = np.array([result["bbox"] for result in results], dtype=float).reshape(-1, 4)
    except (KeyError, TypeError, ValueError):
        raise InputError(_first_fault(dataset, results, image_row, label_row)) from None
    if not (len(box) == len(score) and np.isfinite(score).all() and np.isfinite(box).all()):
        raise InputError(_first_fault(dataset, results, image_row, label_row))
    order = np.lexsort((np.arange(len(score)), image, -score))
    return DetectionColumns(order.astype(np.int64), image[order], label[order], score[order], box[order])


def _first_fault(
    dataset: CocoDataset, results: Sequence[Mapping[str, Any]], image_row: Mapping[Any, int], label_row: dict[Any, int]
) -> str:
    """Say what is wrong with the first faulty detection; only called when one is known to be faulty."""
    for number, result in enumerate(results):
        place = f"detection {number}"
        if not isinstance(result, dict):
            return f"{place}: {result!r} is not a COCO result, an object with image_id, bbox and so on"
        for key in ("image_id", "category_id", "bbox", "score"):
            if key not in result:
                return f"{place}: has no '{key}'; COCO results need image_id, category_id, bbox and score"
        for key, known in (("image_id", image_row), ("category_id", label_row)):
            if not isinstance(result[key], int | str) or result[key] not in known:
                return f"{place}: {key} {result[key]!r} is not in {dataset.path}; give its own ground truth"
        try:
            score, box = float(result["score"]), [float(value) for value in result["bbox"]]
        except (TypeError, ValueError):
            score, box = float("nan"), []
        if not np.isfinite(score) or len(box) != 4 or not np.isfinite(box).all():
            return (
                f"{place} on image {result['image_id']}: score {result['score']} or bbox {result['bbox']} "
                "is not a finite number and four finite numbers; write them again"
            )
    return "the detections are not a list of COCO results; write them again"
