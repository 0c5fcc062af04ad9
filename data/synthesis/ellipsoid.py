"""Ellipsoidal cavities: exact chord lengths of the rays through ellipsoids of any pose, many in one call.

Frame, in mm: the detector is the plane z = 0, x grows with the columns, y with the rows, z towards the source. In a
perspective projection the source lies at (0, 0, `source_mm`); in a parallel one the rays run along z. In an
ellipsoid's own coordinates, scaled to the unit sphere, a ray is q + t m, and its chord is

    d = 2 sqrt(p) |ray| / (m' m),    p = m' m - |m x q|^2,    where p > 0

which is the p = m' L m and d = 2 sqrt(p) |m| / (m' Phi m) of Mery (2001). All are quadratic in the pixel's
coordinates, so that p > 0 is an ellipse whose bounding box is known beforehand: no pixel outside it is touched.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from data.errors import InputError


@dataclass(frozen=True)
class Projection:
    """How rays meet pixels.

    `pixel_mm` is the side of a detector pixel, `source_mm` the distance from the source to the detector (None:
    parallel rays), `principal` the point (x, y) in pixels that the ray square to the detector hits; the first
    pixel's center is (0.5, 0.5).
    """

    pixel_mm: float = 1.0
    source_mm: float | None = None
    principal: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if not self.pixel_mm > 0 or not (self.source_mm is None or self.source_mm > 0):
            raise InputError(f"pixel_mm {self.pixel_mm} and source_mm {self.source_mm} must be above 0")

    def lift(self, places_px: np.ndarray, heights_mm: np.ndarray | float) -> np.ndarray:
        """Return the points float64 [N, 3] in mm at a height above the detector that are seen at places [N, 2]."""
        heights = np.broadcast_to(np.asarray(heights_mm, dtype=np.float64), (len(places_px),))
        flat = (np.asarray(places_px, dtype=np.float64) - self.principal) * self.pixel_mm
        shrink = 1.0 if self.source_mm is None else 1 - heights / self.source_mm
        return np.column_stack([flat * np.reshape(shrink, (-1, 1)), heights])


@dataclass(frozen=True)
class Ellipsoids:
    """N ellipsoids: semi-axes float [N, 3] in mm, rotations [N, 3, 3] (columns are the axes' directions), centers.

    `centers` is float [N, 3] in mm. Raises InputError for semi-axes that are not above 0.
    """

    semi_axes: np.ndarray
    rotations: np.ndarray
    centers: np.ndarray

    def __post_init__(self) -> None:
        for name, shape in (("semi_axes", (3,)), ("rotations", (3, 3)), ("centers", (3,))):
            value = np.asarray(getattr(self, name), dtype=np.float64).reshape(-1, *shape)
            object.__setattr__(self, name, value)
        bad = np.flatnonzero(~(self.semi_axes > 0).all(axis=1))
        if len(bad):
            raise InputError(f"ellipsoid {bad[0]}: semi-axes {self.semi_axes[bad[0]].tolist()} mm must be above 0")
        if not len(self.semi_axes) == len(self.rotations) == len(self.centers):
            raise InputError(
                f"{len(self.semi_axes)} semi-axes, {len(self.rotations)} rotations and"
                f" {len(self.centers)} centers; give as many of each"
            )

    def __len__(self) -> int:
        """Return the number of ellipsoids."""
        return len(self.semi_axes)


@dataclass(frozen=True)
class Cavity:
    """One cavity on the detector: `chord` float32 [h, w] in mm, whose first pixel is (`x0`, `y0`).

    The chord map is the least that holds the cavity's outline; its outermost rows and columns may be 0 where the
    outline passes between the pixels' centers.
    """

    x0: int
    y0: int
    chord: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """The cavity's pixels, bool [h, w]."""
        return self.chord > 0

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The tight box x1 y1 x2 y2 of the mask in pixels; of no area where no ray meets the cavity."""
        columns, rows = np.flatnonzero(self.chord.any(axis=0)), np.flatnonzero(self.chord.any(axis=1))
        if not len(columns):
            return self.x0, self.y0, self.x0, self.y0
        x, y = self.x0, self.y0
        return x + int(columns[0]), y + int(rows[0]), x + int(columns[-1]) + 1, y + int(rows[-1]) + 1


def random_rotations(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return rotations float64 [count, 3, 3], every pose alike likely."""
    quaternions = rng.standard_normal((count, 4))
    return Rotation.from_quat(quaternions).as_matrix().reshape(-1, 3, 3) if count else np.zeros((0, 3, 3))


def project(
    ellipsoids: Ellipsoids, projection: Projection, shape: tuple[int, int], groups: Sequence[int] | None = None
) -> list[Cavity]:
    """Return the chord maps of all ellipsoids on a detector of `shape` (height, width) pixels.

    `groups` [N] joins ellipsoids of one number to one cavity, in the order of the numbers: cavities that overlap
    are one void, so a ray's chord is the length of the union of its pieces, and the sum only where they lie behind
    one another. Without groups each ellipsoid is a cavity of its own.

    Raises InputError for an ellipsoid that does not lie wholly before the source, and for groups not one each.
    """
    outlines = _outlines(ellipsoids, projection, shape)
    if groups is None:
        return [Cavity(*window[:2], outlines.chord(k, window)) for k, window in enumerate(outlines.windows)]
    if len(groups) != len(ellipsoids):
        raise InputError(f"{len(groups)} group numbers for {len(ellipsoids)} ellipsoids; give one each")
    numbers = np.asarray(groups)
    return [_union(outlines, np.flatnonzero(numbers == number)) for number in np.unique(numbers)]


@dataclass(frozen=True)
class _Outlines:
    """Quadratics of each ellipsoid in pixels (x, y) from its projected center: [1 y y^2] C [1 x x^2]', C [3, 3].

    `quadratics` [N, 4, 3, 3] are p, |ray|^2, m' m and -m' q; `origin` [N, 2] is the projected center and `shift` [N]
    what the middle's distance along a parallel ray starts from. `windows` are x1 y1 x2 y2.
    """

    quadratics: np.ndarray
    origin: np.ndarray
    shift: np.ndarray
    windows: list[tuple[int, int, int, int]]
    parallel: bool

    def chord(self, k: int, window: tuple[int, int, int, int]) -> np.ndarray:
        """Return the chords float32 [h, w] in mm of ellipsoid `k` over a window."""
        if self.parallel:
            (p,) = self._values(k, window, slice(0, 1))
            p = np.sqrt(np.maximum(p, 0, out=p), out=p) * (2 / self.quadratics[k, 2, 0, 0])
            return p.astype(np.float32)
        p, ray, mm = self._values(k, window, slice(0, 3))
        np.maximum(p, 0, out=p)
        p *= ray
        np.sqrt(p, out=p)
        p /= mm
        p += p
        return p.astype(np.float32)

    def middle(self, k: int, window: tuple[int, int, int, int]) -> np.ndarray:
        """Return where each chord's middle lies along its ray, float64 [h, w] in mm."""
        ray, mm, mid = self._values(k, window, slice(1, 4))
        return mid * np.sqrt(ray) / mm + self.shift[k]

    def _values(self, k: int, window: tuple[int, int, int, int], which: slice) -> np.ndarray:
        x1, y1, x2, y2 = window
        left, top = self.origin[k]
        x, y = np.empty((3, x2 - x1)), np.empty((y2 - y1, 3))
        x[0] = y[:, 0] = 1
        x[1] = np.arange(x1 + 0.5 - left, x2 - left)
        y[:, 1] = np.arange(y1 + 0.5 - top, y2 - top)
        x[2] = x[1] * x[1]
        y[:, 2] = y[:, 1] * y[:, 1]
        return (y @ self.quadratics[k, which]) @ x


def _outlines(ellipsoids: Ellipsoids, projection: Projection, shape: tuple[int, int]) -> _Outlines:
    """Return the quadratics of all ellipsoids at once."""
    centers, pixel = ellipsoids.centers, projection.pixel_mm
    to_sphere = ellipsoids.rotations.transpose(0, 2, 1) / ellipsoids.semi_axes[:, :, None]
    G = to_sphere[:, :, :2] * pixel  # by how much one pixel to the right, or down, moves the ray's foot
    count, source = len(ellipsoids), projection.source_mm
    if source is None:
        foot = centers[:, :2]
        ray = np.tile([0.0, 0.0, -1.0], (count, 1))
        m = q = np.einsum("nij,nj->ni", to_sphere, ray)
        F, steps, shift = np.zeros_like(G), np.zeros((3, 2)), -centers[:, 2]
    else:
        reach = np.sqrt(((ellipsoids.rotations[:, 2] * ellipsoids.semi_axes) ** 2).sum(axis=1))
        behind = np.flatnonzero(centers[:, 2] + reach >= source)
        if len(behind):
            raise InputError(
                f"ellipsoid {behind[0]}: reaches to z = {(centers[:, 2] + reach)[behind[0]]:.6g} mm, but the source is"
                f" at {source} mm; place it nearer to the detector"
            )
        scale = source / (source - centers[:, 2])
        foot = centers[:, :2] * scale[:, None]
        ray = np.column_stack([foot, np.full(count, -source)])
        m = np.einsum("nij,nj->ni", to_sphere, ray)
        q = -m / scale[:, None]  # exactly along m: the ray to the projected center passes the true one
        F, steps, shift = G, np.eye(3)[:, :2] * pixel, np.zeros(count)
    # Moving the ray by a pixel turns m by F and changes the moment m x q by G x q.
    moment = np.cross(G, q[:, :, None], axisa=1, axisb=1, axisc=1)
    mm = _quadratic(m, F)
    p = mm - _quadratic(np.zeros_like(m), moment)
    mid = np.zeros((count, 6))
    if source is not None:  # parallel rays start beside the center, where m' q is 0
        mid[:, 0] = -(m * q).sum(axis=1)
    mid[:, 1:3] = -np.einsum("ni,nij->nj", q, G)
    lengths = _quadratic(ray, np.broadcast_to(steps, G.shape))
    origin = foot / pixel + projection.principal
    quadratics = np.zeros((count, 4, 9))
    # Places of the terms 1, x, y, x^2, x y, y^2 in [1 y y^2] C [1 x x^2]'.
    quadratics[:, :, [0, 1, 3, 2, 4, 6]] = np.stack([p, lengths, mm, mid], axis=1)
    windows = _windows(p, origin, shape)
    return _Outlines(quadratics.reshape(count, 4, 3, 3), origin, shift, windows, source is None)


def _quadratic(base: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return |base + steps (x, y)|^2 as coefficients [N, 6]; `base` is [N, 3], `steps` [N, 3, 2]."""
    linear = 2 * np.einsum("ni,nij->nj", base, steps)
    square = np.einsum("nij,nik->njk", steps, steps)
    return np.column_stack([(base * base).sum(axis=1), linear, square[:, 0, 0], 2 * square[:, 0, 1], square[:, 1, 1]])


def _windows(p: np.ndarray, origin: np.ndarray, shape: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Return the pixels x1 y1 x2 y2 inside the image whose centers the bounding boxes of p > 0 hold."""
    xx, xy, yy = -p[:, 3], -p[:, 4] / 2, -p[:, 5]
    determinant = xx * yy - xy * xy
    x = (yy * p[:, 1] - xy * p[:, 2]) / (2 * determinant)
    y = (xx * p[:, 2] - xy * p[:, 1]) / (2 * determinant)
    peak = p[:, 0] + (p[:, 1] * x + p[:, 2] * y) / 2
    half = np.sqrt(peak[:, None] * np.column_stack([yy, xx]) / determinant[:, None])
    middle = origin + np.column_stack([x, y])
    limit = np.array([shape[1], shape[0]])
    first = np.clip(np.ceil(middle - half - 0.5), 0, limit).astype(int)
    last = np.clip(np.floor(middle + half - 0.5) + 1, first, limit).astype(int)
    return [(int(a), int(b), int(c), int(d)) for a, b, c, d in np.hstack([first, last])]


def _union(outlines: _Outlines, members: np.ndarray) -> Cavity:
    """Return the one cavity that several ellipsoids form."""
    windows = np.array([outlines.windows[k] for k in members])
    windows = windows[(windows[:, 2:] > windows[:, :2]).all(axis=1)]
    if not len(windows):
        return Cavity(0, 0, np.zeros((0, 0), np.float32))
    low, high = windows[:, :2].min(axis=0), windows[:, 2:].max(axis=0)
    window = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
    half = np.stack([outlines.chord(k, window) for k in members]).astype(np.float64) / 2
    middle = np.stack([outlines.middle(k, window) for k in members])
    start, end = middle - half, middle + half
    order = np.argsort(start, axis=0)
    start, end = np.take_along_axis(start, order, 0), np.take_along_axis(end, order, 0)
    # Of each piece counts what lies beyond all pieces that start before it.
    reached = np.maximum.accumulate(end, axis=0)
    fresh = np.concatenate([start[:1], np.maximum(start[1:], reached[:-1])])
    length = np.maximum(end - fresh, 0).sum(axis=0)
    length[~(half > 0).any(axis=0)] = 0  # rounding of empty pieces
    return Cavity(*window[:2], length.astype(np.float32))
