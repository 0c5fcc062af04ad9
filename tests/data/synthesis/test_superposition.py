import cv2
import numpy as np
import pytest

from data.errors import InputError
from data.synthesis.ellipsoid import Cavity
from data.synthesis.superposition import (
    AttenuationModel,
    estimate_unsharpness,
    matching_noise,
    superimpose,
)


def by_pixel(pixels, cavity, mu, offset, full, sign=1):
    """The attenuation model for one pixel after the other; the oracle."""
    out = pixels.astype(float)
    for row, column in np.ndindex(cavity.chord.shape):
        y, x = cavity.y0 + row, cavity.x0 + column
        value = (out[y, x] - offset) * np.exp(sign * mu * float(cavity.chord[row, column])) + offset
        out[y, x] = min(max(value, 0), full)
    return out


@pytest.fixture
def cavity():
    chord = np.random.default_rng(1).uniform(0.1, 9, (5, 7)).astype(np.float32)
    return Cavity(3, 2, chord)


def test_offset_of_the_toolbox_example():
    # mu = 0.1 / mm and x = 400 mm: 255 / (1 - exp(40)) = -1.08e-15; and a hand-worked one, 255 / (1 - e).
    assert AttenuationModel.from_darkest(0.1, 400, 255).offset == pytest.approx(-1.0833e-15, rel=1e-3)
    assert AttenuationModel.from_darkest(0.1, 10, 255).offset == pytest.approx(-148.403, rel=1e-5)
    with pytest.raises(InputError, match="max_thickness_mm"):
        AttenuationModel.from_darkest(0.1, 0)


def test_law_by_hand():
    # (100 + 148.403) exp(0.1 * 2) - 148.403 = 155.0
    law = AttenuationModel.from_darkest(0.1, 10, 255)
    out = superimpose(np.full((4, 4), 100, np.uint8), [Cavity(1, 1, np.full((1, 1), 2.0, np.float32))], law)
    assert (int(out[1, 1]), int(out.sum())) == (155, 15 * 100 + 155)


@pytest.mark.parametrize("brighter", [True, False])
@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1.0)])
def test_law_is_as_pixel_by_pixel(cavity, dtype, full, brighter):
    law = AttenuationModel.from_darkest(0.05, 60, full, brighter)
    pixels = (np.random.default_rng(0).uniform(0, full, (10, 12))).astype(dtype)
    before = pixels.copy()
    out = superimpose(pixels, [cavity], law)
    expected = by_pixel(pixels, cavity, law.mu, law.offset, full, 1 if brighter else -1)
    half_level = 0.5 if dtype != np.float32 else 1e-6
    assert out.dtype == dtype
    assert np.abs(out - expected).max() <= half_level + 1e-9
    assert (pixels == before).all()


def test_saturates_and_does_not_wrap():
    law = AttenuationModel(0.5, -10.0)
    out = superimpose(np.full((3, 3), 200, np.uint8), [Cavity(0, 0, np.full((3, 3), 3, np.float32))], law)
    assert (out == 255).all()
    dark = superimpose(np.full((3, 3), 3, np.uint8), [Cavity(0, 0, np.full((3, 3), 9, np.float32))],
                       AttenuationModel(0.5, 40.0))  # fmt: skip
    assert (dark == 0).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("sigma", [0.0, 1.3])
def test_depth_nought_changes_nothing(dtype, sigma):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 20)).astype(dtype)
    if dtype == np.float32:
        pixels /= 255
    empty = [Cavity(4, 4, np.zeros((6, 6), np.float32)), Cavity(0, 0, np.zeros((0, 0), np.float32))]
    assert (superimpose(pixels, empty, AttenuationModel.from_darkest(0.1, 400), sigma) == pixels).all()


def test_blur_keeps_the_sum_of_the_change(cavity):
    pixels = np.full((40, 40), 0.3, np.float32)
    law, there = AttenuationModel(0.01, -0.2), Cavity(15, 18, cavity.chord)
    sharp, soft = (superimpose(pixels, [there], law, sigma) - 0.3 for sigma in (0.0, 1.5))
    assert soft.sum() == pytest.approx(sharp.sum(), rel=2e-3)
    assert soft.max() < 0.95 * sharp.max()


def test_blur_at_the_border_is_cut_off_and_nothing_else():
    law, chord = AttenuationModel(0.01, -0.2), np.full((6, 6), 5, np.float32)
    inner = superimpose(np.full((40, 40), 0.3, np.float32), [Cavity(20, 20, chord)], law, 1.5)
    corner = superimpose(np.full((20, 20), 0.3, np.float32), [Cavity(0, 0, chord)], law, 1.5)
    np.testing.assert_allclose(corner, inner[20:, 20:], atol=1e-6)


@pytest.mark.parametrize("sigma", [0.8, 1.5, 2.5])
def test_unsharpness_is_read_off_the_sharpest_edges(sigma):
    scene = np.full((200, 240), 0.2, np.float32)
    cv2.rectangle(scene, (30, 40), (90, 160), 0.8, -1)
    cv2.circle(scene, (170, 100), 40, 0.7, -1)
    scene = cv2.GaussianBlur(scene, (0, 0), sigma)
    scene += np.random.default_rng(0).normal(0, 0.004, scene.shape).astype(np.float32)
    assert estimate_unsharpness(scene) == pytest.approx(sigma, rel=0.2)
    assert estimate_unsharpness(np.full((50, 50), 0.5, np.float32)) == 1.0


def test_matching_noise_fills_up_what_quantum_noise_misses():
    rng = np.random.default_rng(0)
    patch = (0.5 + rng.normal(0, 0.01, (400, 400))).astype(np.float32)
    noise = matching_noise(patch, np.full(patch.shape, 1.44), rng)
    assert np.std(noise) == pytest.approx(0.01 * np.sqrt(0.44), rel=0.02)
    assert np.std(patch + noise) == pytest.approx(0.012, rel=0.01)
    assert np.corrcoef(noise.ravel(), patch.ravel())[0, 1] == pytest.approx(0, abs=0.02)
    assert not matching_noise(patch, np.full(patch.shape, 0.8), rng).any()
    # Grain: the neighbors' correlation is that of the patch.
    grained = cv2.GaussianBlur(patch - 0.5, (0, 0), 0.9) + 0.5
    noise = matching_noise(grained, np.full(patch.shape, 2.0), rng)

    def neighbors(values):
        rest = values - values.mean()
        return float((rest[:, 1:] * rest[:, :-1]).mean() / rest.var())

    assert neighbors(noise) == pytest.approx(neighbors(grained), abs=0.15)
