"""Probability of detection by size: hit/miss analysis in the manner of MIL-HDBK-1823A and ASTM E2862.

A defect of size a is found with POD(a) = link^-1(b0 + b1 x), x = a or log a, fitted by maximum likelihood.
a90/95 is the one-sided 95 % upper bound of the size that is found nine times in ten.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize
from scipy.special import expit, log_expit, log_ndtr, ndtr
from scipy.stats import chi2, norm

from data.errors import InputError

Floats = NDArray[np.float64]
Link = Literal["logit", "probit"]
Scale = Literal["log", "linear"]
FEWEST = 60  # hit/miss data sets should have no fewer defects (MIL-HDBK-1823A)
TOO_FEW = 10
LOG_ROOT_2PI = float(np.log(2 * np.pi)) / 2
GROUPS = 10  # of the Hosmer-Lemeshow test


@dataclass(frozen=True)
class PodFit:
    """A fitted POD curve; sizes in the unit of the data, probabilities in [0, 1].

    `intercept`, `slope` of the link on x; `covariance` [2, 2] of both, from the Fisher information.
    `a90_95` by likelihood ratio and `a90_95_wald` are None where no finite size is certain enough. `fit_p`
    is the p-value of the Hosmer-Lemeshow test (small: the curve does not describe the data), None with too
    few defects for it. `warnings` are sentences for the reader.
    """

    link: Link
    scale: Scale
    intercept: float
    slope: float
    covariance: Floats
    log_likelihood: float
    defects: int
    hits: int
    a50: float
    a90: float
    a90_95: float | None
    a90_95_wald: float | None
    fit_p: float | None
    size: Floats = field(repr=False)
    hit: NDArray[np.bool_] = field(repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def deviance(self) -> float:
        """Minus twice the log-likelihood: of curves with other links and scales the least fits best."""
        return -2 * self.log_likelihood

    def pod(self, size: Floats) -> Floats:
        """Return the probability of detection at each size."""
        return _probability(self.intercept + self.slope * _scaled(size, self.scale), self.link)

    def wald_band(self, size: Floats, confidence: float = 0.9) -> tuple[Floats, Floats]:
        """Return pointwise two-sided bounds at each size from the covariance of the estimates."""
        x = _scaled(size, self.scale)
        eta, reach = self.intercept + self.slope * x, self._wald_reach(x, confidence)
        return _probability(eta - reach, self.link), _probability(eta + reach, self.link)

    def _wald_reach(self, x: Floats, confidence: float) -> Floats:
        (v00, v01), (_, v11) = self.covariance
        return norm.ppf((1 + confidence) / 2) * np.sqrt(np.maximum(v00 + 2 * v01 * x + v11 * x * x, 0))

    def likelihood_band(self, size: Floats, confidence: float = 0.9) -> tuple[Floats, Floats]:
        """Return pointwise two-sided bounds at each size by likelihood ratio (one degree of freedom)."""
        profile = _Profile(_scaled(self.size, self.scale), self.hit, self.link, self.log_likelihood)
        limit = chi2.ppf(confidence, 1)
        bounds = np.empty((2, len(size)))
        x = _scaled(size, self.scale)
        reach = self._wald_reach(x, confidence)
        for row in range(len(x)):
            best = self.intercept + self.slope * x[row]
            for side, sign in enumerate((-1.0, 1.0)):
                bounds[side, row] = profile.bound(x[row], best, sign, limit, reach[row])
        return _probability(bounds[0], self.link), _probability(bounds[1], self.link)


def fit_pod(size: Floats, hit: NDArray[np.bool_], link: Link = "logit", scale: Scale = "log") -> PodFit:
    """Fit POD against `size` float [N], above 0, from `hit` bool [N] (found or not).

    Raises InputError with the reason where the data cannot support a fit: under 10 defects, all found or all
    missed, sizes that part the found from the missed completely, or no rise of POD with size.
    """
    size, hit = np.asarray(size, dtype=float), np.asarray(hit, dtype=bool)
    _refuse(size, hit)
    x = _scaled(size, scale)
    center, spread = float(x.mean()), float(x.std())
    z = (x - center) / spread
    start = np.array([_link(float(np.clip(hit.mean(), 0.02, 0.98)), link), 0.5])
    fitted = minimize(
        lambda b: -_log_likelihood(b[0] + b[1] * z, hit, link),
        start,
        jac=lambda b: -_gradient(b, z, hit, link),
        method="BFGS",
        options={"gtol": 1e-8},
    )
    slope = float(fitted.x[1] / spread)
    intercept = float(fitted.x[0] - slope * center)
    best = -float(fitted.fun)
    flat = _log_likelihood(np.full(len(hit), _link(float(hit.mean()), link)), hit, link)
    if slope <= 0 or 2 * (best - flat) < chi2.ppf(0.9, 1):
        raise InputError(
            f"POD does not rise with size in these {len(hit)} defects (slope {slope:.3g}); "
            "a90 has no meaning here: choose another measure of size, or test more sizes"
        )
    covariance = _covariance(intercept + slope * x, x, link)
    wanted = _link(0.9, link)
    a50, a90 = (_unscaled((_link(p, link) - intercept) / slope, scale) for p in (0.5, 0.9))
    lr = _Profile(x, hit, link, best).upper(wanted, intercept, slope)
    wald = _wald_upper(intercept, slope, covariance, wanted)
    a90_95 = None if lr is None else _unscaled(lr, scale)
    return PodFit(
        link=link,
        scale=scale,
        intercept=intercept,
        slope=slope,
        covariance=covariance,
        log_likelihood=best,
        defects=len(hit),
        hits=int(hit.sum()),
        a50=a50,
        a90=a90,
        a90_95=a90_95,
        a90_95_wald=None if wald is None else _unscaled(wald, scale),
        fit_p=_hosmer_lemeshow(_probability(intercept + slope * x, link), hit),
        size=size,
        hit=hit,
        warnings=_warnings(size, a50, a90, a90_95),
    )


def _refuse(size: Floats, hit: NDArray[np.bool_]) -> None:
    """Raise InputError where no curve can be fitted."""
    if not np.isfinite(size).all() or (len(size) and size.min() <= 0):
        raise InputError("POD: a size is not a number above 0; measure every defect, or leave it out")
    if len(size) < TOO_FEW:
        raise InputError(f"POD: {len(size)} defects cannot carry a curve; test at least {FEWEST}")
    if hit.all() or not hit.any():
        what = "found: all sizes are too easy" if hit.all() else "missed: lower the threshold or train on"
        raise InputError(f"POD: all {len(hit)} defects are {what}; a curve needs both hits and misses")
    if size.max() == size.min():
        raise InputError(f"POD: all {len(size)} defects have size {size[0]:g}; a curve needs a range of sizes")
    if size[hit].min() >= size[~hit].max() or size[hit].max() <= size[~hit].min():
        raise InputError(
            f"POD: separation, misses end at size {size[~hit].max():g} and hits begin at {size[hit].min():g}, "
            "so that the slope has no finite estimate; test more defects between"
        )


def _warnings(size: Floats, a50: float, a90: float, a90_95: float | None) -> tuple[str, ...]:
    said = []
    if len(size) < FEWEST:
        said.append(f"only {len(size)} defects; MIL-HDBK-1823A wants at least {FEWEST}, so bounds are rough")
    beyond = "a90" if a90 > size.max() else "a90/95" if a90_95 is not None and a90_95 > size.max() else None
    if beyond:
        said.append(f"{beyond} lies beyond the largest defect tested ({size.max():.4g}): an extrapolation")
    if a50 < size.min():
        said.append(f"a50 lies below the smallest defect tested ({size.min():.4g}): smaller ones are missing")
    if a90_95 is None:
        said.append("no size is found nine times in ten with 95 % confidence; test more defects")
    return tuple(said)


def _scaled(size: Floats, scale: Scale) -> Floats:
    return np.log(size) if scale == "log" else np.asarray(size, dtype=float)


def _unscaled(x: float, scale: Scale) -> float:
    return float(np.exp(min(x, 700.0))) if scale == "log" else x


def _link(probability: float, link: Link) -> float:
    return float(np.log(probability / (1 - probability)) if link == "logit" else norm.ppf(probability))


def _probability(eta: Floats, link: Link) -> Floats:
    return expit(eta) if link == "logit" else ndtr(eta)


def _log_likelihood(eta: Floats, hit: NDArray[np.bool_], link: Link) -> float:
    signed = np.where(hit, eta, -eta)
    return float((log_expit(signed) if link == "logit" else log_ndtr(signed)).sum())


def _score(eta: Floats, hit: NDArray[np.bool_], link: Link) -> Floats:
    """Return the derivative of the log-likelihood by eta, one value a defect."""
    if link == "logit":
        return hit - _probability(eta, link)
    signed = np.where(hit, eta, -eta)
    return np.where(hit, 1.0, -1.0) * np.exp(-(signed**2) / 2 - LOG_ROOT_2PI - log_ndtr(signed))


def _gradient(coefficients: Floats, x: Floats, hit: NDArray[np.bool_], link: Link) -> Floats:
    score = _score(coefficients[0] + coefficients[1] * x, hit, link)
    return np.array([score.sum(), (score * x).sum()])


def _weights(eta: Floats, link: Link) -> Floats:
    """Return the Fisher information of eta, one value a defect."""
    p = np.clip(_probability(eta, link), 1e-300, 1 - 1e-16)
    return p * (1 - p) if link == "logit" else np.exp(-(eta**2) - 2 * LOG_ROOT_2PI) / (p * (1 - p))


def _covariance(eta: Floats, x: Floats, link: Link) -> Floats:
    weight = _weights(eta, link)
    design = np.stack([np.ones_like(x), x], axis=1)
    information: Floats = design.T @ (weight[:, None] * design)
    return np.asarray(np.linalg.inv(information), dtype=np.float64)


def _wald_upper(intercept: float, slope: float, covariance: Floats, wanted: float) -> float | None:
    """Return the x at which the one-sided 95 % lower bound of eta reaches `wanted`, None where it never does."""
    (v00, v01), (_, v11) = covariance
    z2 = norm.ppf(0.95) ** 2
    # (b0 + b1 x - wanted)^2 = z^2 var(x), whose larger root is the upper bound (Fieller's).
    a = slope**2 - z2 * v11
    b = slope * (intercept - wanted) - z2 * v01
    c = (intercept - wanted) ** 2 - z2 * v00
    if a <= 0:
        return None
    return float((-b + np.sqrt(max(b * b - a * c, 0.0))) / a)


class _Profile:
    """The log-likelihood at its best over the slope, where the curve is made to pass through one point."""

    def __init__(self, x: Floats, hit: NDArray[np.bool_], link: Link, best: float) -> None:
        self.x, self.hit, self.link, self.best = x, hit, link, best
        self.spread = float(x.std())
        self._slope = 0.0  # of the last call: the next point is near, so that few steps are left

    def ratio(self, x: float, eta: float) -> float:
        """Return twice the log-likelihood lost by passing through eta at x."""
        away = (self.x - x) / self.spread
        slope = self._slope
        value = _log_likelihood(eta + slope * away, self.hit, self.link)
        for _ in range(100):
            line = eta + slope * away
            information = float((_weights(line, self.link) * away**2).sum())
            step = float((_score(line, self.hit, self.link) * away).sum()) / max(information, 1e-12)
            # Fisher scoring may overshoot: halve until the likelihood rises, which it must in a concave one.
            while abs(step) > 1e-10:
                tried = _log_likelihood(eta + (slope + step) * away, self.hit, self.link)
                if tried >= value:
                    break
                step /= 2
            else:
                break
            slope, gain, value = slope + step, tried - value, tried
            if gain < 1e-10:
                break
        self._slope = slope
        return 2 * (self.best - value)

    def bound(self, x: float, best: float, sign: float, limit: float, reach: float) -> float:
        """Return the eta above (`sign` 1) or below (-1) `best` at which the loss at x reaches `limit`.

        `reach` is a guess of how far away it is, such as Wald's.
        """
        near, far = 0.0, max(reach, 1e-3)
        while self.ratio(x, best + sign * far) < limit:
            near, far = far, 1.5 * far
            if far > 500:
                return sign * np.inf
        return float(brentq(lambda eta: self.ratio(x, eta) - limit, best + sign * near, best + sign * far, xtol=1e-6))

    def upper(self, wanted: float, intercept: float, slope: float) -> float | None:
        """Return the largest x at which eta = `wanted` is not refuted at one-sided 95 %, None if there is none."""
        limit = chi2.ppf(0.9, 1)
        start = (wanted - intercept) / slope
        reach = 0.1 * self.spread
        while self.ratio(start + reach, wanted) < limit:
            reach *= 2
            if reach > 200 * self.spread:
                return None
        return float(brentq(lambda x: self.ratio(x, wanted) - limit, start, start + reach, xtol=1e-9))


def _hosmer_lemeshow(probability: Floats, hit: NDArray[np.bool_]) -> float | None:
    """Return the p-value of Hosmer and Lemeshow's test on ten groups of like probability, None under 50."""
    if len(hit) < 5 * GROUPS:
        return None
    statistic = 0.0
    for members in np.array_split(np.argsort(probability, kind="stable"), GROUPS):
        expected, count = float(probability[members].sum()), len(members)
        variance = max(expected * (1 - expected / count), 1e-9)
        statistic += (float(hit[members].sum()) - expected) ** 2 / variance
    return float(chi2.sf(statistic, GROUPS - 2))
