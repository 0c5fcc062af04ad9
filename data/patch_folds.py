"""Folds of patches for cross-validation, with views of one place on one side."""

import re
from pathlib import Path

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from data.errors import InputError
from data.patch_files import PatchSet

# What a file name says of a patch that was turned, flipped or numbered among the views of one place.
VIEW = re.compile(r"(?:[_-]+(?:r|rot|turn|a)\d+|[_-]+(?:flip|mirror|fh|fv|h|v|lr|ud)+)+$", re.IGNORECASE)
ALIKE = 1 / 255  # root mean square of the gray values that two views of one place differ by, as JPEG leaves them
NEIGHBORS = 24  # patches that each one is compared with
LEVELS = 16  # gray values of the summary that picks them


def parse_fold(text: str) -> tuple[int, int]:
    """Return (k, n) of a fold written "k/n", 1 <= k <= n and n >= 2. Raises ValueError for anything else."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    k, n = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (n >= 2 and 1 <= k <= n):
        raise ValueError(f"the fold {text!r} is not k/n such as 1/5, with k from 1 to n")
    return k, n


def split_folds(patches: PatchSet, n: int, group_views: bool = True) -> np.ndarray:
    """Return the fold 1 ... n of every patch, int64 [N], with about as many of each class in each.

    Patches cut from one radiograph stay together. So do pictures whose names differ only in how a patch was turned
    or flipped (a_r60.png, a_flip.png), and, unless `group_views` is false, those that look the same when flipped
    or turned by quarters. The split depends on the patches alone, not on a run's seed. Raises InputError where there
    are fewer groups than folds.
    """
    names = np.array([VIEW.sub("", str(Path(name).with_suffix(""))) for name in patches.files])
    _, group = np.unique(names, return_inverse=True)
    if group_views:
        first, second = same_views(patches.floats(slice(None)))
        group = _joined(group, group[first], group[second])
    count = int(group.max()) + 1
    if count < n:
        raise InputError(f"{patches.path}: patches of {count} radiographs or places cannot be split into {n} folds")
    counts = np.stack([np.bincount(group[patches.labels == label], minlength=count) for label in (0, 1)], axis=1)
    order = np.random.default_rng(0).permutation(count)
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    filled = np.zeros((n, 2))
    fold = np.zeros(count, dtype=np.int64)
    for member in order:
        # The fold that is furthest behind in this group's classes.
        behind = filled @ (counts[member] / counts[member].sum())
        fold[member] = int(np.lexsort((filled.sum(axis=1), behind))[0])
        filled[fold[member]] += counts[member]
    return fold[group] + 1


def same_views(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs i < j of patches float32 [N, S, S] that are alike after a flip or a turn by quarters.

    Candidates are the nearest by their sorted gray values, which no flip or turn changes; their distance is a lower
    bound of that of the patches, so that no pair is lost but where more than `NEIGHBORS` are alike.
    """
    count, area = len(pixels), pixels.shape[1] * pixels.shape[2]
    pieces = np.array_split(np.sort(pixels.reshape(count, area), axis=1), min(LEVELS, area), axis=1)
    # Means of pieces, weighted so that the distance between two summaries is at most the patches' own.
    summary = np.stack([piece.mean(axis=1) * np.sqrt(piece.shape[1] / area) for piece in pieces], axis=1)
    _, near = cKDTree(summary).query(summary, k=min(NEIGHBORS, count), distance_upper_bound=ALIKE)
    near = near.reshape(count, -1)
    first = np.repeat(np.arange(count), near.shape[1])
    second = near.ravel()
    candidate = (second < count) & (first != second)
    pairs = np.sort(np.stack([first, second], axis=1)[candidate], axis=1)
    first, second = np.unique(pairs, axis=0).T
    alike = np.zeros(len(first), dtype=bool)
    step = max(1, 2**24 // area)  # values compared at once
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        one, other = pixels[first[part]], pixels[second[part]]
        for flipped in (one, one[:, :, ::-1]):
            for quarters in range(4):
                difference = np.rot90(flipped, quarters, axes=(1, 2)) - other
                alike[part] |= (difference**2).mean(axis=(1, 2)) < ALIKE**2
    return first[alike], second[alike]


def _joined(group: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the groups after those of `first` and `second` are made one, numbered from 0."""
    count = int(group.max()) + 1
    links = coo_matrix((np.ones(len(first)), (first, second)), shape=(count, count))
    return connected_components(links, directed=False)[1][group]
