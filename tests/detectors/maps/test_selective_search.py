"""The hierarchy of selective search."""

import numpy as np
import pytest

from detectors.maps.selective_search import propose_boxes


def two_blocks() -> np.ndarray:
    values = np.zeros((40, 60), np.float32)
    values[8:24, 8:24] = 0.9
    values[8:24, 24:40] = 0.6
    return values


def test_every_region_and_every_union_on_the_way_up_is_proposed() -> None:
    boxes = propose_boxes(two_blocks(), cell=1, scale=1.0, sigma=0.0, min_size=4).tolist()
    for wanted in ([8, 8, 24, 24], [24, 8, 40, 24], [0, 0, 60, 40]):
        assert wanted in boxes


def test_a_hierarchy_of_n_regions_has_at_most_twice_as_many_boxes() -> None:
    noise = np.random.default_rng(0).random((40, 60)).astype(np.float32)
    boxes = propose_boxes(noise, cell=2, scale=1.0, sigma=0.0, min_size=1)
    assert len(boxes) <= 2 * (20 * 30) - 1
    assert len({tuple(box) for box in boxes.tolist()}) == len(boxes)


@pytest.mark.parametrize("shape", [(41, 62), (3, 3), (1, 50)])
def test_cells_cover_radiographs_that_they_do_not_divide(shape: tuple[int, int]) -> None:
    boxes = propose_boxes(np.full(shape, 0.5, np.float32), cell=4, scale=1.0, sigma=0.5, min_size=1)
    assert [0, 0, shape[1], shape[0]] in boxes.tolist()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_similar_heat_merges_first() -> None:
    values = np.zeros((30, 90), np.float32)
    values[5:25, 5:45] = 0.8
    values[5:25, 45:85] = 0.9
    values[13:17, 5:85] = 0.82  # two warm halves and a bridge
    boxes = propose_boxes(values, cell=1, scale=1.0, sigma=0.0, min_size=4).tolist()
    assert [5, 5, 85, 25] in boxes
