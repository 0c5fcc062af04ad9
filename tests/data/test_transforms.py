"""Augmentation as a whole: flips, turns and scale, masks, empty images, seeds, configuration."""

import cv2
import numpy as np
import pytest
from augmentation import augment, bright_outside, painted, scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.errors import InputError
from data.transforms import AugmentationConfig


@pytest.mark.parametrize(
    ("flip", "expected", "turned"),
    [("horizontal_flip", [6, 2, 9, 5], np.fliplr), ("vertical_flip", [1, 1, 4, 4], np.flipud)],
)
def test_flip_of_a_hand_worked_box(flip, expected, turned):
    pixels = np.random.default_rng(0).random((6, 10), dtype=np.float32)
    sample = augment({flip: 1}, pixels, [[1, 2, 4, 5]])
    np.testing.assert_allclose(sample.boxes, [expected], atol=1e-5)
    np.testing.assert_array_equal(sample.pixels, turned(pixels))


def test_rotations_of_a_hand_worked_box():
    # A box 3 wide and 2 high in an image 6 high and 10 wide, turned against the clock by 0, 90, 180, 270 degrees.
    expected = {(6, 10): [[1, 2, 4, 4], [6, 2, 9, 4]], (10, 6): [[2, 6, 4, 9], [2, 1, 4, 4]]}
    seen = set()
    for seed in range(40):
        sample = augment({"rotate90": 1}, painted((6, 10), [[1, 2, 4, 4]]), [[1, 2, 4, 4]], seed=seed)
        box = sample.boxes[0].round(3).tolist()
        assert box in expected[sample.pixels.shape]
        assert bright_outside(sample) == 0
        seen.add((sample.pixels.shape, *box))
    assert len(seen) == 4


def test_the_two_flips_are_independent():
    seen = {
        tuple(
            augment({"horizontal_flip": 0.5, "vertical_flip": 0.5}, np.zeros((8, 8)), [[0, 0, 1, 1]], seed=seed)
            .boxes[0]
            .round(3)
        )
        for seed in range(40)
    }
    assert len(seen) == 4


@settings(max_examples=100, deadline=None)
@given(scenes(), st.one_of(st.none(), st.integers(8, 70)), st.floats(0.5, 2), st.integers(0, 999))
def test_bright_pixels_stay_in_their_boxes_when_scaled(scene, size, factor, seed):
    shape, boxes = scene
    crop = None if size is None else {"size": size, "defect_crop_fraction": 0.5}
    config = {"scale": (factor, factor), "crop": crop, "horizontal_flip": 0.5, "rotate90": 0.5}
    assert bright_outside(augment(config, painted(shape, boxes), boxes, seed=seed), tolerance=0.75) == 0


def test_scale_resizes_image_and_boxes():
    sample = augment({"scale": (0.5, 0.5)}, np.full((20, 40), 0.3), [[4, 6, 20, 16]])
    assert sample.pixels.shape == (10, 20)
    np.testing.assert_allclose(sample.boxes, [[2, 3, 10, 8]], atol=1e-5)
    np.testing.assert_allclose(sample.pixels, 0.3, atol=1e-6)


def test_scaling_down_averages():
    pixels = np.random.default_rng(0).random((40, 40))
    means = pixels.reshape(10, 4, 10, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(augment({"scale": (0.25, 0.25)}, pixels).pixels, means, atol=1e-6)


def test_a_scaled_crop_shows_the_defect_at_the_scaled_size():
    config = {"scale": (2, 2), "crop": {"size": 32, "defect_crop_fraction": 1}}
    sample = augment(config, np.zeros((50, 50)), [[20, 22, 26, 30]])
    np.testing.assert_allclose(sample.boxes[0, 2:] - sample.boxes[0, :2], [12, 16], atol=1e-4)


def test_label_map_and_instance_masks_follow_the_image():
    boxes = [[3, 4, 9, 8], [20, 15, 26, 27], [12, 2, 15, 5]]
    stack = np.stack([painted((30, 28), [box]) for box in boxes]).astype(np.uint8)
    config = {
        "crop": {"size": 24, "defect_crop_fraction": 1},
        "horizontal_flip": 0.5,
        "vertical_flip": 0.5,
        "rotate90": 1,
        "negate": 1,
    }
    for seed in range(20):
        flat = augment(config, stack.max(axis=0), boxes, stack.max(axis=0), seed)
        np.testing.assert_array_equal(flat.masks, 1 - flat.pixels)
        each = augment(config, stack.max(axis=0), boxes, stack, seed)
        assert each.masks.dtype == np.uint8
        assert len(each.masks) == len(each.boxes)
        np.testing.assert_array_equal(each.masks.max(axis=0), flat.masks)
        for mask, box in zip(each.masks, each.boxes.round().astype(int), strict=True):
            np.testing.assert_array_equal(mask, painted(mask.shape, [box]))


def test_reflected_instance_masks_are_told_apart():
    box = [1, 2, 4, 6]
    mask = painted((8, 8), [box]).astype(np.uint8)[None]
    sample = augment({"crop": {"size": 30}}, mask[0], [box], mask)
    assert len(sample.boxes) > 9
    np.testing.assert_array_equal(sample.masks.sum(axis=0), sample.pixels)


@pytest.mark.parametrize(
    "config", [{}, {"crop": {"size": 12, "defect_crop_fraction": 1, "allow_empty": False}}, {"scale": (2, 2)}]
)
def test_images_without_boxes(config):
    sample = augment(config | {"horizontal_flip": 1}, np.zeros((17, 13)), masks=np.zeros((0, 17, 13), np.uint8))
    assert sample.boxes.shape == (0, 4)
    assert sample.boxes.dtype == np.float32
    assert sample.labels.shape == (0,)
    assert sample.labels.dtype == np.int64
    assert sample.masks.shape == (0, *sample.pixels.shape)


def test_labels_stay_integers():
    assert augment({"rotate90": 1}, np.zeros((9, 9)), [[1, 1, 3, 3], [4, 4, 8, 8]]).labels.dtype == np.int64


def test_tiny_boxes_are_kept():
    sample = augment({"horizontal_flip": 1}, np.zeros((1100, 4900)), [[4899.98, 1099.98, 4900, 1100]])
    assert len(sample.boxes) == 1
    assert (sample.boxes[0, 2:] > sample.boxes[0, :2]).all()


@pytest.mark.parametrize("box", [[3, 3, 3, 5], [3, 5, 6, 4], [1, 1, np.nan, 4]])
def test_degenerate_box_is_named(box):
    with pytest.raises(InputError, match="box 1"):
        augment({"horizontal_flip": 1}, np.zeros((9, 9)), [[1, 1, 3, 3], box])


def test_a_sample_depends_on_its_generator_alone():
    config = {
        "scale": (0.8, 1.2),
        "crop": {"size": 20, "defect_crop_fraction": 0.5},
        "horizontal_flip": 0.5,
        "vertical_flip": 0.5,
        "rotate90": 0.5,
        "blur_sigma": (0, 1),
        "contrast": 0.2,
        "brightness": 0.2,
        "gamma": (0.8, 1.2),
        "negate": 0.5,
        "noise": (0, 0.1),
    }
    pixels = np.random.default_rng(0).random((45, 37), dtype=np.float32)
    before = pixels.copy()
    first = augment(config, pixels, [[3, 4, 9, 8]], seed=7)
    np.random.seed(1)  # noqa: NPY002
    cv2.setRNGSeed(1)
    augment(config, pixels, seed=8)
    again, other = (augment(config, pixels, [[3, 4, 9, 8]], seed=seed) for seed in (7, 8))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    assert not np.array_equal(first.pixels, other.pixels)
    np.testing.assert_array_equal(pixels, before)


def test_nothing_configured_changes_nothing():
    pixels = np.random.default_rng(0).random((11, 13), dtype=np.float32)
    sample = augment({}, pixels, [[1.5, 2.25, 4, 5]])
    np.testing.assert_array_equal(sample.pixels, pixels)
    np.testing.assert_allclose(sample.boxes, [[1.5, 2.25, 4, 5]], atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        {"flip": 0.5},
        {"crop": {"size": 0}},
        {"crop": {"size": 8, "min_visble": 1}},
        {"gamma": (1.2, 0.8)},
        {"horizontal_flip": 1.5},
        {"rotate": 10},
        {"translate": 4},
        {"scale": (0, 1)},
        {"noise": -0.1},
    ],
)
def test_bad_configuration_is_refused(config):
    with pytest.raises(ValidationError):
        AugmentationConfig(**config)
