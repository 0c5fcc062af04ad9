"""The networks' shapes, ranges and starting weights; sampling; patches of defects to learn from."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from data.errors import InputError
from data.patch_datasets import PatchDataset, StoredPatches
from data.patch_files import PatchSet
from data.patch_windows import DEFECT
from data.patches import PatchConfig
from data.transforms import AugmentationConfig
from detectors.gan.networks import BATCH, Discriminator, Generator, sample_patches

defects_alone = partial(PatchDataset, classes=(DEFECT,))


@pytest.mark.parametrize("size", [16, 32, 64])
def test_patches_have_their_size_and_range_and_get_one_logit_each(size: int) -> None:
    torch.manual_seed(0)
    generator, discriminator = Generator(size, latent=7, width=4), Discriminator(size, width=4)
    patches = generator(10 * generator.noise(5))
    assert patches.shape == (5, 1, size, size)
    assert patches.min() >= 0
    assert patches.max() <= 1
    assert patches.std() > 0
    assert discriminator(patches).shape == (5,)


def test_channels_double_as_published() -> None:
    # 64 x 64 with 128 channels: 1024 x 4 x 4 down to 128 x 32 x 32 (Radford et al. 2016, figure 1).
    shapes = [tuple(m.weight.shape) for m in Generator(64, 100, 128).modules() if isinstance(m, nn.ConvTranspose2d)]
    assert shapes == [(100, 1024, 4, 4), (1024, 512, 4, 4), (512, 256, 4, 4), (256, 128, 4, 4), (128, 1, 4, 4)]
    norms = [m for m in Discriminator(32, 8).layers if isinstance(m, nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == [16, 32]  # none after the first layer


@pytest.mark.parametrize("size", [8, 24, 33, 0])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(InputError, match=f"not {size} pixels"):
        Generator(size)
    with pytest.raises(InputError, match="power of two"):
        Discriminator(size)


def test_weights_start_as_published() -> None:
    torch.manual_seed(0)
    for network in (Generator(32, 100, 32), Discriminator(32, 32)):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.weight.numel() > 4000:
                assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
                assert abs(layer.weight.mean().item()) < 0.001
            if isinstance(layer, nn.BatchNorm2d):
                assert layer.weight.mean().item() == pytest.approx(1, abs=0.02)
                assert 0.005 < layer.weight.std().item() < 0.04
            if getattr(layer, "bias", None) is not None:
                assert not layer.bias.any()


def test_samples_depend_on_the_seed_alone() -> None:
    generator = Generator(16, latent=4, width=2).train()
    statistics = [buffer.clone() for buffer in generator.buffers()]
    torch.manual_seed(1)
    many = sample_patches(generator, BATCH + 3, seed=5)
    torch.manual_seed(2)
    few = sample_patches(generator, 3, seed=5)
    assert (many.shape, many.dtype) == ((BATCH + 3, 16, 16), np.float32)
    np.testing.assert_allclose(few, many[:3], atol=1e-6)
    assert not np.array_equal(few, sample_patches(generator, 3, seed=6))
    assert sample_patches(generator, 0).shape == (0, 16, 16)
    assert generator.training
    assert all(torch.equal(a, b) for a, b in zip(statistics, generator.buffers(), strict=True))


def patch_set(labels: list[int], size: int = 16) -> PatchSet:
    """Patch k has gray value 10 k throughout, but for a white corner."""
    count = len(labels)
    pixels = np.repeat(10 * np.arange(count, dtype=np.uint8), size**2).reshape(count, size, size)
    pixels[:, 0, 0] = 255
    places = np.full((count, 3), np.nan, np.float32)
    return PatchSet(pixels, np.array(labels), np.array([f"{k}.png" for k in range(count)]), places,
                    np.full(count, "real"))  # fmt: skip


def test_only_defects_are_drawn_and_each_comes_in_turn() -> None:
    dataset = defects_alone(
        [StoredPatches(patch_set([0, 1, 0, 1, 1]))], [1.0], PatchConfig(size=16), AugmentationConfig(), length=2
    )
    seen = []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        for pixels, label, _ in (dataset[index] for index in range(len(dataset))):
            assert (pixels.shape, pixels.dtype, label) == ((1, 16, 16), torch.float32, 1)
            seen.append(round(float(pixels[0, 5, 5]) * 255 / 10))
    assert seen == [1, 3, 4, 1, 3, 4]


def test_a_sample_depends_on_seed_epoch_and_index() -> None:
    source = StoredPatches(patch_set([1]))
    flips = AugmentationConfig(horizontal_flip=0.5, vertical_flip=0.5)
    one, other = (defects_alone([source], [1.0], PatchConfig(size=16), flips, 64, seed=3) for _ in range(2))
    assert all(torch.equal(one[k][0], other[k][0]) for k in reversed(range(64)))
    corners = {tuple((one[k][0][0] == 1).nonzero()[0].tolist()) for k in range(64)}
    assert corners == {(0, 0), (0, 15), (15, 0), (15, 15)}
    with pytest.raises(IndexError):
        one[64]


def test_sources_come_in_shares_and_those_without_defects_are_passed_over() -> None:
    first, second, defect_free = patch_set([1]), patch_set([0, 1]), patch_set([0, 0])
    sources = [StoredPatches(patches) for patches in (first, second, defect_free)]
    dataset = defects_alone(sources, [0.25, 0.75, 9.0], PatchConfig(size=16), AugmentationConfig(), 400)
    share = np.mean([float(dataset[k][0][0, 5, 5]) > 0.01 for k in range(400)])
    assert 0.68 < share < 0.82
    with pytest.raises(InputError, match="no defect patch"):
        defects_alone(sources[2:], [1.0], PatchConfig(size=16), AugmentationConfig())
    with pytest.raises(InputError, match="change a patch's size"):
        defects_alone(sources, [1.0] * 3, PatchConfig(size=16), AugmentationConfig(scale=(0.5, 2)))
