"""Figures of patch classifiers against slow, plain oracles."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.coco import CocoDataset
from data.patch_files import PatchSet
from detectors.evaluation.metrics import EMPTY_METRICS, compute_metrics
from detectors.evaluation.patch_scores import (
    patch_metrics,
    roc_auc,
    roc_curve,
    score_patches,
    worst_first,
    write_patch_evaluation,
)

CASES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=1, max_size=40)
LABELS = np.array([0, 0, 0, 1, 1])
PROBABILITIES = np.array([0.1, 0.5, 0.9, 0.8, 0.2], dtype=np.float32)


@settings(max_examples=100, deadline=None)
@given(CASES)
def test_auc_is_the_share_of_pairs_in_order(cases: list[tuple[int, int]]) -> None:
    labels, scores = np.array(cases).T
    pairs = [
        1.0 if defect > negative else 0.5 if defect == negative else 0.0
        for defect in scores[labels == 1]
        for negative in scores[labels == 0]
    ]
    found = roc_auc(labels, scores / 6)
    assert found is None if not pairs else found == pytest.approx(np.mean(pairs))


def test_the_curve_calls_equal_scores_together() -> None:
    false, true = roc_curve(np.array([1, 0, 1, 0]), np.array([0.9, 0.9, 0.4, 0.1]))
    assert false.tolist() == [0, 0.5, 0.5, 1]
    assert true.tolist() == [0, 0.5, 1, 1]


def test_figures_of_a_case_worked_by_hand() -> None:
    scores = score_patches(LABELS, PROBABILITIES)
    assert scores.confusion.tolist() == [[1, 2], [1, 1]]  # 0.5 is called a defect
    assert scores.accuracy == 0.4
    assert scores.sensitivity == 0.5
    assert scores.specificity == pytest.approx(1 / 3)
    assert scores.roc_auc == pytest.approx(3 / 6)
    assert worst_first(LABELS, PROBABILITIES).tolist() == [2, 4, 1]


def test_without_patches_of_a_class_figures_are_not_applicable() -> None:
    scores = score_patches(np.array([1, 1]), np.array([0.7, 0.2]))
    assert (scores.accuracy, scores.roc_auc, scores.sensitivity, scores.specificity) == (0.5, None, 0.5, None)
    assert score_patches(np.zeros(0, dtype=int), np.zeros(0)).accuracy is None


def test_patch_figures_have_the_keys_of_detection() -> None:
    empty = compute_metrics(CocoDataset([], [], [{"id": 1, "name": "defect"}]), [])
    metrics = patch_metrics(score_patches(LABELS, PROBABILITIES))
    assert metrics.keys() == empty.keys() == EMPTY_METRICS.keys()
    assert [name for name, value in metrics.items() if value is not None] == ["accuracy", "roc_auc"]


@pytest.mark.parametrize("probabilities", [PROBABILITIES, LABELS.astype(np.float32)])
def test_an_evaluation_leaves_table_figures_and_wrong_patches(tmp_path: Path, probabilities: np.ndarray) -> None:
    places = np.array([[1.5, 2, 60]] * 2 + [[np.nan] * 3] * 3, dtype=np.float32)
    pixels = np.full((5, 8, 8), 50, dtype=np.uint8)
    patches = PatchSet(pixels, LABELS, np.array(list("abcde")), places, np.array(["real"] * 5))
    metrics = write_patch_evaluation(tmp_path, patches, probabilities, "run")
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    with (tmp_path / "patches.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows] == list("abcde")
    assert (rows[0]["x"], rows[0]["angle"], rows[2]["x"]) == ("1.5", "60", "")
    assert sum(row["right"] == "1" for row in rows) == round(5 * metrics["accuracy"])
    for name in ("roc_curve", "confusion", "wrong_patches"):
        assert cv2.imread(str(tmp_path / "plots" / f"{name}.png")).size > 0
