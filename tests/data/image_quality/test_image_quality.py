"""Signal, noise, contrast, bad pixels and limits, by numbers that are known."""

from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from data.image_quality.bad_pixels import find_bad_pixels
from data.image_quality.contrast import contrast_at
from data.image_quality.limits import LIMITS_FILE, QualityNotes, measure_limits, read_limits, write_limits
from data.image_quality.noise import signal_and_noise


def noisy(sigma: float, seed: int = 0, slope: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    plate = np.linspace(0.4, 0.4 + slope, 400)[None] + np.zeros((300, 1))
    return (plate + rng.normal(0, sigma, plate.shape)).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.002, 0.01, 0.04])
def test_noise_on_a_slope_is_what_was_added(sigma: float) -> None:
    found = signal_and_noise(noisy(sigma))
    assert found.noise == pytest.approx(sigma, rel=0.03)
    assert found.snr == pytest.approx(0.55 / sigma, rel=0.08)


def test_dust_and_defects_do_not_count_as_noise() -> None:
    pixels = noisy(0.01)
    pixels[::29, ::31] += 0.3
    assert signal_and_noise(pixels).noise == pytest.approx(0.01, rel=0.05)


def test_the_ratio_is_normalized_to_88_6_micrometers() -> None:
    found = signal_and_noise(noisy(0.01), srb_mm=0.1772)
    assert found.snr is not None
    assert found.snr_normalized == pytest.approx(found.snr / 2)


def test_clipped_pixels_are_counted_and_left_out_of_the_noise() -> None:
    pixels = noisy(0.01)
    pixels[:, 300:] = 0.94
    found = signal_and_noise(pixels)
    assert found.saturated == pytest.approx(0.25, abs=0.02)
    assert found.noise == pytest.approx(0.01, rel=0.05)
    assert signal_and_noise(noisy(0.01)).saturated == 0
    nothing = signal_and_noise(np.full((50, 90), 0.5, np.float32))
    assert nothing.snr is None


@pytest.mark.parametrize("shape", [(5, 7), (20, 55), (19, 200), (64, 30)])
def test_any_size_is_measured(shape: tuple[int, int]) -> None:
    found = signal_and_noise(np.random.default_rng(0).normal(0.5, 0.02, shape).astype(np.float32))
    assert found.noise < 0.05


def test_contrast_of_a_hole_on_a_slope() -> None:
    pixels = noisy(0.01)
    pixels[100:120, 150:170] += 0.05
    found = contrast_at(pixels, (150, 100, 170, 120))
    assert found.contrast == pytest.approx(0.05, abs=0.003)
    assert found.ratio == pytest.approx(5, rel=0.1)
    with pytest.raises(InputError, match="not inside of 400 x 300"):
        contrast_at(pixels, (390, 0, 410, 20))


def test_bad_pixels_are_found_and_named() -> None:
    images = [noisy(0.01, seed=seed, slope=0.1 * (seed - 2)) for seed in range(5)]
    for image in images:
        image[10, 20], image[30, 40] = 0.0, 0.9
        image[50, 60] += 0.2
    images[0][70, 80] = 1.0  # once: dust
    found = find_bad_pixels(images)
    assert found.dead.tolist() == [[20, 10]]
    assert found.stuck.tolist() == [[40, 30]]
    assert found.deviating.tolist() == [[60, 50]]


def test_bad_pixels_need_several_radiographs_of_one_detector() -> None:
    with pytest.raises(InputError, match="2 radiographs cannot tell"):
        find_bad_pixels([noisy(0.01)] * 2)
    with pytest.raises(InputError, match="not of one detector"):
        find_bad_pixels([noisy(0.01), noisy(0.01), noisy(0.01)[:-1]])


def test_worse_radiographs_are_named_in_one_line(tmp_path: Path) -> None:
    limits = measure_limits([noisy(0.01), noisy(0.012, seed=1)])
    write_limits(tmp_path, limits)
    assert read_limits(tmp_path) == limits
    notes = QualityNotes(read_limits(tmp_path))
    notes.add("good.png", noisy(0.011, seed=2))
    assert notes.lines() == []
    notes.add("bad.png", noisy(0.03, seed=3))
    notes.add("worse.png", noisy(0.05, seed=4))
    (line,) = notes.lines()
    assert line.startswith("bad.png: worse than the radiographs that this detector was judged on: signal-to-noise")
    assert line.endswith("(and 1 more such radiographs)")


def test_faulty_limits_are_refused(tmp_path: Path) -> None:
    assert read_limits(tmp_path) is None
    (tmp_path / LIMITS_FILE).write_text('{"snr": 3, "noise": NaN, "saturated": 0, "radiographs": 1}')
    with pytest.raises(InputError, match="not finite"):
        read_limits(tmp_path)
