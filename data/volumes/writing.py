"""Write volumes: whole ones of any supported format, and long ones slab by slab, to be resumed after a stop."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from data.coco_check import load_json
from data.errors import InputError
from data.files import atomic_path, write_json
from data.volumes.reading import HDF5_SUFFIXES
from data.volumes.slices import TIFF_SUFFIXES
from data.volumes.volume import Volume, VoxelSize

SPARE = 64 * 2**20
"""Bytes that are left free on the disk."""

CLASSIC_LIMIT = 3_900_000_000
"""Bytes above which a TIFF is written as BigTIFF."""


def require_space(folder: Path, size: int) -> None:
    """Raise InputError where the disk of `folder` has no room for `size` bytes more."""
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if size + SPARE > free:
        raise InputError(
            f"{folder}: {size / 1e9:.2f} GB are to be written, and {free / 1e9:.2f} GB are free there; "
            "make room or choose another folder"
        )


def write_volume(path: str | Path, values: Any, voxel_mm: VoxelSize | None = None) -> Path:
    """Write values [Z, Y, X] of uint8, uint16 or float32 with the size of a voxel; return the path.

    The suffix chooses the format: .tif (one file, uncompressed), .npy and .raw (each with a JSON sidecar), .h5, .zarr,
    or none for a folder of slices. Slabs are read from `values` one after the other. Nothing is left half written.
    Raises InputError for another format or type, an existing folder, and a disk without room.
    """
    path, dtype = Path(path), np.dtype(values.dtype)
    suffix = path.suffix.lower()
    if dtype not in (np.uint8, np.uint16, np.uint32, np.float32):
        raise InputError(f"{path}: values of type {dtype}; volumes are written as uint8, uint16, uint32 or float32")
    require_space(path.parent, int(np.prod(values.shape, dtype=np.int64)) * dtype.itemsize)
    if suffix in TIFF_SUFFIXES:
        _write_tiff(path, values, voxel_mm)
    elif suffix in (".npy", ".raw"):
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            if suffix == ".npy":
                _write_npy_head(file, values.shape, dtype)
            for slab in slabs(values):
                file.write(np.ascontiguousarray(slab, dtype.newbyteorder("<")).tobytes())
        sidecar: dict[str, Any] = {"voxel_mm": list(voxel_mm)} if voxel_mm else {}
        if suffix == ".raw":
            sidecar |= {"shape": [int(n) for n in values.shape], "dtype": dtype.name, "byte_order": "little"}
        if sidecar:
            write_json(path.with_suffix(".json"), sidecar)
    elif suffix in HDF5_SUFFIXES:
        _write_hdf5(path, values, voxel_mm)
    elif suffix == ".zarr":
        _write_zarr(path, values, voxel_mm)
    elif not suffix:
        with _new_folder(path) as folder:
            for number in range(values.shape[0]):
                tifffile.imwrite(folder / f"slice_{number:05d}.tif", np.asarray(values[number]))
    else:
        raise InputError(f"{path}: volumes are written as .tif, .npy, .raw, .h5, .zarr, or a folder without a suffix")
    return path


def slabs(values: Any, depth: int = 32) -> Iterator[NDArray[Any]]:
    """Yield the values in slabs of `depth` slices."""
    for first in range(0, values.shape[0], depth):
        yield np.asarray(values[first : first + depth])


def _write_tiff(path: Path, values: Any, voxel_mm: VoxelSize | None) -> None:
    dtype, shape = np.dtype(values.dtype), tuple(int(n) for n in values.shape)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    options: dict[str, Any] = {}
    metadata: dict[str, Any] = {"axes": "ZYX"}
    if voxel_mm:
        metadata |= {"spacing": voxel_mm[0], "unit": "mm"}
        options["resolution"] = (1 / voxel_mm[2], 1 / voxel_mm[1])
    imagej = size < CLASSIC_LIMIT and dtype != np.uint32
    with (
        atomic_path(path) as temporary,
        tifffile.TiffWriter(temporary, bigtiff=size >= CLASSIC_LIMIT, imagej=imagej) as writer,
    ):
        planes = (np.asarray(plane) for slab in slabs(values) for plane in slab)
        writer.write(planes, shape=shape, dtype=dtype, metadata=metadata, photometric="minisblack", **options)


def _write_npy_head(file: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
    head = {"descr": npy_format.dtype_to_descr(dtype.newbyteorder("<")), "fortran_order": False,
            "shape": tuple(int(n) for n in shape)}  # fmt: skip
    npy_format.write_array_header_1_0(file, head)


def _write_hdf5(path: Path, values: Any, voxel_mm: VoxelSize | None) -> None:
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"{path}: HDF5 needs h5py: pip install 'radiograph-detectors[volumes]'") from error
    # The temporary file is locked already.
    with atomic_path(path) as temporary, h5py.File(temporary, "w", locking=False) as file:
        dataset = file.create_dataset("volume", values.shape, values.dtype, chunks=True)
        for number, slab in enumerate(slabs(values)):
            dataset[number * 32 : number * 32 + len(slab)] = slab
        if voxel_mm:
            dataset.attrs["voxel_mm"] = voxel_mm


def _write_zarr(path: Path, values: Any, voxel_mm: VoxelSize | None) -> None:
    try:
        import zarr
    except ImportError as error:
        raise InputError(f"{path}: Zarr needs zarr: pip install 'radiograph-detectors[volumes]'") from error
    with _new_folder(path) as folder:
        array = zarr.open_array(str(folder), mode="w", shape=values.shape, dtype=values.dtype)
        for number, slab in enumerate(slabs(values)):
            array[number * 32 : number * 32 + len(slab)] = slab
        if voxel_mm:
            array.attrs["voxel_mm"] = list(voxel_mm)


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder beside `path` that takes its name at the end, or vanishes on an error."""
    if path.exists():
        raise InputError(f"{path}: exists already; choose another name or remove it")
    temporary = path.with_name(f".{path.name}-writing")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class SlabWriter:
    """Writes an NPY file slab by slab into `<path>.part`, which becomes `path` when it is whole.

    `done` slices are written already where an earlier one was stopped, all of them where it had finished; slabs then go
    on from there. A file of another shape or type, or whose `key` differs, is written anew.

    Args:
        path: of the finished file, .npy; `<path>.json` beside it keeps the key.
        shape: slices, rows and columns.
        dtype: of the values.
        key: what the values depend on, such as the checkpoint; JSON values. Without one, every file is written anew.

    """

    def __init__(self, path: Path, shape: tuple[int, int, int], dtype: Any, key: Any = None) -> None:
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        self._whole = path.with_name(path.name + ".json")
        self._part = path.with_name(path.name + ".part")
        self._state = path.with_name(path.name + ".part.json")
        self._plane = shape[1] * shape[2] * self.dtype.itemsize
        self._key = {"shape": list(shape), "dtype": self.dtype.name, "key": key}
        self.is_whole = key is not None and path.is_file() and self._is_of_key(self._whole)
        if self.is_whole:
            self.done = shape[0]
            return
        self.done = self._resumable() if key is not None else 0
        if not self.done:
            require_space(path.parent, shape[0] * self._plane)
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._part.open("wb") as file:
                _write_npy_head(file, shape, self.dtype)
            write_json(self._state, self._key)
        with self._part.open("rb") as file:
            npy_format.read_magic(file)
            npy_format.read_array_header_1_0(file)
            self._start = file.tell()

    def _resumable(self) -> int:
        """Return how many whole slices of the same volume lie in the part."""
        if not (self._part.is_file() and self._is_of_key(self._state)):
            return 0
        try:
            with self._part.open("rb") as file:
                npy_format.read_magic(file)
                npy_format.read_array_header_1_0(file)
                return max(0, (self._part.stat().st_size - file.tell()) // self._plane)
        except (ValueError, OSError):
            return 0

    def _is_of_key(self, state: Path) -> bool:
        """Return whether a file beside the values says that they depend on the same."""
        try:
            return state.is_file() and bool(load_json(state) == self._key)
        except InputError:  # damaged
            return False

    def append(self, values: NDArray[Any]) -> None:
        """Write the next slices [D, Y, X]."""
        with self._part.open("r+b") as file:
            file.seek(self._start + self.done * self._plane)
            file.write(np.ascontiguousarray(values, self.dtype.newbyteorder("<")).tobytes())
            file.truncate()
        self.done += len(values)

    def finish(self) -> Path:
        """Give the file its name. Raises RuntimeError where slices are missing."""
        if self.is_whole:
            return self.path
        if self.done != self.shape[0]:
            raise RuntimeError(f"{self.done} of {self.shape[0]} slices are written")
        # In this order: a process that is killed in between leaves values without a key, never with that of others.
        self._whole.unlink(missing_ok=True)
        self._part.replace(self.path)
        if self._key["key"] is not None:
            self._state.replace(self._whole)
        self._state.unlink(missing_ok=True)
        return self.path

    def discard(self) -> None:
        """Remove what is written of an unfinished file, and the folder if it is empty then."""
        self._part.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)
        with suppress(OSError):
            self.path.parent.rmdir()


def copy_volume(volume: Volume) -> NDArray[Any]:
    """Return all values of a volume in memory. Raises InputError for NaN."""
    return volume.slab(0, volume.shape[0])
