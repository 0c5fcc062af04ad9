"""Whether scores are probabilities: reliability, expected calibration error, and a temperature that repairs them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from data.errors import InputError
from detectors.evaluation.matching import MatchTable

Floats = NDArray[np.float64]
BINS = 10
FEWEST = 50  # detections
EPSILON = 1e-6


class Reliability(NamedTuple):
    """Bins of like scores, equally many in each: mean score, share of hits, number; float64 [B] each."""

    score: Floats
    hits: Floats
    number: Floats

    @property
    def error(self) -> float:
        """Expected calibration error (Naeini et al. 2015): the mean distance of score and share, weighted by number."""
        return float((np.abs(self.score - self.hits) * self.number).sum() / self.number.sum())


class Calibration(NamedTuple):
    """Reliability `before`, and `after` the temperature.

    `after` is honest: every half of the radiographs is judged with the temperature of the other half. `temperature` is
    from all.
    """

    temperature: float
    before: Reliability
    after: Reliability


def reliability(score: Floats, hit: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """Return the reliability of scores float64 [N] in [0, 1] against `hit` bool [N]."""
    groups = [g for g in np.array_split(np.argsort(score, kind="stable"), bins) if len(g)]
    return Reliability(
        np.array([score[g].mean() for g in groups]),
        np.array([hit[g].mean() for g in groups]),
        np.array([float(len(g)) for g in groups]),
    )


def with_temperature(score: Floats, temperature: float) -> Floats:
    """Return scores whose log-odds are divided by the temperature (Guo et al. 2017)."""
    scaled: Floats = expit(logit(np.clip(score, EPSILON, 1 - EPSILON)) / temperature)
    return scaled


def fit_temperature(score: Floats, hit: NDArray[np.bool_]) -> float:
    """Return the temperature of the greatest likelihood, between 1/20 and 20."""
    odds = logit(np.clip(score, EPSILON, 1 - EPSILON))

    def loss(log_temperature: float) -> float:
        signed = np.where(hit, odds, -odds) / np.exp(log_temperature)
        return float(np.logaddexp(0, -signed).sum())

    return float(np.exp(minimize_scalar(loss, bounds=(-np.log(20), np.log(20)), method="bounded").x))


def calibrate(table: MatchTable) -> Calibration:
    """Fit a temperature to the scores of an evaluation, by center point or IoU as the table was matched.

    Raises InputError for fewer than 50 detections, and where all of them are hits or none is.
    """
    kept = ~table.ignored
    score, hit = table.detections.score[kept], table.hit[kept]
    if len(score) < FEWEST or hit.all() or not hit.any():
        raise InputError(f"{len(score)} detections, {int(hit.sum())} of them hits; scores cannot be calibrated on them")
    half = table.detections.image[kept] % 2 == 0
    judged = score.copy()
    for one in (half, ~half):
        if one.any() and (~one).any():
            judged[one] = with_temperature(score[one], fit_temperature(score[~one], hit[~one]))
    return Calibration(fit_temperature(score, hit), reliability(score, hit), reliability(judged, hit))
