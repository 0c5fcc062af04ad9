"""A map of a volume of any depth, in overlapping cubes that are blended without seams."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from data.errors import InputError
from detectors.segmentation.windows import axis_weights
from detectors.tiles import tile_starts

AIR_BELOW = 0.5
"""Between air (0) and metal (1): a block without a neighborhood above it has no part in it."""

Read = Callable[[int, int], NDArray[np.float32]]


@dataclass(frozen=True)
class Slab:
    """Finished slices of a map: `values` float32 [D, H, W] from slice `first` on; `blocks` mapped, `skipped` of air."""

    first: int
    values: NDArray[np.float32]
    blocks: int
    skipped: int


def predict_in_blocks(
    predict: Callable[[Tensor], Tensor],
    read: Read,
    shape: tuple[int, int, int],
    size: int,
    overlap: int,
    batch: int = 1,
    first: int = 0,
    skip_air: bool = True,
    device: torch.device | None = None,
) -> Iterator[Slab]:
    """Yield the map of a volume in slabs of finished slices, from the first to the last.

    A block's weight falls to its edges as a raised cosine over `overlap` voxels, and the weights at every voxel sum
    to 1: a constant map stays constant. One layer of blocks is held at a time, so that memory grows with the area of
    a slice and not with their number. Blocks of air alone are not mapped, and are 0. An axis shorter than a block is
    continued by its edge.

    Args:
        predict: blocks [N, 1, size, size, size] to values [N, size, size, size]; N is at most `batch`.
        read: slices from a first up to a last, as float32 [D, H, W] with air at 0 and metal at 1.
        shape: slices, rows and columns of the volume.
        size: side of a block in voxels.
        overlap: voxels that neighboring blocks share at least, 0 to size - 1.
        batch: blocks mapped at once.
        first: slice to start with; what comes before is not yielded. The values do not depend on it.
        skip_air: leave out blocks of air.
        device: of the model.

    Raises InputError for an overlap that is not under the size.

    """
    if not 0 <= overlap < size:
        raise InputError(f"blocks of {size} voxels cannot overlap by {overlap}; give 0 to {size - 1}")
    depth, height, width = shape
    full = tuple(max(length, size) for length in shape)
    starts = [tile_starts(length, size, size - overlap) for length in full]
    weights = [axis_weights(length, places, size, overlap).float() for length, places in zip(full, starts, strict=True)]
    corners = [(y, x) for y in range(len(starts[1])) for x in range(len(starts[2]))]
    sums = torch.zeros(size, full[1], full[2])
    following = [*starts[0][1:], full[0]]
    # Layers whose blocks end before the first wanted slice add nothing to it.
    begin = next(k for k, top in enumerate(starts[0]) if top + size > first)
    for layer in range(begin, len(starts[0])):
        top = starts[0][layer]
        slab = _padded(read(top, min(top + size, depth)), (size, full[1], full[2]))
        wanted = [c for c in corners if not skip_air or _has_part(_block(slab, starts, c, size))]
        for index in range(0, len(wanted), batch):
            some = wanted[index : index + batch]
            blocks = torch.stack([_block(slab, starts, corner, size) for corner in some])[:, None]
            values = predict(blocks.to(device)).float().cpu()
            for (y, x), value in zip(some, values, strict=True):
                share = weights[0][layer][:, None, None] * weights[1][y][:, None] * weights[2][x]
                sums[:, starts[1][y] : starts[1][y] + size, starts[2][x] : starts[2][x] + size] += value * share
        done = min(following[layer], depth) - top
        cut = max(first - top, 0)
        if done > cut:
            finished = sums[cut:done, :height, :width].numpy().copy()
            yield Slab(top + cut, finished, len(wanted), len(corners) - len(wanted))
        step = following[layer] - top
        # The slices that the next layers add to move up.
        sums[: size - step] = sums[step:].clone()
        sums[size - step :] = 0


def _block(slab: Tensor, starts: list[list[int]], corner: tuple[int, int], size: int) -> Tensor:
    top, left = starts[1][corner[0]], starts[2][corner[1]]
    return slab[:, top : top + size, left : left + size]


def _has_part(block: Tensor) -> bool:
    """Return whether a block holds metal: averages of 2 x 2 x 2 voxels, so that noise in air does not count."""
    return bool(F.avg_pool3d(block[None, None], 2).max() > AIR_BELOW)


def _padded(values: NDArray[np.float32], shape: tuple[int, ...]) -> Tensor:
    """Return values continued by their edge to `shape`."""
    missing = [(0, length - found) for length, found in zip(shape, values.shape, strict=True)]
    if any(after for _, after in missing):
        values = np.pad(values, missing, mode="edge")
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
