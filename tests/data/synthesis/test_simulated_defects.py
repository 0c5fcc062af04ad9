import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from data.coco import CocoDataset
from data.datasets import DetectionDataset
from data.errors import InputError
from data.radiograph import write_radiograph
from data.synthesis.placement import Distribution
from data.synthesis.simulated_defects import DefectSimulator, _add
from data.synthesis.simulation_config import SimulationConfig
from data.transforms import AugmentationConfig, CropConfig

NONE = np.zeros((0, 4))


def simple(**changes):
    fixed = {"per_image": (4, 4), "semi_axis": Distribution(low=4, high=7), "blur": (1, 1)}
    return SimulationConfig(**fixed | changes)


@pytest.fixture
def part():
    """A slope of gray with a window of air, blurred, with noise, in levels of 8 bits."""
    rng = np.random.default_rng(0)
    pixels = np.tile(np.linspace(0.3, 0.5, 200, dtype=np.float32), (160, 1))
    pixels[40:120, 120:180] = 0.97
    pixels = cv2.GaussianBlur(pixels, (0, 0), 1.0) + rng.normal(0, 0.004, pixels.shape)
    return (np.rint(pixels * 255) / 255).astype(np.float32)


def simulate(config, pixels, boxes=NONE, seed=0, **kwargs):
    simulator = DefectSimulator(config)
    return simulator(pixels, simulator.analyze(pixels, boxes), np.random.default_rng(seed), **kwargs)


def test_defects_show_where_their_boxes_and_masks_say(part):
    out = simulate(simple(noise=False), part)
    assert len(out.boxes) == len(out.masks) == 4
    change = out.pixels - part
    outside = np.ones(part.shape, bool)
    for box, mask in zip(out.boxes, out.masks, strict=True):
        assert tuple(box) == mask.box
        rows, columns = (slice(mask.y0, mask.y0 + mask.mask.shape[0]), slice(mask.x0, mask.x0 + mask.mask.shape[1]))
        assert change[rows, columns][mask.mask].min() > 0  # brighter
        assert all(edge.any() for edge in (mask.mask[0], mask.mask[-1], mask.mask[:, 0], mask.mask[:, -1]))
        outside[rows, columns] &= ~mask.mask
        # Tight: beyond the mask lies no more than its share of the peak.
        ring = np.s_[max(mask.y0 - 6, 0) : rows.stop + 6, max(mask.x0 - 6, 0) : columns.stop + 6]
        peak = change[rows, columns].max()
        assert change[ring][outside[ring]].max() <= 0.2 * peak + 1e-6
    assert out.pixels.max() <= 1


def test_defects_are_darker_in_welds_and_rounded_to_gray_levels(part):
    out = simulate(simple(polarity="darker"), part, levels=255)
    levels = out.pixels * 255
    assert np.abs(levels - np.rint(levels)).max() < 1e-3
    change = out.pixels - part
    inside = np.zeros(part.shape, bool)
    for mask in out.masks:
        here = np.s_[mask.y0 : mask.y0 + mask.mask.shape[0], mask.x0 : mask.x0 + mask.mask.shape[1]]
        inside[here] |= mask.mask
        assert change[here][mask.mask].mean() < -0.005
    assert change[inside].max() <= 3.5 / 255  # darker but for the noise
    reach = cv2.dilate(inside.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    assert not change[~reach].any()  # nothing but the defects and their blur


def test_contrast_is_the_share_that_was_asked_for(part):
    exact = Distribution(kind="uniform", low=0.2, high=0.2)
    out = simulate(simple(contrast=exact, noise=False), part)
    for x1, y1, x2, y2 in out.boxes.astype(int):
        here = np.s_[y1:y2, x1:x2]
        peak = float((out.pixels - part)[here].max())
        assert peak == pytest.approx(0.2 * float(np.median(part[here])), rel=0.15)


def test_the_attenuation_model_gives_deeper_cavities_more_contrast(part):
    fixed = {"pixel_mm": 0.2, "semi_axis": Distribution(low=1, high=1.5), "noise": False, "cluster_fraction": 0,
             "depth_noise": 0}  # fmt: skip
    thin, thick = (
        simulate(simple(attenuation={"mu": mu, "max_thickness_mm": 400}, **fixed), part).pixels - part
        for mu in (0.1, 0.3)
    )
    assert 0.05 < thin.max() < thick.max()


def test_defects_keep_off_air_and_annotated_defects(part):
    real = np.array([[20.0, 20.0, 110.0, 140.0]])
    simulator = DefectSimulator(simple())
    background = simulator.analyze(part, real)
    for seed in range(5):
        out = simulator(part, background, np.random.default_rng(seed))
        assert len(out.boxes)
        for x1, y1, x2, y2 in out.boxes:
            middle = (x1 + x2) / 2, (y1 + y2) / 2
            assert not (20 < middle[0] < 110 and 20 < middle[1] < 140)
            assert not (122 < middle[0] < 178 and 42 < middle[1] < 118)


def test_the_same_seed_gives_the_same_and_the_argument_stays(part):
    before = part.copy()
    first, second, other = (simulate(SimulationConfig(), part, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.pixels, second.pixels)
    assert not np.array_equal(first.pixels, other.pixels)
    assert np.array_equal(part, before)


def test_shapes_may_come_from_patches(part, tmp_path):
    ring = np.full((32, 32), 0.4, np.float32)
    cv2.circle(ring, (16, 16), 8, 0.6, 3)
    write_radiograph(tmp_path / "class_1" / "a.png", ring, 8)
    write_radiograph(tmp_path / "class_0" / "b.png", np.full((32, 32), 0.4, np.float32), 8)
    size = Distribution(low=12, high=13)
    for fraction, hollow in ((1.0, True), (0.0, False)):
        config = simple(
            patches_from=str(tmp_path), patch_fraction=fraction, noise=False, per_image=(1, 1), semi_axis=size
        )
        (mask,) = simulate(config, part).masks
        height, width = mask.mask.shape
        assert mask.mask[height // 2, width // 2] == (not hollow)  # no ellipsoid has a hole in its middle


def test_fraction_nought_changes_nothing(part):
    out = simulate(SimulationConfig(image_fraction=0), part, levels=255)
    assert np.array_equal(out.pixels, part)
    assert out.boxes.shape == (0, 4)


def test_inpainting_removes_a_defect_and_nothing_else(part):
    shown = part.copy()
    cv2.circle(shown, (60, 70), 6, 0.8, -1)
    out = simulate(simple(real_defects="inpaint", image_fraction=0), shown, np.array([[54.0, 64.0, 67.0, 77.0]]))
    hole = np.zeros(part.shape, bool)
    hole[63:78, 53:68] = True
    assert np.array_equal(out.pixels[~hole], shown[~hole])
    assert np.abs(out.pixels[hole] - part[hole]).max() < 0.04  # the slope is continued; noise differs
    assert 0.5 < np.std(np.diff(out.pixels[63:78, 53:68])) / np.std(np.diff(part[63:78, 53:68])) < 1.6


def test_inpainting_carries_a_wall_through():
    x = np.arange(120, dtype=np.float32)
    wall = np.tile(0.2 + 0.6 / (1 + np.exp(-(x - 60) / 4)), (100, 1)).astype(np.float32)
    shown = wall.copy()
    cv2.circle(shown, (58, 50), 5, 0.9, -1)
    out = simulate(simple(real_defects="inpaint", image_fraction=0), shown, np.array([[52.0, 44.0, 65.0, 57.0]]))
    assert np.abs(shown - wall).max() > 0.3
    assert np.abs(out.pixels - wall).max() < 0.04  # of a wall 0.6 high


@pytest.mark.parametrize("boxes", [[[40, 40, 100, 100], [60, 60, 80, 80]], [[60, 60, 80, 80], [40, 40, 100, 100]],
                                   [[55, 55, 85, 85], [84, 50, 100, 90]]])  # fmt: skip
def test_boxes_that_touch_are_covered_together(boxes):
    pixels = np.full((140, 140), 0.4, np.float32)
    pixels[60:80, 60:80] = 0.8
    out = simulate(simple(real_defects="inpaint", image_fraction=0), pixels, np.array(boxes, dtype=float))
    assert out.pixels == pytest.approx(np.full((140, 140), 0.4), abs=1e-3)


def test_large_holes_and_those_without_surroundings_are_covered():
    x = np.arange(400, dtype=np.float32)
    wall = np.tile(0.2 + 0.6 / (1 + np.exp(-(x - 200) / 40)), (300, 1)).astype(np.float32)
    shown = wall.copy()
    shown[60:240, 110:290] += 0.15
    out = simulate(simple(real_defects="inpaint", image_fraction=0), shown, np.array([[105.0, 55.0, 295.0, 245.0]]))
    assert np.abs(out.pixels - wall).max() < 0.03
    whole = simulate(simple(real_defects="inpaint", image_fraction=0), shown, np.array([[0.0, 0.0, 400.0, 300.0]]))
    assert whole.pixels.std() < 0.01


def test_a_black_radiograph_gets_none():
    out = simulate(simple(), np.zeros((80, 80), np.float32))
    assert len(out.boxes) == 0
    assert not out.pixels.any()


@pytest.mark.parametrize(("fields", "named"), [({"attenuation": {"mu": 0.1, "max_thickness_mm": 400}}, "pixel_mm"),
                                               ({"attenuation": {"mu": 0.1, "max_thickness_mm": 400}, "pixel_mm": 0.1,
                                                 "patches_from": "x"}, "one of the two"),
                                               ({"per_image": (3, 1)}, "upside down"),
                                               ({"axis_ratio": (0.9, 0.5)}, "axis_ratio")])  # fmt: skip
def test_faulty_configurations_are_named(fields, named):
    with pytest.raises(ValidationError, match=named):
        SimulationConfig(**fields)


@pytest.fixture
def dataset(part, tmp_path):
    write_radiograph(tmp_path / "a.png", part)
    annotation = {"id": 1, "image_id": 1, "category_id": 5, "bbox": [20, 20, 30, 20], "area": 600, "iscrowd": 0}
    image = {"id": 1, "file_name": "a.png", "width": 200, "height": 160}
    return CocoDataset([image], [annotation], [{"id": 5, "name": "real"}, {"id": 9, "name": "cavity"}]), tmp_path


@pytest.mark.parametrize(("real", "count"), [("keep", 5), ("inpaint", 4)])
@pytest.mark.parametrize("cache", [True, False])
def test_dataset_adds_new_defects_to_each_sample(dataset, real, count, cache):
    config = simple(real_defects=real, category="cavity")
    samples = DetectionDataset(*dataset, seed=3, repeat=2, cache=cache, simulation=config)
    image, target = samples[0]
    assert target["boxes"].shape == (count, 4)
    assert target["labels"].tolist() == [1] * (count - 4) + [2] * 4
    assert target["iscrowd"].tolist() == [0] * count
    again = samples[0]
    assert bool((again[0] == image).all())
    assert not bool((samples[1][0] == image).all())
    samples.set_epoch(1)
    assert not bool((samples[0][0] == image).all())


def test_cache_changes_no_simulated_sample(dataset):
    first, second = (DetectionDataset(*dataset, cache=cache, simulation=simple())[0] for cache in (True, False))
    assert bool((first[0] == second[0]).all())


def test_padding_is_for_simulated_boxes_alone(dataset):
    tight, loose = (
        DetectionDataset(*dataset, simulation=simple(), simulated_margin=margin)[0][1]["boxes"] for margin in (0, 2)
    )
    assert (loose[0] == tight[0]).all()
    expected = (tight[1:].numpy() + np.array([-2, -2, 2, 2])).clip(0, [200, 160, 200, 160])  # the image ends there
    assert (loose[1:].numpy() == expected).all()


def test_simulation_goes_through_augmentation(dataset):
    augmentation = AugmentationConfig(crop=CropConfig(size=64, defect_crop_fraction=1.0), horizontal_flip=0.5)
    image, target = DetectionDataset(*dataset, augmentation, simulation=simple(real_defects="inpaint"))[0]
    assert image.shape == (1, 64, 64)
    assert len(target["boxes"]) >= 1


def test_unknown_category_is_named(dataset):
    with pytest.raises(InputError, match="'blowhole'"):
        DetectionDataset(*dataset, simulation=simple(category="blowhole"))


@pytest.mark.parametrize("full", [4095, 16383, 65535])
def test_contrast_does_not_depend_on_the_scale_that_gray_values_are_stored_on(full):
    base = np.rint(np.random.default_rng(0).normal(1600, 8, (200, 250)))  # 12 bits, whatever they are stored in
    fixed = {"depth_noise": 0, "cluster_fraction": 0, "noise": False, "edge_bias": 0, "blur": (1, 1)}
    simulator = DefectSimulator(SimulationConfig(contrast=Distribution(kind="uniform", low=0.05, high=0.06), **fixed))
    pixels = (base / full).astype(np.float32)
    background = simulator.analyze(pixels, NONE, full)
    out = simulator(pixels, background, np.random.default_rng(1), 6, full)
    assert len(out.masks) >= 4
    for mask in out.masks:
        here = np.s_[mask.y0 : mask.y0 + mask.mask.shape[0], mask.x0 : mask.x0 + mask.mask.shape[1]]
        assert 0.03 < np.quantile((out.pixels - pixels)[here], 0.99) / np.median(pixels[here]) < 0.07


def test_noise_and_edges_of_dark_deep_radiographs_are_those_of_their_own_scale():
    values = np.full((60, 80), 400.0)
    values[:, 40:] = 200  # of 65,535: under one level of 255
    dark = (values / 65535).astype(np.float32)
    bright = (values / 4095).astype(np.float32)
    simulator = DefectSimulator(simple())
    edges = [simulator.analyze(p, NONE, full).edges for p, full in ((dark, 65535), (bright, 4095))]
    np.testing.assert_allclose(edges[0], edges[1], rtol=1e-3, atol=1e-6)
    assert edges[0].max() > 0.03
    patch = np.float32(np.random.default_rng(0).normal(400, 4, (60, 60)) / 65535)
    change = np.full_like(patch, 400 / 65535)  # twice the signal: the noise grows by its own variance
    noisy = patch.copy()
    _add(noisy, change, True, 65535, np.random.default_rng(1))
    assert float((noisy - patch).std() * 65535) == pytest.approx(4, rel=0.15)


def test_former_names_of_fields_are_read():
    former = {"share": 0.5, "half_axis": {"low": 2, "high": 3}, "flatness": (0.5, 0.6), "sizes_margin": 1.0,
              "clusters": 0.1, "patch_share": 0.2, "irregularity": 0.3, "box_share": 0.4, "near_walls": 0.7,
              "law": {"mu": 0.1, "xmax": 9.0}, "pixel_mm": 0.1}  # fmt: skip
    present = {"image_fraction": 0.5, "semi_axis": {"low": 2, "high": 3}, "axis_ratio": (0.5, 0.6),
               "sizes_padding": 1.0, "cluster_fraction": 0.1, "patch_fraction": 0.2, "depth_noise": 0.3,
               "mask_threshold": 0.4, "edge_bias": 0.7, "attenuation": {"mu": 0.1, "max_thickness_mm": 9.0},
               "pixel_mm": 0.1}  # fmt: skip
    assert SimulationConfig.model_validate(former) == SimulationConfig.model_validate(present)


ONE_SPHERE = {
    "axis_ratio": (1, 1), "cluster_fraction": 0, "depth_noise": 0, "noise": False, "edge_bias": 0, "blur": (0, 0),
    "per_image": (1, 1),
}  # fmt: skip


@pytest.mark.parametrize(("polarity", "sign"), [("brighter", 1), ("darker", -1)])
def test_the_attenuation_model_works_in_mm_and_keeps_its_polarity(polarity, sign):
    mm = Distribution(kind="uniform", low=2.0, high=2.0)
    attenuation = {"mu": 0.02, "max_thickness_mm": 100}
    config = SimulationConfig(**ONE_SPHERE, semi_axis=mm, pixel_mm=0.2, attenuation=attenuation, polarity=polarity)
    pixels = np.full((120, 120), 0.4, np.float32)
    out = simulate(config, pixels, seed=4)
    (mask,) = out.masks
    height, width = mask.mask.shape
    # A sphere of 2 mm half axes times 0.8 to 1: 16 to 20 pixels of 0.2 mm, less what lies below the threshold.
    assert 14 <= height <= 20
    assert 14 <= width <= 20
    change = out.pixels - pixels
    peak = float(change[np.unravel_index(np.abs(change).argmax(), change.shape)])
    offset = -1 / np.expm1(0.02 * 100)
    depths = 2 * 2.0 * np.array([0.8, 1.0])
    low, high = np.sort(sign * (0.4 - offset) * np.expm1(sign * 0.02 * depths))
    assert low * 0.98 <= sign * peak <= high


def test_edge_bias_draws_defects_to_where_gray_values_change(part):
    small = Distribution(low=3, high=4)
    distances = {}
    for bias in (0.0, 1.0):
        config = simple(edge_bias=bias, semi_axis=small, per_image=(1, 1), noise=False)
        simulator = DefectSimulator(config)
        background = simulator.analyze(part, NONE, 255)
        found = []
        for seed in range(40):
            for mask in simulator(part, background, np.random.default_rng(seed)).masks:
                x, y = mask.x0 + mask.mask.shape[1] / 2, mask.y0 + mask.mask.shape[0] / 2
                found.append(max(abs(x - 150) - 30, abs(y - 80) - 40))  # to the window of air
        distances[bias] = np.median(found)
        assert len(found) > 20
    assert distances[1.0] < 15 < 25 < distances[0.0]


def test_defects_at_the_border_of_the_radiograph_are_cut_off_with_their_masks():
    pixels = np.full((64, 72), 0.4, np.float32)
    config = simple(semi_axis=Distribution(low=9, high=14), noise=False, per_image=(3, 3), edge_bias=0)
    touching = 0
    for seed in range(25):
        out = simulate(config, pixels, seed=seed)
        for (x1, y1, x2, y2), mask in zip(out.boxes, out.masks, strict=True):
            assert 0 <= x1 < x2 <= 72
            assert 0 <= y1 < y2 <= 64
            assert (out.pixels - pixels)[mask.y0 : int(y2), mask.x0 : int(x2)][mask.mask].min() > 0
            touching += x1 == 0 or y1 == 0 or x2 == 72 or y2 == 64
    assert touching > 2


def test_masks_lie_where_the_radiograph_was_changed_at_the_border_too():
    pixels = np.full((64, 72), 0.4, np.float32)
    config = simple(
        semi_axis=Distribution(low=9, high=14), contrast=Distribution(low=0.2, high=0.2), noise=False, per_image=(3, 3),
        edge_bias=1,
    )  # fmt: skip
    at_border = 0
    for seed in range(40):
        out = simulate(config, pixels, seed=seed)
        covered = np.zeros(pixels.shape, bool)
        for mask in out.masks:
            covered[mask.y0 : mask.y0 + mask.mask.shape[0], mask.x0 : mask.x0 + mask.mask.shape[1]] |= mask.mask
            at_border += min(mask.x0, mask.y0) < 3
        change = np.abs(out.pixels - pixels)
        assert covered[change > 0.3 * change.max()].all()  # of equal contrast all, and masks hold 0.2 of it
    assert at_border > 2
