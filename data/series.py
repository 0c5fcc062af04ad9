"""Series of radiographs: which one an image record belongs to, and its number there."""

import re
from pathlib import Path, PurePosixPath

from data.errors import InputError
from data.records import ImageRecord

_GDXRAY_NAME = re.compile(r"([CW]\d{4})_\d+(?!\d)")


def series_of(image: ImageRecord) -> str:
    """Return the series of an image record: its key `series`, or the folder in its file name.

    Files that are named as in GDXray, such as C0001_0003.png, are of that series in whatever folder they lie.
    """
    if image.get("series"):
        return str(image["series"])
    path = PurePosixPath(image["file_name"])
    named = _GDXRAY_NAME.match(path.name)
    return (path.parent if named is None or path.parent.name == named[1] else path.parent / named[1]).as_posix()


def number_of(image: ImageRecord) -> int:
    """Return the number of an image inside its series: its key `number`, or the digits that end its name."""
    number = image.get("number")
    if isinstance(number, int):
        return number
    stem = Path(image["file_name"]).stem
    digits = stem[len(stem.rstrip("0123456789")) :]
    if not digits:
        raise InputError(f"image {image['id']}: {image['file_name']} has no number; this split goes by numbers")
    return int(digits)
