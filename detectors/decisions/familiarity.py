"""An alarm for radiographs that are not like those that a detector was qualified on.

A radiograph is described by what the detector's own backbone sees in it (mean and deviation of every channel of the
finest map) and by its gray values. Radiographs like those of the qualification have a mean and a covariance, and
the Mahalanobis distance says how unlike another one is (Lee et al. 2018); the covariance is shrunk, because there
are few radiographs (Chen et al. 2010). The distance that raises the alarm comes from radiographs that were held out.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.files import atomic_path, write_json
from data.noise_level import noise_level
from data.radiograph import Radiograph
from data.records import Category
from detectors.runs.predict_files import FileDetector, Findings, ParallelDetector
from detectors.runtime.predictor import ExportedPredictor

LEAST_DEVIATION = 0.01  # of the mean, that a feature is taken to have
FEWEST = 10  # radiographs that mean and covariance come from
GRAY_QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
NO_BACKBONE = "this model has no backbone with features to learn; leave normal.npz out, or use a detector of boxes"
ARRAYS = {"mean": 1, "scale": 1, "precision": 2, "threshold": 0, "rate": 0, "learned": 0, "held_out": 0}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Familiar:
    """What radiographs like those of the qualification look like.

    Attributes:
        mean: of the F features, float64 [F].
        scale: their deviations, float64 [F], above 0.
        precision: inverse of the shrunk correlation, float64 [F, F].
        threshold: the distance above which there is an alarm.
        rate: the share of false alarms that it was chosen for, in (0, 1).
        learned: radiographs behind mean and covariance.
        held_out: radiographs behind the threshold.

    """

    mean: Floats
    scale: Floats
    precision: Floats
    threshold: float
    rate: float
    learned: int
    held_out: int

    def distance(self, features: Floats) -> Floats:
        """Return the Mahalanobis distances of features [N, F], float64 [N], over the root of F."""
        if features.shape[-1] != len(self.mean):
            raise InputError(
                f"a radiograph has {features.shape[-1]} features, but {len(self.mean)} were learned; "
                "they are of another detector: run radiograph learn-normal with this one"
            )
        off = (features - self.mean) / self.scale
        squared = np.einsum("nf,fg,ng->n", off, self.precision, off)
        return np.sqrt(np.maximum(squared, 0) / len(self.mean))


def learn(features: Floats, rate: float, seed: int = 0) -> Familiar:
    """Learn from features float64 [N, F] of N radiographs; a random half of them sets the threshold.

    The threshold is the ceil((n + 1)(1 - rate))-th of the n distances held out: the next radiograph that is drawn like
    them exceeds it with a probability of at most `rate`.

    Raises InputError where there are too few radiographs for `rate`.
    """
    count = len(features)
    held = count // 2
    place = int(np.ceil((held + 1) * (1 - rate)))
    if place > held or count - held < FEWEST:
        least = max(2 * (int(np.ceil(1 / rate)) - 1), 2 * FEWEST)
        raise InputError(f"{count} radiographs are too few for a false alarm rate of {rate:g}; give at least {least}")
    order = np.random.default_rng(seed).permutation(count)
    own, others = features[order[held:]], features[order[:held]]
    # A value that all of them share, such as a white that saturates, must not make the least change an alarm.
    scale = np.maximum(own.std(axis=0), LEAST_DEVIATION * (np.abs(own.mean(axis=0)) + 0.1))
    precision: Floats = np.linalg.inv(shrunk_covariance((own - own.mean(axis=0)) / scale)).astype(np.float64)
    found = Familiar(own.mean(axis=0), scale, precision, 0.0, rate, len(own), held)
    threshold = float(np.sort(found.distance(others))[place - 1])
    return Familiar(found.mean, scale, precision, threshold, rate, len(own), held)


def shrunk_covariance(centered: Floats) -> Floats:
    """Return the covariance of centered samples [N, F], shrunk towards a multiple of the identity.

    Oracle approximating shrinkage (Chen, Wiesel, Eldar and Hero 2010, equation 23).
    """
    count, width = centered.shape
    sample = centered.T @ centered / count
    trace, square = float(np.trace(sample)), float((sample * sample).sum())
    above = (1 - 2 / width) * square + trace**2
    below = (count + 1 - 2 / width) * (square - trace**2 / width)
    share = 1.0 if below <= 0 else min(above / below, 1.0)
    return (1 - share) * sample + share * trace / width * np.eye(width)


def write_familiar(path: Path, found: Familiar) -> None:
    """Write what was learned as a NumPy archive, atomically."""
    with atomic_path(path, durable=True) as temporary, temporary.open("wb") as stream:
        arrays: dict[str, Any] = {name: np.asarray(getattr(found, name)) for name in ARRAYS}
        np.savez(stream, **arrays)


def read_familiar(path: Path) -> Familiar:
    """Read what `write_familiar` wrote; nothing in it is executed. Raises InputError for any other file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            values: dict[str, np.ndarray] = {name: np.asarray(archive[name], np.float64) for name in ARRAYS}
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not readable ({error}); write it with radiograph learn-normal") from error
    width = values["mean"].shape
    shapes = [values["scale"].shape == width, values["precision"].shape == width * 2]
    ranks = [values[name].ndim == rank for name, rank in ARRAYS.items()]
    if not (all(shapes + ranks) and all(np.isfinite(value).all() for value in values.values())):
        raise InputError(f"{path}: its arrays do not fit together; write it with radiograph learn-normal")
    numbers: Any = {name: value if value.ndim else float(value) for name, value in values.items()}
    return Familiar(**{**numbers, "learned": int(numbers["learned"]), "held_out": int(numbers["held_out"])})


def gray_features(pixels: np.ndarray) -> Floats:
    """Return quantiles of the gray values of a radiograph float32 [H, W], and the logarithm of its noise."""
    return np.array([*np.quantile(pixels, GRAY_QUANTILES), np.log(max(noise_level(pixels), 1e-5))])


class Watch:
    """A detector whose findings have the features of the whole radiograph; used where `predict_files` takes one.

    `detector` is one whose findings say what the model saw, such as an exported model of boxes.
    """

    def __init__(self, detector: FileDetector) -> None:
        self.detector = detector
        self.window = detector.window
        self.categories: list[Category] = detector.categories

    def find(self, radiograph: Radiograph, with_map: bool = True) -> Findings:
        """Return the findings in one radiograph, its gray values among the features."""
        found = self.detector.find(radiograph, with_map)
        assert found.features is not None
        return replace(found, features=np.concatenate([found.features, gray_features(radiograph.pixels)]))


class ParallelWatch(Watch):
    """The same of a detector that works on several radiographs at once."""

    detector: ParallelDetector

    def prepare_for(self, count: int) -> int:
        """Get ready for so many radiographs, and return how many threads may call `find` at the same time."""
        return self.detector.prepare_for(count)


def watch(predictor: Any) -> Watch:
    """Return a watch over what detects with a run or an exported model.

    Raises InputError for a model that does not detect boxes: it has no backbone with features.
    """
    if isinstance(predictor, ExportedPredictor):
        if predictor.folder.form != "boxes":
            raise InputError(f"{predictor.folder.path}: {NO_BACKBONE}")
        return ParallelWatch(predictor)
    from detectors.decisions.backbone_features import BackboneFeatures  # which needs PyTorch

    return Watch(BackboneFeatures(predictor))


class Alarms:
    """Collects how unlike radiographs are, in the order in which it is told of the findings in them."""

    def __init__(self, familiar: Familiar) -> None:
        self.familiar = familiar
        self.distances: list[float] = []

    def add(self, found: Findings) -> None:
        """Note one radiograph. Raises InputError where another detector has seen it."""
        assert found.features is not None
        self.distances.append(float(self.familiar.distance(found.features[None])[0]))

    def write(self, path: Path, images: Sequence[Mapping[str, Any]]) -> list[bool]:
        """Write `alarms.json` on these radiographs, in the same order; return which raised the alarm."""
        alarms = [distance > self.familiar.threshold for distance in self.distances]
        rows = [
            {"image_id": image["id"], "file_name": image["file_name"], "distance": distance, "alarm": alarm}
            for image, distance, alarm in zip(images, self.distances, alarms, strict=True)
        ]
        write_json(
            path, {"threshold": self.familiar.threshold, "rate": self.familiar.rate, "radiographs": rows}, indent=1
        )
        return alarms
