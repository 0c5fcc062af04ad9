"""Zones drawn once on a reference radiograph, and where they lie in another one of the same part."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.coco import read_coco
from data.errors import InputError
from data.gray_window import AUTO
from data.image_paths import existing_image
from data.masks import rasterize, read_mask
from data.radiograph import read_radiograph
from detectors.decisions.registration import register
from detectors.decisions.rules import RESERVED, ZoneSource
from detectors.decisions.verdict import Zones

LEAST_SEEN = 0.9  # of a zone's area that must lie in the radiograph


@dataclass(frozen=True)
class DrawnZones:
    """Zones as they are drawn: the reference's pixels float32 [H, W] and, by name, masks bool [H, W]."""

    pixels: np.ndarray
    masks: dict[str, NDArray[np.bool_]]
    source: ZoneSource

    def locate(self, path: Path) -> Zones:
        """Return where the zones lie in the radiograph of a file, or why they do not."""
        return self.carry(read_radiograph(path, window=AUTO).pixels)

    def carry(self, pixels: np.ndarray) -> Zones:
        """Return where the zones lie in a radiograph float32 [H, W], or why they do not.

        Refused where the reference does not fit (see `registration.register`), and where more than a tenth of a
        zone lies outside of the frame: what is not seen there cannot be judged.
        """
        found = register(self.pixels, pixels, self.source.largest_turn, self.source.largest_residual)
        if found.refused:
            return Zones({}, found.refused)
        carried = {name: found.carry(mask) for name, mask in self.masks.items()}
        for name, mask in carried.items():
            seen = float(mask.sum() / self.masks[name].sum())
            if seen < LEAST_SEEN:
                return Zones({}, f"zones not carried: only {seen:.0%} of zone '{name}' lie in the radiograph")
        return Zones(carried)


def read_zones(source: ZoneSource, folder: Path) -> DrawnZones:
    """Read zones; the names of the files start from `folder`.

    Raises InputError where a file is missing or of another size, where a zone has a reserved name or no pixel, and
    where a COCO file has more or less than one image.
    """
    if source.file is not None:
        path = folder / source.file
        dataset = read_coco(path)
        if len(dataset.images) != 1:
            raise InputError(f"{path}: {len(dataset.images)} images; draw the zones on one reference radiograph")
        (image,) = dataset.images
        reference = existing_image(path.parent, image)
        masks = {}
        for category in dataset.categories:
            drawn = [a for a in dataset.annotations if a["category_id"] == category["id"]]
            masks[category["name"]] = rasterize(replace(dataset, annotations=drawn), image["id"]) > 0
    else:
        assert source.reference is not None
        assert source.masks is not None
        path = reference = folder / source.reference
        pixels = read_radiograph(reference, window=AUTO).pixels
        size = (pixels.shape[1], pixels.shape[0])
        masks = {name: read_mask(folder / file, reference, size) for name, file in source.masks.items()}
    pixels = read_radiograph(reference, window=AUTO).pixels
    for name, mask in masks.items():
        if name in RESERVED:
            raise InputError(f"{path}: a zone may not be named '{name}', which means something else; rename it")
        if mask.shape != pixels.shape:
            raise InputError(f"{path}: zone '{name}' is {mask.shape[1]} x {mask.shape[0]}, the reference is not")
        if not mask.any():
            raise InputError(f"{path}: zone '{name}' has no pixel; draw it, or remove its category")
    return DrawnZones(pixels, masks, source)
