"""The table of metrics, values worked out by hand, and files of older versions."""

import json
import re
from pathlib import Path

import pytest

from data.coco import CocoDataset
from data.errors import InputError
from detectors.evaluation.metrics import (
    EMPTY_METRICS,
    FALSE_CALL_RATES,
    METRICS,
    OLD_NAMES,
    compute_metrics,
    renamed,
)
from detectors.evaluation.runs import read_metrics
from detectors.evaluation.table import metrics_table

ROOT = Path(__file__).parents[3]
NOWHERE = [70.0, 70.0, 5.0, 5.0]


def dataset_of(boxes: list[tuple[int, list[float]]], images: int) -> CocoDataset:
    """Images 1 ... `images`, and boxes of one class, each with its image."""
    annotations = [
        {"id": k, "image_id": image, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for k, (image, box) in enumerate(boxes, start=1)
    ]
    records = [{"id": k, "file_name": f"{k}.png", "width": 100, "height": 100} for k in range(1, images + 1)]
    return CocoDataset(records, annotations, [{"id": 1, "name": "pore"}])


def result(image: int, box: list[float], score: float) -> dict:
    return {"image_id": image, "category_id": 1, "bbox": box, "score": score}


def sensitivities(dataset: CocoDataset, results: list[dict]) -> list[float | int | None]:
    metrics = compute_metrics(dataset, results)
    return [metrics[name] for name in FALSE_CALL_RATES]


def test_sensitivity_at_false_calls_is_read_off_the_froc_by_center_point() -> None:
    # Five objects on three of four images: half a false call an image is 2 of them, one is 4, two are 8.
    places = [(1, 0.0), (1, 30.0), (2, 0.0), (2, 30.0), (3, 0.0)]
    dataset = dataset_of([(image, [x, 0.0, 20.0, 20.0]) for image, x in places], 4)
    # Detections of a tenth of the objects' area: no IoU of 0.5, but their centers lie inside.
    hits = [result(image, [x + 8, 8, 6, 6], 0) for image, x in places]
    scores = [0.9, 0.7, 0.5, 0.35, 0.3]
    results = [hit | {"score": score} for hit, score in zip(hits, scores, strict=True)]
    results += [result(4, NOWHERE, 0.8), result(1, NOWHERE, 0.6)]  # 2 false calls, 3 objects found above the next
    results += [result(4, NOWHERE, 0.4), result(1, [9, 9, 4, 4], 0.4)]  # 4: a duplicate counts as one
    results += [result(4, NOWHERE, 0.3)]  # 5: at the score of the last hit, from which no threshold parts it
    assert sensitivities(dataset, results) == pytest.approx([3 / 5, 4 / 5, 5 / 5])
    assert compute_metrics(dataset, results)["f1_max"] == 0  # none at IoU 0.5


def test_sensitivity_is_zero_where_the_first_detection_is_one_false_call_too_many() -> None:
    dataset = dataset_of([(1, [0, 0, 20, 20])], 1)
    results = [result(1, NOWHERE, 0.9), result(1, NOWHERE, 0.9), result(1, [0, 0, 20, 20], 0.8)]
    assert sensitivities(dataset, results) == [0, 0, 1]
    assert sensitivities(dataset, []) == [0, 0, 0]
    assert sensitivities(dataset_of([], 2), results[:1]) == [None, None, None]
    assert sensitivities(dataset_of([], 0), []) == [None, None, None]


def test_each_ap_is_taken_at_its_own_overlap() -> None:
    # Four objects, met with IoU 0.25 (center inside), 0.4, 0.6 and 0.8: widths of 20 px cut to these shares.
    dataset = dataset_of([(k, [0, 0, 20, 20]) for k in range(1, 5)], 4)
    results = [result(k, [0, 0, 20 * share, 20], 0.9 - k / 10) for k, share in enumerate((0.25, 0.4, 0.6, 0.8), 1)]
    metrics = compute_metrics(dataset, results)
    # Hits by rank: center point 4 of 4; IoU 0.3 ranks 2, 3, 4; IoU 0.5 ranks 3, 4; IoU 0.75 rank 4.
    assert metrics["ap_center"] == 1
    assert metrics["ap30"] == pytest.approx(76 * 3 / 4 / 101)
    assert metrics["ap50"] == pytest.approx(51 * 2 / 4 / 101)
    assert metrics["ap75"] == pytest.approx(26 * 1 / 4 / 101)
    assert metrics["recall50"] == 2 / 4
    assert (metrics["images"], metrics["objects"]) == (4, 4)


def test_every_metric_is_described_and_in_the_documentation() -> None:
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", text))
    for name, metric in METRICS.items():
        assert metric.title, name
        assert metric.description, name
        assert name in named, f"docs/evaluation.md does not name {name}"
    assert EMPTY_METRICS.keys() == METRICS.keys()
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)
    assert set(OLD_NAMES.values()) <= METRICS.keys()
    assert not OLD_NAMES.keys() & METRICS.keys()


def test_metrics_of_older_versions_are_read_by_their_new_names(tmp_path: Path) -> None:
    old = {"ap50": 0.5, "ap50_center_hit": 0.8, "best_f1": 0.6, "defect_rate": None, "something_else": [1]}
    (tmp_path / "metrics.json").write_text(json.dumps(old))
    metrics = read_metrics(tmp_path)
    assert metrics == {"ap50": 0.5, "ap_center": 0.8, "f1_max": 0.6, "defect_recall": None, "something_else": [1]}
    assert renamed(metrics) == metrics


@pytest.mark.parametrize("value", ['"high"', "NaN", "Infinity", "[0.5]", "true", "{}"])
def test_a_metric_that_is_no_number_is_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "metrics.json").write_text(f'{{"ap50": {value}}}')
    with pytest.raises(InputError, match=r"metrics\.json: ap50 is .*evaluate the run again"):
        read_metrics(tmp_path)


def test_the_table_shows_titles_and_leaves_out_what_no_run_has() -> None:
    table = metrics_table({"a": EMPTY_METRICS | {"ap50": 0.25}, "b": {"ap50": None, "own": 3}})
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    assert columns == [["AP at IoU 0.5", "own"], ["0.250", "n/a"], ["n/a", "3"]]
