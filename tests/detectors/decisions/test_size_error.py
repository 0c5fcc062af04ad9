"""How far boxes are off, from an evaluation."""

import numpy as np
import pytest

from data.coco import CocoDataset
from detectors.decisions.size_error import NO_ERROR, size_error
from detectors.evaluation.matching import find_overlaps


def test_quantiles_of_true_minus_drawn() -> None:
    """21 boxes of 20 x 10, drawn 0, 1, ... 20 px longer to the right."""
    images = [{"id": k, "file_name": f"{k}.png", "width": 99, "height": 99} for k in range(21)]
    truth = [{"id": k + 1, "image_id": k, "category_id": 1, "bbox": [30, 30, 20, 10]} for k in range(21)]
    results = [{"image_id": k, "category_id": 1, "bbox": [30, 30, 20 + k, 10], "score": 0.9} for k in range(21)]
    overlaps = find_overlaps(CocoDataset(images, truth, [{"id": 1, "name": "defect"}]), results)
    found = size_error(overlaps, 0.5)
    assert found.defects == 21
    drawn = 20 + np.arange(21)
    assert found.length == pytest.approx(tuple(np.quantile(20 / drawn, [0.05, 0.95])))
    sides = np.concatenate([-np.arange(21) / drawn, np.zeros(63)])
    assert found.side == pytest.approx(tuple(np.quantile(sides, [0.05, 0.95])))
    assert size_error(overlaps, 0.95) == NO_ERROR
