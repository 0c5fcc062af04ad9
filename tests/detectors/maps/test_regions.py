"""Regions of hand-drawn heat maps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from detectors.maps.regions import BoxExtractionConfig, find_regions

METHODS = ("morphology", "selective_search")
MORPHOLOGY = BoxExtractionConfig(method="morphology", rel_height=0.5)
SEARCH = BoxExtractionConfig(method="selective_search", downsample=2, background_weight=0.5)


def blank(shape: tuple[int, int] = (80, 100)) -> np.ndarray:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_hot_is_no_region(method: str) -> None:
    boxes, scores = find_regions(blank(), BoxExtractionConfig(method=method))
    assert boxes.shape == (0, 4)
    assert boxes.dtype == scores.dtype == np.float32
    assert scores.shape == (0,)


@pytest.mark.parametrize("method", METHODS)
def test_all_hot_is_one_region(method: str) -> None:
    boxes, scores = find_regions(blank() + 1, BoxExtractionConfig(method=method, background_weight=0))
    assert boxes.tolist() == [[0, 0, 100, 80]]
    assert scores == pytest.approx([1])


@pytest.mark.parametrize("config", [MORPHOLOGY, SEARCH])
def test_a_rectangle_is_found_to_the_pixel(config: BoxExtractionConfig) -> None:
    values = blank()
    values[20:40, 30:70] = 0.8
    boxes, scores = find_regions(values, config)
    assert boxes[0].tolist() == [30, 20, 70, 40]
    assert scores[0] == pytest.approx(0.8)
    assert config is SEARCH or len(boxes) == 1


@pytest.mark.parametrize("config", [MORPHOLOGY, SEARCH])
def test_a_region_at_the_border_stays_inside(config: BoxExtractionConfig) -> None:
    values = blank()
    values[60:, 80:] = 0.9
    boxes, _ = find_regions(values, config.model_copy(update={"box_padding": 4.0}))
    assert boxes[0].tolist() == [76, 56, 100, 80]


@pytest.mark.parametrize("config", [MORPHOLOGY, SEARCH])
def test_hotter_regions_score_higher(config: BoxExtractionConfig) -> None:
    values = blank()
    for k, heat in enumerate((0.6, 0.95, 0.75)):
        values[20:40, 10 + 30 * k : 30 + 30 * k] = heat
    boxes, scores = find_regions(values, config)
    assert boxes[:3, 0].tolist() == [40, 70, 10]
    assert (np.diff(scores) <= 0).all()


@pytest.mark.parametrize("config", [MORPHOLOGY, SEARCH])
def test_what_is_off_the_test_object_is_removed(config: BoxExtractionConfig) -> None:
    values = blank()
    values[10:30, 10:30] = values[10:30, 60:80] = 0.9
    inside = np.ones(values.shape, bool)
    inside[:, :50] = False
    boxes, _ = find_regions(values, config, inside)
    assert boxes[0].tolist() == [60, 10, 80, 30]
    assert (boxes[:, 0] >= 50).all()
    assert len(find_regions(values, config, np.zeros_like(inside))[0]) == 0


def two_bumps(bridge: float, first: float, second: float) -> np.ndarray:
    """Two peaks joined by a bridge."""
    values = blank()
    values[20:40, 10:70] = bridge
    values[22:38, 12:32] = first
    values[22:38, 48:68] = second
    return values


def test_touching_defects_part_at_a_higher_level() -> None:
    values = two_bumps(0.3, 0.9, 0.8)
    boxes, scores = find_regions(values, MORPHOLOGY)
    assert boxes.tolist() == [[12, 22, 32, 38], [48, 22, 68, 38]]
    assert scores == pytest.approx([0.9, 0.8])


def test_a_low_pass_between_two_bumps_is_one_defect() -> None:
    values = two_bumps(0.75, 0.85, 0.8)
    assert find_regions(values, MORPHOLOGY)[0].tolist() == [[10, 20, 70, 40]]
    parted = find_regions(values, BoxExtractionConfig(prominence=0.01, levels=91, lowest=0.05))[0]
    assert parted.tolist() == [[12, 22, 32, 38], [48, 22, 68, 38]]


def test_a_nested_region_is_the_part_above_half_its_maximum() -> None:
    values = blank()
    values[10:60, 10:60] = 0.2
    values[20:50, 20:50] = 0.6
    values[30:40, 30:40] = 0.9
    assert find_regions(values, MORPHOLOGY)[0].tolist() == [[20, 20, 50, 50]]
    assert find_regions(values, BoxExtractionConfig(rel_height=0.8))[0].tolist() == [[30, 30, 40, 40]]
    assert find_regions(values, BoxExtractionConfig(rel_height=0.1))[0].tolist() == [[10, 10, 60, 60]]


def test_one_pixel_counts_where_it_is_allowed() -> None:
    values = blank()
    values[7, 5] = 0.9
    assert len(find_regions(values, MORPHOLOGY)[0]) == 0
    boxes, scores = find_regions(values, BoxExtractionConfig(min_area=1))
    assert boxes.tolist() == [[5, 7, 6, 8]]
    assert scores == pytest.approx([0.9])
    shrunk, _ = find_regions(values, BoxExtractionConfig(min_area=1, box_padding=-3))
    assert shrunk.tolist() == [[5, 7, 6, 8]]


def test_diagonal_neighbors_are_one_region() -> None:
    values = blank((8, 8))
    values[2, 2] = values[3, 3] = 0.9
    assert find_regions(values, BoxExtractionConfig(min_area=2))[0].tolist() == [[2, 2, 4, 4]]


def test_areas_out_of_bounds_are_left_out() -> None:
    values = blank()
    values[2:5, 2:5] = 0.9  # 9 pixels
    values[20:30, 20:30] = 0.9  # 100 pixels
    values[40:80, 50:90] = 0.9  # 1,600 pixels
    boxes, _ = find_regions(values, BoxExtractionConfig(min_area=10, max_area=100))
    assert boxes.tolist() == [[20, 20, 30, 30]]


def test_the_disc_joins_what_lies_near_and_does_not_widen_the_box() -> None:
    values = blank()
    values[20:30, 20:30] = values[20:30, 34:44] = 0.9  # a gap of 4 pixels
    assert len(find_regions(values, MORPHOLOGY)[0]) == 2
    boxes, scores = find_regions(values, BoxExtractionConfig(dilation=2))
    assert boxes.tolist() == [[20, 20, 44, 30]]
    assert scores == pytest.approx([0.9])
    assert len(find_regions(values, BoxExtractionConfig(dilation=1))[0]) == 2


def test_no_more_regions_than_asked_for_and_the_best_of_them() -> None:
    values = blank()
    for k in range(5):
        values[10:20, 20 * k : 20 * k + 10] = 0.5 + 0.1 * k
    boxes, _ = find_regions(values, BoxExtractionConfig(max_regions=2))
    assert boxes[:, 0].tolist() == [80, 60]


def test_selective_search_keeps_boxes_whose_mean_exceeds_the_limit() -> None:
    values = blank()
    values[20:40, 20:40] = 0.45
    values[20:40, 60:80] = 0.55
    boxes, _ = find_regions(values, SEARCH)
    assert boxes[0].tolist() == [60, 20, 80, 40]
    assert (boxes[:, 0] >= 50).all()
    lower, _ = find_regions(values, SEARCH.model_copy(update={"min_mean": 0.4}))
    assert [20, 20, 40, 40] in lower.tolist()


def test_without_the_surroundings_a_part_may_beat_the_whole() -> None:
    rows, columns = np.mgrid[:80, :100]
    bump = np.exp(-((rows - 40) ** 2 + (columns - 50) ** 2) / (2 * 10**2)).astype(np.float32)
    whole, part = (
        find_regions(bump, SEARCH.model_copy(update={"background_weight": share}))[0][0] for share in (1.0, 0.0)
    )
    assert part[2] - part[0] < whole[2] - whole[0]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0, 2]))
def test_levels_agree_with_plain_labels(seed: int, dilation: int) -> None:
    """With one level the regions are those of scipy's labels, computed one by one."""
    rng = np.random.default_rng(seed)
    values = ndimage.gaussian_filter(rng.random((40, 50)), 2).astype(np.float32)
    values = (values - values.min()) / np.ptp(values)
    inside = rng.random(values.shape) < 0.95
    config = BoxExtractionConfig(
        lowest=0.6, highest=0.6, levels=1, min_area=5, dilation=dilation, nms_iou=1, max_regions=10**4
    )
    boxes, scores = find_regions(values, config, inside)
    hot = (values > np.float32(0.6)) & inside
    reach = np.arange(-dilation, dilation + 1)
    disc = reach[:, None] ** 2 + reach**2 <= dilation**2
    labels, count = ndimage.label(ndimage.binary_dilation(hot, disc) & inside, np.ones((3, 3)))
    wanted = []
    for k in range(1, count + 1):
        y, x = np.nonzero(hot & (labels == k))
        if len(y) >= 5:
            wanted.append([x.min(), y.min(), x.max() + 1, y.max() + 1, values[y, x].mean()])
    found = sorted(np.column_stack([boxes, scores]).tolist())
    assert np.allclose(np.reshape(found, (-1, 5)), np.reshape(sorted(wanted), (-1, 5)), atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(METHODS))
def test_boxes_are_valid_ordered_and_apart(seed: int, method: str) -> None:
    rng = np.random.default_rng(seed)
    values = ndimage.gaussian_filter(rng.random((60, 70)), 3).astype(np.float32)
    values = (values - values.min()) / np.ptp(values)
    boxes, scores = find_regions(values, BoxExtractionConfig(method=method, box_padding=rng.integers(-4, 5)))
    assert ((boxes >= 0) & (boxes <= [70, 60, 70, 60])).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (np.diff(scores) <= 0).all()
    for k, a in enumerate(boxes):
        for b in boxes[:k]:
            shared = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0).prod()
            union = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared
            assert shared / union <= 0.3 + 1e-6


@pytest.mark.parametrize(("field", "values"), [("lowest", {"lowest": 0.9, "highest": 0.2}),
                                               ("max_area", {"min_area": 50, "max_area": 20})])  # fmt: skip
def test_bounds_in_the_wrong_order_are_refused(field: str, values: dict) -> None:
    with pytest.raises(ValueError, match=field):
        BoxExtractionConfig(**values)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"\[H, W\]"):
        find_regions(np.zeros((1, 4, 4)), MORPHOLOGY)
    with pytest.raises(ValueError, match=r"\[3, 4\].*\[4, 4\]"):
        find_regions(np.zeros((4, 4)), MORPHOLOGY, np.ones((3, 4), bool))
