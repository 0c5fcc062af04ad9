"""A grade for a region by the user's own graded reference radiographs: a folder a grade.

The regions are described by what grades are told apart by: how much of the area stands out, how large and how many the
indications are, and how strong. A cumulative logit model (McCullagh, J. R. Stat. Soc. B 42 (1980) 109) orders them;
a ridge penalty keeps it steady where references are few. Its uncertainty is that of bootstrap samples of the
references: the shares of the samples that give each grade.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.gray_window import AUTO
from data.radiograph import find_radiographs, read_radiograph

FEATURES = ("area share", "largest size", "number", "contrast")
SHARP, BROAD = 1.0, 15.0  # sigma in pixels: what is noise, and what is background
STANDS_OUT = 4.0  # noises
LEAST_AREA = 4  # pixels
RIDGE = 0.05
STEPS = 400
SAMPLES = 20  # of the bootstrap
LEAST_REFERENCES = 2  # of each grade

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Grade:
    """A grade with its uncertainty.

    Attributes:
        grade: name of the most likely grade.
        probabilities: of each grade, in their order.
        low: lowest and
        high: highest grade that 90 % of the probability lies in, at least.

    """

    grade: str
    probabilities: dict[str, float]
    low: str
    high: str


def region_features(pixels: np.ndarray, polarity: str = "bright") -> Floats:
    """Return the features float64 [4] of a region of gray values float [H, W] in [0, 1].

    They are the logarithms (of 1 + value) of the share of the area that stands out in thousandths, the size of the
    largest indication in pixels (root of its area), the number of indications in 10,000 pixels, and their mean
    contrast in noises. `polarity` says whether indications are "bright", as cavities of castings are, or "dark".
    """
    import cv2

    smooth = cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), SHARP, borderType=cv2.BORDER_REFLECT)
    # The median over a wide window is the background: a mean would follow clusters.
    step = max(1, round(BROAD / 5))
    small = np.ascontiguousarray(smooth[::step, ::step])
    levels = cv2.medianBlur(small, 5)
    for _ in range(3):
        levels = cv2.medianBlur(levels, 5)
    levels = cv2.GaussianBlur(levels, (0, 0), 2.0, borderType=cv2.BORDER_REFLECT)
    background = cv2.resize(levels, smooth.shape[::-1], interpolation=cv2.INTER_LINEAR)
    rest = (smooth - background) * (1 if polarity == "bright" else -1)
    noise = max(1.4826 * float(np.median(np.abs(rest - np.median(rest)))), 1e-4)
    marked = (rest - float(np.median(rest)) > STANDS_OUT * noise).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(marked, connectivity=8)
    large = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] >= LEAST_AREA)
    large = large[large > 0]
    if not len(large):
        return np.zeros(len(FEATURES))
    areas = stats[large, cv2.CC_STAT_AREA]
    inside = np.isin(labels, large)
    values = (
        1000 * areas.sum() / pixels.size,
        float(np.sqrt(areas.max())),
        1e4 * len(large) / pixels.size,
        float(rest[inside].mean()) / noise,
    )
    return np.log1p(np.array(values))


class SeverityLadder:
    """Grades learned from graded references.

    Args:
        features: float64 [N, F] of the references.
        grades: int [N], 0 for the least severe.
        names: of the grades, in their order.
        seed: of the bootstrap.

    Raises InputError for fewer than two grades, or fewer than two references of a grade.

    """

    def __init__(self, features: Floats, grades: NDArray[np.int64], names: Sequence[str], seed: int = 0) -> None:
        counts = np.bincount(grades, minlength=len(names))
        if len(names) < 2 or counts.min() < LEAST_REFERENCES:
            few = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
            raise InputError(f"references by grade: {few}; give {LEAST_REFERENCES} or more of at least two grades")
        self.names = list(names)
        self._mean, self._scale = features.mean(axis=0), features.std(axis=0) + 1e-6
        standard = (features - self._mean) / self._scale
        rng = np.random.default_rng(seed)
        models = [_fit(standard, grades, len(names))]
        for _ in range(SAMPLES):
            # Every grade keeps its number, so that none is missing from a sample.
            chosen = np.concatenate([rng.choice(np.flatnonzero(grades == k), counts[k]) for k in range(len(names))])
            models.append(_fit(standard[chosen], grades[chosen], len(names)))
        self._models = models

    def grade(self, features: Floats) -> Grade:
        """Return the grade of a region by its features float64 [F]."""
        standard = (features - self._mean) / self._scale
        each = np.array([_probabilities(standard[None], *model)[0] for model in self._models])
        shares = each.mean(axis=0)
        best = int(shares.argmax())
        low = high = best
        while shares[low : high + 1].sum() < 0.9:
            down = shares[low - 1] if low > 0 else -1.0
            up = shares[high + 1] if high + 1 < len(shares) else -1.0
            low, high = (low - 1, high) if down >= up else (low, high + 1)
        named = {name: float(share) for name, share in zip(self.names, shares, strict=True)}
        return Grade(self.names[best], named, self.names[low], self.names[high])


def read_ladder(folder: Path, polarity: str = "bright") -> SeverityLadder:
    """Return the ladder of a folder with one folder of radiographs a grade, least severe first by name.

    Raises InputError for a folder without grades, and for files that are no radiographs.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one with a folder of radiographs for each grade")
    homes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(homes) < 2:
        raise InputError(f"{folder}: {len(homes)} folders of grades; give two or more, named in their order")
    rows, grades = [], []
    for number, home in enumerate(homes):
        for file in find_radiographs([home]):
            rows.append(region_features(read_radiograph(file, window=AUTO).pixels, polarity))
            grades.append(number)
    return SeverityLadder(np.array(rows), np.array(grades), [home.name for home in homes])


def _fit(features: Floats, grades: NDArray[np.int64], count: int) -> tuple[Floats, Floats]:
    """Return weights float64 [F], none negative, and thresholds float64 [count - 1] of a cumulative logit model.

    More, larger, denser and stronger is never a lower grade: weights are kept at 0 or above, which steadies the fit
    of features that say the same. Descent with growing and shrinking steps (Rprop) is enough at this size.
    """
    size = features.shape[1]
    start = np.concatenate([np.full(size, 0.5), [-1.0], np.zeros(count - 2)])
    step, before = np.full(len(start), 0.1), np.zeros(len(start))
    values = start
    for _ in range(STEPS):
        gradient = _gradient(values, features, grades, size)
        same = gradient * before
        step = np.clip(np.where(same > 0, step * 1.2, np.where(same < 0, step * 0.5, step)), 1e-6, 1.0)
        values = values - np.sign(gradient) * step
        values[:size] = np.maximum(values[:size], 0)
        before = gradient
    return values[:size], _thresholds(values[size:])


def _thresholds(free: Floats) -> Floats:
    """Return increasing thresholds of free values: the first, then logarithms of the steps."""
    steps: Floats = np.concatenate([free[:1], free[0] + np.cumsum(np.exp(free[1:]))])
    return steps


def _gradient(values: Floats, features: Floats, grades: NDArray[np.int64], size: int) -> Floats:
    """Return the gradient of the penalized mean negative log likelihood, by the chain rule."""
    weights, free = values[:size], values[size:]
    thresholds = _thresholds(free)
    score = features @ weights
    upper = np.append(thresholds, np.inf)[grades] - score
    lower = np.insert(thresholds, 0, -np.inf)[grades] - score
    high, low = _logistic(upper), _logistic(lower)
    share = np.maximum(high - low, 1e-9)
    slope_high, slope_low = high * (1 - high) / share, low * (1 - low) / share
    count = len(grades)
    of_weights = features.T @ (slope_high - slope_low) / count + 2 * RIDGE * weights
    of_thresholds = np.array(
        [(-slope_high[grades == k].sum() + slope_low[grades == k + 1].sum()) / count for k in range(len(thresholds))]
    )
    of_free = np.empty(len(free))
    of_free[0] = of_thresholds.sum()
    for k in range(1, len(free)):
        of_free[k] = of_thresholds[k:].sum() * np.exp(free[k])
    gradient: Floats = np.concatenate([of_weights, of_free])
    return gradient


def _logistic(values: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-np.clip(values, -500, 500)))
    return result


def _probabilities(features: Floats, weights: Floats, thresholds: Floats) -> Floats:
    """Return the probabilities of all grades, float64 [N, count]."""
    score = (features @ weights)[:, None]
    below = np.hstack([np.zeros_like(score), _logistic(thresholds[None] - score), np.ones_like(score)])
    probabilities: Floats = np.diff(below, axis=1)
    return probabilities
