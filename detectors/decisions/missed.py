"""A bound on missed defects: conformal risk control (Angelopoulos, Bates, Fisch, Lei and Schuster 2022).

The loss of a radiograph is the share of its defects that score under the threshold, between 0 and 1 and no larger for a
lower threshold. The bound holds for the expected loss of the next radiograph if that is exchangeable with those of the
calibration: drawn like them, in any order. Frames of one turning part are not, and another part is not. Radiographs
without defects have no loss and are left out on both sides, so that the bound is about radiographs with defects.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from detectors.evaluation.matching import MatchTable


class BoundedMisses(NamedTuple):
    """A threshold with its bound.

    `alpha` bounds the expected share of missed defects of a radiograph, `share` is the mean one at `threshold` in the
    calibration, on `radiographs` with `defects`.
    """

    threshold: float
    alpha: float
    share: float
    radiographs: int
    defects: int


def scores_by_radiograph(table: MatchTable) -> list[NDArray[np.float64]]:
    """Return the scores at which the defects of each radiograph with any were found, -inf for those never found."""
    image = table.ground_truth.image[table.counted]
    score = table.found_score[table.counted]
    return [score[image == number] for number in np.unique(image)]


def missed_shares(scores: list[NDArray[np.float64]], threshold: float) -> NDArray[np.float64]:
    """Return the share of missed defects of each radiograph at a threshold, float64 [N] in [0, 1]."""
    return np.array([float((found < threshold).mean()) for found in scores])


def bound_misses(scores: list[NDArray[np.float64]], alpha: float) -> BoundedMisses:
    """Return the highest threshold whose expected share of missed defects is at most `alpha`.

    With R the mean share over n radiographs, it is the highest threshold with n / (n + 1) R + 1 / (n + 1) <= alpha
    (equation 4 of the paper, with losses of at most 1).

    Args:
        scores: of each radiograph with defects, the scores at which they were found (`scores_by_radiograph`).
        alpha: wanted bound, in (0, 1).

    Raises InputError where there are too few radiographs for `alpha`, and where too many defects are never found.

    """
    count = len(scores)
    if not 0 < alpha < 1:
        raise InputError(f"wanted share of missed defects {alpha}: must lie between 0 and 1, such as 0.1")
    least = int(np.ceil(1 / alpha)) - 1
    if count < least:
        raise InputError(
            f"{count} radiographs with defects; a bound of {alpha:g} takes at least {least}, better ten times that"
        )
    values = np.concatenate(scores)
    # Each defect weighs as much as its share of its radiograph.
    weight = np.concatenate([np.full(len(found), 1 / len(found)) for found in scores])
    order = np.argsort(values, kind="stable")
    values, missed = values[order], np.concatenate([[0.0], np.cumsum(weight[order])])
    thresholds = np.unique(values[np.isfinite(values)])
    risk = missed[np.searchsorted(values, thresholds, side="left")] / count
    fit = np.flatnonzero(count / (count + 1) * risk + 1 / (count + 1) <= alpha + 1e-12)
    if not len(fit):
        never = float(missed[np.searchsorted(values, -np.inf, side="right")] / count)
        reached = count / (count + 1) * never + 1 / (count + 1)
        raise InputError(
            f"wanted share of missed defects {alpha:g}: {never:.3f} are found at no score, so that {reached:.3f} "
            "is the least that can be promised; want less, or train the detector better"
        )
    best = int(fit[-1])
    return BoundedMisses(float(thresholds[best]), alpha, float(risk[best]), count, len(values))
