"""Crops: what they show, which boxes they keep, and turned and moved ones."""

import cv2
import numpy as np
import pytest
from augmentation import augment, bright_outside, painted, scenes
from hypothesis import given, settings
from hypothesis import strategies as st

from data.crops import AugmentedSample, CropConfig, RigidMotion, crop


@settings(max_examples=150, deadline=None)
@given(
    scenes(), st.integers(3, 70), st.floats(0, 1), st.sampled_from([0.0, 0.4, 1.0]), st.booleans(), st.integers(0, 999)
)
def test_every_bright_pixel_of_a_crop_lies_in_a_box(scene, size, share, min_visibility, allow_empty, seed):
    shape, boxes = scene
    crop = {"size": size, "defect_crop_fraction": share, "min_visibility": min_visibility, "allow_empty": allow_empty}
    config = {"crop": crop, "horizontal_flip": 0.5, "vertical_flip": 0.5, "rotate90": 0.5}
    sample = augment(config, painted(shape, boxes), boxes, seed=seed)
    assert sample.pixels.shape == (size, size)
    assert bright_outside(sample) == 0
    for x1, y1, x2, y2 in sample.boxes.round().astype(int):
        assert x2 > x1
        assert y2 > y1
        assert (sample.pixels[y1:y2, x1:x2] == 1).all()
    if boxes and not allow_empty:
        assert len(sample.boxes) > 0


def test_cut_boxes_keep_their_share():
    boxes = np.array([[20, 20, 30, 28], [70, 50, 90, 66]], dtype=np.float32)
    cut = 0
    for seed in range(200):
        sample = augment({"crop": {"size": 40, "min_visibility": 0.4}}, np.zeros((80, 100)), boxes, seed=seed)
        original = boxes[sample.labels - 1]
        share = np.prod(sample.boxes[:, 2:] - sample.boxes[:, :2], 1) / np.prod(original[:, 2:] - original[:, :2], 1)
        assert (share > 0.399).all()
        cut += int((share < 0.999).sum())
    assert cut > 0


def test_slivers_that_no_crop_avoids_keep_their_boxes():
    # Stripes at every second column over the whole height: any 11 pixels of the height cut all of them.
    boxes = [[x, 0, x + 1, 100] for x in range(0, 40, 2)]
    sample = augment({"crop": {"size": 5, "min_visibility": 1}}, painted((100, 40), boxes), boxes)
    assert bright_outside(sample) == 0
    assert len(sample.boxes) in (2, 3)


def test_a_defect_larger_than_the_crop_fills_it():
    sample = augment({"crop": {"size": 16, "defect_crop_fraction": 1}}, np.zeros((80, 80)), [[10, 10, 70, 70]])
    np.testing.assert_allclose(sample.boxes, [[0, 0, 16, 16]], atol=1e-5)


def test_around_defect_places_a_defect_wholly_inside_anywhere():
    box = [40.5, 31.25, 52.75, 40]
    corners = []
    for seed in range(100):
        sample = augment({"crop": {"size": 32, "defect_crop_fraction": 1}}, np.zeros((90, 110)), [box], seed=seed)
        np.testing.assert_allclose(sample.boxes[0, 2:] - sample.boxes[0, :2], [12.25, 8.75], atol=1e-3)
        corners.append(sample.boxes[0, :2])
    # The box may start at 0 ... 32 less its size, and should use that room.
    assert (np.min(corners, axis=0) < 3).all()
    assert (np.max(corners, axis=0) > [16, 20]).all()


def test_crops_anywhere_are_mostly_empty_unless_told_otherwise():
    def count(keep, seed):
        config = {"crop": {"size": 16, "allow_empty": keep}}
        return len(augment(config, np.zeros((200, 200)), [[90, 90, 98, 98]], seed=seed).boxes)

    counts = {keep: [count(keep, seed) for seed in range(40)] for keep in (True, False)}
    assert sum(counts[True]) < 10
    assert counts[False] == [1] * 40


def test_small_images_are_reflected_and_so_are_their_boxes():
    pixels = np.random.default_rng(3).uniform(0.2, 0.4, (16, 8)).astype(np.float32)
    pixels[4:6, 2:5] = 1
    sample = augment({"crop": {"size": 16}}, pixels, [[2, 4, 5, 6]], seed=5)
    plane = np.pad(pixels, ((0, 0), (8, 8)), mode="symmetric")
    assert any(np.array_equal(sample.pixels, plane[:, x : x + 16]) for x in range(9))
    # Two image widths show two images of the defect, whole or in three parts.
    assert set(sample.labels) == {1}
    assert np.prod(sample.boxes[:, 2:] - sample.boxes[:, :2], axis=1).sum() == pytest.approx(12, abs=1e-3)
    assert bright_outside(sample) == 0


def discs(shape, centers):
    """A dark image with a disc of the given (x, y, radius) each, and their boxes."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    image = np.zeros(shape, dtype=np.float32)
    for cx, cy, radius in centers:
        image[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = 1
    return image, np.array([[cx - r, cy - r, cx + r, cy + r] for cx, cy, r in centers]).reshape(-1, 4)


@settings(max_examples=60, deadline=None)
@given(st.integers(12, 60), st.sampled_from([0.7, 1.0, 1.6]), st.floats(0, 180), st.floats(0, 30), st.integers(0, 999))
def test_turned_masks_and_boxes_follow_the_image(size, factor, rotate, translate, seed):
    image, boxes = discs((50, 70), [(12, 14, 6), (40, 30, 8), (60, 42, 5)])
    config = {
        "crop": {"size": size, "defect_crop_fraction": 0.5}, "scale": (factor, factor), "rotate": rotate,
        "translate": translate, "horizontal_flip": 0.5,
    }  # fmt: skip
    flat = augment(config, image, boxes, (image > 0).astype(np.uint8), seed)
    assert flat.pixels.shape == flat.masks.shape == (size, size)
    # Away from the rim, where one interpolates and the other does not, the two are the same.
    kernel = np.ones((5, 5), np.uint8)
    sure = cv2.erode(flat.masks, kernel) == cv2.dilate(flat.masks, kernel)
    sure[:2] = sure[-2:] = sure[:, :2] = sure[:, -2:] = False
    np.testing.assert_array_equal((flat.pixels > 0.5)[sure], (flat.masks > 0)[sure])
    assert bright_outside(flat, tolerance=1.5) == 0
    stack = np.stack([discs((50, 70), [disc])[0] for disc in [(12, 14, 6), (40, 30, 8), (60, 42, 5)]])
    each = augment(config, image, boxes, stack.astype(np.uint8), seed)
    np.testing.assert_array_equal(each.boxes, flat.boxes)
    assert len(each.masks) == len(each.boxes)
    # What no box shows is at most the rim of a disc at the edge.
    assert int((each.masks.max(axis=0, initial=0) != flat.masks).sum()) <= 6


def test_a_quarter_turn_is_exact():
    image = np.random.default_rng(0).random((40, 50), dtype=np.float32)
    scene = AugmentedSample(image, np.array([[20.0, 12, 24, 18]]), np.array([7]), (image > 0.5).astype(np.uint8))
    config = CropConfig(size=16, defect_crop_fraction=1)
    upright = crop(scene, config, 1, None, np.random.default_rng(3))
    turned = crop(scene, config, 1, RigidMotion(np.pi / 2, np.zeros(2)), np.random.default_rng(3))
    np.testing.assert_allclose(turned.pixels, np.rot90(upright.pixels, -1), atol=1e-5)
    np.testing.assert_array_equal(turned.masks, np.rot90(upright.masks, -1))
    (x1, y1, x2, y2), labels = upright.boxes[0], turned.labels.tolist()
    np.testing.assert_allclose(turned.boxes, [[16 - y2, x1, 16 - y1, x2]], atol=1e-9)
    assert labels == [7]


def test_a_moved_crop_shows_what_lies_beside_it():
    image = np.random.default_rng(0).random((60, 60), dtype=np.float32)
    scene = AugmentedSample(image, np.zeros((0, 4)), np.zeros(0, np.int64), None)
    upright = crop(scene, CropConfig(size=20), 1, None, np.random.default_rng(4)).pixels
    moved = crop(
        scene, CropConfig(size=20), 1, RigidMotion(0.0, np.array([3.0, -5.0])), np.random.default_rng(4)
    ).pixels
    np.testing.assert_allclose(moved[5:, :17], upright[:15, 3:], atol=1e-6)


def test_turning_keeps_most_of_the_noise():
    image = np.clip(np.random.default_rng(0).normal(0.5, 0.05, (300, 300)), 0, 1)
    spread = [augment({"crop": {"size": 150}, "rotate": 180}, image, seed=seed).pixels.std() for seed in range(8)]
    assert 0.038 < np.mean(spread) < 0.051


def test_angles_and_moves_vary_both_ways():
    image, boxes = discs((200, 200), [(100, 100, 4)])
    region = {"crop": {"size": 200}, "translate": 20}
    middles = np.array([augment(region, image, boxes, seed=seed).boxes[0].reshape(2, 2).mean(0) for seed in range(40)])
    assert (np.abs(middles - 100) <= 20.01).all()
    assert (middles.min(axis=0) < 88).all()
    assert (middles.max(axis=0) > 112).all()
