import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.crops import AugmentedSample, CropConfig, RigidMotion, crop
from data.errors import InputError
from data.transforms import AugmentationConfig, build_transform

NO_BOXES = np.zeros((0, 4), dtype=np.float32)
NO_LABELS = np.zeros(0, dtype=np.int64)


def augment(config, pixels, boxes=NO_BOXES, masks=None, seed=0):
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    labels = np.arange(1, len(boxes) + 1)
    transform = build_transform(AugmentationConfig(**config))
    return transform(np.asarray(pixels, dtype=np.float32), boxes, labels, np.random.default_rng(seed), masks)


def painted(shape, boxes):
    """A dark image with the boxes, at whole pixels, painted white."""
    image = np.zeros(shape, dtype=np.float32)
    for x1, y1, x2, y2 in np.asarray(boxes, dtype=int):
        image[y1:y2, x1:x2] = 1
    return image


def bright_outside(sample, tolerance=0.0):
    """Number of bright pixels whose center lies in no box."""
    rows, columns = np.nonzero(sample.pixels > 0.5)
    x, y = columns[:, None] + 0.5, rows[:, None] + 0.5
    x1, y1, x2, y2 = sample.boxes.T
    inside = (x > x1 - tolerance) & (x < x2 + tolerance) & (y > y1 - tolerance) & (y < y2 + tolerance)
    return int((~inside.any(axis=1)).sum())


@st.composite
def scenes(draw):
    height, width = draw(st.integers(5, 60)), draw(st.integers(5, 60))
    boxes = []
    for _ in range(draw(st.integers(0, 6))):
        w, h = draw(st.integers(1, min(width, 20))), draw(st.integers(1, min(height, 20)))
        x, y = draw(st.integers(0, width - w)), draw(st.integers(0, height - h))
        boxes.append((x, y, x + w, y + h))
    return (height, width), boxes


# Flips and rotations


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


# Crops


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


# Turned and moved crops


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


# Gray values


def test_negation_turns_the_image_alone():
    pixels = np.random.default_rng(0).random((9, 7), dtype=np.float32)
    masks = (pixels > 0.5).astype(np.uint8)
    sample = augment({"negate": 1}, pixels, [[1, 2, 4, 5]], masks)
    np.testing.assert_array_equal(sample.pixels, 1 - pixels)
    np.testing.assert_array_equal(sample.masks, masks)
    np.testing.assert_allclose(sample.boxes, [[1, 2, 4, 5]], atol=1e-5)


def test_noise_has_the_stated_deviation():
    sample = augment({"noise": 0.05}, np.full((200, 200), 0.5))
    assert sample.pixels.dtype == np.float32
    assert sample.pixels.std() == pytest.approx(0.05, rel=0.03)
    assert sample.pixels.mean() == pytest.approx(0.5, abs=0.002)


def test_noise_range_varies():
    spread = [augment({"noise": (0.0, 0.1)}, np.full((60, 60), 0.5), seed=seed).pixels.std() for seed in range(20)]
    assert min(spread) < 0.03
    assert 0.07 < max(spread) < 0.11


def test_gamma_is_the_exponent():
    pixels = np.linspace(0, 1, 30, dtype=np.float32).reshape(5, 6)
    np.testing.assert_allclose(augment({"gamma": (2, 2)}, pixels).pixels, pixels**2, atol=1e-6)


def test_brightness_adds_and_contrast_multiplies():
    pixels = np.linspace(0.4, 0.6, 30, dtype=np.float32).reshape(5, 6)
    shifts = [augment({"brightness": 0.2}, pixels, seed=seed).pixels - pixels for seed in range(20)]
    assert max(np.ptp(shift) for shift in shifts) < 1e-6
    assert min(shift.mean() for shift in shifts) < -0.1 < 0.1 < max(shift.mean() for shift in shifts) < 0.2
    gains = [augment({"contrast": 0.3}, pixels, seed=seed).pixels / pixels for seed in range(20)]
    assert max(np.ptp(gain) for gain in gains) < 1e-5
    assert 0.7 < min(gain.mean() for gain in gains) < 0.85 < 1.15 < max(gain.mean() for gain in gains) < 1.3


def test_blur_spreads_a_point_by_its_sigma():
    pixels = np.zeros((41, 41))
    pixels[20, 20] = 1
    blurred = augment({"blur_sigma": (2, 2)}, pixels).pixels
    assert blurred.sum() == pytest.approx(1, abs=1e-4)
    variance = (blurred.sum(axis=0) * (np.arange(41) - 20.0) ** 2).sum()
    assert variance == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_values_stay_in_range(level):
    config = {"brightness": 0.5, "contrast": 0.5, "noise": 0.3, "blur_sigma": (0, 1), "gamma": (0.5, 2)}
    for seed in range(10):
        pixels = augment(config, np.full((15, 13), level), seed=seed).pixels
        assert np.isfinite(pixels).all()
        assert pixels.min() >= 0
        assert pixels.max() <= 1


def test_16_bit_values_survive():
    pixels = np.arange(65536, dtype=np.float32).reshape(256, 256) / np.float32(65535)
    flipped = augment({"horizontal_flip": 0.5, "vertical_flip": 0.5, "rotate90": 1}, pixels).pixels
    np.testing.assert_array_equal(np.sort(flipped, axis=None), pixels.ravel())
    shaded = augment({"contrast": 0.1, "gamma": (0.9, 0.9), "negate": 1}, pixels).pixels
    assert len(np.unique(shaded)) > 50000


# Masks, empty images, seeds, configuration


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
