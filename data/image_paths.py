"""From a file name in a COCO file to a file: confined to the folder of images.

A COCO file may come from anywhere, and its names are read as radiographs. They stay inside the folder that the user
gives (or that the file lies in): neither `../` nor an absolute name leads out of it. Absolute names inside are fine,
so a list with names of many places is read with the folder `/`. Links are followed: who makes them means them.
"""

import os
from pathlib import Path

from data.errors import InputError
from data.records import ImageRecord

ANYWHERE = "RADIOGRAPH_IMAGES_ANYWHERE"
"""Environment variable that lets names lead out of the folder of images, for files one trusts, when it is 1."""


def image_path(image_dir: str | Path, image: ImageRecord) -> Path:
    """Return where an image lies, without looking whether it does. Raises InputError as `confined_path`."""
    # A file that is being checked may have forgotten the id.
    return confined_path(image_dir, image["file_name"], image.get("id"))


def confined_path(image_dir: str | Path, name: str, image_id: int | None) -> Path:
    """Return the path of a name in a folder of images, without looking whether there is such a file.

    Raises InputError, naming the image, for a name that leads out of `image_dir`, unless the variable `ANYWHERE` is 1.
    """
    # Without "..", or a link on the way would lead elsewhere than the name says.
    path = Path(os.path.normpath(Path(image_dir) / name))
    if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(image_dir)) and os.environ.get(ANYWHERE) != "1":
        raise InputError(
            f"image {image_id}: file_name {name!r} leads out of the folder of images, {image_dir}; "
            f"give a folder that holds it, or set {ANYWHERE}=1 if you trust the file"
        )
    return path


def existing_image(image_dir: str | Path, image: ImageRecord) -> Path:
    """Return where an image lies. Raises InputError as `image_path`, and where there is no such file."""
    path = image_path(image_dir, image)
    try:
        there = path.is_file()
    except OSError as error:  # such as a name that is too long, or a folder that may not be entered
        raise InputError(f"{path}: image {image['id']}: {error.strerror}; check file_name") from error
    if not there:
        raise InputError(f"{path}: no such file, for image {image['id']}; check the image folder")
    return path
