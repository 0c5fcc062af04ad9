"""Anomaly maps of whole volumes: the error of an autoencoder's reconstruction, post-processed."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from data.volumes.writing import require_space
from detectors.volumes.blocks import Slab, predict_in_blocks
from detectors.volumes.post_processing import Correction, corrected_slabs, fit_correction
from detectors.volumes.vae.interface import VolumeAutoencoder


def anomaly_slabs(
    model: VolumeAutoencoder,
    read: Callable[[int, int], NDArray[np.float32]],
    shape: tuple[int, int, int],
    device: torch.device | None = None,
    first: int = 0,
    on_correction: Callable[[Correction], None] = lambda correction: None,
) -> Iterator[Slab]:
    """Yield |x - reconstruction| of a volume in slabs from slice `first` on, float32 [D, Y, X] in 0 ... 1.

    Where the model's section asks for `post_processing`, the blurred gradient of the reconstruction is subtracted. The
    whole reconstruction is needed for that: it lies in a temporary file of 4 bytes a voxel, and is made anew where a
    map goes on. Blocks of air are reconstructed as air.

    Args:
        model: in evaluation mode, on `device`.
        read: slices from a first up to a last, as float32 [D, Y, X] with air at 0 and metal at 1.
        shape: slices, rows and columns.
        device: of the model.
        first: slice to start with; the values do not depend on it.
        on_correction: is given what is subtracted, before the first slab.

    Raises InputError for a disk without room.

    """
    config = model.config
    with tempfile.TemporaryDirectory(prefix="radiograph-") as folder:
        require_space(Path(folder), 4 * int(np.prod(shape, dtype=np.int64)))
        whole = np.memmap(Path(folder) / "reconstruction.raw", np.float32, "w+", shape=shape)
        blocks = skipped = 0
        with torch.inference_mode():
            for slab in predict_in_blocks(
                model.reconstruct, read, shape, config.block, config.overlap, config.batch, device=device
            ):
                whole[slab.first : slab.first + len(slab.values)] = np.clip(slab.values, 0, 1)
                blocks, skipped = blocks + slab.blocks, skipped + slab.skipped

        def reconstruction(low: int, high: int) -> NDArray[np.float32]:
            return np.array(whole[low:high])

        def error(low: int, high: int) -> NDArray[np.float32]:
            return np.abs(np.clip(read(low, high), 0, 1) - whole[low:high])

        correction = fit_correction(error, reconstruction, shape[0]) if config.post_processing else None
        if correction is not None:
            on_correction(correction)
        done = first
        for values in corrected_slabs(error, reconstruction, shape[0], correction, first):
            yield Slab(done, values, blocks, skipped)
            done += len(values)
