"""Confidence bounds: exact ones of counts, and of a mean."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import beta, chi2, t


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the two-sided exact bounds of a share, in [0, 1] (Clopper and Pearson 1934); None without trials.

    Each bound taken alone is one-sided at (1 + confidence) / 2.
    """
    if trials == 0:
        return None
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, successes, trials - successes + 1)) if successes else 0.0
    high = float(beta.ppf(1 - tail, successes + 1, trials - successes)) if successes < trials else 1.0
    return low, high


def poisson_rate(events: int, trials: int, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the two-sided exact bounds of events a trial (Garwood 1936); None without trials.

    For counts that may exceed one a trial, such as false calls an image.
    """
    if trials == 0:
        return None
    tail = (1 - confidence) / 2
    low = float(chi2.ppf(tail, 2 * events)) / 2 if events else 0.0
    return low / trials, float(chi2.ppf(1 - tail, 2 * events + 2)) / 2 / trials


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float | None]:
    """Return the mean of values and half the width of its interval by Student's t; None from fewer than two."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return mean, float(t.ppf((1 + confidence) / 2, len(values) - 1)) * error
