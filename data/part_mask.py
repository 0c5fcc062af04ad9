"""The part in a radiograph, against open air and against the dark surround of a round field of view.

Only what is certain is taken away, for a defect outside of the part would be lost: where the rules below do not
hold, the whole radiograph counts as the part. That is right for welds, whose plate fills the film, and for sections
of a part.
"""

import cv2
import numpy as np

BLUR = 1.5  # pixels; calms noise before gray values are compared with levels
LEAST_AIR_LEVEL = 0.7  # the open beam saturates the detector, or nearly
AIR_TOLERANCE = 0.03  # gray values of air lie this near to one another
LEAST_AIR_SHARE = 0.01  # of the radiograph, for the region that shows where the level of air lies
STEEPEST_AIR = 0.004  # gray values a pixel
LARGEST_AIR_SPREAD = 0.005  # standard deviation of the calmed gray values of one region
LEAST_AGREEMENT = 0.8  # of the area of large bright regions that must look like air, for any of them to be air
LEAST_HOLE = 400  # pixels; a smaller bright spot may be a defect
LEAST_EDGE_DROP = 0.08  # a wall of metal is at least so much darker than air
DARK_LEVELS = (0.08, 0.11, 0.14, 0.18, 0.24)  # tried in turn to part a lit field from its surround
DARKEST_SURROUND = 0.13  # of the surround's pixels, three in four are no brighter
LEAST_RADIUS = 0.35  # of a field of view, of the longer side of the radiograph
CIRCLE_TOLERANCE = 0.01  # of the radius; image intensifiers distort a little


def segment_test_object(pixels: np.ndarray) -> np.ndarray:
    """Return bool [H, W], True on the part, False on air and on the surround of a round field of view.

    Air is a large, flat, bright region with a sharp fall to the metal around it, and whatever else has its level;
    bright spots smaller than `LEAST_HOLE` stay part, as they may be defects. A surround is what lies outside of a
    circle and is black. In doubt a pixel is part: a radiograph without such regions is True throughout.

    Args:
        pixels: float [H, W] in [0, 1], casting or weld, larger is brighter. Raises ValueError for another shape.

    """
    if pixels.ndim != 2 or pixels.size == 0:
        raise ValueError(f"pixels are {list(pixels.shape)}; expected [H, W]")
    calm = cv2.GaussianBlur(np.asarray(pixels, dtype=np.float32), (0, 0), BLUR)
    field = _field_of_view(calm)
    part = field & ~_air(calm, field)
    return part if part.any() else np.ones(pixels.shape, dtype=bool)


def _air(calm: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Return bool [H, W], True on air."""
    nothing = np.zeros(calm.shape, dtype=bool)
    calmer = cv2.GaussianBlur(calm, (0, 0), 2 * BLUR)
    level = _brightest_plateau(calm, calmer, field)
    if level is None:
        return nothing
    bright = (calm >= level - AIR_TOLERANCE).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(bright, connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA]
    large = [k for k in range(1, count) if areas[k] >= LEAST_AIR_SHARE * calm.size]
    like_air = [k for k in large if _is_like_air(calm, calmer, labels == k, field, level)]
    # The bead of a weld is as bright, and here and there as flat, but not throughout.
    if not large or areas[like_air].sum() < LEAST_AGREEMENT * areas[large].sum():
        return nothing
    kept = np.flatnonzero(areas >= LEAST_HOLE)
    return np.isin(labels, kept[kept > 0])


def _brightest_plateau(calm: np.ndarray, calmer: np.ndarray, field: np.ndarray) -> float | None:
    """Return the gray value of the highest flat region that could be air, if there is one."""
    across, down = (cv2.Sobel(calmer, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    flat = field & (np.hypot(across, down) < STEEPEST_AIR)
    counts, edges = np.histogram(calm[flat], bins=100, range=(0, 1))
    in_two = counts + np.append(counts[1:], 0)  # a plateau may lie across two bins
    enough = np.flatnonzero((in_two >= LEAST_AIR_SHARE * calm.size) & (edges[1:] > LEAST_AIR_LEVEL))
    return float(edges[enough[-1] + 1]) if len(enough) else None


def _is_like_air(calm: np.ndarray, calmer: np.ndarray, region: np.ndarray, field: np.ndarray, level: float) -> bool:
    """Return whether a region is even inside, and walls of darker metal surround almost all of it."""
    region = region.astype(np.uint8)
    interior = cv2.erode(region, np.ones((13, 13), np.uint8)) > 0
    near, far = (cv2.dilate(region, np.ones((size, size), np.uint8)) > 0 for size in (13, 25))
    around = far & ~near & field
    if not interior.any() or not around.any() or calmer[interior].std() > LARGEST_AIR_SPREAD:
        return False
    return float((calm[around] < level - LEAST_EDGE_DROP).mean()) > 0.8


def round_field(pixels: np.ndarray) -> tuple[float, float, float] | None:
    """Return center x, center y and radius in pixels of a round field of view, None where there is none.

    `pixels` is float [H, W] in [0, 1].
    """
    return _round_field(cv2.GaussianBlur(np.asarray(pixels, dtype=np.float32), (0, 0), BLUR))


def _field_of_view(calm: np.ndarray) -> np.ndarray:
    """Return bool [H, W], True inside a round field of view; everywhere if there is none."""
    circle = _round_field(calm)
    return np.ones(calm.shape, dtype=bool) if circle is None else _inside(calm.shape, circle)


def _inside(shape: tuple[int, ...], circle: tuple[float, float, float]) -> np.ndarray:
    """Return bool [H, W], True inside a circle that may be a little out of round."""
    x, y, radius = circle
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside: np.ndarray = (columns - x) ** 2 + (rows - y) ** 2 <= ((1 + CIRCLE_TOLERANCE) * radius) ** 2
    return inside


def _round_field(calm: np.ndarray) -> tuple[float, float, float] | None:
    """Return the circle of a round field of view, None where there is none."""
    for level in DARK_LEVELS:
        circle = _circle_around(calm > level)
        if circle is None:
            continue
        inside = _inside(calm.shape, circle)
        outside = calm[~inside]
        if outside.size and np.percentile(outside, 75) <= DARKEST_SURROUND < np.median(calm[inside]):
            return circle
    return None


def _circle_around(lit: np.ndarray) -> tuple[float, float, float] | None:
    """Return (x, y, radius) of the circle that bounds the largest lit region, if it is one."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(lit.astype(np.uint8), connectivity=4)
    if count < 2:
        return None
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    contours, _ = cv2.findContours((labels == largest).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.convexHull(contours[0])[:, 0].astype(np.float64)
    height, width = lit.shape
    rim = hull[((hull > 2) & (hull < [width - 3, height - 3])).all(axis=1)]
    if len(rim) < 12:
        return None
    good = np.ones(len(rim), dtype=bool)
    for _ in range(5):  # points that lie off are left out of the next fit
        x, y, radius = _fit_circle(rim[good])
        off = np.abs(np.hypot(*(rim - [x, y]).T) - radius)
        good = off <= max(CIRCLE_TOLERANCE * radius, float(np.median(off)))
    fits = (off <= CIRCLE_TOLERANCE * radius).mean() >= 0.75
    return (x, y, radius) if fits and radius >= LEAST_RADIUS * max(lit.shape) else None


def _fit_circle(points: np.ndarray) -> tuple[float, float, float]:
    """Return the circle nearest to points [N, 2] in the algebraic sense (Kasa): center x, y and radius."""
    system = np.column_stack([points, np.ones(len(points))])
    (a, b, c), *_ = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)
    return a / 2, b / 2, float(np.sqrt(max(c + a * a / 4 + b * b / 4, 0)))
