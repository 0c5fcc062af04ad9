"""What a training draws from patches: classes, shares of sources, jitter."""

import math

import numpy as np
import pytest
from patch_sets import constant_set, make_set

from data.errors import InputError
from data.patch_datasets import PatchDataset, StoredPatches, collate_patches, jittered
from data.patches import PatchConfig
from data.transforms import AugmentationConfig


def test_every_stored_patch_is_drawn_once_an_epoch_and_classes_are_balanced() -> None:
    source = StoredPatches(constant_set(list(range(1, 11)), [0] * 7 + [1] * 3))
    dataset = PatchDataset([source], [1.0], PatchConfig(size=4))
    patches, labels, indices = collate_patches([dataset[k] for k in range(len(dataset))])
    assert patches.shape == (14, 1, 4, 4)
    assert indices.tolist() == list(range(14))
    assert int(labels.sum()) == 7
    levels = (patches[:, 0, 0, 0] * 255).round().int()
    assert sorted(levels[labels == 0].tolist()) == list(range(1, 8))
    assert set(levels[labels == 1].tolist()) == {8, 9, 10}
    with pytest.raises(IndexError):
        dataset[14]


def test_sources_take_their_shares_of_each_class() -> None:
    """E75G25: three quarters of the defects from one file, the no-defect patches from a third one."""
    sources = [
        StoredPatches(constant_set([10], [0])),
        StoredPatches(constant_set([20], [1])),
        StoredPatches(constant_set([30], [1])),
    ]
    dataset = PatchDataset(sources, [1.0, 0.75, 0.25], PatchConfig(size=4), length=800, seed=3)
    patches, labels, _ = collate_patches([dataset[k] for k in range(800)])
    levels = (patches[:, 0, 0, 0] * 255).round().int()
    assert set(levels[labels == 0].tolist()) == {10}
    ellipsoids = (levels[labels == 1] == 20).float().mean()
    assert 0.68 < float(ellipsoids) < 0.82
    with pytest.raises(InputError, match="no no-defect patch"):
        PatchDataset(sources[1:], [1.0, 1.0], PatchConfig(size=4))


def test_a_sample_depends_on_seed_epoch_and_index() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16)).astype(np.uint8)
    config = PatchConfig(size=16, jitter_rotation=20, jitter_shift=2, jitter_zoom=0.1)
    augmentation = AugmentationConfig(horizontal_flip=0.5, rotate90=1.0, noise=0.02)
    first, again = (
        PatchDataset([StoredPatches(make_set(pixels, [0, 1]))], [1.0], config, augmentation, 40, seed=4)
        for _ in range(2)
    )
    assert np.array_equal(first[7][0], again[7][0])
    assert not np.array_equal(first[7][0], first[9][0])
    again.set_epoch(1)
    assert not np.array_equal(first[7][0], again[7][0])
    with pytest.raises(InputError, match="change a patch's size"):
        PatchDataset([StoredPatches(make_set(pixels, [0, 1]))], [1.0], config, AugmentationConfig(scale=(0.5, 2)))


def test_jitter_moves_by_what_it_says_and_reflects() -> None:
    pixels = np.zeros((33, 33), dtype=np.float32)
    pixels[14:19, 14:19] = 1.0
    rng = np.random.default_rng(0)
    moved = [jittered(pixels, PatchConfig(jitter_shift=3), rng) for _ in range(30)]
    grid = np.arange(33)
    centers = np.array([[(m.sum(0) * grid).sum(), (m.sum(1) * grid).sum()] / m.sum() for m in moved]) - 16
    assert np.abs(centers).max() <= 3.001
    assert np.abs(centers).max() > 2
    bright = np.full((32, 32), 0.7, dtype=np.float32)
    wild = PatchConfig(jitter_rotation=45, jitter_shift=5, jitter_zoom=0.3)
    assert np.abs(jittered(bright, wild, rng) - 0.7).max() < 1e-5
    assert jittered(pixels, PatchConfig(), rng) is pixels
    assert math.isclose(float(pixels.sum()), 25)
