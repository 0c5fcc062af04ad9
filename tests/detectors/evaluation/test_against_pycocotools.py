"""Matching and AP against pycocotools, at one IoU and without its cap on detections."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from data.coco import CocoDataset
from detectors.evaluation.curves import precision_recall
from detectors.evaluation.matching import find_overlaps
from detectors.evaluation.metrics import compute_metrics


def oracle(dataset: CocoDataset, results: list[dict], iou: float) -> COCOeval:
    """Run pycocotools at one IoU, one area range, and no cap that a test could meet."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": dataset.images, "annotations": dataset.annotations, "categories": dataset.categories
        }  # fmt: skip
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.params.iouThrs = np.array([iou])
        evaluation.params.areaRng = [[0, 1e10]]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.params.maxDets = [100_000]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def oracle_ap(dataset: CocoDataset, results: list[dict], iou: float) -> float | None:
    precision = oracle(dataset, results, iou).eval["precision"]
    precision = precision[precision > -1]
    return float(precision.mean()) if precision.size else None


# Few places and few scores, so that ties in score and in IoU are the rule and not the exception.
place = st.integers(0, 6).map(lambda k: k * 4.0)
side = st.sampled_from([4.0, 8.0, 10.0, 12.5])
box = st.tuples(place, place, side, side).map(list)
score = st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9])


@st.composite
def cases(draw: st.DrawFn) -> tuple[CocoDataset, list[dict]]:
    images = draw(st.integers(1, 4))
    classes = draw(st.integers(1, 3))
    image, label = st.integers(1, images), st.integers(1, classes)
    ground_truth = draw(st.lists(st.tuples(image, label, box, st.sampled_from([0, 0, 0, 1])), max_size=12))
    found = draw(st.lists(st.tuples(image, label, box, score), min_size=1, max_size=25))
    annotations = [
        {"id": k + 1, "image_id": i, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": crowd}
        for k, (i, c, b, crowd) in enumerate(ground_truth)
    ]
    records = [{"id": k, "file_name": f"{k}.png", "width": 40, "height": 40} for k in range(images, 0, -1)]
    categories = [{"id": k + 1, "name": f"class {k}"} for k in range(classes)]
    results = [{"image_id": i, "category_id": c, "bbox": b, "score": s} for i, c, b, s in found]
    return CocoDataset(records, annotations, categories), results


@settings(max_examples=150, deadline=None)
@given(case=cases(), iou=st.sampled_from([0.3, 0.5, 0.75, 1.0]))
def test_every_match_and_the_ap_equal_pycocotools(case: tuple[CocoDataset, list[dict]], iou: float) -> None:
    dataset, results = case
    evaluation = oracle(dataset, results, iou)
    table = find_overlaps(dataset, results).match(iou)
    expected = {}
    ignored = {}
    for entry in filter(None, evaluation.evalImgs):
        for detection, truth, ignore in zip(entry["dtIds"], entry["dtMatches"][0], entry["dtIgnore"][0], strict=True):
            expected[detection - 1] = int(truth) - 1 if truth else -1
            ignored[detection - 1] = bool(ignore)
    # A detection of a class and image with neither truth nor rival is still evaluated; all are in the table.
    ours = {}
    for row, truth in zip(table.detections.row.tolist(), table.matched_ground_truth.tolist(), strict=True):
        ours[row] = table.ground_truth.ids[truth] - 1 if truth >= 0 else -1
    assert ours == expected
    assert dict(zip(table.detections.row.tolist(), table.ignored.tolist(), strict=True)) == ignored
    ap = precision_recall(table).ap
    wanted = oracle_ap(dataset, results, iou)
    assert ap == (None if wanted is None else pytest.approx(wanted, abs=1e-6))


def _grid(images: int, objects: int) -> CocoDataset:
    annotations = [
        {"id": k + 1, "image_id": 1 + k % images, "category_id": 1, "bbox": [k % 40 * 20.0, k // 40 * 20.0, 9, 9],
         "area": 81, "iscrowd": 0}
        for k in range(objects)
    ]  # fmt: skip
    records = [{"id": k + 1, "file_name": f"{k}.png", "width": 800, "height": 800} for k in range(images)]
    return CocoDataset(records, annotations, [{"id": 1, "name": "defect"}])


def _perfect(dataset: CocoDataset) -> list[dict]:
    return [
        {"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": 0.9}
        for a in dataset.annotations
    ]


def test_no_detections_at_all_give_zero_where_pycocotools_cannot_even_load() -> None:
    dataset = _grid(2, 4)
    with pytest.raises(IndexError):
        oracle(dataset, [], 0.5)
    metrics = compute_metrics(dataset, [])
    assert metrics["ap50"] == 0
    assert metrics["recall50"] == 0
    assert metrics["f1_max"] == 0
    assert metrics["threshold"] is None
    assert metrics["false_calls_per_image"] == 0


def test_annotation_id_zero_counts() -> None:
    dataset = _grid(1, 1)
    dataset.annotations[0]["id"] = 0
    assert oracle_ap(dataset, _perfect(dataset), 0.5) == 0  # the trap
    assert compute_metrics(dataset, _perfect(dataset))["ap50"] == 1


def test_missing_area_and_iscrowd_are_no_error() -> None:
    dataset = _grid(1, 3)
    for annotation in dataset.annotations:
        del annotation["area"], annotation["iscrowd"]
    with pytest.raises(KeyError):
        oracle(dataset, _perfect(dataset), 0.5)
    assert compute_metrics(dataset, _perfect(dataset))["ap50"] == 1


def test_more_than_a_hundred_objects_on_an_image_are_not_capped() -> None:
    dataset = _grid(1, 150)
    metrics = compute_metrics(dataset, _perfect(dataset))
    assert metrics["ap50"] == 1
    assert metrics["recall50"] == 1


def test_a_class_without_objects_is_left_out_of_the_mean_and_never_minus_one() -> None:
    dataset = _grid(1, 2)
    dataset.categories.append({"id": 2, "name": "crack"})
    stray = {"image_id": 1, "category_id": 2, "bbox": [500, 500, 9, 9], "score": 0.95}
    metrics = compute_metrics(dataset, [*_perfect(dataset), stray])
    assert metrics["ap50"] == 1
    assert metrics["false_calls_per_image"] == 1
    assert precision_recall(find_overlaps(dataset, [stray]).match(), label=1).ap is None
