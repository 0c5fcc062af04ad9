"""Patches on disk: one compact file with an index, or a folder of pictures sorted by class."""

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from data.errors import InputError
from data.files import atomic_path
from data.radiograph import find_radiographs, read_radiograph

CLASSES = ("no-defect", "defect")
ORIGINS = ("real", "ellipsoid", "gan", "phantom")
MAX_EXPANSION = 200  # times its own size that a file may grow to in memory; real patches grow to 2 or 3
HARMLESS_BYTES = 2**28  # of a file that grows more
READ_BYTES = 2**20  # decompressed at once
COLUMNS = ("pixels", "labels", "files", "file_index", "places", "origins", "origin_index")


@dataclass(frozen=True)
class PatchSet:
    """N patches of one size with their index.

    Attributes:
        pixels: uint8 or uint16 [N, S, S], full scale 255 or 65535, larger is brighter.
        labels: int64 [N], 0 no-defect, 1 defect.
        files: [N] the file that each was cut from, or is.
        places: float32 [N, 3]: center x and y in pixels of that file, degrees turned; NaN where unknown.
        origins: [N] real, ellipsoid, gan or phantom: where a defect comes from.
        path: the file or folder that the set was read from.

    """

    pixels: np.ndarray
    labels: np.ndarray
    files: np.ndarray
    places: np.ndarray
    origins: np.ndarray
    path: Path | None = None

    def __len__(self) -> int:
        """Return the number of patches."""
        return len(self.labels)

    @property
    def size(self) -> int:
        """Side of a patch in pixels."""
        return self.pixels.shape[1]

    def floats(self, index: int | slice | np.ndarray) -> np.ndarray:
        """Return float32 pixels in [0, 1] of the patches at `index`."""
        return scaled(self.pixels[index])

    def subset(self, index: np.ndarray) -> "PatchSet":
        """Return the patches at `index` (positions or a mask) as a set of their own."""
        parts = {name: getattr(self, name)[index] for name in ("pixels", "labels", "files", "places", "origins")}
        return replace(self, **parts)


def scaled(levels: np.ndarray) -> np.ndarray:
    """Return unsigned integers as float32 shares of their type's full scale."""
    return levels.astype(np.float32) / np.float32(np.iinfo(levels.dtype).max)


def to_levels(pixels: np.ndarray, bit_depth: int) -> np.ndarray:
    """Return float pixels in [0, 1] as uint8 where 8 bits hold them all, else as uint16."""
    if bit_depth <= 8 and 255 % (2**bit_depth - 1) == 0:
        return np.rint(pixels * 255).astype(np.uint8)
    return np.rint(pixels * 65535).astype(np.uint16)


def stack_levels(patches: Sequence[np.ndarray]) -> np.ndarray:
    """Return patches of 8 and 16 bits as one array; 8-bit ones among 16-bit ones keep their shares exactly."""
    deep = any(patch.dtype == np.uint16 for patch in patches)
    return np.stack([p.astype(np.uint16) * 257 if deep and p.dtype == np.uint8 else p for p in patches])


def join_patches(parts: Sequence[PatchSet]) -> PatchSet:
    """Return several sets of patches of one size as one, without a path."""
    return PatchSet(
        stack_levels([patch for part in parts for patch in part.pixels]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.files for part in parts]),
        np.concatenate([part.places for part in parts]),
        np.concatenate([part.origins for part in parts]),
    )


def write_patches(path: str | Path, patches: PatchSet) -> None:
    """Write patches and index into one compressed .npz file, atomically. Raises InputError for another suffix."""
    path = Path(path)
    if path.suffix != ".npz":
        raise InputError(f"{path}: patches are written as .npz")
    files, file_index = np.unique(patches.files.astype(str), return_inverse=True)
    origins, origin_index = np.unique(patches.origins.astype(str), return_inverse=True)
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            pixels=patches.pixels,
            labels=patches.labels.astype(np.uint8),
            files=files,
            file_index=file_index.astype(np.int32),
            places=patches.places.astype(np.float32),
            origins=origins,
            origin_index=origin_index.astype(np.int32),
        )


def read_patches(path: str | Path, size: int | None = None) -> PatchSet:
    """Read a patch file (.npz), or a folder with the sub-folders class_0 (no-defect) and class_1 (defect).

    Pictures of a folder keep their 8 or 16 bits. With `size` every patch must have this side. Raises InputError
    for a missing or foreign file, an empty folder, and patches that are not square or of several sizes.
    """
    path = Path(path)
    patches = _read_folder(path) if path.is_dir() else _read_file(path)
    if size is not None and patches.size != size:
        raise InputError(
            f"{path}: its patches are {patches.size} x {patches.size} pixels, but data.patches.size is {size}; "
            "set it to theirs, or cut patches of this size"
        )
    return patches


def _read_file(path: Path) -> PatchSet:
    if not path.is_file():
        raise InputError(f"{path}: no such patch file or folder; make one with radiograph make-patches")
    columns = _read_columns(path)
    pixels, labels = columns["pixels"], columns["labels"]
    problem = _problem(columns)
    if problem:
        raise InputError(f"{path}: {problem}; make it again with radiograph make-patches")
    return PatchSet(
        pixels,
        labels.astype(np.int64),
        columns["files"][columns["file_index"]],
        columns["places"].astype(np.float32, copy=False),
        columns["origins"][columns["origin_index"]],
        path,
    )


def _read_columns(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a patch file. No array is made before the file is known to hold its values."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [archive.getinfo(f"{name}.npy") for name in COLUMNS]
            size = sum(member.file_size for member in members)
            if size > max(HARMLESS_BYTES, MAX_EXPANSION * path.stat().st_size):
                raise ValueError(f"it would grow to {size} bytes, {MAX_EXPANSION} times its own size or more")
            return {name: _read_column(archive, member) for name, member in zip(COLUMNS, members, strict=True)}
    except Exception as error:  # zipfile, zlib and NumPy let many kinds through from broken files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: not a patch file ({reason}); make it again with radiograph make-patches") from error


def _read_column(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Return one array of a patch file. Raises ValueError for objects, and where its header promises other sizes."""
    with archive.open(member) as stream:
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        shape, fortran_order, dtype = readers[npy.read_magic(stream)](stream)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or size != member.file_size - stream.tell():
            raise ValueError(f"{member.filename} is {dtype} {list(shape)}, of {member.file_size} bytes")
        content = np.empty(size, np.uint8)
        for start in range(0, size, READ_BYTES):
            part = stream.read(min(READ_BYTES, size - start))
            content[start : start + READ_BYTES] = np.frombuffer(part, np.uint8)
        if stream.read(1):  # at the end, where the checksum is compared
            raise ValueError(f"{member.filename} is longer than it says")
    return content.view(dtype).reshape(shape, order="F" if fortran_order else "C")


def _problem(columns: dict[str, np.ndarray]) -> str | None:
    """Return what is wrong with the arrays of a patch file, None when nothing is."""
    pixels, labels, places = columns["pixels"], columns["labels"], columns["places"]
    count = len(labels) if labels.ndim == 1 else -1
    whole = pixels.dtype in (np.uint8, np.uint16) and pixels.ndim == 3 and pixels.shape[1] == pixels.shape[2] > 0
    if not whole or len(pixels) != count or not count:
        return (
            f"pixels {pixels.dtype} {list(pixels.shape)} for labels {list(labels.shape)}; a patch file holds unsigned "
            "[N, S, S], N at least 1"
        )
    if labels.dtype.kind not in "iub":
        return f"labels are {labels.dtype}; expected integers 0 and 1"
    if not np.isin(labels, range(len(CLASSES))).all():
        first = int(np.argmin(np.isin(labels, range(len(CLASSES)))))
        return f"patch {first} has label {labels[first]}; labels are 0 and 1"
    if places.dtype.kind != "f" or places.shape != (count, 3):
        return f"places {places.dtype} {list(places.shape)} for {count} patches; expected float [N, 3]"
    for names, index in ((columns["files"], columns["file_index"]), (columns["origins"], columns["origin_index"])):
        if names.dtype.kind != "U" or names.ndim != 1:
            return f"names {names.dtype} {list(names.shape)}; expected text [K]"
        if index.dtype.kind not in "iu" or index.shape != (count,) or index.min() < 0 or index.max() >= len(names):
            return f"an index {index.dtype} {list(index.shape)} into {len(names)} names for {count} patches"
    return None


def _read_folder(path: Path) -> PatchSet:
    folders = [path / f"class_{label}" for label in (0, 1)]
    if not any(folder.is_dir() for folder in folders):
        inner = [child.name for child in sorted(path.iterdir()) if (child / "class_0").is_dir()]
        fix = f"give one of its folders: {', '.join(inner)}" if inner else "patches lie in class_0 and class_1"
        raise InputError(f"{path}: no folder class_0 (no-defect) or class_1 (defect) in it; {fix}")
    patches: list[np.ndarray] = []
    labels: list[int] = []
    files: list[str] = []
    for label, folder in enumerate(folders):
        for file in find_radiographs([folder]) if folder.is_dir() else []:
            patches.append(_read_picture(file, patches[0].shape if patches else None))
            labels.append(label)
            files.append(str(file.relative_to(path)))
    unknown = np.full((len(labels), 3), np.nan, dtype=np.float32)
    origins = np.full(len(labels), "real")
    return PatchSet(stack_levels(patches), np.array(labels), np.array(files), unknown, origins, path)


def _read_picture(file: Path, shape: tuple[int, ...] | None) -> np.ndarray:
    radiograph = read_radiograph(file)
    height, width = radiograph.pixels.shape
    if height != width or (shape is not None and (height, width) != shape):
        wanted = f"those before it have {shape[1]} x {shape[0]}" if shape else "patches are square"
        raise InputError(f"{file}: {width} x {height} pixels, but {wanted}; remove it or cut it again")
    return to_levels(radiograph.pixels, radiograph.bit_depth)


def check_classes(path: Path | None, labels: np.ndarray) -> None:
    """Raise InputError where one of the two classes has no patch."""
    for label, name in enumerate(CLASSES):
        if not (labels == label).any():
            raise InputError(f"{path}: no {name} patch (class {label}) among {len(labels)}; add some")
