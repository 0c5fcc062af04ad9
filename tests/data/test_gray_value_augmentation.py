"""Augmentation of gray values."""

import numpy as np
import pytest
from augmentation import augment


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
