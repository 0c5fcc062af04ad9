"""Radiographs that are the same, or nearly so, on two sides of a split."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data.annotation_check import Issue
from data.coco import CocoDataset, read_coco
from data.coco_check import check_coco
from data.errors import InputError
from data.image_paths import existing_image
from data.radiograph import read_radiograph

SMALL_SIDE = 16  # pixels of the copies that are compared
# Correlation of the small copies. On the wheel turned by 5 degrees a frame (GDXray C0001) neighbors reach
# 0.835 to 0.945, frames two apart at most 0.844, and frames a spoke's turn apart 0.997: they look alike, too.
SIMILARITY = 0.83
BLOCK = 512  # radiographs compared with all others at once: 4 bytes a pair


@dataclass(frozen=True)
class Fingerprints:
    """What is compared of N radiographs: their ids, names, hashes of the pixels, and small copies.

    `copies` is float32 [N, 256], each row with mean 0 and norm 1, or all 0 for a radiograph of one value.
    """

    ids: list[int]
    names: list[str]
    hashes: list[str]
    copies: np.ndarray


@dataclass(frozen=True)
class Duplicate:
    """One image of the second set that is in the first, too: `kind` is "same" (every pixel) or "near"."""

    kind: str
    id_a: int
    id_b: int
    name_a: str
    name_b: str
    correlation: float


def fingerprints(dataset: CocoDataset, image_dir: str | Path, bit_depth: int | None = None) -> Fingerprints:
    """Read all radiographs of a data set, with `bit_depth` where their files state it wrongly, and fingerprint them.

    Raises InputError for a bad file.
    """
    hashes, copies = [], []
    for image in dataset.images:
        pixels = read_radiograph(existing_image(image_dir, image), bit_depth).pixels
        hashes.append(hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest())
        small = cv2.resize(pixels, (SMALL_SIDE, SMALL_SIDE), interpolation=cv2.INTER_AREA).ravel()
        small = small - small.mean()
        norm = np.linalg.norm(small)
        copies.append(small / norm if norm > 1e-6 else np.zeros_like(small))
    return Fingerprints([image["id"] for image in dataset.images], [image["file_name"] for image in dataset.images],
                        hashes, np.array(copies, dtype=np.float32).reshape(-1, SMALL_SIDE**2))  # fmt: skip


def compare(a: Fingerprints, b: Fingerprints, similarity: float = SIMILARITY) -> list[Duplicate]:
    """Return the images of `b` that are also in `a`, each with its closest there, the same ones first.

    Those whose small copies correlate by `similarity` or more are near-duplicates.

    Two views of one kind of part in the same place count as nearly the same, even of two pieces; a part of a
    radiograph (a crop) is not found.
    """
    if not a.ids or not b.ids:
        return []
    by_hash = {value: k for k, value in reversed(list(enumerate(a.hashes)))}
    found = []
    for start in range(0, len(b.ids), BLOCK):
        correlations = b.copies[start : start + BLOCK] @ a.copies.T
        closest, highest = correlations.argmax(axis=1), correlations.max(axis=1)
        for k, (near, correlation) in enumerate(zip(closest.tolist(), highest.tolist(), strict=True), start=start):
            same = by_hash.get(b.hashes[k])
            if same is not None:
                found.append(Duplicate("same", a.ids[same], b.ids[k], a.names[same], b.names[k], 1.0))
            elif correlation >= similarity:
                found.append(Duplicate("near", a.ids[near], b.ids[k], a.names[near], b.names[k], correlation))
    return sorted(found, key=lambda pair: (pair.kind != "same", -pair.correlation))


def find_duplicates(a: CocoDataset, b: CocoDataset, image_dirs: Sequence[str | Path]) -> list[Duplicate]:
    """Return the images of `b` that are also in `a`; `image_dirs` are the folders of the two. See `compare`."""
    dir_a, dir_b = image_dirs
    return compare(fingerprints(a, dir_a), fingerprints(b, dir_b))


def check_files(
    paths: Sequence[str | Path],
    image_dirs: Sequence[str | Path],
    similarity: float = SIMILARITY,
    bit_depth: int | None = None,
) -> list[tuple[str, Issue]]:
    """Return every issue of the COCO files, and every image that two of them share, with the file's name.

    `image_dirs` is one folder for all files, or one for each. Issues of kind "same image" are errors, of
    kind "near-duplicate" warnings; a file with errors is not compared. `bit_depth` is that of the radiographs, where
    their files state it wrongly. Raises InputError.
    """
    if len(image_dirs) not in (1, len(paths)):
        raise InputError(f"{len(image_dirs)} folders of images for {len(paths)} files; give one, or one for each")
    folders = list(image_dirs) * (len(paths) if len(image_dirs) == 1 else 1)
    found: list[tuple[str, Issue]] = []
    clean: dict[str, Fingerprints] = {}
    for path, folder in zip(paths, folders, strict=True):
        issues = check_coco(path, folder, bit_depth)
        found += [(str(path), issue) for issue in issues]
        if len(paths) > 1 and not any(issue.severity == "error" for issue in issues):
            clean[str(path)] = fingerprints(read_coco(path), folder, bit_depth)
    for (name_a, a), (name_b, b) in itertools.combinations(clean.items(), 2):
        for pair in compare(a, b, similarity):
            same = pair.kind == "same"
            message = (
                f"image {pair.id_b} {pair.name_b} is {'' if same else 'a near-duplicate of '}image {pair.id_a} "
                f"{pair.name_a} of {name_a} (correlation {pair.correlation:.3f})"
            )
            kind = "same image" if same else "near-duplicate"
            found.append((name_b, Issue("error" if same else "warning", kind, pair.id_b, None, message)))
    return found
