"""Read a volume of any supported format, without loading it into memory where the format allows it."""

from pathlib import Path
from typing import Any

import numpy as np

from data.coco_check import load_json
from data.errors import InputError
from data.volumes.dicom_series import find_dicom, read_dicom_series
from data.volumes.raw import read_raw, voxel_size
from data.volumes.slices import TIFF_SUFFIXES, read_slice_folder, read_tiff_stack
from data.volumes.volume import Volume, VoxelSize

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")
RAW_SUFFIXES = (".raw", ".mhd", ".json")
SUFFIXES = (*TIFF_SUFFIXES, ".npy", *RAW_SUFFIXES, *HDF5_SUFFIXES, ".zarr")


def read_volume(path: str | Path, voxel_mm: VoxelSize | float | None = None) -> Volume:
    """Return the volume of a file or folder.

    Formats: a folder of slices (TIFF, PNG, BMP), of DICOM or DICONDE slices, a multipage TIFF, NPY, RAW with a sidecar
    (see `data.volumes.raw`), and with the extra `volumes` HDF5 and Zarr (OME-Zarr too). Values keep their type. TIFF
    without compression, NPY and RAW are memory-mapped.

    Args:
        path: file or folder.
        voxel_mm: size of a voxel in mm, in place of what the file says: one number, or (z, y, x).

    Raises:
        InputError: the file is missing, of another format, corrupt, or no volume of gray values.

    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    values, stated = _read(path)
    if len(values.shape) != 3 or 0 in values.shape:
        raise InputError(f"{path}: an array of shape {list(values.shape)}; a volume has slices, rows and columns")
    if np.dtype(values.dtype).kind not in "uif":
        raise InputError(f"{path}: values of type {values.dtype}; expected integers or floats")
    given = voxel_size(list(voxel_mm) if isinstance(voxel_mm, tuple) else voxel_mm, path)
    return Volume(values, given or stated, path)


def _read(path: Path) -> tuple[Any, VoxelSize | None]:
    suffix = path.suffix.lower()
    if path.is_dir():
        if any((path / name).exists() for name in (".zarray", ".zgroup", "zarr.json")):
            return _read_zarr(path)
        dicom = find_dicom(path)
        return read_dicom_series(dicom) if dicom else (read_slice_folder(path), None)
    if suffix in TIFF_SUFFIXES:
        return read_tiff_stack(path)
    if suffix == ".npy":
        return _read_npy(path)
    if suffix in RAW_SUFFIXES:
        return read_raw(path)
    if suffix in HDF5_SUFFIXES:
        return _read_hdf5(path)
    raise InputError(f"{path}: not a volume's format ({', '.join(SUFFIXES)}, or a folder of slices)")


def _read_npy(path: Path) -> tuple[Any, VoxelSize | None]:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: not an NPY array, or truncated: {error}") from error
    sidecar = path.with_suffix(".json")
    content = load_json(sidecar) if sidecar.is_file() else {}
    stated = content.get("voxel_mm") if isinstance(content, dict) else None
    return values, voxel_size(stated, sidecar)


def _read_hdf5(path: Path) -> tuple[Any, VoxelSize | None]:
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"{path}: HDF5 needs h5py: pip install 'radiograph-detectors[volumes]'") from error
    try:
        file = h5py.File(path, "r")
        found: list[Any] = []
        file.visititems(lambda _, entry: found.append(entry) if isinstance(entry, h5py.Dataset) else None)
    except OSError as error:
        raise InputError(f"{path}: not an HDF5 file, or corrupt: {error}") from error
    volumes = [entry for entry in found if len(_without_ones(entry.shape)) == 3]
    if len(volumes) != 1:
        names = ", ".join(entry.name for entry in volumes[:5]) or "none"
        raise InputError(f"{path}: {len(volumes)} datasets of three axes ({names}); keep one a file")
    dataset = volumes[0]
    stated = dataset.attrs.get("voxel_mm")
    if stated is None and "element_size_um" in dataset.attrs:
        stated = np.asarray(dataset.attrs["element_size_um"], dtype=float) / 1000
    stated = None if stated is None else np.asarray(stated, dtype=float).tolist()
    return (dataset if dataset.ndim == 3 else np.squeeze(dataset[()])), voxel_size(stated, path)


def _read_zarr(path: Path) -> tuple[Any, VoxelSize | None]:
    try:
        import zarr
    except ImportError as error:
        raise InputError(f"{path}: Zarr needs zarr: pip install 'radiograph-detectors[volumes]'") from error
    array: Any
    stated: object
    try:
        node = zarr.open(path, mode="r")
        if isinstance(node, zarr.Array):
            array, stated = node, dict(node.attrs).get("voxel_mm")
        else:
            array, stated = _array_of_group(node, path)
    except InputError:
        raise
    except Exception as error:  # zarr lets many kinds through from broken stores
        raise InputError(f"{path}: not a Zarr store, or corrupt: {error}") from error
    values = array if len(array.shape) == 3 else np.squeeze(np.asarray(array[...]))
    return values, voxel_size(stated, path)


def _array_of_group(group: Any, path: Path) -> tuple[Any, object]:
    """Return the array of a Zarr group that is the volume, the finest scale of OME-Zarr, and what it says of its size.

    Raises InputError for several arrays.
    """
    attributes: dict[str, Any] = dict(group.attrs)
    scales = (attributes.get("multiscales") or attributes.get("ome", {}).get("multiscales") or [None])[0]
    if scales is not None:
        finest = scales["datasets"][0]
        return group[finest["path"]], _ome_voxel_mm(scales, finest)
    arrays = [array for _, array in group.arrays()]
    if len(arrays) != 1:
        raise InputError(f"{path}: {len(arrays)} arrays and no multiscales; keep one volume a store")
    return arrays[0], attributes.get("voxel_mm") or arrays[0].attrs.get("voxel_mm")


def _ome_voxel_mm(scales: dict[str, Any], finest: dict[str, Any]) -> list[float] | None:
    """Return the size (z, y, x) in mm of OME-Zarr's coordinate transformations, None without a unit of length."""
    per_unit = {"millimeter": 1.0, "micrometer": 1e-3, "nanometer": 1e-6, "centimeter": 10.0, "meter": 1e3}
    scale = next((t["scale"] for t in finest.get("coordinateTransformations", []) if t.get("type") == "scale"), None)
    units = [axis.get("unit") for axis in scales.get("axes", [])][-3:]
    if scale is None or len(units) != 3 or not all(unit in per_unit for unit in units):
        return None
    return [float(value) * per_unit[unit] for value, unit in zip(scale[-3:], units, strict=True)]


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length > 1]
