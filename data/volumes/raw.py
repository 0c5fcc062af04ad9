"""Raw voxels with a sidecar that says their shape, type and size: JSON, or MetaImage's .mhd."""

from pathlib import Path
from typing import Any

import numpy as np

from data.coco_check import load_json
from data.errors import InputError
from data.volumes.volume import VoxelSize

TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
MET_TYPES = {
    "MET_UCHAR": "uint8", "MET_CHAR": "int8", "MET_USHORT": "uint16", "MET_SHORT": "int16", "MET_UINT": "uint32",
    "MET_INT": "int32", "MET_FLOAT": "float32", "MET_DOUBLE": "float64",
}  # fmt: skip
EXAMPLE = '{"shape": [z, y, x], "dtype": "uint16", "voxel_mm": 0.01}'


def read_raw(path: Path) -> tuple[Any, VoxelSize | None]:
    """Return raw voxels, memory-mapped [Z, Y, X], and their size in mm.

    `path` is the raw file or its sidecar: a JSON file of the same stem with `shape` [z, y, x], `dtype`, `voxel_mm`
    (one number or [z, y, x]), `byte_order` and `offset`, or a MetaImage header (.mhd). Raises InputError where the
    sidecar is missing or wrong, or does not fit the file's size.
    """
    sidecar = path if path.suffix.lower() in (".json", ".mhd") else _sidecar_of(path)
    entry = _read_mhd(sidecar) if sidecar.suffix.lower() == ".mhd" else _read_json(sidecar)
    file = path if path != sidecar else sidecar.parent / entry["file"]
    if not file.is_file():
        raise InputError(f"{file}: no such file, named by {sidecar}")
    shape, dtype = entry["shape"], np.dtype(entry["dtype"]).newbyteorder(entry["byte_order"])
    wanted, found = entry["offset"] + int(np.prod(shape, dtype=object)) * dtype.itemsize, file.stat().st_size
    if wanted != found:
        raise InputError(
            f"{file}: {found} bytes, but {sidecar.name} says {' x '.join(map(str, shape))} voxels (z, y, x) of "
            f"{entry['dtype']} from byte {entry['offset']}: {wanted} bytes; correct shape, dtype or offset"
        )
    return np.memmap(file, dtype, "r", entry["offset"], tuple(shape)), entry["voxel_mm"]


def _sidecar_of(path: Path) -> Path:
    for name in (path.with_suffix(".json"), path.with_name(path.name + ".json"), path.with_suffix(".mhd")):
        if name.is_file():
            return name
    raise InputError(
        f"{path}: raw voxels without a sidecar; write {path.with_suffix('.json').name} beside it: {EXAMPLE}"
    )


def _read_json(path: Path) -> dict[str, Any]:
    content = load_json(path)
    if not isinstance(content, dict) or not {"shape", "dtype"} <= content.keys():
        raise InputError(f"{path}: a sidecar needs 'shape' and 'dtype', such as {EXAMPLE}")
    folder_file = content.get("file", path.with_suffix(".raw").name)
    return _checked(
        path, content["shape"], content["dtype"], content.get("voxel_mm"), content.get("byte_order", "little"),
        content.get("offset", 0), folder_file,
    )  # fmt: skip


def _read_mhd(path: Path) -> dict[str, Any]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a MetaImage header: {error}") from error
    values = {key.strip(): value.strip() for key, separator, value in (line.partition("=") for line in lines)
              if separator}  # fmt: skip
    absent = [key for key in ("DimSize", "ElementType", "ElementDataFile") if key not in values]
    if absent or values.get("ElementType") not in MET_TYPES:
        what = f"lacks {', '.join(absent)}" if absent else f"ElementType {values['ElementType']} is not supported"
        raise InputError(f"{path}: {what}; expected DimSize, ElementType (one of {', '.join(MET_TYPES)}) and "
                         "ElementDataFile")  # fmt: skip
    if values.get("CompressedData", "False").lower() == "true":
        raise InputError(f"{path}: compressed MetaImage; save it uncompressed")
    try:
        shape = [int(value) for value in reversed(values["DimSize"].split())]
        sizes = values.get("ElementSpacing", values.get("ElementSize"))
        voxel_mm = [float(value) for value in reversed(sizes.split())] if sizes else None
        offset = int(values.get("HeaderSize", "0"))
    except ValueError as error:
        raise InputError(f"{path}: not a number: {error}") from error
    big = values.get("BinaryDataByteOrderMSB", values.get("ElementByteOrderMSB", "False")).lower() == "true"
    order = "big" if big else "little"
    return _checked(path, shape, MET_TYPES[values["ElementType"]], voxel_mm, order, offset, values["ElementDataFile"])


def _checked(
    path: Path, shape: object, dtype: object, voxel_mm: object, byte_order: object, offset: object, file: object
) -> dict[str, Any]:
    """Return the sidecar's entries; raise InputError for the first that is wrong."""
    if not isinstance(shape, list) or len(shape) != 3 or not all(type(n) is int and n > 0 for n in shape):
        raise InputError(f"{path}: shape {shape} is not three whole numbers above 0 (z, y, x)")
    if dtype not in TYPES:
        raise InputError(f"{path}: dtype {dtype!r} is not one of {', '.join(TYPES)}")
    if byte_order not in ("little", "big"):
        raise InputError(f"{path}: byte_order {byte_order!r} is neither 'little' nor 'big'")
    if type(offset) is not int or offset < 0:
        raise InputError(f"{path}: offset {offset!r} is not a number of bytes, 0 or more")
    if not isinstance(file, str) or Path(file).name != file:
        raise InputError(f"{path}: file {file!r} is not the name of a file beside it")
    return {"shape": shape, "dtype": dtype, "voxel_mm": voxel_size(voxel_mm, path), "offset": offset, "file": file,
            "byte_order": {"little": "<", "big": ">"}[byte_order]}  # fmt: skip


def voxel_size(value: object, path: Path) -> VoxelSize | None:
    """Return a voxel size (z, y, x) in mm of one number or three, None of None. Raises InputError for others."""
    if value is None:
        return None
    sizes = [value] * 3 if isinstance(value, int | float) else value
    if (
        not isinstance(sizes, list | tuple)
        or len(sizes) != 3
        or not all(isinstance(v, int | float) and np.isfinite(v) and v > 0 for v in sizes)
    ):
        raise InputError(f"{path}: voxel_mm {value!r} is neither a size in mm nor three of them (z, y, x)")
    return float(sizes[0]), float(sizes[1]), float(sizes[2])
