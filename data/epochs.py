"""Data sets whose samples change from epoch to epoch: the base of all, and the mixture of several."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch.utils.data import Dataset

from data.errors import InputError
from data.streams import stream

T_co = TypeVar("T_co", covariant=True)


class EpochDataset(Dataset[T_co]):
    """A data set whose samples depend on (`seed`, epoch, index) and nothing else."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        # Shared memory, because workers that outlive an epoch hold a copy of this object from the first one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        """The epoch that the samples are drawn for."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw the samples of this epoch from now on, in every worker."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """Return the number of samples an epoch."""
        raise NotImplementedError

    def _rng(self, index: int) -> np.random.Generator:
        """Return the random numbers of sample `index` of the epoch. Raises IndexError beyond the last."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return stream(self.seed, "sample", self.epoch, index)


class RepeatedDataset(EpochDataset[T_co]):
    """Samples of `positions` radiographs or regions, each drawn `repeat` times an epoch."""

    def __init__(self, positions: int, seed: int, repeat: int) -> None:
        super().__init__(seed)
        self.positions = positions
        self.repeat = repeat

    def __len__(self) -> int:
        """Return the number of samples an epoch: positions times `repeat`."""
        return self.positions * self.repeat

    def __getitem__(self, index: int) -> T_co:
        """Return sample `index` of the epoch."""
        rng = self._rng(index)
        return self.sample(index % self.positions, rng)

    def sample(self, position: int, rng: np.random.Generator) -> T_co:
        """Draw one sample of the radiograph or region at a position, every random choice from `rng`."""
        raise NotImplementedError


class MixedDataset(EpochDataset[T_co]):
    """Samples of several data sets in given proportions, such as real and simulated radiographs.

    `weights` are relative, one a data set; `length` is the number of samples an epoch. Source, radiograph and
    augmentation of a sample depend on (`seed`, epoch, index) and nothing else; radiographs of a source are drawn
    with replacement, each draw with its own augmentation.

    Raises `InputError` where the weights are not one a data set, finite, not negative and not all zero.
    """

    def __init__(
        self, datasets: Sequence[RepeatedDataset[T_co]], weights: Sequence[float], length: int, seed: int = 0
    ) -> None:
        super().__init__(seed)
        proportions = np.asarray(weights, dtype=np.float64)
        valid = np.isfinite(proportions).all() and (proportions >= 0).all() and proportions.any()
        if proportions.shape != (len(datasets),) or not valid:
            raise InputError(
                f"weights {list(weights)} for {len(datasets)} data sets: give one finite, non-negative number"
                " for each, not all zero"
            )
        self.datasets = list(datasets)
        self._proportions = proportions / proportions.sum()
        self._length = length

    def __len__(self) -> int:
        """Return the number of samples an epoch."""
        return self._length

    def set_epoch(self, epoch: int) -> None:
        """Draw the samples of this epoch from now on, here and in the sources."""
        super().set_epoch(epoch)
        for dataset in self.datasets:
            dataset.set_epoch(epoch)

    def __getitem__(self, index: int) -> T_co:
        """Return sample `index` of the epoch."""
        rng = self._rng(index)
        source = self.datasets[int(rng.choice(len(self.datasets), p=self._proportions))]
        return source.sample(int(rng.integers(source.positions)), rng)
