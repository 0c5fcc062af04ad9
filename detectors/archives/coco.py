"""COCO files from the parts of an archive, written a part at a time."""

import json
from collections.abc import Iterator
from typing import Any, TextIO

from data.archives.parts import flat_boxes, flat_values
from data.errors import InputError
from data.files import atomic_path
from data.records import Category
from detectors.archives.folder import ArchiveFolder
from detectors.runs.reading import coco_results


def write_coco_files(folder: ArchiveFolder, categories: list[Category], threshold: float) -> None:
    """Write `images.json` and `detections.json` as `radiograph predict` does for a folder of radiographs.

    Images have the ids of the archive's COCO file, or are numbered from 1 in the order of the parts; what could not be
    read is left out. The whole archive is never in memory. Raises OSError where the files cannot be written.
    """
    with (
        atomic_path(folder.out / "images.json", durable=True) as images,
        atomic_path(folder.out / "detections.json", durable=True) as results,
        images.open("w", encoding="utf-8") as image_stream,
        results.open("w", encoding="utf-8") as result_stream,
    ):
        image_stream.write('{"images": ')
        write_image, write_result = _list_of(image_stream), _list_of(result_stream)
        for image, found in _records(folder, categories):
            write_image(image)
            for one in found:
                write_result(one)
        write_image(None)
        write_result(None)
        rest = json.dumps({"categories": categories, "threshold": threshold}, allow_nan=False)
        image_stream.write(f", {rest[1:]}\n")
        result_stream.write("\n")


def _list_of(stream: TextIO) -> Any:
    """Return what writes records as a JSON list; None ends it."""
    before = "["

    def write(record: dict[str, Any] | None) -> None:
        nonlocal before
        if record is None:
            stream.write("[]" if before == "[" else "\n]")
        else:
            stream.write(f"{before}\n{json.dumps(record, allow_nan=False)}")
            before = ","

    return write


def _records(folder: ArchiveFolder, categories: list[Category]) -> Iterator[tuple[dict[str, Any], list[dict]]]:
    """Yield the COCO record of every radiograph, and its results."""
    number = 0
    for part in range(folder.parts):
        # Rows come in the order of the listing, without those that could not be read.
        listed = iter(folder.unit(part).rows)
        for batch in folder.detections(part):
            starts, boxes = flat_boxes(batch)
            scores, labels = flat_values(batch, "scores"), flat_values(batch, "labels")
            if len(labels) and not 1 <= labels.min() <= labels.max() <= len(categories):
                raise InputError(f"{folder.out}: part {part} holds labels that the model does not have; remove it")
            sizes = (batch.column(name).to_pylist() for name in ("file", "width", "height"))
            for row, (name, width, height) in enumerate(zip(*sizes, strict=True)):
                number += 1
                identity = _listed_id(listed, name)
                image_id = number if identity is None else identity
                here = slice(starts[row], starts[row + 1])
                found = {"boxes": boxes[here], "scores": scores[here], "labels": labels[here]}
                image = {"id": image_id, "file_name": name, "width": width, "height": height}
                yield image, coco_results(image_id, found, categories)


def _listed_id(listed: Iterator[dict[str, Any]], name: str) -> int | None:
    """Return the id that the listing gives the next radiograph of this name, None where it gives none."""
    for row in listed:
        if row["row_group"] is not None:
            return None
        if row["file"] == name:
            return row["image_id"]
    return None
