"""How large an image may be: checked against the header, before anything is decoded."""

import os

from data.errors import InputError

MAX_SAMPLES = 2**27
"""Pixels times channels of one image: 134 million, a film of 11,585 x 11,585 or about 1 GB while it is read."""
LIMIT_VARIABLE = "RADIOGRAPH_MAX_PIXELS"
"""Environment variable with another limit, which the commands' --max-pixels sets."""


def max_samples() -> int:
    """Return the limit on pixels times channels. Raises InputError where the environment states no whole number."""
    stated = os.environ.get(LIMIT_VARIABLE, "").strip()
    if not stated:
        return MAX_SAMPLES
    if not (stated.isascii() and stated.isdigit() and 0 < int(stated[:20]) < 10**15):
        raise InputError(f"{LIMIT_VARIABLE} is {stated[:40]!r}; give a whole number of pixels, such as 400000000")
    return int(stated)


def check_size(path: object, width: int, height: int, channels: int = 1, what: str = "image") -> None:
    """Raise InputError for an image without pixels, and for one with more than the limit allows."""
    if width < 1 or height < 1 or channels < 1:
        raise InputError(f"{path}: an {what} of {width} x {height} pixels: no pixels, or a corrupt header")
    limit = max_samples()
    if width * height * channels > limit:
        count = f"{width} x {height}" + (f" x {channels} channels" if channels > 1 else "")
        raise InputError(
            f"{path}: its header promises an {what} of {count}, more than the limit of {limit:,} pixels; if the file "
            f"is right, give the command --max-pixels {width * height * channels}, or set the environment variable "
            f"{LIMIT_VARIABLE}={width * height * channels}"
        )
