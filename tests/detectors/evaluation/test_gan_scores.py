"""The two-sample test and the memorisation check: what they must say of copies, of fresh draws and of rubbish."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from data.radiograph import read_radiograph
from detectors.evaluation import gan_scores
from detectors.evaluation.gan_scores import (
    find_memorized,
    find_nearest,
    flipped,
    gan_metrics,
    two_sample_test,
    write_nearest,
)


def discs(count: int, seed: int, size: int = 16) -> np.ndarray:
    """Discs of random place, radius and contrast on noisy gray, float32 [count, size, size]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    cx, cy = rng.uniform(5, 11, (2, count, 1, 1))
    radius, contrast = rng.uniform(2, 5, (count, 1, 1)), rng.uniform(0.1, 0.3, (count, 1, 1))
    disc = np.hypot(x - cx, y - cy) < radius
    return (0.5 + contrast * disc + rng.normal(0, 0.02, (count, size, size))).astype(np.float32)


def test_two_halves_of_one_set_cannot_be_told_apart_and_other_patches_can() -> None:
    real, alike = discs(400, 1), discs(400, 2)
    test = two_sample_test(real, alike)
    assert test.count == 400
    assert test.low < 0.5 < test.high
    assert test.low < test.accuracy < test.high
    assert test.loss > 0.8
    other = two_sample_test(real, np.clip(alike - 0.3, 0, 1))
    assert other.accuracy > 0.97
    assert other.low > 0.9
    assert other.loss < 0.3


def test_a_short_test_depends_on_the_seed_and_keeps_the_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan_scores, "STEPS", 50)
    some, others = discs(60, 1), discs(60, 2)
    test = two_sample_test(some, others, seed=4)
    torch.manual_seed(1)
    assert two_sample_test(some, others, seed=4) == test
    # What is right of the patches to train with is wrong of those to test with.
    real_half = np.arange(60) < 40
    real = np.where(real_half[:, None, None], 0.2, 0.8) * np.ones((60, 16, 16))
    made = 1 - real
    test = two_sample_test(real, made, real_half, real_half)
    assert (test.accuracy, test.count) == (0.0, 40)
    assert two_sample_test(real, made[:50], real_half, real_half[:50]).count == 20


def test_nearest_are_those_of_a_plain_search() -> None:
    patches, known = discs(7, 3), discs(11, 4)
    distance, position, flip = find_nearest(patches, known)
    for k, patch in enumerate(patches):
        plain = {}
        for j, other in enumerate(known):
            for f, same in enumerate((other, other[:, ::-1], other[::-1], other[::-1, ::-1])):
                gap = (patch - patch.mean()) - (same - same.mean())
                plain[j, f] = float(np.sqrt((gap**2).mean()))
        best = min(plain, key=plain.get)
        assert distance[k] == pytest.approx(plain[best], rel=1e-4)
        assert (position[k], flip[k]) == best


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    patches, known = discs(7, 3), discs(11, 4)
    whole = find_nearest(patches, known)
    monkeypatch.setattr(gan_scores, "CHUNK_PIXELS", 3 * 16 * 16)
    assert all(np.array_equal(a, b) for a, b in zip(whole, find_nearest(patches, known), strict=True))


def test_the_search_takes_little_more_memory_than_the_patches() -> None:
    known = np.random.default_rng(0).random((400, 64, 64), np.float32)
    tracemalloc.start()
    find_nearest(known[:8], known)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * known.nbytes


def test_copies_are_memorised_and_fresh_draws_are_not() -> None:
    training, held_out, fresh = discs(300, 5), discs(400, 6), discs(400, 7)
    copies = flipped(training[::-1], 3) + 0.1  # turned, brighter, in another order
    found = find_memorized(copies, training, held_out)
    assert found.share == 1
    assert found.ratio < 0.01
    new = find_memorized(fresh, training, held_out)
    assert 0.01 <= new.share <= 0.11
    assert new.ratio == pytest.approx(1, abs=0.1)
    # Held-out patches that are copies themselves are no measure.
    assert find_memorized(fresh, training, flipped(training, 1)).ratio is None
    half = find_memorized(np.concatenate([copies, fresh[:300]]), training, held_out)
    assert 0.5 <= half.share <= 0.58


def test_figures_are_flat_and_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan_scores, "STEPS", 5)
    real = discs(40, 8)
    memorized = find_memorized(real[:5], real, real[20:])
    metrics = gan_metrics(two_sample_test(real, discs(40, 9)), memorized, 0.53)
    assert metrics["ap50"] is None
    assert metrics["two_sample_reference"] == 0.53
    assert 0 <= metrics["two_sample_loss"] <= 1
    for accuracy, loss, doubt in ((1.0, 0.25, 0.25), (0.75, 3.0, 1.5), (0.25, 3.0, 1.5), (0.5, 3.0, 2.0)):
        test = gan_scores.TwoSampleTest(accuracy, 0, 1, loss, 8)
        assert gan_metrics(test, memorized)["indistinguishability"] == doubt
    assert metrics["two_sample_low"] <= metrics["two_sample_accuracy"] <= metrics["two_sample_high"]
    assert all(value is None or isinstance(value, int | float) for value in metrics.values())
    write_nearest(tmp_path / "nearest.png", real[:5], real, memorized)
    sheet = read_radiograph(tmp_path / "nearest.png").pixels
    cell = sheet[28 : 28 + 48, 6 : 6 + 48]  # under the first caption: the first copy, beside what it is a copy of
    np.testing.assert_array_equal(cell, sheet[28 : 28 + 48, 6 + 78 : 6 + 78 + 48])
