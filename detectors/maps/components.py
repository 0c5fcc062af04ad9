"""Connected regions and dilation of masks: by OpenCV where it is installed, else by NumPy with the same result."""

import numpy as np

try:
    import cv2
except ImportError:  # where exported models run, which have no other use for it
    cv2 = None  # type: ignore[assignment]


def label_components(mask: np.ndarray) -> tuple[int, np.ndarray]:
    """Return the 8-connected regions of a mask uint8 [H, W]: their number plus 1, and int32 [H, W], 0 outside."""
    if cv2 is not None:
        count, labels = cv2.connectedComponents(mask, connectivity=8)
        return int(count), labels
    return _label_runs(mask)


def dilate(mask: np.ndarray, radius: int) -> np.ndarray:
    """Return a mask uint8 [H, W] dilated with a disc of a radius in pixels."""
    reach = np.arange(-radius, radius + 1)
    if cv2 is not None:
        disc = (reach[:, None] ** 2 + reach**2 <= radius**2).astype(np.uint8)
        return cv2.dilate(mask, disc).astype(np.uint8, copy=False)
    return _dilate_rows(mask, radius)


def _label_runs(mask: np.ndarray) -> tuple[int, np.ndarray]:
    """Label by runs: each row is cut into runs of pixels, and runs that touch in neighboring rows are joined."""
    width = mask.shape[1] + 2
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    # A run touches those of the next row that start at its end at the latest, and end at its start at the earliest.
    first = np.searchsorted(rows * width + ends, (rows + 1) * width + starts, "left")
    last = np.searchsorted(rows * width + starts, (rows + 1) * width + ends, "right")
    counts = np.maximum(last - first, 0)
    one = np.repeat(np.arange(len(rows)), counts)
    other = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    root = np.arange(len(rows))
    while True:  # every run takes the lowest number among its neighbors until nothing changes
        low = np.minimum(root[one], root[other])
        fresh = root.copy()
        np.minimum.at(fresh, root[one], low)
        np.minimum.at(fresh, root[other], low)
        fresh = fresh[fresh]
        if (fresh == root).all():
            break
        root = fresh
    _, numbers = np.unique(root, return_inverse=True)
    labels = np.zeros(mask.shape, np.int32)
    labels[mask.astype(bool)] = np.repeat(numbers + 1, ends - starts)
    return int(numbers.max(initial=-1)) + 2, labels


def _dilate_rows(mask: np.ndarray, radius: int) -> np.ndarray:
    """Dilate row by row of the disc: how far a row reaches is a difference of running sums."""
    height = len(mask)
    dilated = np.zeros_like(mask)
    for step in range(-radius, radius + 1):
        reach = int((radius**2 - step**2) ** 0.5)
        sums = np.cumsum(np.pad(mask.astype(np.int32), ((0, 0), (reach + 1, reach))), axis=1)
        wide = (sums[:, 2 * reach + 1 :] > sums[:, : -2 * reach - 1]).astype(mask.dtype)
        to, of = slice(max(step, 0), height + min(step, 0)), slice(max(-step, 0), height + min(-step, 0))
        if to.start < to.stop:
            dilated[to] |= wide[of]
    return dilated
