"""Regions and dilation without OpenCV are those with it."""

import cv2
import numpy as np
import pytest

from detectors.maps import components


@pytest.mark.parametrize("share", [0, 0.05, 0.3, 0.45, 0.6, 1])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 7), (60, 80)])
def test_both_ways_of_labeling_and_dilating_agree(shape: tuple[int, int], share: float) -> None:
    mask = (np.random.default_rng(1).random(shape) < share).astype(np.uint8)
    count, labels = components._label_runs(mask)
    expected_count, expected = cv2.connectedComponents(mask, connectivity=8)
    assert count == expected_count
    assert len(set(zip(labels.ravel().tolist(), expected.ravel().tolist(), strict=True))) == len(np.unique(labels))
    for radius in (1, 3, 70):
        assert (components._dilate_rows(mask, radius) == components.dilate(mask, radius)).all()
