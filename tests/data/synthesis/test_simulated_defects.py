import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from data.coco import CocoDataset
from data.datasets import DetectionDataset
from data.errors import InputError
from data.radiograph import write_radiograph
from data.synthesis.placement import Distribution
from data.synthesis.simulated_defects import DefectSimulator
from data.synthesis.simulation_config import SimulationConfig
from data.transforms import AugmentationConfig, CropConfig

NONE = np.zeros((0, 4))


def plain(**changes):
    fixed = {"per_image": (4, 4), "half_axis": Distribution(low=4, high=7), "blur": (1, 1)}
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
    return simulator(pixels, simulator.study(pixels, boxes), np.random.default_rng(seed), **kwargs)


def test_defects_show_where_their_boxes_and_masks_say(part):
    out = simulate(plain(noise=False), part)
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
    out = simulate(plain(polarity="darker"), part, levels=255)
    levels = out.pixels * 255
    assert np.abs(levels - np.rint(levels)).max() < 1e-3
    changed = out.pixels != part
    assert (out.pixels - part)[changed].mean() < -0.005
    assert not changed[:, 195:].any() or changed.mean() < 0.2


def test_contrast_is_the_share_that_was_asked_for(part):
    exact = Distribution(kind="uniform", low=0.2, high=0.2)
    out = simulate(plain(contrast=exact, noise=False), part)
    for x1, y1, x2, y2 in out.boxes.astype(int):
        here = np.s_[y1:y2, x1:x2]
        peak = float((out.pixels - part)[here].max())
        assert peak == pytest.approx(0.2 * float(np.median(part[here])), rel=0.15)


def test_law_gives_deeper_cavities_more_contrast(part):
    thin, thick = (
        simulate(plain(law={"mu": mu, "xmax": 400}, pixel_mm=0.2, half_axis=Distribution(low=1, high=1.5), noise=False,
                       clusters=0, irregularity=0), part).pixels - part
        for mu in (0.1, 0.3)
    )  # fmt: skip
    assert 0.05 < thin.max() < thick.max()


def test_defects_keep_off_air_and_annotated_defects(part):
    real = np.array([[20.0, 20.0, 110.0, 140.0]])
    simulator = DefectSimulator(plain())
    background = simulator.study(part, real)
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
    for share, hollow in ((1.0, True), (0.0, False)):
        config = plain(patches_from=str(tmp_path), patch_share=share, noise=False, per_image=(1, 1), half_axis=size)
        (mask,) = simulate(config, part).masks
        height, width = mask.mask.shape
        assert mask.mask[height // 2, width // 2] == (not hollow)  # no ellipsoid has a hole in its middle


def test_share_nought_changes_nothing(part):
    out = simulate(SimulationConfig(share=0), part, levels=255)
    assert np.array_equal(out.pixels, part)
    assert out.boxes.shape == (0, 4)


def test_inpainting_removes_a_defect_and_nothing_else(part):
    shown = part.copy()
    cv2.circle(shown, (60, 70), 6, 0.8, -1)
    out = simulate(plain(real_defects="inpaint", share=0), shown, np.array([[54.0, 64.0, 67.0, 77.0]]))
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
    out = simulate(plain(real_defects="inpaint", share=0), shown, np.array([[52.0, 44.0, 65.0, 57.0]]))
    assert np.abs(shown - wall).max() > 0.3
    assert np.abs(out.pixels - wall).max() < 0.04  # of a wall 0.6 high


@pytest.mark.parametrize("boxes", [[[40, 40, 100, 100], [60, 60, 80, 80]], [[60, 60, 80, 80], [40, 40, 100, 100]],
                                   [[55, 55, 85, 85], [84, 50, 100, 90]]])  # fmt: skip
def test_boxes_that_touch_are_covered_together(boxes):
    pixels = np.full((140, 140), 0.4, np.float32)
    pixels[60:80, 60:80] = 0.8
    out = simulate(plain(real_defects="inpaint", share=0), pixels, np.array(boxes, dtype=float))
    assert out.pixels == pytest.approx(np.full((140, 140), 0.4), abs=1e-3)


def test_large_holes_and_those_without_surroundings_are_covered():
    x = np.arange(400, dtype=np.float32)
    wall = np.tile(0.2 + 0.6 / (1 + np.exp(-(x - 200) / 40)), (300, 1)).astype(np.float32)
    shown = wall.copy()
    shown[60:240, 110:290] += 0.15
    out = simulate(plain(real_defects="inpaint", share=0), shown, np.array([[105.0, 55.0, 295.0, 245.0]]))
    assert np.abs(out.pixels - wall).max() < 0.03
    whole = simulate(plain(real_defects="inpaint", share=0), shown, np.array([[0.0, 0.0, 400.0, 300.0]]))
    assert whole.pixels.std() < 0.01


def test_a_black_radiograph_gets_none():
    out = simulate(plain(), np.zeros((80, 80), np.float32))
    assert len(out.boxes) == 0
    assert not out.pixels.any()


@pytest.mark.parametrize(("fields", "named"), [({"law": {"mu": 0.1, "xmax": 400}}, "pixel_mm"),
                                               ({"law": {"mu": 0.1, "xmax": 400}, "pixel_mm": 0.1,
                                                 "patches_from": "x"}, "one of the two"),
                                               ({"per_image": (3, 1)}, "upside down"),
                                               ({"flatness": (0.9, 0.5)}, "flatness")])  # fmt: skip
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
def test_dataset_adds_fresh_defects_to_each_sample(dataset, real, count, cache):
    config = plain(real_defects=real, category="cavity")
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
    first, second = (DetectionDataset(*dataset, cache=cache, simulation=plain())[0] for cache in (True, False))
    assert bool((first[0] == second[0]).all())


def test_margin_is_for_simulated_boxes_alone(dataset):
    tight, loose = (
        DetectionDataset(*dataset, simulation=plain(), simulated_margin=margin)[0][1]["boxes"] for margin in (0, 2)
    )
    assert (loose[0] == tight[0]).all()
    expected = (tight[1:].numpy() + np.array([-2, -2, 2, 2])).clip(0, [200, 160, 200, 160])  # the image ends there
    assert (loose[1:].numpy() == expected).all()


def test_simulation_goes_through_augmentation(dataset):
    augmentation = AugmentationConfig(crop=CropConfig(size=64, around_defect=1.0), horizontal_flip=0.5)
    image, target = DetectionDataset(*dataset, augmentation, simulation=plain(real_defects="inpaint"))[0]
    assert image.shape == (1, 64, 64)
    assert len(target["boxes"]) >= 1


def test_unknown_category_is_named(dataset):
    with pytest.raises(InputError, match="'blowhole'"):
        DetectionDataset(*dataset, simulation=plain(category="blowhole"))
