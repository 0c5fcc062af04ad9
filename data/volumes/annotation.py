"""Label volumes that no person has drawn: from thresholds, or from a map of scores."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data.volumes.components import PartMask, label
from data.volumes.gray_levels import GrayLevels
from data.volumes.labels import MATERIAL, PORE
from data.volumes.otsu import OtsuPores, OtsuRule, Read
from data.volumes.volume import Volume

Labels = NDArray[np.uint8]

LEAST_EXTENT = 2
"""Least side of a pore's bounding box in voxels, as in Algorithm 1 of Iuso et al. (2024)."""


SHELL = 2
"""Voxels at the surface of the part that a map marks no pores in: there autoencoders err without any. Of the simulated
cylinders of base/am_small.yaml, 2 took the precision of the labels of one that was held out from 0.34 to 0.82, and no
recall."""


def labels_by_thresholds(volume: Volume, levels: GrayLevels, rule: OtsuRule) -> Labels:
    """Return labels uint8 [Z, Y, X] by Otsu's thresholds and flood fill: air, material, and pores inside of the part.

    Raises InputError for a volume without material, and without air where the rule floods it.
    """
    found = OtsuPores(_reader(volume, levels), volume.shape, rule, str(volume.path or "volume"))
    labels = _part(found.part)
    done = 0
    for mask in found.slabs():
        labels[done : done + len(mask)][mask] = PORE
        done += len(mask)
    return labels


def labels_of_map(
    volume: Volume,
    levels: GrayLevels,
    scores: NDArray[np.float32],
    threshold: float,
    least_extent: int = LEAST_EXTENT,
    shell: int = SHELL,
) -> Labels:
    """Return labels uint8 [Z, Y, X]: pores are voxels of the part, less its shell, whose score reaches the threshold.

    Marked regions (6-connected) whose bounding box is smaller than `least_extent` in one dimension are left out, as
    "smaller pores" are in the source.

    Args:
        volume: shows the part by its gray values.
        levels: gray values of air and metal.
        scores: float32 [Z, Y, X].
        threshold: least score of a pore.
        least_extent: in voxels.
        shell: voxels at the surface of the part that are material whatever their score.

    Raises InputError for a volume without material or air.

    """
    part = PartMask(_reader(volume, levels), volume.shape, name=str(volume.path or "volume"))
    labels = _part(part)
    inside = labels == MATERIAL
    if shell:
        # At the volume's border the part goes on: what is cut off there is no surface.
        inside = ndimage.binary_erosion(inside, iterations=shell, border_value=1)
    numbers, count = label(inside & (scores >= threshold), 6)
    kept = np.zeros(count + 1, bool)
    for number, box in enumerate(ndimage.find_objects(numbers), start=1):
        kept[number] = min(side.stop - side.start for side in box) >= least_extent
    labels[kept[numbers]] = PORE
    return labels


def _part(part: PartMask) -> Labels:
    return part.rows(0, part.shape[0]).astype(np.uint8) * np.uint8(MATERIAL)


def _reader(volume: Volume, levels: GrayLevels) -> Read:
    return lambda first, last: levels.normalize(volume.slab(first, last))
