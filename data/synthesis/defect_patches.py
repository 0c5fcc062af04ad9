"""Patches of defects alone, as a generative network learns from them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from data.errors import InputError
from data.patch_datasets import PatchSample, PatchSource, jittered
from data.patches import DEFECT, PatchConfig
from data.transforms import AugmentationConfig, build_transform


class DefectPatches(Dataset[PatchSample]):
    """Augmented patches of defects of one or several sources; a sample depends on (`seed`, epoch, index).

    Several sources are drawn from by their weights. One source alone is gone through in order, so that no stored
    patch is left out. Sources without defects are passed over.

    Raises InputError where no source has a defect, or where the augmentation changes the size.
    """

    def __init__(
        self,
        sources: Sequence[PatchSource],
        weights: Sequence[float],
        config: PatchConfig,
        augmentation: AugmentationConfig,
        length: int | None = None,
        seed: int = 0,
    ) -> None:
        self.seed = seed
        self._config = config
        found = [(source, w) for source, w in zip(sources, weights, strict=True) if source.has(DEFECT)]
        if not found:
            raise InputError("no defect patch (class 1) in any source of data.train; add some")
        self._sources = [source for source, _ in found]
        shares = np.array([weight for _, weight in found])
        self._shares = shares / shares.sum()
        # Half of a source's epoch are defects.
        self._length = length or max(sum(len(source) for source in self._sources) // 2, 1)
        if augmentation.crop is not None or augmentation.scale is not None:
            raise InputError("data.augmentation.crop and scale change a patch's size; use data.patches.jitter_zoom")
        self._transform = build_transform(augmentation) if augmentation != AugmentationConfig() else None
        # Shared memory, because workers that outlive an epoch hold a copy of this object from the first one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        """Return the number of samples an epoch."""
        return self._length

    def set_epoch(self, epoch: int) -> None:
        """Draw the samples of this epoch from now on, in every worker."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> PatchSample:
        """Return sample `index` of the epoch: float32 [1, S, S] in [0, 1], label 1, index."""
        if not 0 <= index < self._length:
            raise IndexError(f"sample {index} of {self._length}")
        epoch = int(self._epoch)
        pixels = self._draw(np.random.default_rng([self.seed, epoch, index]), index + epoch * self._length, epoch)
        return torch.from_numpy(pixels)[None], DEFECT, index

    def _pick(self, rng: np.random.Generator, turn: int, epoch: int) -> np.ndarray:
        if len(self._sources) == 1:
            return self._sources[0].draw(DEFECT, rng, turn, epoch)
        return self._sources[int(rng.choice(len(self._sources), p=self._shares))].draw(DEFECT, rng, epoch=epoch)

    def _draw(self, rng: np.random.Generator, turn: int, epoch: int) -> np.ndarray:
        pixels = jittered(self._pick(rng, turn, epoch), self._config, rng)
        if self._transform is not None:
            pixels = self._transform(pixels, np.zeros((0, 4)), np.zeros(0), rng).pixels
        return np.array(pixels, dtype=np.float32)
