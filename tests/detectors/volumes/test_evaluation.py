"""Voxel and pore metrics of hand-worked maps."""

from pathlib import Path

import numpy as np
import pytest

from data.volumes.labels import AIR, IGNORED, MATERIAL, OPEN_PORE, PORE
from detectors.evaluation.metrics import METRICS
from detectors.volumes.evaluation import VolumeCounts


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Return labels with air, two pores of 8 voxels and an open pore of 8, and a map that finds one of them."""
    labels = np.full((8, 10, 10), MATERIAL, np.uint8)
    labels[:, :2] = AIR
    labels[1:3, 4:6, 1:3] = PORE
    labels[5:7, 6:8, 6:8] = PORE
    labels[1:3, 2:4, 7:9] = OPEN_PORE
    values = np.full(labels.shape, 0.01, np.float32)
    values[1:3, 4:6, 1:2] = 0.9  # half of the first pore
    values[4, 9, 0:2] = 0.8  # two voxels of material
    values[6, 0, 5] = 0.7  # one of air
    return values, labels


def test_metrics_by_hand() -> None:
    counts = VolumeCounts(0.5)
    counts.add(*scene(), name="a", voxel_mm=(0.1, 0.1, 0.1))
    found = counts.metrics()
    assert found["voxel_precision_in_part"] == pytest.approx(4 / 6)
    assert found["voxel_precision_everywhere"] == pytest.approx(4 / 7)
    assert found["voxel_recall_in_part"] == found["voxel_recall_everywhere"] == pytest.approx(4 / 16)
    assert found["voxel_f1_in_part"] == pytest.approx(2 * 4 / (16 + 6))
    assert found["voxel_iou_everywhere"] == pytest.approx(4 / (16 + 3))
    assert found["pores"] == 2
    assert found["pore_recall"] == 0.5
    assert found["large_pore_recall"] is None  # eight voxels are a diameter of 2.5
    assert found["false_pores_per_volume"] == 2
    assert found["false_closed_pores_per_volume"] == 1  # the other one lies in air
    part = 8 * 8 * 10 - 8  # without air and the open pore
    assert found["false_pores_per_million_voxels_of_part"] == pytest.approx(2e6 / part)
    assert found["pod_a50_voxels"] is None  # two pores carry no curve
    assert set(found) <= set(METRICS)


def test_precision_at_recalls_by_hand() -> None:
    counts = VolumeCounts(0.5)
    counts.add(*scene())
    # Over 0.8 four voxels, all of a pore; under 0.01 the 632 of the part, 16 of them of pores.
    found = counts.precision_at(np.array([0.0, 0.25, 0.3, 1.0]))
    assert found == pytest.approx([1, 1, 16 / 632, 16 / 632])


@pytest.mark.parametrize(("least", "found", "false"), [(1, 0.5, 2), (2, 0.5, 1), (3, 0.5, 0), (5, 0.0, 0)])
def test_specks_find_nothing_and_are_not_false(least: int, found: float, false: int) -> None:
    """The map marks 4 voxels of a pore, 2 of material and 1 of air."""
    values, labels = scene()
    counts = VolumeCounts(0.5, least_voxels=least)
    counts.add(values, labels)
    metrics = counts.metrics()
    assert (metrics["pore_recall"], metrics["false_pores_per_volume"]) == (found, false)
    assert metrics["false_pores_per_million_voxels"] == pytest.approx(false / 800 * 1e6)
    assert metrics["voxel_recall_in_part"] == pytest.approx(4 / 16)  # voxels are counted one by one


@pytest.mark.parametrize(
    ("rule", "pores", "recall"), [("ignore", 2, 4 / 16), ("pore", 3, 4 / 24), ("background", 2, 4 / 16)]
)
def test_open_pores_count_as_the_user_says(rule: str, pores: int, recall: float) -> None:
    counts = VolumeCounts(0.5, rule)
    counts.add(*scene())
    found = counts.metrics()
    assert (found["pores"], found["voxel_recall_in_part"]) == (pores, pytest.approx(recall))


def test_a_map_on_an_open_pore_is_false_only_where_it_is_background() -> None:
    values, labels = scene()
    values[1:3, 2:4, 7:9] = 0.9
    false = {}
    for rule in ("ignore", "background"):
        counts = VolumeCounts(0.5, rule)
        counts.add(values, labels)
        false[rule] = counts.metrics()["false_pores_per_volume"]
    assert false == {"ignore": 2, "background": 3}


def test_the_area_under_the_roc_is_the_probability_of_order() -> None:
    rng = np.random.default_rng(0)
    labels = np.where(rng.random((4, 8, 8)) < 0.3, PORE, MATERIAL).astype(np.uint8)
    values = (rng.integers(0, 16, labels.shape) / 16).astype(np.float32)
    counts = VolumeCounts(0.5)
    counts.add(values, labels)
    pore, other = values[labels == PORE], values[labels == MATERIAL]
    order = (pore[:, None] > other).mean() + 0.5 * (pore[:, None] == other).mean()
    assert counts.metrics()["voxel_roc_auc_in_part"] == pytest.approx(order)


def test_the_probability_of_detection_by_size(tmp_path: Path) -> None:
    """Pores of 3 voxels and more are found, smaller ones mostly not: the 50 % point lies between."""
    rng = np.random.default_rng(1)
    labels = np.full((12, 160, 160), MATERIAL, np.uint8)
    values = np.zeros(labels.shape, np.float32)
    for k in range(150):
        y, x = divmod(k, 13)
        side = 1 + k % 4
        box = (slice(4, 4 + side), slice(12 * y + 2, 12 * y + 2 + side), slice(12 * x + 2, 12 * x + 2 + side))
        labels[box] = PORE
        if rng.random() < (0.03, 0.3, 0.8, 0.98)[side - 1]:
            values[box] = 1
    counts = VolumeCounts(0.5)
    counts.add(values, labels, "b", (0.02, 0.02, 0.02))
    found = counts.metrics()
    # Sides 2 and 3 are diameters of 2.5 and 3.7 voxels.
    assert 2.5 < found["pod_a50_voxels"] < 3.7
    assert found["pod_a50_mm"] == pytest.approx(0.02 * found["pod_a50_voxels"], rel=1e-3)
    assert found["pod_a90_voxels"] < found["pod_a90_95_voxels"]
    assert sum(row["pores"] for row in counts.by_size()) == 150
    counts.write_pores(tmp_path / "pores.csv")
    assert len((tmp_path / "pores.csv").read_text().splitlines()) == 151


def test_ignored_voxels_count_nowhere() -> None:
    values, labels = scene()
    labels[:, :, :5] = IGNORED
    counts = VolumeCounts(0.5)
    counts.add(values, labels)
    found = counts.metrics()
    assert (found["pores"], found["voxel_recall_in_part"]) == (1, 0.0)


@pytest.mark.parametrize("score", [1.5, -0.1, float("nan")])
def test_scores_are_probabilities(score: float) -> None:
    with pytest.raises(ValueError, match="not within"):
        VolumeCounts().add(np.full((2, 2, 2), score, np.float32), np.ones((2, 2, 2), np.uint8))
