"""Ground truth of archives: COCO annotations as Parquet parts, with the names of the classes beside them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data.archives.parts import box_rows, part_path, write_part
from data.archives.schema import GROUND_TRUTH
from data.coco import CocoDataset
from data.coco_check import load_json
from data.errors import InputError
from data.files import write_json

TRUTH_FOLDER = "truth"  # of a set that has radiographs beside it
CLASSES_FILE = "classes.json"
ROWS = 10_000  # radiographs a part


def write_truth(dataset: CocoDataset, out: str | Path, rows: int = ROWS) -> list[Path]:
    """Write the boxes of a data set as parts of `rows` radiographs, in the order of their ids, and return the parts.

    `file` is the record's file_name; labels count from 1 in the order of the category ids. Boxes are stored as float32:
    whole and half pixels up to 8 million are exact, others rounded at the eighth digit. Raises InputError where two
    images have one file_name.
    """
    batch, parts = truth_rows(dataset), []
    for number, start in enumerate(range(0, max(batch.num_rows, 1), rows)):
        parts.append(part_path(out, number))
        write_part(parts[-1], batch.slice(start, rows))
    write_classes(out, dataset.class_names)
    return parts


def truth_rows(dataset: CocoDataset) -> pa.RecordBatch:
    """Return the boxes of a data set as rows of `GROUND_TRUTH`; see `write_truth`."""
    seen: dict[str, int] = {}
    for image in dataset.images:
        other = seen.setdefault(image["file_name"], image["id"])
        if other != image["id"]:
            raise InputError(
                f"{dataset.path or 'data set'}: images {other} and {image['id']} are both {image['file_name']}; "
                "detections are joined to them by name, so give each its own"
            )
    return box_rows(GROUND_TRUTH, [*_rows(dataset, sorted(dataset.images, key=lambda image: image["id"]))])


def _rows(dataset: CocoDataset, images: Sequence[Any]) -> Iterator[dict[str, Any]]:
    for image in images:
        annotations = dataset.annotations_of(image["id"])
        yield {
            "file": image["file_name"],
            "width": image["width"],
            "height": image["height"],
            "boxes": dataset.boxes_xyxy(image["id"]),
            "labels": np.array([dataset.label_of[a["category_id"]] for a in annotations], dtype=np.int16),
            "crowd": np.array([bool(a.get("iscrowd", 0)) for a in annotations], dtype=bool),
        }


def write_classes(folder: str | Path, names: Sequence[str]) -> None:
    """Write the names of labels 1, 2 ... beside the parts of a folder."""
    write_json(Path(folder) / CLASSES_FILE, list(names))


def read_classes(folder: str | Path) -> list[str] | None:
    """Return the names of labels 1, 2 ..., None where the folder does not tell. Raises InputError for a faulty file."""
    path = Path(folder) / CLASSES_FILE
    if not path.is_file():
        return None
    names = load_json(path)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: is not a list of names; write it again, or remove it")
    return names
