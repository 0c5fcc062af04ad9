"""The hierarchy of selective search."""

import numpy as np
import pytest

from detectors.maps import selective_search
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


def test_the_work_grows_with_the_area_and_not_its_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """A background beside hundreds of specks is compared with all of them at every merging."""
    monkeypatch.setattr(selective_search, "TILE", 48)
    monkeypatch.setattr(selective_search, "OVERLAP", 12)
    similarity, compared = selective_search._Regions.similarity, []

    def counted(regions: object, one: object, others: np.ndarray) -> np.ndarray:
        compared.append(len(others))
        return similarity(regions, one, others)

    monkeypatch.setattr(selective_search._Regions, "similarity", counted)
    counts = []
    for side in (84, 336):
        values = np.zeros((side, side), dtype=np.float32)
        values[2::6, 2::6] = values[3::6, 2::6] = values[2::6, 3::6] = values[3::6, 3::6] = 0.8
        compared.clear()
        propose_boxes(values, 1, 20.0, 0.0, 4)
        counts.append(sum(compared))
    assert counts[1] < 1.5 * counts[0] * (336 / 84) ** 2


def test_a_spot_on_a_seam_is_proposed_once_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selective_search, "TILE", 48)
    monkeypatch.setattr(selective_search, "OVERLAP", 12)
    for x in range(28, 56, 3):
        values = np.zeros((40, 120), dtype=np.float32)
        values[20:26, x : x + 8] = 0.9
        boxes = propose_boxes(values, 1, 20.0, 0.0, 4).tolist()
        assert [x, 20, x + 8, 26] in boxes
        assert not any(box[1] == 20 and box[3] == 26 and box != [x, 20, x + 8, 26] for box in boxes)
