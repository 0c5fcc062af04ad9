"""Defects out of patches, real or generated, as shapes to lay on whole radiographs.

A patch shows a defect on a piece of background. What the defect adds is told apart from that background, as a change
relative to the gray value there, and can then be laid on any radiograph: attenuation multiplies.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from scipy.sparse import diags, eye, kron
from scipy.sparse.linalg import splu

from data.errors import InputError
from data.noise_level import noise_level
from data.patch_files import read_patches
from data.synthesis.ellipsoid import Cavity

CALM = 1.0  # pixels; the blur that keeps the patch's own noise out of the change
FOOT = 0.1  # share of the peak below which a change is taken for background
LEAST = 0.01  # of the gray value: a weaker change is no visible defect
PEAK_TO_NOISE = 3.0  # least peak over the noise of one pixel
BOTH_WAYS = 0.5  # an opposite change above this share of the peak is an edge's work, not a defect's
SMALLEST = 3  # pixels; the least side of a patch: a rim, and something inside
DARKEST = 1 / 255  # the least background that a change is stated against: one gray level


def membrane(values: np.ndarray) -> np.ndarray:
    """Return the background `[h, w]` float32 that the rim of a patch `[h, w]` spans: a membrane stretched over it.

    It is the rim's own outermost pixels, and inside solves Laplace's equation; planes come back as they are. Both
    sides are at least `SMALLEST` pixels.
    """
    height, width = values.shape
    rim = np.array(values, dtype=np.float64)
    rim[1:-1, 1:-1] = 0
    pull = rim[:-2, 1:-1] + rim[2:, 1:-1] + rim[1:-1, :-2] + rim[1:-1, 2:]
    rim[1:-1, 1:-1] = _laplace(height - 2, width - 2)(pull.ravel()).reshape(height - 2, width - 2)
    return rim.astype(np.float32)


def defect_change(patch: np.ndarray, darkest: float = DARKEST) -> np.ndarray | None:
    """Return what a defect changes in its patch, relative to the background: float32 `[h, w]`, 0 along the rim.

    `patch` is float `[h, w]` in [0, 1]; a background under `darkest` counts as that dark. The change is
    patch / background - 1, positive for a brighter defect, in one connected piece around its peak; noise is smoothed
    away. None where no defect can be told from the background: too weak against 1 % of the gray value or the noise, or
    up and down alike, as at a part's edge.
    """
    calm = _calmed(np.asarray(patch, dtype=np.float32))
    span = membrane(calm)
    background = np.maximum(span, darkest)
    change = (calm - span) / background
    up, down = float(change.max()), -float(change.min())
    peak, sign = max(up, down), 1 if up >= down else -1
    noise = noise_level(patch) / float(background.mean())
    if peak < max(LEAST, PEAK_TO_NOISE * noise) or min(up, down) > BOTH_WAYS * peak:
        return None
    # From 0 at the foot to the whole peak, so that nothing ends in a step.
    own = np.maximum(sign * change - FOOT * peak, 0) / (1 - FOOT)
    _, pieces = cv2.connectedComponents((own > 0).astype(np.uint8))
    own[pieces != pieces[np.unravel_index(own.argmax(), own.shape)]] = 0
    return sign * own


def read_changes(path: str | Path, brighter: bool | None = None) -> list[np.ndarray]:
    """Return the changes of all defect patches of a file or folder in which a defect shows; see `defect_change`.

    `brighter` True takes brighter defects alone, False darker ones, None both. Raises InputError as `read_patches`,
    for patches under `SMALLEST` pixels, and where no patch shows a defect.
    """
    patches = read_patches(path)
    if patches.size < SMALLEST:
        raise InputError(
            f"{path}: its patches are {patches.size} x {patches.size} pixels, too small for a defect off their rim; "
            f"give larger ones, of at least {SMALLEST}"
        )
    one_level = 1 / int(np.iinfo(patches.pixels.dtype).max)
    found = [defect_change(patches.floats(int(k)), one_level) for k in np.flatnonzero(patches.labels == 1)]
    changes = [change for change in found if change is not None and brighter in (None, bool(change.max() > 0))]
    if not changes:
        kind = {None: "", True: "brighter ", False: "darker "}[brighter]
        raise InputError(f"{path}: none of its {len(found)} defect patches shows a {kind}defect off its rim")
    return changes


def change_cavity(
    change: np.ndarray,
    place: tuple[float, float],
    shape: tuple[int, int],
    side: float | None = None,
    angle: float = 0.0,
    mirrored: bool = False,
) -> Cavity:
    """Return the size of a change as a cavity whose chords are |change|, without unit, of the same peak.

    It can be laid on a radiograph as a cavity of ellipsoids is, with a contrast of one's own.

    Args:
        change: float `[h, w]`, as `defect_change` gives it.
        place: x and y of the shape's center in pixels of the radiograph.
        shape: (H, W) of the radiograph; what lies beyond is cut off, all of it perhaps.
        side: longest side of the shape in pixels before it is turned; its own if None.
        angle: degrees by which it is turned.
        mirrored: whether it is mirrored first.

    """
    rows, columns = (np.flatnonzero(change.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return Cavity(int(place[0]), int(place[1]), np.zeros((0, 0), np.float32))
    size = np.abs(change[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]).astype(np.float32)
    size = size[:, ::-1] if mirrored else size
    peak = float(size.max())
    height, width = size.shape
    scale = 1.0 if side is None else side / max(height, width)
    if scale < 1:  # no aliasing
        size = cv2.GaussianBlur(size, (0, 0), 0.4 / scale, borderType=cv2.BORDER_CONSTANT)
    reach = int(np.ceil(np.hypot(height, width) * scale / 2)) + 1
    x0, y0 = (int(np.floor(value)) - reach for value in place)
    matrix: np.ndarray = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, scale)
    # A pixel's center lies half a pixel off its corner.
    matrix[:, 2] += np.array(place) - 0.5 - [x0, y0] - [(width - 1) / 2, (height - 1) / 2]
    chord: np.ndarray = cv2.warpAffine(
        np.ascontiguousarray(size), matrix, (2 * reach + 2, 2 * reach + 2), flags=cv2.INTER_LINEAR
    )
    chord *= peak / max(float(chord.max()), 1e-12)
    top, left = max(-y0, 0), max(-x0, 0)
    inside = chord[top : max(shape[0] - y0, 0), left : max(shape[1] - x0, 0)]
    return Cavity(x0 + left, y0 + top, inside)


def _calmed(patch: np.ndarray) -> np.ndarray:
    """Return a patch without its noise; slopes are continued beyond its edge, so that planes stay as they are."""
    pad = int(np.ceil(3 * CALM))
    wide = np.pad(patch, pad, mode="reflect", reflect_type="odd") if min(patch.shape) > pad else patch
    calm = cv2.GaussianBlur(wide, (0, 0), CALM)
    return calm[pad:-pad, pad:-pad] if wide is not patch else calm


@lru_cache(maxsize=8)
def _laplace(height: int, width: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return the solver of the discrete Laplace equation inside a rim, for the sum of each pixel's rim neighbors."""
    one, other = (diags([-1.0, 2.0, -1.0], [-1, 0, 1], shape=(n, n)) for n in (height, width))
    return splu((kron(one, eye(width)) + kron(eye(height), other)).tocsc()).solve
