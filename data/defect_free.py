"""Folders of radiographs without defects, as COCO data: what users have in plenty."""

from collections.abc import Sequence
from pathlib import Path

from data.coco import CocoDataset
from data.errors import InputError
from data.masks import CATEGORIES
from data.radiograph import find_radiographs, radiograph_size
from data.records import Category, ImageRecord


def read_defect_free(folder: str | Path, categories: Sequence[Category] = CATEGORIES) -> CocoDataset:
    """Return all radiographs of a folder and its sub-folders as negatives, by name.

    The folder names no category itself: `categories` are those of what it is used with, else the one "defect". Raises
    InputError for a folder that does not exist or holds no radiograph.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one with radiographs that show no defect")
    images: list[ImageRecord] = []
    for image_id, file in enumerate(find_radiographs([folder]), start=1):
        width, height = radiograph_size(file)
        name = file.relative_to(folder).as_posix()
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
    return CocoDataset(images, [], list(categories), path=folder, info={"description": "radiographs without defects"})
