import numpy as np
import pytest
from pydantic import ValidationError

from data.coco import CocoDataset
from data.errors import InputError
from data.synthesis.placement import CELL, Distribution, box_sizes, clearance_map, edge_strength, sample_position


def test_lognormal_has_nine_in_ten_in_its_range():
    rng = np.random.default_rng(0)
    spread = Distribution(low=2, high=18)
    values = np.array([spread.sample(rng) for _ in range(4000)])
    assert np.quantile(values, [0.05, 0.5, 0.95]) == pytest.approx([2, 6, 18], rel=0.07)  # the median is sqrt(2 * 18)
    assert (values.min() >= 1, values.max() <= 36) == (True, True)


@pytest.mark.parametrize(("kind", "median"), [("uniform", 10), ("loguniform", 6)])
def test_the_others_stay_inside(kind, median):
    rng = np.random.default_rng(0)
    spread = Distribution(kind=kind, low=2, high=18)
    values = np.array([spread.sample(rng) for _ in range(2000)])
    assert np.median(values) == pytest.approx(median, rel=0.07)
    assert (values.min() >= 2, values.max() <= 18) == (True, True)


def test_distribution_upside_down():
    with pytest.raises(ValidationError, match="low"):
        Distribution(low=3, high=2)


def scene():
    """A part of 0.3 with a window of air on the right."""
    pixels = np.full((100, 160), 0.3, np.float32)
    pixels[20:80, 100:150] = 0.98
    return pixels


def test_clearance_is_the_distance_to_air_border_and_boxes():
    clearance = clearance_map(scene(), np.array([[40.0, 40.0, 52.0, 60.0]]), clearance=3)
    assert clearance.shape == (25, 40)
    assert clearance[15, 10] == 0  # (40, 60): in the box with its clearance
    assert clearance[12, 30] == 0  # (120, 48): air
    assert clearance[12, 4] == pytest.approx(17, abs=1)  # (16, 48): to the border
    assert clearance[12, 18] == pytest.approx(17, abs=1)  # (72, 48): to the box's clearance at 55
    # (28, 48), (44, 28) and (44, 72): to its clearance at 37 on the left, 37 above and 63 below.
    assert [clearance[12, 7], clearance[7, 11], clearance[18, 11]] == pytest.approx([9, 9, 9], abs=1)


def test_positions_keep_their_distance():
    rng = np.random.default_rng(0)
    clearance = clearance_map(scene(), np.zeros((0, 4)), clearance=3)
    taken = np.array([[10.0, 10.0, 70.0, 60.0]])
    places = np.array([sample_position(clearance, 9, taken, rng) for _ in range(200)])
    x, y = places.T
    assert (x.min() >= 9, y.min() >= 9, x.max() <= 151, y.max() <= 91) == (True, True, True, True)
    assert not ((x > 100 - 9 + CELL) & (x < 150 + 9 - CELL) & (y > 20 - 9 + CELL) & (y < 80 + 9 - CELL)).any()
    assert not ((x > 1) & (x < 79) & (y > 1) & (y < 69)).any()
    assert places.std(axis=0).min() > 15  # spread over what is left


def test_positions_gather_at_walls_in_the_measure_of_the_slope():
    pixels = np.full((120, 240), 0.4, np.float32)
    pixels[:, 160:] = 0.2
    slope = edge_strength(pixels)
    # A blurred step of half its height: the steepest slope is the Gaussian's peak, over the mean of both sides.
    assert slope.shape == (30, 60)
    assert slope.base is None  # a view would keep the whole radiograph's slopes in memory
    assert slope.max() == pytest.approx(0.2 / (4 * np.sqrt(2 * np.pi)) / 0.3, rel=0.2)
    clearance = clearance_map(pixels, np.zeros((0, 4)), clearance=0)
    rng = np.random.default_rng(0)
    anywhere, walls = (np.array([sample_position(clearance, 5, np.zeros((0, 4)), rng, weight)[0] for _ in range(300)])
                       for weight in (None, slope))  # fmt: skip
    assert (np.abs(walls - 160) < 16).mean() > 0.9
    assert (np.abs(anywhere - 160) < 16).mean() < 0.3


def test_no_position_where_nothing_fits():
    clearance = clearance_map(np.full((40, 40), 0.3, np.float32), np.zeros((0, 4)), 0)
    assert sample_position(clearance, 60, np.zeros((0, 4)), np.random.default_rng(0)) is None
    everything = np.array([[0.0, 0.0, 40.0, 40.0]])
    assert sample_position(clearance, 3, everything, np.random.default_rng(0)) is None


def test_box_sizes_leave_padding_and_crowds_out():
    def box(width, height, iscrowd=0):
        return {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, width, height], "iscrowd": iscrowd}

    image = {"id": 1, "file_name": "a.png", "width": 99, "height": 99}
    categories = [{"id": 1, "name": "defect"}]
    sizes = box_sizes(CocoDataset([image], [box(22, 15), box(90, 90, 1), box(3, 3)], categories), padding=3)
    assert sizes == pytest.approx([12.0, 2.0])
    with pytest.raises(InputError, match="no boxes"):
        box_sizes(CocoDataset([image], [], categories), 0)
