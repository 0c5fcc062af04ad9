"""Sets of patches for tests."""

import numpy as np

from data.patch_files import PatchSet


def make_set(pixels: np.ndarray, labels: list[int], files: list[str] | None = None) -> PatchSet:
    count = len(labels)
    names = np.array(files or [f"{k}.png" for k in range(count)])
    places = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
    return PatchSet(pixels, np.array(labels), names, places, np.array(["real", "gan"] * count)[:count])


def constant_set(levels: list[int], labels: list[int], files: list[str] | None = None) -> PatchSet:
    return make_set(np.full((len(levels), 4, 4), np.array(levels)[:, None, None], dtype=np.uint8), labels, files)
