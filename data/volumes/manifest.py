"""Sets of labeled volumes: a JSON manifest that names volumes, their labels, voxel sizes and gray levels.

    {"volumes": [{"file": "scan_1.tif", "labels": "scan_1_labels.tif", "voxel_mm": 0.02, "air": 9000, "metal": 31000}]}

`labels` may be left out, and so may voxel size and gray levels, which are then read from the file and its histogram.
Names start from the manifest's folder. Labels are those of `data.volumes.labels`, or a mask of 0 and 1 (or 255) with
the pores alone; what is part and what is air is then found by the gray levels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.coco_check import load_json
from data.errors import InputError
from data.volumes.components import PartMask
from data.volumes.gray_levels import GrayLevels, find_gray_levels
from data.volumes.labeled import LabeledVolume
from data.volumes.labels import IGNORED, MATERIAL, NAMES, OPEN_PORE, PORE
from data.volumes.raw import voxel_size
from data.volumes.reading import read_volume
from data.volumes.volume import Volume, VoxelSize

MANIFEST = "volumes.json"


@dataclass(frozen=True)
class VolumeEntry:
    """One volume of a set; what is None is found out when it is read."""

    file: Path
    labels: Path | None = None
    voxel_mm: VoxelSize | None = None
    levels: GrayLevels | None = None

    def volume(self) -> Volume:
        """Return the volume, its values still on the disk. Raises InputError as `read_volume`."""
        return read_volume(self.file, self.voxel_mm)

    def labeled(self, levels: GrayLevels | None = None) -> LabeledVolume:
        """Return the volume with its labels; `levels` go before those of the entry and of the histogram.

        Raises InputError for a volume without labels, labels of another grid and unknown values in them.
        """
        volume = self.volume()
        if self.labels is None:
            raise InputError(f"{self.file}: no labels; give 'labels' in the manifest, or analyze it with analyze-pores")
        found = levels or self.levels or find_gray_levels(volume)
        return LabeledVolume(volume, read_labels(self.labels, volume, found), found)


def read_manifest(path: str | Path) -> list[VolumeEntry]:
    """Return the volumes of a manifest, of a folder that holds `volumes.json`, or one volume's file or folder.

    Raises InputError for a missing file, entries without a file, sizes and levels that are no numbers, and names that
    leave the manifest's folder.
    """
    path = Path(path)
    if path.is_dir() and (path / MANIFEST).is_file():
        path = path / MANIFEST
    if not path.is_file() or (path.name != MANIFEST and path.suffix.lower() != ".json"):
        return [VolumeEntry(path)]
    content = load_json(path)
    entries = content.get("volumes") if isinstance(content, dict) else None
    if entries is None and isinstance(content, dict) and "shape" in content:
        return [VolumeEntry(path)]  # the sidecar of a raw volume
    if not isinstance(entries, list) or not entries:
        raise InputError(f'{path}: no list \'volumes\' in it; write {{"volumes": [{{"file": ..., "labels": ...}}]}}')
    return [_entry(entry, number, path) for number, entry in enumerate(entries)]


def _entry(entry: Any, number: int, path: Path) -> VolumeEntry:
    where = f"{path}: volume {number}"
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        raise InputError(f"{where}: no 'file' in it; name the volume's file or folder")
    labels = entry.get("labels")
    if labels is not None and not isinstance(labels, str):
        raise InputError(f"{where}: labels {labels!r} is not the name of a file")
    levels = None
    if entry.get("air") is not None or entry.get("metal") is not None:
        if not all(isinstance(entry.get(name), int | float) for name in ("air", "metal")):
            raise InputError(f"{where}: air {entry.get('air')!r} and metal {entry.get('metal')!r}; give two numbers")
        levels = GrayLevels(float(entry["air"]), float(entry["metal"]))
    places = [_inside(path.parent, name, where) for name in (entry["file"], labels) if name is not None]
    return VolumeEntry(places[0], places[1] if labels else None, voxel_size(entry.get("voxel_mm"), path), levels)


def _inside(folder: Path, name: str, where: str) -> Path:
    """Return a file of a folder. Raises InputError for a name that leads out of it, unless it is absolute."""
    if not Path(name).is_absolute() and ".." in Path(name).parts:
        raise InputError(f"{where}: {name!r} leads out of the manifest's folder; move the file, or name it in full")
    return folder / name


def read_labels(path: Path, volume: Volume, levels: GrayLevels) -> NDArray[np.uint8]:
    """Return labels uint8 [Z, Y, X] of `data.volumes.labels`.

    A mask of 0 and 1 or 255 marks the pores; the part is then what the gray levels show. Raises InputError for
    another grid than the volume's and for values that are no labels.
    """
    stored = read_volume(path)
    if stored.shape != volume.shape:
        raise InputError(
            f"{path}: labels of {_size(stored.shape)} voxels (z, y, x), their volume {volume.path} has "
            f"{_size(volume.shape)}; labels need the grid of their volume"
        )
    if np.dtype(stored.values.dtype).kind not in "ui":
        raise InputError(f"{path}: labels of type {stored.values.dtype}; expected whole numbers")
    values = stored.slab(0, stored.shape[0])
    known = np.unique(values)
    strange = [int(value) for value in known if int(value) not in NAMES]
    if strange:
        names = ", ".join(f"{value} {name}" for value, name in NAMES.items())
        raise InputError(f"{path}: value {strange[0]} is no label; labels are {names}, or a mask of 0 and 1")
    labels: NDArray[np.uint8] = values.astype(np.uint8)
    # Without material there are pores alone; 255 is then the other way to write 1.
    if MATERIAL in known and (PORE in known or OPEN_PORE in known or IGNORED in known):
        return labels
    if not np.isin(known, (0, 1)).all() and not np.isin(known, (0, 255)).all():
        return labels
    return mask_to_labels(labels > 0, volume, levels)


def mask_to_labels(pores: NDArray[np.bool_], volume: Volume, levels: GrayLevels) -> NDArray[np.uint8]:
    """Return labels of a mask of pores: material where the volume shows the part, closed and open pores."""
    part = PartMask(lambda a, b: levels.normalize(volume.slab(a, b)), volume.shape, name=str(volume.path or "volume"))
    inside = part.rows(0, volume.shape[0])
    labels = inside.astype(np.uint8) * np.uint8(MATERIAL)
    labels[pores] = np.where(inside[pores], PORE, OPEN_PORE)
    return labels


def load_labeled(entries: list[VolumeEntry], levels: GrayLevels | None = None) -> Iterator[LabeledVolume]:
    """Yield the volumes of a set with their labels, one at a time."""
    for entry in entries:
        yield entry.labeled(levels)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)
