"""Patches on disk: one compact file with an index, or a folder of pictures sorted by class."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.errors import InputError
from data.files import atomic_path
from data.radiograph import find_radiographs, read_radiograph

CLASSES = ("no-defect", "defect")
ORIGINS = ("real", "ellipsoid", "gan", "phantom")
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
        raise InputError(f"{path}: no such patch file or folder; make one with tools/make_patches.py")
    try:
        with np.load(path, allow_pickle=False) as content:
            columns = {name: content[name] for name in COLUMNS}
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a patch file ({reason}); make one with tools/make_patches.py") from error
    pixels, labels = columns["pixels"], columns["labels"].astype(np.int64)
    count = len(labels)
    whole = pixels.dtype in (np.uint8, np.uint16) and pixels.ndim == 3 and pixels.shape[1] == pixels.shape[2]
    indexed = columns["places"].shape == (count, 3) and {len(columns[n]) for n in ("file_index", "origin_index")} == {
        count
    }
    if not whole or len(pixels) != count or not indexed or not count:
        raise InputError(
            f"{path}: pixels {pixels.dtype} {list(pixels.shape)} for {count} labels; a patch file holds unsigned "
            "[N, S, S], N at least 1; make it again with tools/make_patches.py"
        )
    if labels.max() > 1:
        raise InputError(f"{path}: patch {labels.argmax()} has label {labels.max()}; labels are 0 and 1")
    files = columns["files"][columns["file_index"]]
    return PatchSet(pixels, labels, files, columns["places"], columns["origins"][columns["origin_index"]], path)


def _read_folder(path: Path) -> PatchSet:
    folders = [path / f"class_{label}" for label in (0, 1)]
    if not any(folder.is_dir() for folder in folders):
        inner = [child.name for child in sorted(path.iterdir()) if (child / "class_0").is_dir()]
        mend = f"give one of its folders: {', '.join(inner)}" if inner else "patches lie in class_0 and class_1"
        raise InputError(f"{path}: no folder class_0 (no-defect) or class_1 (defect) in it; {mend}")
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
