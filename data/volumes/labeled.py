"""A volume together with its labels and its gray levels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.volumes.gray_levels import GrayLevels
from data.volumes.volume import Volume


@dataclass(frozen=True)
class LabeledVolume:
    """A volume with its labels uint8 [Z, Y, X] of `data.volumes.labels` and its gray levels."""

    volume: Volume
    labels: NDArray[np.uint8]
    levels: GrayLevels

    def __post_init__(self) -> None:
        if self.labels.shape != self.volume.shape:
            raise InputError(
                f"{self.volume.path or 'volume'}: {_size(self.volume.shape)} voxels, its labels have "
                f"{_size(self.labels.shape)} (z, y, x); labels need the grid of their volume"
            )


def _size(shape: Sequence[int]) -> str:
    return " x ".join(str(length) for length in shape)
