"""The picture of an archive's detections: what is counted."""

import numpy as np

from data.archives.parts import box_rows
from data.archives.schema import DETECTIONS
from detectors.archives.picture import MOST_COUNTED, SCORES, count_detections


def row(*scores: float) -> dict[str, object]:
    return {"file": "a.png", "width": 9, "height": 9, "boxes": np.zeros((len(scores), 4)),
            "scores": np.array(scores), "labels": np.ones(len(scores))}  # fmt: skip


def test_detections_are_counted_by_score_and_by_radiograph() -> None:
    batches = [box_rows(DETECTIONS, [row(0.93, 0.51, 0.1), row()]), box_rows(DETECTIONS, [row(*[1.0] * 12), row(0.01)])]
    scores, counts = count_detections(iter(batches), 0.5)
    assert scores.sum() == 16
    assert scores[-1] == 12  # a score of 1 lies in the last interval
    assert [scores[int(np.searchsorted(SCORES, s, "right")) - 1] for s in (0.93, 0.51, 0.01)] == [1, 1, 1]
    assert counts.tolist() == [2, 0, 1, *[0] * (MOST_COUNTED - 3), 1]


def test_nothing_found_is_nothing_counted() -> None:
    scores, counts = count_detections(iter([box_rows(DETECTIONS, [])]), 0.5)
    assert scores.sum() == counts.sum() == 0
