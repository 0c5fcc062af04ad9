"""What a rule measures in one radiograph: the drawn value, and between which bounds the true one lies.

Every measure is such that one more indication cannot make its upper bound better, so that accepting a radiograph
can never depend on there being more indications. (For distances, "upper" is the lower bound.) Its worse bound counts
every indication, its better bound those alone whose scores are certain.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from detectors.decisions.indications import Errors, Flags, Floats, Indications
from detectors.decisions.rules import Measure


class Reading(NamedTuple):
    """One measured quantity, lengths in pixels.

    Attributes:
        value: as it is drawn, None where there is nothing to measure.
        low: the least that the true value can be.
        high: the most that it can be.
        rows: places in the detections of the indications behind it, the worst.
        note: why it cannot be measured, if so; empty else.

    """

    value: float | None
    low: float
    high: float
    rows: tuple[int, ...] = ()
    note: str = ""


class Limits(NamedTuple):
    """What a measure needs to know of its rule, in pixels: see `detectors.decisions.rules.Rule`."""

    limit: float
    merge_within: float | None = None
    reference_side: float | None = None
    errors: Errors = Errors()
    mask: NDArray[np.bool_] | None = None


NOTHING = Reading(None, 0.0, 0.0)
NO_NEIGHBOR = Reading(None, np.inf, np.inf)


def _linked(found: Indications, rule: Limits, sure: bool) -> Flags:
    """Return who is one with whom, bool [N, N]: all who may be, or those alone who surely are."""
    alone: Flags = np.eye(len(found), dtype=bool)
    if rule.merge_within is None:
        return alone
    low, high = found.gap_bounds(rule.errors)
    reach: Flags = (high if sure else low) <= rule.merge_within
    return alone | reach


def _largest(found: Indications, rule: Limits, measure: Callable[[Floats, float], Floats]) -> Reading:
    """Return the largest of a measure of the boxes [C, 4] of clusters, which takes what is added to lengths."""
    if not len(found):
        return NOTHING
    errors, more = rule.errors, rule.errors.measurement
    sure = found.where(found.certain)
    low = measure(sure.hulls(_linked(sure, rule, sure=True), errors.smallest(sure.box))[1], -more)
    linked = _linked(found, rule, sure=False)
    cluster, hull = found.hulls(linked, errors.largest(found.box))
    high = measure(hull, more)
    worst = int(np.argmax(high))
    drawn = measure(found.hulls(linked, found.box)[1], 0.0)
    members = found.row[cluster == worst]
    return Reading(float(drawn[worst]), float(low.max(initial=0)), float(high[worst]), tuple(members.tolist()))


def _lengths(box: Floats, added: float) -> Floats:
    return np.maximum((box[:, 2:] - box[:, :2]).max(axis=1, initial=0) + added, 0)


def _areas(box: Floats, added: float) -> Floats:
    return np.maximum(box[:, 2:] - box[:, :2] + added, 0).prod(axis=1)


def length(found: Indications, rule: Limits) -> Reading:
    """Measure the longer side of the largest indication, or of the common box of a cluster."""
    return _largest(found, rule, _lengths)


def area(found: Indications, rule: Limits) -> Reading:
    """Measure the area of the largest indication's box, or of the common box of a cluster."""
    return _largest(found, rule, _areas)


def number(found: Indications, rule: Limits) -> Reading:
    """Count indications in the fullest square.

    A cluster counts once to reject, all of its members to accept: what merging alone makes few is for a person to see.
    """
    sure = found.where(found.certain)
    cluster, hull = sure.hulls(_linked(sure, rule, sure=False), sure.box)
    # Each cluster stands where one of its members does, so that no square holds more clusters than indications.
    off = np.hypot(*(sure.center - (hull[cluster, :2] + hull[cluster, 2:]) / 2).T)
    order = np.lexsort((off, cluster))
    first = order[np.unique(cluster[order], return_index=True)[1]]
    low = heaviest_square(sure.center[first], np.ones(len(first)), rule.reference_side)[0]
    high, members = heaviest_square(found.center, np.ones(len(found)), rule.reference_side)
    shown = low if rule.merge_within is not None and found.certain.all() else high
    return Reading(shown, low, high, tuple(found.row[members].tolist()))


def total_length(found: Indications, rule: Limits) -> Reading:
    """Sum the longer sides of the indications in the worst square."""
    return _total(found, rule, _lengths)


def total_area(found: Indications, rule: Limits) -> Reading:
    """Sum the areas of the boxes of the indications in the worst square."""
    return _total(found, rule, _areas)


def _total(found: Indications, rule: Limits, measure: Callable[[Floats, float], Floats]) -> Reading:
    errors, more = rule.errors, rule.errors.measurement
    sure = found.where(found.certain)
    low = heaviest_square(sure.center, measure(errors.smallest(sure.box), -more), rule.reference_side)[0]
    high, members = heaviest_square(found.center, measure(errors.largest(found.box), more), rule.reference_side)
    value = float(measure(found.box[members], 0.0).sum())
    return Reading(value, low, high, tuple(found.row[members].tolist()))


def distance(found: Indications, rule: Limits) -> Reading:
    """Measure the least distance between two indications that are not one by `merge_within`."""
    if len(found) < 2:
        return NO_NEIGHBOR
    one, two = np.triu_indices(len(found), 1)
    drawn = found.gaps[one, two]
    low, high = (bound[one, two] for bound in found.gap_bounds(rule.errors))
    merge = -1.0 if rule.merge_within is None else rule.merge_within
    apart = high > merge  # may be two
    if not apart.any():
        return NO_NEIGHBOR
    nearest = int(np.argmin(np.where(apart, low, np.inf)))
    surely = found.certain[one] & found.certain[two] & (low > merge)
    rows = (int(found.row[one[nearest]]), int(found.row[two[nearest]]))
    return Reading(float(drawn[nearest]), float(low[nearest]), float(high[surely].min(initial=np.inf)), rows)


def edge_distance(found: Indications, rule: Limits) -> Reading:
    """Measure the least distance from a box to the edge of `mask`, 0 where it lies across; the frame is no edge."""
    if not len(found):
        return NO_NEIGHBOR
    if rule.mask is None or rule.mask.all():
        return Reading(None, 0.0, np.inf, tuple(found.row.tolist()), "the edge is not seen in this radiograph")
    inside = cv2.distanceTransform(rule.mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    drawn = np.array([_least_in(inside, box) for box in found.box])
    inner, outer = rule.errors.sides(found.box)
    more = rule.errors.measurement
    low, high = np.maximum(drawn - outer - more, 0), np.maximum(drawn - inner + more, 0)
    worst = int(np.argmin(low))
    surely = float(high[found.certain].min(initial=np.inf))
    return Reading(float(drawn[worst]), float(low[worst]), surely, (int(found.row[worst]),))


def _least_in(inside: np.ndarray, box: Floats) -> float:
    """Return the distance from the outline of a box to the nearest pixel outside of the mask."""
    x1, y1, x2, y2 = pixels_of(box, inside.shape)
    return max(float(inside[y1:y2, x1:x2].min()) - 1.0, 0.0)  # of the centers, which lie a pixel farther apart


def pixels_of(box: Floats, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the pixels x1 y1 x2 y2 that a box touches, at least one, inside of an image of `shape` (H, W)."""
    x1, y1 = int(np.floor(box[0])), int(np.floor(box[1]))
    x1, y1 = min(max(x1, 0), shape[1] - 1), min(max(y1, 0), shape[0] - 1)
    x2, y2 = min(int(np.ceil(box[2])), shape[1]), min(int(np.ceil(box[3])), shape[0])
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def heaviest_square(center: Floats, weight: Floats, side: float | None) -> tuple[float, NDArray[np.int64]]:
    """Return the largest sum of the weights [N] whose centers [N, 2] lie in one upright square, and whose they are.

    `side` is that of the square, borders included; None is the whole plane. The square may lie anywhere: it is enough
    to try those that have a center on the left side and one on the upper side.
    """
    if side is None or not len(center):
        return float(weight.sum()), np.arange(len(center))
    best, members = 0.0, np.zeros(0, np.int64)
    order = np.argsort(center[:, 1], kind="stable")
    x, y, w = center[order, 0], center[order, 1], weight[order]
    for left in np.unique(x):
        inside = np.flatnonzero((x >= left) & (x <= left + side))
        sums = np.concatenate([[0.0], np.cumsum(w[inside])])
        ends = np.searchsorted(y[inside], y[inside] + side, side="right")
        # Among equal rows the first one starts the square.
        starts = np.searchsorted(y[inside], y[inside], side="left")
        total = sums[ends] - sums[starts]
        top = int(np.argmax(total))
        if total[top] > best:
            best, members = float(total[top]), order[inside[starts[top] : ends[top]]]
    return best, members


MEASURES: dict[Measure, Callable[[Indications, Limits], Reading]] = {
    "length": length,
    "area": area,
    "number": number,
    "total_length": total_length,
    "total_area": total_area,
    "distance": distance,
    "edge_distance": edge_distance,
}
"""What each measure of a rule does."""
