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
    found = labels_of_map(Volume(values), GrayLevels(0, 1), scores, 0.25, shell=0)
    np.testing.assert_array_equal(found, expected)
    flat = labels_of_map(Volume(values), GrayLevels(0, 1), scores, 0.25, least_extent=1, shell=0)
    assert (flat[5, 2:8, 2:8] == PORE).all()


def test_the_shell_of_the_part_is_material_but_not_at_the_volumes_border() -> None:
    values = np.zeros((6, 14, 14), np.float32)
    values[:, 1:13, 1:13] = 1  # cut off above and below
    found = labels_of_map(Volume(values), GrayLevels(0, 1), np.ones_like(values), 0.5, shell=2)
    expected = np.where(values > 0, MATERIAL, AIR).astype(np.uint8)
    expected[:, 3:11, 3:11] = PORE
    np.testing.assert_array_equal(found, expected)
