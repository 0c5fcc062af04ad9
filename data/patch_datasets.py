"""Balanced, augmented patches for training, from files, folders and radiographs, in given shares."""

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
import torch

from data.epochs import EpochDataset
from data.errors import InputError
from data.patch_files import CLASSES, PatchSet
from data.patches import PatchConfig
from data.transforms import AugmentationConfig, Transform, build_transform

PatchSample = tuple[torch.Tensor, int, int]
"""Pixels float32 [1, S, S] in [0, 1], label 0 or 1, index of the sample."""


class PatchSource(Protocol):
    """What patches of each class can be drawn from."""

    def __len__(self) -> int:
        """Return the number of patches of an epoch."""
        ...

    def has(self, label: int) -> bool:
        """Return whether there are patches of this class."""
        ...

    def sample(self, label: int, rng: np.random.Generator, order: int | None = None, epoch: int = 0) -> np.ndarray:
        """Return a patch of a class, float32 [S, S]; number `order`, where the source keeps one.

        `epoch` is for sources that change from one epoch to the next.
        """
        ...


class StoredPatches:
    """Patches of a file or folder as a source to draw from."""

    def __init__(self, patches: PatchSet) -> None:
        self.patches = patches
        self._of = [np.flatnonzero(patches.labels == label) for label in (0, 1)]

    def __len__(self) -> int:
        """Return twice the patches of the larger class: each of them once an epoch, with as many of the other."""
        return 2 * max(len(of) for of in self._of)

    def has(self, label: int) -> bool:
        """Return whether there are patches of this class."""
        return len(self._of[label]) > 0

    def sample(self, label: int, rng: np.random.Generator, order: int | None = None, epoch: int = 0) -> np.ndarray:
        """Return a patch of a class, float32 [S, S]: number `order` of them, or a random one."""
        of = self._of[label]
        place = int(rng.integers(len(of))) if order is None else order % len(of)
        return self.patches.floats(int(of[place]))


class PatchDataset(EpochDataset[PatchSample]):
    """Balanced, augmented patches of one or several sources; a sample depends on (`seed`, epoch, index).

    Every second sample is a defect, or every one where `classes` are defects alone, as a generative network learns
    from. Among several sources each is drawn from by its weight, for each class among
    those that have it: a file of simulated defects alone takes its share of the defects, and the *no-defect*
    patches come from the others. One source alone is gone through in order, so that no stored patch is left out.

    Raises InputError where no source has patches of a class, or where the augmentation changes the size.
    """

    def __init__(
        self,
        sources: Sequence[PatchSource],
        weights: Sequence[float],
        config: PatchConfig,
        augmentation: AugmentationConfig | None = None,
        length: int | None = None,
        seed: int = 0,
        classes: tuple[int, ...] = tuple(range(len(CLASSES))),
    ) -> None:
        super().__init__(seed)
        self._config = config
        self._classes = classes
        found = [(s, w) for s, w in zip(sources, weights, strict=True) if any(s.has(label) for label in classes)]
        self._sources = [source for source, _ in found]
        self._shares = []
        for label in classes:
            share = np.array([weight if source.has(label) else 0.0 for source, weight in found])
            if not share.any():
                raise InputError(f"no {CLASSES[label]} patch (class {label}) in any source of data.train; add some")
            self._shares.append(share / share.sum())
        # A source's epoch is half of each class.
        whole = sum(len(source) for source in self._sources) * len(classes) // len(CLASSES)
        self._length = length or max(whole, 1)
        if augmentation is not None and (augmentation.crop is not None or augmentation.scale is not None):
            raise InputError("data.augmentation.crop and scale change a patch's size; use data.patches.jitter_zoom")
        self._transform: Transform | None = None
        if augmentation is not None and augmentation != AugmentationConfig():
            self._transform = build_transform(augmentation)

    def __len__(self) -> int:
        """Return the number of samples an epoch."""
        return self._length

    def __getitem__(self, index: int) -> PatchSample:
        """Return sample `index` of the epoch."""
        rng, epoch = self._rng(index), self.epoch
        count, k = len(self._classes), index % len(self._classes)
        label = self._classes[k]
        if len(self._sources) == 1:
            # Epochs that are shorter than the source go on where the last one stopped.
            order = index // count + epoch * ((self._length + count - 1 - k) // count)
            pixels = self._sources[0].sample(label, rng, order, epoch)
        else:
            source = int(rng.choice(len(self._sources), p=self._shares[k]))
            pixels = self._sources[source].sample(label, rng, epoch=epoch)
        pixels = jittered(pixels, self._config, rng)
        if self._transform is not None:
            pixels = self._transform(pixels, np.zeros((0, 4)), np.zeros(0), rng).pixels
        return torch.from_numpy(np.array(pixels, dtype=np.float32))[None], label, index


def collate_patches(batch: Sequence[PatchSample]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return patches float32 [N, 1, S, S], labels int64 [N] and indices int64 [N]."""
    patches, labels, indices = zip(*batch, strict=True)
    return torch.stack(patches), torch.tensor(labels), torch.tensor(indices)


def jittered(pixels: np.ndarray, config: PatchConfig, rng: np.random.Generator) -> np.ndarray:
    """Return a patch turned, moved and zoomed at random within `config`, continued by reflection."""
    if not (config.jitter_rotation or config.jitter_shift or config.jitter_zoom):
        return pixels
    angle, zoom, shift_x, shift_y = rng.uniform(-1, 1, size=4)
    size = len(pixels)
    middle = ((size - 1) / 2, (size - 1) / 2)
    matrix = cv2.getRotationMatrix2D(middle, config.jitter_rotation * angle, 1 + config.jitter_zoom * zoom)
    matrix[:, 2] += np.multiply(config.jitter_shift, [shift_x, shift_y])
    return cv2.warpAffine(pixels, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
