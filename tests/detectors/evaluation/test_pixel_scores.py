"""Pixel figures from histograms against sorting all pixels, and hand-worked defects."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label

from data.masks import IGNORED
from detectors.evaluation.pixel_scores import BINS, PixelCounts, found_at


def count(*pairs: tuple, threshold: float = 0.5) -> PixelCounts:
    counts = PixelCounts(threshold)
    for values, labels in pairs:
        counts.add(np.asarray(values, np.float32), np.asarray(labels, np.uint8))
    return counts


def test_hand_worked_pixels() -> None:
    # Marked at 0.5: two of four defect pixels, one background pixel; the ignored pixel counts nowhere.
    metrics = count(([[0.9, 0.5, 0.4, 0.1], [0.6, 0.2, 0.0, 1.0]], [[1, 2, 1, 1], [0, 0, 0, IGNORED]])).metrics()
    assert metrics["pixel_precision"] == pytest.approx(2 / 3)
    assert metrics["pixel_recall"] == pytest.approx(2 / 4)
    assert metrics["pixel_f1"] == pytest.approx(4 / 7)
    assert metrics["pixel_iou"] == pytest.approx(2 / 5)
    # Steps of recall at precisions 1/1 (0.9), 2/3 (0.5), 3/4 (0.4) and 4/6 (0.1, below the background 0.2).
    assert metrics["pixel_ap"] == pytest.approx((1 + 2 / 3 + 3 / 4 + 4 / 6) / 4)
    assert metrics["pixel_f1_max"] == pytest.approx(8 / 10)
    assert metrics["pixel_best_threshold"] == pytest.approx(0.1, abs=1 / BINS)
    assert metrics["pixel_threshold"] == 0.5


def exact(scores: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return average precision and best F1 by sorting, one pixel at a time."""
    ap, best, before = 0.0, 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        marked = scores >= threshold
        hits = int((marked & truth).sum())
        ap += (hits / truth.sum() - before) * hits / marked.sum()
        before = hits / truth.sum()
        best = max(best, 2 * hits / (marked.sum() + truth.sum()))
    return ap, best


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(2, 12), st.integers(1, 3))
def test_histograms_agree_with_sorting(seed: int, height: int, width: int, images: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, BINS, (images, height, width)) / BINS
    labels = (rng.random((images, height, width)) < 0.3).astype(np.uint8)
    labels[0, 0, 0] = 1
    metrics = count(*zip(values, labels, strict=True)).metrics()
    ap, best = exact(values.ravel(), labels.ravel() > 0)
    assert metrics["pixel_ap"] == pytest.approx(ap)
    assert metrics["pixel_f1_max"] == pytest.approx(best)
    marked, truth = values >= 0.5, labels > 0
    assert metrics["pixel_f1"] == pytest.approx(2 * (marked & truth).sum() / (marked.sum() + truth.sum()))
    assert metrics["pixel_iou"] == pytest.approx((marked & truth).sum() / (marked | truth).sum())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.5, 0.37, 0.0, 1.0]))
def test_defects_and_false_regions_agree_with_counting_them(seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 5, (11, 9)) / 4
    labels = rng.choice([0, 1, IGNORED], (11, 9), p=[0.6, 0.3, 0.1])
    counts = count((values, labels), threshold=threshold)
    curve = counts.defect_curve()
    defects, known = label(labels == 1, connectivity=2), labels != IGNORED
    for step, rate, false in zip(curve.threshold, curve.rate, curve.false_regions, strict=True):
        marked = np.asarray(values, np.float32) >= step
        shares = [marked[defects == number].mean() for number in range(1, defects.max() + 1)]
        assert rate == pytest.approx(np.mean([share >= 0.25 for share in shares])) if shares else np.isnan(rate)
        regions = label(marked & known, connectivity=2)
        on_defects = [(labels == 1)[regions == number].mean() for number in range(1, regions.max() + 1)]
        assert false == sum(share < 0.25 for share in on_defects)
    metrics = counts.metrics()
    assert metrics["false_regions_per_image"] == curve.false_regions[curve.threshold == threshold][0]


def test_a_defect_is_found_with_a_quarter_of_its_pixels() -> None:
    defect = np.zeros((6, 8), bool)
    defect[1, 1:6] = True  # five pixels: two of them are needed
    defect[4, 4] = True
    values = np.zeros((6, 8), np.float32)
    values[1, 1:6] = [0.1, 0.9, 0.2, 0.7, 0.3]
    values[4, 4] = 0.4
    assert sorted(found_at(values, defect)) == pytest.approx([0.4, 0.7])
    assert found_at(values, np.zeros_like(defect)) == []


def test_without_defects_without_marks_without_images() -> None:
    clean = count((np.full((3, 4), 0.7), np.zeros((3, 4)))).metrics()
    assert clean["pixel_f1"] is clean["pixel_ap"] is clean["defect_recall"] is clean["pixel_f1_max"] is None
    assert (clean["pixel_precision"], clean["false_regions_per_image"]) == (0, 1)
    blind = count((np.zeros((3, 4)), np.ones((3, 4)))).metrics()
    assert (blind["pixel_f1"], blind["pixel_recall"], blind["defect_recall"]) == (0, 0, 0)
    assert (blind["pixel_precision"], blind["false_regions_per_image"]) == (None, 0)
    assert all(value is None for name, value in count().metrics().items() if name != "pixel_threshold")


def test_a_perfect_map() -> None:
    labels = np.zeros((9, 9))
    labels[2:5, 3:6] = 1
    metrics = count((labels, labels), (np.zeros((4, 4)), np.zeros((4, 4)))).metrics()
    names = ("pixel_f1", "pixel_iou", "pixel_ap", "pixel_f1_max", "defect_recall")
    assert [metrics[name] for name in names] == [1] * 5
    assert metrics["false_regions_per_image"] == 0
    # Of thresholds that are equally good the highest is kept.
    assert metrics["pixel_best_threshold"] == (BINS - 1) / BINS


@pytest.mark.parametrize("bad", [np.full((2, 2), np.nan), np.full((2, 2), 1.5), np.zeros((2, 3))])
def test_what_is_no_map_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError):
        count((bad, np.zeros((2, 2))))
