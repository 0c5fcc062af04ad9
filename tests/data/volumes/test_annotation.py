"""Labels from a map of scores."""

import numpy as np

from data.volumes.annotation import labels_of_map
from data.volumes.gray_levels import GrayLevels
from data.volumes.labels import AIR, MATERIAL, PORE
from data.volumes.volume import Volume


def test_marked_voxels_of_the_part_become_pores_unless_they_are_thin() -> None:
    values = np.zeros((8, 10, 10), np.float32)
    values[1:7, 1:9, 1:9] = 1
    scores = np.zeros(values.shape, np.float32)
    scores[2:4, 2:4, 2:4] = 0.25  # at the threshold
    scores[5, 2:8, 2:8] = 0.9  # one voxel high
    scores[3:5, 6:8, 6:8] = 0.24
    scores[0, 0, 0:5] = 1  # air
    expected = np.where(values > 0, MATERIAL, AIR).astype(np.uint8)
    expected[2:4, 2:4, 2:4] = PORE
    found = labels_of_map(Volume(values), GrayLevels(0, 1), scores, 0.25)
    np.testing.assert_array_equal(found, expected)
    assert (labels_of_map(Volume(values), GrayLevels(0, 1), scores, 0.25, least_extent=1)[5, 2:8, 2:8] == PORE).all()
