"""Metrics of a patch classifier, and what an evaluation on patches leaves on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from data.errors import InputError
from data.files import write_json
from data.montage import write_patch_sheet
from data.patch_files import CLASSES, PatchSet
from detectors.evaluation.metrics import EMPTY_METRICS, Metrics, display
from detectors.evaluation.plots import COLORS, literal, quiet, save_figure
from detectors.evaluation.table import write_csv

BATCH = 512
SHOWN = 60  # wrong patches of a sheet


@dataclass(frozen=True)
class PatchScores:
    """How a classifier does on N patches; None is "not applicable", as without patches of a class.

    Attributes:
        accuracy: share of patches whose class is right at probability 0.5 (0.5 itself counts as defect).
        roc_auc: probability that a defect scores above a no-defect patch, ties counting one half.
        sensitivity: share of defects that are found at 0.5.
        specificity: share of no-defect patches that are passed at 0.5.
        confusion: int64 [2, 2], row true class, column predicted class.

    """

    accuracy: float | None
    roc_auc: float | None
    sensitivity: float | None
    specificity: float | None
    confusion: np.ndarray


def score_patches(labels: np.ndarray, probabilities: np.ndarray) -> PatchScores:
    """Return the metrics of defect `probabilities` [N] in [0, 1] against `labels` [N] in 0 (no-defect), 1 (defect)."""
    labels, predicted = np.asarray(labels, dtype=np.int64), np.asarray(probabilities) >= 0.5
    confusion = np.bincount(2 * labels + predicted, minlength=4).reshape(2, 2)
    passed, found = (_share(confusion[k, k], confusion[k].sum()) for k in (0, 1))
    return PatchScores(
        accuracy=_share(np.trace(confusion), len(labels)),
        roc_auc=roc_auc(labels, probabilities),
        sensitivity=found,
        specificity=passed,
        confusion=confusion,
    )


def roc_curve(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return false and true positive rates, float64 [K + 1], at every different score, from (0, 0) to (1, 1).

    Patches of equal score are called together. Needs patches of both classes.
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    true = np.cumsum(labels[order] == 1)[last]
    false = np.cumsum(labels[order] == 0)[last]
    return np.append(0.0, false / false[-1]), np.append(0.0, true / true[-1])


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Return the area under the ROC curve, None where a class has no patch."""
    labels = np.asarray(labels)
    if not (labels == 0).any() or not (labels == 1).any():
        return None
    return float(np.trapezoid(*roc_curve(labels, scores)[::-1]))


def patch_metrics(scores: PatchScores) -> Metrics:
    """Return the metrics as `metrics.json` holds them; those of detection are null."""
    return EMPTY_METRICS | {"accuracy": scores.accuracy, "roc_auc": scores.roc_auc}


@torch.inference_mode()
def classify_patches(model: nn.Module, patches: PatchSet, device: torch.device) -> np.ndarray:
    """Return the defect probability of every patch, float32 [N], by the model's `classify`.

    The model is put into evaluation mode for it, and back into the mode it was in. Raises InputError for a model that
    does not classify patches.
    """
    classify = getattr(model, "classify", None)
    if classify is None:
        raise InputError(f"{patches.path}: patches, but the model is no patch classifier; give it radiographs")
    mode = model.training
    model.eval()
    found = []
    for start in range(0, len(patches), BATCH):
        pixels = torch.from_numpy(patches.floats(slice(start, start + BATCH)))[:, None]
        found.append(classify(pixels.to(device)).float().cpu().numpy())
    model.train(mode)
    return np.concatenate(found)


def write_patch_evaluation(folder: Path, patches: PatchSet, probabilities: np.ndarray, name: str = "") -> Metrics:
    """Write everything about an evaluation on patches into `folder`; returns the metrics.

    Writes `patches.csv`, `plots/roc_curve.png`, `plots/confusion.png`, `plots/wrong_patches.png` and last
    `metrics.json`.
    """
    scores = score_patches(patches.labels, probabilities)
    _write_table(folder / "patches.csv", patches, probabilities)
    _plot_roc(folder / "plots" / "roc_curve.png", patches.labels, probabilities, scores, name or folder.name)
    _plot_confusion(folder / "plots" / "confusion.png", scores)
    wrong = worst_first(patches.labels, probabilities)[:SHOWN]
    captions = [f"{patches.labels[k]}: {probabilities[k]:.3f}" for k in wrong]
    write_patch_sheet(folder / "plots" / "wrong_patches.png", patches.floats(wrong), captions)
    metrics = patch_metrics(scores)
    write_json(folder / "metrics.json", metrics, indent=2)
    return metrics


def worst_first(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the positions of the wrong patches, the most confident error first."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    error = np.abs(labels - probabilities)
    wrong = np.flatnonzero((probabilities >= 0.5) != labels)
    return wrong[np.argsort(-error[wrong], kind="stable")]


def _share(count: int, total: int) -> float | None:
    return float(count / total) if total else None


def _write_table(path: Path, patches: PatchSet, probabilities: np.ndarray) -> None:
    """Write one row a patch; x, y and angle are empty where a patch's place is unknown."""
    rows: list[tuple[Any, ...]] = []
    for k, probability in enumerate(probabilities.tolist()):
        place = ["" if value != value else f"{value:g}" for value in patches.places[k].tolist()]
        label = int(patches.labels[k])
        right = int((probability >= 0.5) == label)
        rows.append((k, str(patches.files[k]), *place, str(patches.origins[k]), label, f"{probability:.6f}", right))
    write_csv(path, ("patch", "file", "x", "y", "angle", "origin", "label", "probability", "right"), rows)


def _plot_roc(path: Path, labels: np.ndarray, probabilities: np.ndarray, scores: PatchScores, name: str) -> None:
    figure = Figure(figsize=(5.4, 5), layout="constrained")
    axes = figure.add_subplot()
    if scores.roc_auc is not None and scores.specificity is not None and scores.sensitivity is not None:
        label = literal(f"{name}   AUC {display(scores.roc_auc)}")
        axes.plot(*roc_curve(labels, probabilities), color=COLORS[0], linewidth=2, label=label)
        axes.plot(1 - scores.specificity, scores.sensitivity, "o", color=COLORS[1], label="probability 0.5")
        axes.legend(loc="lower right", frameon=False)
    axes.plot([0, 1], [0, 1], ":", color="#999999", linewidth=1)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), title=f"{len(labels)} patches")
    axes.set(xlabel="false positive rate (1 - specificity)", ylabel="true positive rate (sensitivity)")
    quiet(axes)
    save_figure(figure, path)


def _plot_confusion(path: Path, scores: PatchScores) -> None:
    figure = Figure(figsize=(4.2, 3.8), layout="constrained")
    axes = figure.add_subplot()
    confusion = scores.confusion
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(confusion):
        ink = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{count}\n{shares[row, column]:.1%}", ha="center", va="center", color=ink)
    axes.set(xticks=(0, 1), yticks=(0, 1), xticklabels=CLASSES, yticklabels=CLASSES)
    axes.set(xlabel="predicted", ylabel="true", title=f"accuracy {display(scores.accuracy)}")
    save_figure(figure, path)
