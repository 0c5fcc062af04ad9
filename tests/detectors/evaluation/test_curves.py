"""Curves, breakdowns, intervals and thresholds against hand counts."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from data.coco import CocoDataset, write_results
from data.errors import InputError
from detectors.evaluation.bootstrap import bootstrap
from detectors.evaluation.breakdown import by_class, by_series, by_size, confusion_matrix
from detectors.evaluation.curves import curve_of_hits, image_roc, precision_recall, score_curve
from detectors.evaluation.intervals import clopper_pearson, poisson_rate
from detectors.evaluation.matching import MatchTable, match_detections
from detectors.evaluation.metrics import best_threshold
from detectors.evaluation.runs import read_run, write_ground_truth
from detectors.evaluation.threshold import choose_threshold, load_threshold, reporting_threshold, write_threshold

PORE, CRACK = 1, 2


def dataset_of(ground_truth: list[tuple[int, int, float]], images: int, series: list[str] | None = None) -> CocoDataset:
    """Objects as (image, category, x), all 10 x 10 px."""
    annotations = [
        {"id": k + 1, "image_id": i, "category_id": c, "bbox": [x, 0.0, 10.0, 10.0], "area": 100, "iscrowd": 0}
        for k, (i, c, x) in enumerate(ground_truth)
    ]
    records = [
        {"id": k + 1, "file_name": f"{k}.png", "width": 200, "height": 20, "series": series[k] if series else None}
        for k in range(images)
    ]
    return CocoDataset(records, annotations, [{"id": PORE, "name": "pore"}, {"id": CRACK, "name": "crack"}])


def calls(found: list[tuple[int, int, float, float]]) -> list[dict]:
    return [{"image_id": i, "category_id": c, "bbox": [x, 0.0, 10.0, 10.0], "score": s} for i, c, x, s in found]


@pytest.fixture
def table() -> MatchTable:
    """Three images, the third clean; four objects, one a crack.

    In falling score: hit, false call on the clean image, pore called crack, two of one score (hit and false).
    """
    dataset = dataset_of([(1, PORE, 0), (1, PORE, 50), (2, PORE, 0), (2, CRACK, 100)], 3, ["A", "A", "B"])
    found = [
        (1, PORE, 0, 0.9), (3, PORE, 0, 0.8), (2, CRACK, 0, 0.7), (2, CRACK, 100, 0.6), (2, PORE, 150, 0.6)
    ]  # fmt: skip
    return match_detections(dataset, calls(found))


def test_score_curve_by_hand(table: MatchTable) -> None:
    curve = score_curve(table)
    assert curve.threshold.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert curve.recall.tolist() == [0.25, 0.25, 0.25, 0.5]
    assert curve.precision.tolist() == pytest.approx([1, 1 / 2, 1 / 3, 2 / 5])
    assert curve.false_calls.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert curve.f1.tolist() == pytest.approx([2 / 5, 2 / 6, 2 / 7, 4 / 9])
    assert curve.best() == 3
    assert [curve.at(t) for t in (0.95, 0.9, 0.65, 0.0)] == [-1, 0, 2, 3]
    # A point with exactly as many false calls as allowed counts: at 1 an image recall is 0.5, not 0.25.
    assert [curve.sensitivity_at(calls) for calls in (0, 0.5, 1, 2)] == [0.25, 0.25, 0.5, 0.5]


def test_detections_on_a_crowd_are_neither_right_nor_wrong() -> None:
    dataset = dataset_of([(1, PORE, 0), (1, PORE, 50)], 1)
    dataset.annotations[0]["iscrowd"] = 1
    table = match_detections(dataset, calls([(1, PORE, 0, 0.9), (1, PORE, 50, 0.8)]))
    curve = precision_recall(table)
    assert curve.precision.tolist() == [1.0]
    assert curve.ap == pytest.approx(1.0)  # 0.5 if the call on the crowd were a false one


def test_precision_recall_by_hand() -> None:
    # Hit, miss, hit of two objects: precision 1, 1/2, 2/3, envelope 1, 2/3, 2/3.
    curve = curve_of_hits(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]), 2)
    assert curve.precision.tolist() == pytest.approx([1, 2 / 3, 2 / 3])
    assert curve.ap_all_points == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert curve.ap_11_points == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert curve.ap == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)


def test_confusion_by_hand(table: MatchTable) -> None:
    #         pore crack missed
    assert confusion_matrix(table, 0.6).tolist() == [[1, 1, 1], [0, 1, 0], [2, 0, 0]]
    assert confusion_matrix(table, 0.7).tolist() == [[1, 1, 1], [0, 0, 1], [1, 0, 0]]
    assert confusion_matrix(table, 0.95).tolist() == [[0, 0, 3], [0, 0, 1], [0, 0, 0]]


def test_groups_by_hand(table: MatchTable) -> None:
    a, b = by_series(table, 0.6)
    assert (a.name, a.objects, a.found, a.false_calls, a.images) == ("A", 4, 2, 2, 2)
    assert (b.name, b.objects, b.recall, b.ap, b.false_calls, b.images) == ("B", 0, None, None, 1, 1)
    pore, crack = by_class(table, 0.6)
    assert (pore.objects, pore.found, pore.false_calls) == (3, 1, 2)
    assert (crack.objects, crack.found, crack.false_calls, crack.recall) == (1, 1, 1, 1.0)
    assert crack.ap == pytest.approx(0.5)
    (size,) = by_size(table, 0.6)
    assert (size.name, size.objects, size.false_calls) == ("10 to 15 px", 4, 3)
    assert size.bounds == pytest.approx((0.0676, 0.9324), abs=1e-4)  # two of four


def test_image_roc_by_hand(table: MatchTable) -> None:
    # Highest scores: image 1 0.9, image 2 0.7, clean image 3 0.8: one of two pairs in order.
    roc = image_roc(table)
    assert roc.auc == pytest.approx(0.5)
    assert roc.threshold.tolist() == [np.inf, 0.9, 0.8, 0.7]
    assert roc.true_positive_rate.tolist() == [0, 0.5, 0.5, 1]
    assert roc.false_positive_rate.tolist() == [0, 0, 1, 1]


def test_image_roc_without_any_detection_is_chance() -> None:
    assert image_roc(match_detections(dataset_of([(1, PORE, 0)], 2), [])).auc == 0.5


@pytest.mark.parametrize(
    ("ground_truth", "found", "images"),
    [([], [], 0), ([], [], 2), ([(1, PORE, 0.0)], [], 1), ([], [(1, PORE, 0.0, 0.5)], 1)],
)
def test_nothing_to_judge_is_not_applicable_and_never_minus_one(ground_truth: list, found: list, images: int) -> None:
    table = match_detections(dataset_of(ground_truth, images), calls(found))
    assert image_roc(table).auc is None
    assert score_curve(table).best() is None
    assert precision_recall(table).ap == (0.0 if ground_truth else None)
    for threshold in (None, 0.5):
        intervals = bootstrap(table, threshold, resamples=5)
        assert intervals.metrics["ap"] == ((0.0, 0.0) if ground_truth else None)
    for rows in (by_class(table, 0.5), by_series(table, 0.5), by_size(table, 0.5)):
        assert all(row.recall in (None, 0.0) for row in rows)
    assert confusion_matrix(table, 0.5).sum() == len(ground_truth) + len(found)
    with pytest.raises(InputError):
        choose_threshold(table)


@st.composite
def tables(draw: st.DrawFn) -> MatchTable:
    images = draw(st.integers(1, 5))
    x = st.integers(0, 8).map(lambda k: 5.0 * k)
    image, label = st.integers(1, images), st.integers(1, 2)
    ground_truth = draw(st.lists(st.tuples(image, label, x), max_size=8))
    found = draw(st.lists(st.tuples(image, label, x, st.sampled_from([0.2, 0.5, 0.8])), max_size=15))
    return match_detections(dataset_of(ground_truth, images), calls(found), 0.3)


@settings(max_examples=80, deadline=None)
@given(table=tables(), threshold=st.sampled_from([0.2, 0.5, 0.8]))
def test_every_figure_agrees_with_a_count_by_brute_force(table: MatchTable, threshold: float) -> None:
    reported = [
        (row, hit) for row, (score, hit) in enumerate(zip(table.detections.score, table.hit, strict=True))
        if score >= threshold
    ]  # fmt: skip
    false = sum(not hit for _, hit in reported)
    matrix = confusion_matrix(table, threshold)
    assert matrix.sum(axis=1)[:-1].tolist() == np.bincount(table.ground_truth.label, minlength=2).tolist()
    assert matrix[:, :-1].sum() == len(reported)
    assert np.trace(matrix[:-1, :-1]) == len(reported) - false
    assert sum(row.false_calls for row in by_size(table, threshold)) == false
    curve = score_curve(table)
    place = curve.at(threshold)
    if place >= 0:
        assert curve.false_calls[place] * len(table.images) == pytest.approx(false)
    roc = image_roc(table)
    highest = {k: max(table.detections.score[table.detections.image == k], default=-1.0) for k in range(curve.images)}
    defective = set(table.ground_truth.image.tolist())
    pairs = [(highest[a], highest[b]) for a in defective for b in highest if b not in defective]
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs]
    assert roc.auc == (pytest.approx(np.mean(wins)) if wins else None)


def test_bands_hold_the_figure_and_repeat_with_the_seed() -> None:
    rng = np.random.default_rng(3)
    ground_truth = [(k, PORE, 0.0) for k in range(1, 61)]
    found = [(k, PORE, 0.0 if rng.random() < 0.7 else 100.0, float(rng.random())) for k in range(1, 61)]
    table = match_detections(dataset_of(ground_truth, 60), calls(found))
    intervals = bootstrap(table, 0.0, resamples=400, seed=1)
    low, high = intervals.metrics["recall"]
    share = table.hit.mean()
    assert low < share < high
    # One object an image: the bootstrap's spread is the binomial's.
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / 60), rel=0.2)
    low, high = intervals.metrics["ap"]
    assert low < precision_recall(table).ap < high
    again = bootstrap(table, 0.0, resamples=400, seed=1)
    assert again.metrics == intervals.metrics
    assert (intervals.precision[0] <= intervals.precision[1]).all()
    assert (np.diff(intervals.sensitivity, axis=1) >= 0).all()


def test_series_are_drawn_whole() -> None:
    # Ten series, all right or all wrong: intervals by series are wider than by image.
    ground_truth = [(k + 1, PORE, 0.0) for k in range(100)]
    found = [(k + 1, PORE, 0.0 if k // 10 % 2 else 100.0, 0.5) for k in range(100)]
    table = match_detections(dataset_of(ground_truth, 100, [f"C{k // 10:04d}" for k in range(100)]), calls(found))
    whole, single = bootstrap(table, 0.0), bootstrap(table, 0.0, unit="image")
    assert (whole.unit, whole.units, single.unit, single.units) == ("series", 10, "image", 100)
    spread = [interval.metrics["recall"][1] - interval.metrics["recall"][0] for interval in (whole, single)]
    assert spread[0] > 2 * spread[1]


def test_exact_intervals() -> None:
    assert clopper_pearson(0, 10) == pytest.approx((0.0, 0.3085), abs=1e-4)
    assert clopper_pearson(29, 29, 0.9)[0] == pytest.approx(0.9019, abs=1e-4)  # the 29 of 29 rule
    assert clopper_pearson(0, 0) is None
    assert poisson_rate(0, 1) == pytest.approx((0.0, 3.6889), abs=1e-4)
    assert poisson_rate(10, 2) == pytest.approx((4.795 / 2, 18.390 / 2), abs=1e-3)


def test_threshold_for_recall_and_for_false_calls(table: MatchTable) -> None:
    assert choose_threshold(table)["threshold"] == 0.6
    assert choose_threshold(table, recall=0.25)["threshold"] == 0.9
    choice = choose_threshold(table, false_calls=0.5)
    assert choice["threshold"] == 0.8
    assert choice["false_calls_per_image"] == pytest.approx(1 / 3)
    assert choice["recall_bounds"] == pytest.approx(clopper_pearson(1, 4, 0.9))
    with pytest.raises(InputError, match=r"no further than 0\.500"):
        choose_threshold(table, recall=0.9)
    with pytest.raises(InputError, match="already makes more"):
        choose_threshold(table, false_calls=0.1, conservative=True)


@pytest.mark.parametrize(
    "goals", [{"recall": 1.2}, {"recall": 0.0}, {"false_calls": -1.0}, {"recall": 0.5, "false_calls": 1.0}]
)
def test_senseless_goals_are_refused(table: MatchTable, goals: dict) -> None:
    with pytest.raises(InputError):
        choose_threshold(table, **goals)


def test_threshold_is_stored_with_the_run(table: MatchTable, tmp_path: Path) -> None:
    assert load_threshold(tmp_path) is None
    path = write_threshold(tmp_path, choose_threshold(table), tmp_path)
    assert load_threshold(tmp_path) == 0.6
    path.write_text('{"threshold": "high"}')
    with pytest.raises(InputError, match="not a finite number"):
        load_threshold(tmp_path)
    with pytest.raises(InputError, match="no such run"):
        write_threshold(tmp_path / "nowhere", choose_threshold(table), tmp_path)


def test_choose_threshold_command(tmp_path: Path) -> None:
    dataset = dataset_of([(1, PORE, 0), (2, PORE, 0)], 3)
    write_results(tmp_path / "detections.json", calls([(1, PORE, 0, 0.9), (3, PORE, 0, 0.7), (2, PORE, 0, 0.5)]))
    write_ground_truth(tmp_path / "ground_truth.json", dataset, tmp_path, "run")
    main = runpy.run_path(str(Path(__file__).parents[3] / "tools" / "choose_threshold.py"))["main"]
    done = CliRunner().invoke(main, [str(tmp_path), "--recall", "0.9"])
    assert done.exit_code == 0, done.output
    assert reporting_threshold(read_run(tmp_path)) == (0.5, "chosen")
    done = CliRunner().invoke(main, [str(tmp_path), "--recall", "2"])
    assert done.exit_code == 2
    assert load_threshold(tmp_path) == 0.5


def test_boxes_that_never_overlap_enough_still_have_a_threshold() -> None:
    found = [(1, PORE, 8.0, 0.8), (2, PORE, 100.0, 0.6)]
    overlaps = match_detections(dataset_of([(1, PORE, 3.5), (2, PORE, 0)], 2), calls(found)).overlaps
    assert score_curve(overlaps.match()).best() is None
    assert best_threshold(overlaps) == (0.8, "best F1 by center point on these images")
    nothing = match_detections(dataset_of([(1, PORE, 0)], 1), [])
    assert best_threshold(nothing.overlaps)[0] is None
