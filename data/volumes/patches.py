"""Training patches of labeled volumes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from data.epochs import EpochDataset
from data.errors import InputError
from data.volumes.labeled import LabeledVolume
from data.volumes.labels import AIR, IGNORED, MATERIAL, OPEN_PORE, OPEN_PORES, PORE
from data.volumes.transforms import PatchCropConfig, VolumeAugmentationConfig, augment

VolumeSample = tuple[torch.Tensor, torch.Tensor, str]
VolumeBatch = tuple[torch.Tensor, torch.Tensor, list[str]]

MOST_POINTS = 20_000
"""Surface and material voxels that are remembered of a volume, drawn evenly."""


NEIGHBORHOOD = 4
"""Voxels on each side of a surface voxel in which the air is measured: about those of a hole as wide as a pore."""

HOLLOW = 0.33
"""Share of air around a surface voxel under which it is hollow: 0.44 on a plane, 0.2 in a corner, less in a thread."""


class VolumeDataset(EpochDataset[VolumeSample]):
    """Patches of labeled volumes; a sample depends on (`seed`, epoch, index) and nothing else.

    A sample is (patch, mask, name): float32 [1, D, H, W] with air at 0 and metal at 1, uint8 [D, H, W] with 1 on
    pores, 0 elsewhere and `IGNORED` (255) where nobody knows, and the volume's name. `length` samples an epoch go
    through the volumes in turn.

    Raises InputError for a volume without material, and where no volume has a pore to place patches around.
    """

    def __init__(
        self,
        volumes: Sequence[LabeledVolume],
        length: int,
        crop: PatchCropConfig,
        augmentation: VolumeAugmentationConfig | None = None,
        open_pores: str = "ignore",
        seed: int = 0,
    ) -> None:
        if not volumes:
            raise InputError("no volume to draw patches from; give data.train at least one")
        super().__init__(seed)
        self._volumes, self._length = list(volumes), length
        self._crop, self._augmentation = crop, augmentation
        self._mask_of = np.zeros(256, np.uint8)
        self._mask_of[[PORE, OPEN_PORE, IGNORED]] = 1, OPEN_PORES[open_pores], IGNORED
        self._points = [_points(entry, number) for number, entry in enumerate(volumes)]
        if crop.around_defect and not any(len(points.pores) for points in self._points):
            raise InputError("no training volume has a pore; give labeled pores, or set crop.around_defect to 0")

    def __len__(self) -> int:
        """Return the number of samples an epoch."""
        return self._length

    def __getitem__(self, index: int) -> VolumeSample:
        """Return sample `index` of the epoch."""
        rng = self._rng(index)
        return self.sample(index % len(self._volumes), rng)

    def sample(self, number: int, rng: np.random.Generator) -> VolumeSample:
        """Draw one patch of the volume at position `number`, every random choice from `rng`."""
        entry, points = self._volumes[number], self._points[number]
        sides = self._crop.sides
        order: tuple[int, ...] = (0, 1, 2)
        if len(set(sides)) > 1:
            # The patch's axis k is the volume's axis order[k].
            orders = [*permutations(range(3))]
            order = orders[int(rng.integers(len(orders)))]
        lengths = tuple(sides[order.index(axis)] for axis in range(3))
        center = points.draw(self._crop, rng)
        # The point may lie anywhere in the middle two thirds of the patch.
        start = [int(place - length / 2 + rng.uniform(-1, 1) * length / 3)
                 for place, length in zip(center, lengths, strict=True)]  # fmt: skip
        values, labels = _cut(entry, start, lengths)
        values, labels = values.transpose(order), labels.transpose(order)
        if self._augmentation is not None:
            values, labels = augment(values, labels, self._augmentation, rng)
        patch = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None]
        mask = torch.from_numpy(np.ascontiguousarray(self._mask_of[labels]))
        return patch, mask, entry.volume.name


@dataclass(frozen=True)
class _Points:
    """Where patches of a volume are placed: voxels of each pore, surfaces, material and hollow surfaces, int [N, 3]."""

    pores: list[NDArray[np.int32]]
    surface: NDArray[np.int32]
    material: NDArray[np.int32]
    hollow: NDArray[np.int32]

    def draw(self, crop: PatchCropConfig, rng: np.random.Generator) -> NDArray[np.int32]:
        chance = rng.random()
        if chance < crop.around_defect and self.pores:
            # By diameter: by number, the few large pores would hardly be met; by volume, the small ones.
            diameters = np.cbrt([len(pore) for pore in self.pores])
            pore = self.pores[int(rng.choice(len(self.pores), p=diameters / diameters.sum()))]
            return pore[int(rng.integers(len(pore)))]
        chance -= crop.around_defect
        if chance < crop.around_surface and len(self.surface):
            places = self.surface
        elif crop.around_surface <= chance < crop.around_surface + crop.around_hollow and len(self.hollow):
            places = self.hollow
        else:
            places = self.material
        return places[int(rng.integers(len(places)))]


def _points(entry: LabeledVolume, number: int) -> _Points:
    labels = np.asarray(entry.labels)
    material = labels == MATERIAL
    if not material.any():
        raise InputError(f"{entry.volume.path or 'volume'}: its labels name no material (value {MATERIAL}); patches "
                         "of air alone teach nothing")  # fmt: skip
    defects = (labels == PORE) | (labels == OPEN_PORE)
    numbered, _count = ndimage.label(defects, structure=np.ones((3, 3, 3)))
    pores = []
    for index, box in enumerate(ndimage.find_objects(numbered), start=1):
        voxels = np.argwhere(numbered[box] == index) + [side.start for side in box]
        pores.append(voxels.astype(np.int32))
    air = labels == AIR
    surface = np.zeros_like(air)
    for axis in range(3):
        first, last = [slice(None)] * 3, [slice(None)] * 3
        first[axis], last[axis] = slice(0, -1), slice(1, None)
        surface[tuple(first)] |= material[tuple(first)] & air[tuple(last)]
        surface[tuple(last)] |= material[tuple(last)] & air[tuple(first)]
    rng = np.random.default_rng([number, 77])
    around = ndimage.uniform_filter(air.astype(np.float32), 2 * NEIGHBORHOOD + 1, mode="nearest")
    return _Points(pores, _some(surface, rng), _some(material, rng), _some(surface & (around < HOLLOW), rng))


def _some(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int32]:
    """Return at most `MOST_POINTS` voxels of a mask, drawn evenly."""
    flat = np.flatnonzero(mask)
    if len(flat) > MOST_POINTS:
        flat = np.sort(rng.choice(flat, MOST_POINTS, replace=False))
    return np.stack(np.unravel_index(flat, mask.shape), axis=1).astype(np.int32)


def _cut(
    entry: LabeledVolume, start: Sequence[int], lengths: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Return the normalized values and labels of a box that is moved inside; a short axis is continued by its edge."""
    shape = entry.volume.shape
    low = [int(np.clip(s, 0, max(side - length, 0))) for s, side, length in zip(start, shape, lengths, strict=True)]
    z, y, x = (slice(first, min(first + length, side)) for first, length, side in zip(low, lengths, shape, strict=True))
    values = entry.levels.normalize(entry.volume.box((z.start, y.start, x.start), (z.stop, y.stop, x.stop)))
    labels = np.asarray(entry.labels[z, y, x])
    missing = [(0, length - found) for length, found in zip(lengths, values.shape, strict=True)]
    if any(after for _, after in missing):
        values = np.pad(values, missing, mode="edge")
        labels = np.pad(labels, missing, mode="constant", constant_values=IGNORED)
    return values, labels


def stack_volumes(batch: Sequence[VolumeSample]) -> VolumeBatch:
    """Turn samples into (patches [B, 1, D, H, W], masks [B, D, H, W], names)."""
    patches, masks, names = zip(*batch, strict=True)
    return torch.stack(patches), torch.stack(masks), list(names)
