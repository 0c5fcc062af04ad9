"""A run's bound on missed defects and the calibration of its scores: made from an evaluation, kept with the run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from data.errors import InputError
from data.files import write_json
from detectors.decisions.calibration import Calibration, Reliability, calibrate
from detectors.decisions.missed import BoundedMisses, bound_misses, missed_shares, scores_by_radiograph
from detectors.decisions.spoken import MISSES_FILE
from detectors.evaluation.plots import COLORS, quiet, save_figure
from detectors.evaluation.runs import Run


def bound_run(evaluation: Run, alpha: float) -> tuple[BoundedMisses, Calibration | None, str]:
    """Return the bound and the calibration by center point, or None and the reason where scores cannot be calibrated.

    Raises InputError as `bound_misses`.
    """
    table = evaluation.overlaps.match(criterion="center")
    bound = bound_misses(scores_by_radiograph(table), alpha)
    try:
        return bound, calibrate(table), ""
    except InputError as error:
        return bound, None, str(error)


def write_bounds(folder: Path, bound: BoundedMisses, calibration: Calibration | None, evaluation: Run) -> None:
    """Write `misses.json` and `plots/reliability.png` into the folder of a run or an evaluation."""
    record: dict[str, Any] = {**bound._asdict(), "evaluation": str(evaluation.folder), "criterion": "center"}
    if calibration is not None:
        plot_reliability({"scores": calibration.before, "with temperature": calibration.after},
                         folder / "plots" / "reliability.png")  # fmt: skip
        record |= {"temperature": calibration.temperature, "calibration_error": calibration.before.error,
                   "calibration_error_with_temperature": calibration.after.error}  # fmt: skip
    write_json(folder / MISSES_FILE, record, indent=2)


def plot_reliability(curves: Mapping[str, Reliability], path: Path) -> None:
    """Draw the share of hits against the mean score, of bins with equally many detections."""
    figure = Figure(figsize=(5.2, 5.0), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=1)
    for color, (name, curve) in zip(COLORS, curves.items(), strict=False):
        axes.plot(curve.score, curve.hits, "o-", color=color, label=f"{name}: error {curve.error:.3f}")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="mean score", ylabel="share of hits", title="Are scores probabilities?")
    quiet(axes)
    axes.legend(loc="upper left")
    save_figure(figure, path)


def split_losses(
    scores: Sequence[np.ndarray], alpha: float, splits: int, seed: int = 0, others: Sequence[np.ndarray] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean share of missed defects on the other half, for random halves as calibration, float64 [splits].

    The second array is the same on `others`, radiographs of another part; empty without them.
    """
    rng = np.random.default_rng(seed)
    own, foreign = [], []
    for _ in range(splits):
        order = rng.permutation(len(scores))
        half = len(order) // 2
        threshold = bound_misses([scores[k] for k in order[:half]], alpha).threshold
        own.append(missed_shares([scores[k] for k in order[half:]], threshold).mean())
        if others:
            foreign.append(missed_shares(list(others), threshold).mean())
    return np.array(own), np.array(foreign)
