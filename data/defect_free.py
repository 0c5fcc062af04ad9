"""Folders of radiographs without defects, as COCO data: what users have in plenty."""

from collections.abc import Sequence
from pathlib import Path

from data.coco import CocoDataset
from data.errors import InputError
from data.masks import CATEGORIES
from data.radiograph import find_radiographs, image_record
from data.records import Category


def read_defect_free(folder: str | Path, categories: Sequence[Category] = CATEGORIES) -> CocoDataset:
    """Return all radiographs of a folder and its sub-folders as negatives, by name.

    The folder names no category itself: `categories` are those of what it is used with, else the one "defect". Raises
    InputError for a folder that does not exist or holds no radiograph.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one with radiographs that show no defect")
    files = find_radiographs([folder])
    images = [image_record(k, file, file.relative_to(folder).as_posix()) for k, file in enumerate(files, start=1)]
    return CocoDataset(images, [], list(categories), path=folder, info={"description": "radiographs without defects"})
