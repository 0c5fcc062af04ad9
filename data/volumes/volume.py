"""A volume: gray values on a grid of voxels, of any depth, perhaps larger than memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError

VoxelSize = tuple[float, float, float]


class ArrayLike(Protocol):
    """What holds the voxels: an array, a memory-mapped file, or slices that are read when they are asked for."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, key: Any) -> Any:
        """Return the voxels of slices along z, y and x."""
        ...


@dataclass(frozen=True)
class Volume:
    """Gray values [Z, Y, X] with the size of a voxel.

    `values` is array-like, of unsigned or signed integers or floats, as the file has them: nothing is scaled.
    `voxel_mm` is the size (z, y, x) in mm, None where the file does not say it. `path` is the file or folder.
    """

    values: ArrayLike
    voxel_mm: VoxelSize | None = None
    path: Path | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        z, y, x = self.values.shape
        return int(z), int(y), int(x)

    @property
    def name(self) -> str:
        """The file's stem or the folder's name, for output files."""
        return "volume" if self.path is None else (self.path.name if self.path.is_dir() else self.path.stem)

    def box(self, low: tuple[int, int, int], high: tuple[int, int, int]) -> NDArray[Any]:
        """Return the voxels from `low` up to `high` (z, y, x) as an array in memory."""
        return np.asarray(self.values[low[0] : high[0], low[1] : high[1], low[2] : high[2]])

    def slab(self, first: int, last: int) -> NDArray[Any]:
        """Return the slices from `first` up to `last` as an array in memory. Raises InputError for NaN in them."""
        values = np.asarray(self.values[first:last])
        check_finite(values, self.path, first)
        return values


def check_finite(values: NDArray[Any], path: Path | None, first: int = 0) -> None:
    """Raise InputError where values are NaN or infinite; `first` is the number of their first slice."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        z, y, x = np.argwhere(~np.isfinite(values))[0]
        raise InputError(
            f"{path or 'volume'}: voxel z {first + z}, y {y}, x {x} is {values[z, y, x]}; replace values that are no "
            "numbers, by the gray value of air for one"
        )


def isotropic(voxel_mm: VoxelSize | None) -> float | None:
    """Return the side of a cube of a voxel's volume in mm, None where the size is unknown."""
    return None if voxel_mm is None else float(np.cbrt(np.prod(voxel_mm)))
