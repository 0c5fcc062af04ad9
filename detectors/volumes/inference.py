"""Maps of whole volumes: from a model and gray levels to a probability a voxel, in slabs, and to a file."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from data.console import console, progress
from data.errors import InputError
from data.volumes.gray_levels import GrayLevels
from data.volumes.otsu import OtsuPores
from data.volumes.volume import Volume
from data.volumes.writing import SlabWriter
from detectors.volumes.anomaly import anomaly_slabs
from detectors.volumes.blocks import Slab, predict_in_blocks
from detectors.volumes.interface import VolumeModel
from detectors.volumes.otsu import OtsuModel
from detectors.volumes.vae.interface import VolumeAutoencoder


def reader(volume: Volume, levels: GrayLevels) -> Callable[[int, int], NDArray[np.float32]]:
    """Return a function that reads slices with air at 0 and metal at 1."""
    return lambda first, last: levels.normalize(volume.slab(first, last))


def map_volume(
    model: nn.Module, volume: Volume, levels: GrayLevels, device: torch.device | None = None, first: int = 0
) -> Iterator[Slab]:
    """Yield the pore probability of a volume in slabs, from slice `first` on; of autoencoders, the anomaly map.

    Args:
        model: in evaluation mode, on `device`.
        volume: of any depth.
        levels: gray values of air and metal.
        device: of the model.
        first: slice to start with; the values do not depend on it.

    Raises InputError for bad voxels, and for a model that is not one of volumes.

    """
    read = reader(volume, levels)
    if isinstance(model, OtsuModel):
        done = 0
        for mask in OtsuPores(read, volume.shape, model.config.rule, str(volume.path or "volume")).slabs():
            if done + len(mask) > first:
                values = mask[max(first - done, 0) :].astype(np.float32)
                yield Slab(max(done, first), values, 1, 0)
            done += len(mask)
        return
    if isinstance(model, VolumeAutoencoder):
        yield from anomaly_slabs(model, read, volume.shape, device, first)
        return
    if not isinstance(model, VolumeModel):
        raise InputError(
            "this model is not one of volumes; give a run of unet3d, acc_unet, slice_unet, deep_defect or dilated"
        )
    config = model.config
    with torch.inference_mode():
        for slab in predict_in_blocks(
            model.map_blocks, read, volume.shape, config.block, config.overlap, config.batch, first, device=device
        ):
            # Weights that sum to 1 but for rounding make a little more than 1 of certainty.
            np.clip(slab.values, 0, 1, out=slab.values)
            yield slab


def write_map(
    model: nn.Module, volume: Volume, levels: GrayLevels, path: Path, key: Any, device: torch.device | None = None
) -> Path:
    """Write the pore probability of a volume as float32 NPY [Z, Y, X] at `path`; return it.

    A progress bar counts slices. After Ctrl-C, or a crash, the same call goes on behind the last slice written, and
    the file is the same to the last bit; a finished one is taken as it is. A volume whose files have changed since is
    mapped anew.

    Args:
        model: in evaluation mode, on `device`.
        volume: of any depth.
        levels: gray values of air and metal.
        path: of the map, .npy.
        key: what the map depends on besides, such as the checkpoint; a part with another key is begun anew.
        device: of the model.

    Raises InputError for bad voxels and a disk without room.

    """
    identity = {"key": key, "air": levels.air, "metal": levels.metal, "volume": str(volume.path),
                "files": stamp(volume.path)}  # fmt: skip
    writer = SlabWriter(path, volume.shape, np.float32, identity)
    if writer.is_whole:
        console.print(f"{path} is of this volume and these weights already")
        return path
    if writer.done:
        console.print(f"going on at slice {writer.done} of {volume.shape[0]}")
    try:
        with progress("{task.fields[words]}") as bar:
            line = bar.add_task("mapping", total=volume.shape[0], completed=writer.done, words="")
            for slab in map_volume(model, volume, levels, device, writer.done):
                writer.append(slab.values)
                words = f"{slab.blocks} blocks, {slab.skipped} of air skipped"
                bar.update(line, completed=writer.done, words=words)
    except KeyboardInterrupt:
        console.print(f"{writer.done} of {volume.shape[0]} slices are kept; the same command goes on there")
        raise
    except InputError:
        writer.discard()
        raise
    return writer.finish()


def stamp(path: Path | None) -> list[int] | None:
    """Return what tells a file or folder from a later state of it: files, bytes, and the time of the last change."""
    if path is None or not path.exists():
        return None
    files = [file.stat() for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    return [len(files), sum(file.st_size for file in files), max((file.st_mtime_ns for file in files), default=0)]
