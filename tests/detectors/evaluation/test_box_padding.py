import pytest

from data.coco import CocoDataset
from data.errors import InputError
from detectors.evaluation.box_padding import estimate_box_padding
from detectors.evaluation.matching import find_overlaps


def evaluation(true, drawn):
    """One image with boxes x y w h; detections in falling score."""
    annotations = [{"id": k, "image_id": 1, "category_id": 1, "bbox": box, "area": 1.0, "iscrowd": 0}
                   for k, box in enumerate(true, start=1)]  # fmt: skip
    dataset = CocoDataset([{"id": 1, "file_name": "a.png", "width": 200, "height": 200}], annotations,
                          [{"id": 1, "name": "defect"}])  # fmt: skip
    results = [{"image_id": 1, "category_id": 1, "bbox": box, "score": 1 - k / 10} for k, box in enumerate(drawn)]
    return find_overlaps(dataset, results)


def test_hand_worked_margins_and_the_first_boxes():
    true = [[10, 10, 20, 20], [50, 50, 20, 10], [100, 100, 30, 30], [150, 150, 20, 20]]
    # 2 px a side; 1 px across and 3 down, 2 on average; 5 px; one miss; a second, weaker detection in the first.
    drawn = [[12, 12, 16, 16], [51, 53, 18, 4], [105, 105, 20, 20], [11, 11, 18, 18]]
    found = estimate_box_padding(evaluation(true, drawn))
    assert (found.padding, found.boxes) == (2, 3)
    assert found.quartiles == (2, 3.5)
    assert estimate_box_padding(evaluation(true[2:], drawn), 1) == (5, (5, 5), 1)
    assert estimate_box_padding(evaluation(true, drawn), 1) == (2, (2, 2), 1)  # two more are hit, and left out


def test_detections_that_are_too_large_give_a_negative_margin():
    assert estimate_box_padding(evaluation([[10, 10, 20, 20]], [[8, 8, 24, 24]])).padding == -2


def test_nothing_hit_is_an_error():
    with pytest.raises(InputError, match="no detection lies in a true box"):
        estimate_box_padding(evaluation([[10, 10, 20, 20]], [[100, 100, 5, 5]]))
