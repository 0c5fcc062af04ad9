"""The table of matches: clean images first, hand-worked cases, faulty input."""

import pytest

from data.coco import CocoDataset
from data.errors import InputError
from detectors.evaluation.matching import find_overlaps, match_detections
from detectors.evaluation.metrics import compute_metrics, metrics_of


def dataset_of(boxes: dict[int, list[list[float]]], **changes: dict) -> CocoDataset:
    """One image an entry, its boxes of class 1; classes 1 and 2."""
    images = [{"id": k, "file_name": f"{k}.png", "width": 100, "height": 100} for k in boxes]
    annotations = []
    for image, found in boxes.items():
        for box in found:
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": 1, "bbox": box,
                 "area": box[2] * box[3], "iscrowd": 0}
            )  # fmt: skip
    return CocoDataset(images, annotations, [{"id": 1, "name": "pore"}, {"id": 2, "name": "crack"}])


def call(image: int, box: list[float], score: float, category: int = 1) -> dict:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def test_false_calls_on_clean_images_count() -> None:
    dataset = dataset_of({1: [], 2: [[10, 10, 20, 20]]})
    results = [call(1, [50, 50, 10, 10], 0.9), call(2, [10, 10, 20, 20], 0.8)]
    metrics = compute_metrics(dataset, results)
    assert metrics["ap50"] == pytest.approx(0.5)
    assert metrics["f1_max"] == pytest.approx(2 / 3)
    assert metrics["threshold"] == 0.8
    assert metrics["false_calls_per_image"] == 0.5
    table = match_detections(dataset, results)
    assert table.false_call.tolist() == [True, False]
    assert len(table.images) == 2


def test_only_clean_images() -> None:
    metrics = compute_metrics(dataset_of({1: [], 2: []}), [call(1, [0, 0, 5, 5], 0.3)], seconds_per_image=0.5)
    assert metrics["false_calls_per_image"] == 0.5
    assert metrics["seconds_per_image"] == 0.5
    for name in ("ap50", "ap30", "ap75", "ap_center", "recall50", "f1_max", "threshold"):
        assert metrics[name] is None
    assert (metrics["images"], metrics["objects"]) == (2, 0)


def test_no_images() -> None:
    metrics = compute_metrics(dataset_of({}), [])
    assert {name for name, value in metrics.items() if value is not None} == {"images", "objects"}


def test_a_second_detection_of_one_object_is_a_false_call_and_the_first_keeps_it() -> None:
    dataset = dataset_of({1: [[0, 0, 10, 10]]})
    results = [call(1, [0, 0, 10, 10], 0.4), call(1, [1, 0, 10, 10], 0.6)]
    table = match_detections(dataset, results)
    assert table.detections.row.tolist() == [1, 0]
    assert table.hit.tolist() == [True, False]
    assert table.match_iou[0] == pytest.approx(90 / 110)
    assert table.best_iou.tolist() == [1.0]
    assert table.found_score.tolist() == [0.6]


def test_center_hit_accepts_what_iou_refuses() -> None:
    dataset = dataset_of({1: [[0, 0, 40, 40]]})
    small = [call(1, [15, 15, 10, 10], 0.9)]
    metrics = compute_metrics(dataset, small)
    assert metrics["ap50"] == 0
    assert metrics["ap_center"] == 1
    table = match_detections(dataset, small, criterion="center")
    assert table.hit.tolist() == [True]
    assert table.match_iou.tolist() == [pytest.approx(1 / 16)]
    # A large box whose center lies outside the object is no hit, however much it covers.
    assert not match_detections(dataset, [call(1, [0, 0, 90, 90], 0.9)], criterion="center").hit.any()


def test_a_center_is_the_middle_in_both_directions() -> None:
    dataset = dataset_of({1: [[40, 40, 10, 10]]})
    for box, inside in (([38, 38, 10, 10], True), ([41, 34, 10, 10], False), ([34, 41, 10, 10], False)):
        assert match_detections(dataset, [call(1, box, 0.9)], criterion="center").hit.tolist() == [inside], box


def test_a_detection_takes_the_object_that_it_covers_best() -> None:
    dataset = dataset_of({1: [[0, 0, 10, 10], [2, 0, 10, 10]]})
    table = match_detections(dataset, [call(1, [1.5, 0, 10, 10], 0.9)], iou=0.3)
    assert table.matched_ground_truth.tolist() == [1]
    assert table.match_iou[0] == pytest.approx(9.5 / 10.5)


def test_a_crowd_region_takes_any_number_of_detections_and_none_is_a_hit() -> None:
    dataset = dataset_of({1: [[0, 0, 50, 50]]})
    dataset.annotations[0]["iscrowd"] = 1
    table = match_detections(dataset, [call(1, [5, 5, 10, 10], 0.6), call(1, [30, 30, 10, 10], 0.9)])
    assert table.ignored.tolist() == [True, True]
    assert not table.hit.any()
    assert not table.false_call.any()
    assert table.matched_detection.tolist() == [0]  # the first of them, by score


def test_equal_boxes_meet_a_threshold_of_one_though_their_overlap_is_rounded() -> None:
    box = [0.7, 0.7, 0.1, 0.1]  # 0.7 + 0.1 - 0.7 is a little less than 0.1
    table = match_detections(dataset_of({1: [box]}), [call(1, box, 0.9)], iou=1.0)
    assert table.overlaps.pair_iou[0] < 1
    assert table.hit.tolist() == [True]


def test_classes_do_not_match_each_other() -> None:
    dataset = dataset_of({1: [[0, 0, 10, 10]]})
    table = match_detections(dataset, [call(1, [0, 0, 10, 10], 0.9, category=2)])
    assert table.false_call.tolist() == [True]
    assert table.best_iou.tolist() == [0.0]


def test_blocks_of_pairs_give_the_same_table(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = [[10.0 * k, 10.0 * k, 12, 12] for k in range(8)]
    dataset = dataset_of({1: boxes, 2: [], 3: boxes[:3]})
    results = [call(i, box, 0.1 * k + 0.01 * i) for i in (1, 2, 3) for k, box in enumerate(boxes)]
    whole = find_overlaps(dataset, results)
    monkeypatch.setattr("detectors.evaluation.matching.PAIRS_AT_ONCE", 3)
    parts = find_overlaps(dataset, results)
    assert whole.pair_ground_truth.tolist() == parts.pair_ground_truth.tolist()
    assert whole.pair_detection.tolist() == parts.pair_detection.tolist()
    assert whole.match().hit.sum() == 11


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (call(7, [0, 0, 5, 5], 0.5), "image_id 7"),
        (call(1, [0, 0, 5, 5], 0.5, category=9), "category_id 9"),
        (call(1, [0, 0, 5, 5], float("nan")), "nan"),
        (call(1, [0, 0, 5], 0.5), "[0, 0, 5]"),
        ({"image_id": 1, "category_id": 1, "score": 1}, "bbox"),
        ("box", "not a COCO result"),
    ],
)
def test_faulty_detections_are_named(fault: object, words: str) -> None:
    good = call(1, [0, 0, 5, 5], 0.5)
    with pytest.raises(InputError) as error:
        match_detections(dataset_of({1: []}), [good, fault])
    assert words in str(error.value)
    assert "detection 1" in str(error.value)


@pytest.mark.parametrize("iou", [0.0, -0.5, 1.5])
def test_senseless_iou_is_refused(iou: float) -> None:
    with pytest.raises(InputError, match="IoU threshold"):
        match_detections(dataset_of({1: []}), [], iou=iou)


def test_each_threshold_is_matched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    overlaps = find_overlaps(dataset_of({1: [[0, 0, 10, 10]]}), [call(1, [0, 0, 10, 10], 0.4)])
    calls: list[int] = []
    greedy = type(overlaps).greedy
    monkeypatch.setattr(type(overlaps), "greedy", lambda self, *rest: calls.append(1) or greedy(self, *rest))
    metrics_of(overlaps)
    assert len(calls) == 4  # IoU 0.3, 0.5, 0.75 and the center
    metrics_of(overlaps)
    assert overlaps.match(0.9, "center") is overlaps.match(criterion="center")
    assert overlaps.match(0.5) is not overlaps.match(0.3)
    assert len(calls) == 4
