"""Segmentation samples: image and mask augmented alike, determined by seed, epoch and index."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data.coco import CocoDataset
from data.datasets import MixedDataset
from data.errors import InputError
from data.gray_window import GrayWindow
from data.masks import read_mask_folder
from data.radiograph import write_radiograph
from data.segmentation import SegmentationDataset, stack_segmentation
from data.synthesis.on_the_fly import OnTheFlyDefects
from data.synthesis.simulation_config import SimulationConfig
from data.transforms import AugmentationConfig

SHAPE = (90, 120)
CROP = {"size": 48, "defect_crop_fraction": 0.7}


def discs(centers: list[tuple[int, int]], radius: int = 9) -> np.ndarray:
    """A mask with a disc around each (x, y)."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    mask = np.zeros(SHAPE)
    for cx, cy in centers:
        mask[(x - cx) ** 2 + (y - cy) ** 2 <= radius**2] = 1
    return mask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two radiographs with discs of 0.8 on 0.2 and a clean one, masks beside them."""
    for name, centers in (("a", [(30, 40), (80, 20)]), ("b", [(100, 70)]), ("c", [])):
        mask = discs(centers)
        write_radiograph(tmp_path / f"{name}.png", 0.2 + 0.6 * mask)
        write_radiograph(tmp_path / f"{name}_gt.png", mask)
    return tmp_path


def dataset(folder: Path, augmentation: dict | None = None, **settings: object) -> SegmentationDataset:
    config = None if augmentation is None else AugmentationConfig(**augmentation)
    return SegmentationDataset(read_mask_folder(folder, folder), folder, config, **settings)


def test_samples_without_augmentation_are_the_files(folder: Path) -> None:
    samples = dataset(folder)
    assert len(samples) == 3
    image, mask, image_id = samples[0]
    assert (image.dtype, image.shape, mask.dtype, mask.shape, image_id) == (
        torch.float32, (1, *SHAPE), torch.uint8, SHAPE, 1,
    )  # fmt: skip
    np.testing.assert_array_equal(mask.numpy(), discs([(30, 40), (80, 20)]))
    np.testing.assert_allclose(image[0].numpy(), 0.2 + 0.6 * discs([(30, 40), (80, 20)]), atol=1e-6)
    assert not samples[2][1].any()


AUGMENTATIONS = {
    "crop": {"crop": CROP},
    "flips": {"crop": CROP, "horizontal_flip": 0.5, "vertical_flip": 0.5, "rotate90": 0.5},
    "scale": {"crop": CROP, "scale": (0.6, 1.7)},
    "turned and moved": {"crop": CROP, "rotate": 180, "translate": 20},
    "gray values": {"crop": CROP, "contrast": 0.1, "brightness": 0.1, "gamma": (0.9, 1.1), "noise": 0.02},
    "beyond the border": {"crop": {"size": 150, "defect_crop_fraction": 1}},
}


@pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
@pytest.mark.parametrize("regions", [None, 5])
def test_the_mask_follows_the_image(folder: Path, augmentation: dict, regions: int | None) -> None:
    samples = dataset(folder, augmentation, repeat=4, regions=regions)
    seen = 0
    for image, mask, _ in (samples[k] for k in range(len(samples))):
        assert mask.shape == image.shape[1:]
        bright = image[0] > 0.5
        # Linear interpolation and nearest neighbor part by less than a pixel, at the rim alone.
        rim = torch.nn.functional.max_pool2d(mask[None].float(), 3, 1, 1) + torch.nn.functional.max_pool2d(
            1 - mask[None].float(), 3, 1, 1
        )
        assert not ((bright != mask.bool()) & (rim[0] < 2)).any()
        assert int((bright != mask.bool()).sum()) <= 0.12 * int(mask.sum())
        seen += int(mask.any())
    assert seen > 3


def test_negation_turns_images_and_not_masks(folder: Path) -> None:
    plain, turned = dataset(folder, {"crop": CROP}), dataset(folder, {"crop": CROP, "negate": 1})
    for k in range(3):
        torch.testing.assert_close(turned[k][0], 1 - plain[k][0])
        assert torch.equal(turned[k][1], plain[k][1])


@pytest.mark.parametrize("regions", [None, 4])
def test_a_sample_depends_on_seed_epoch_and_index(folder: Path, regions: int | None) -> None:
    everything = {
        "crop": CROP, "scale": (0.8, 1.2), "horizontal_flip": 0.5, "vertical_flip": 0.5, "rotate90": 0.5,
        "rotate": 20, "translate": 5, "contrast": 0.1, "negate": 0.5, "noise": 0.02,
    }  # fmt: skip

    def draw(seed: int, epoch: int, index: int, cache: bool = False) -> tuple:
        samples = dataset(folder, everything, seed=seed, cache=cache, regions=regions, repeat=2)
        samples.set_epoch(epoch)
        return samples[index]

    first = draw(1, 2, 1)
    for again in (draw(1, 2, 1), draw(1, 2, 1, cache=True)):
        assert torch.equal(first[0], again[0])
        assert torch.equal(first[1], again[1])
    for other in (draw(2, 2, 1), draw(1, 3, 1), draw(1, 2, 0)):
        assert not torch.equal(first[0], other[0])


def test_regions_are_drawn_once_from_all_radiographs_in_turn(folder: Path) -> None:
    samples = dataset(folder, {"crop": CROP}, regions=7, repeat=2)
    assert len(samples) == 14
    assert [samples[k][2] for k in range(7)] == [1, 2, 3, 1, 2, 3, 1]
    before = [samples[k] for k in range(7)]
    samples.set_epoch(5)
    for k, (image, mask, _) in enumerate(before):
        assert image.shape == (1, 48, 48)
        assert torch.equal(samples[k + 7][0], image)
        assert torch.equal(samples[k][1], mask)
    assert not torch.equal(before[0][0], before[3][0])


def test_regions_need_a_size(folder: Path) -> None:
    with pytest.raises(InputError, match=r"5 regions of no size: data\.regions needs data\.augmentation\.crop\.size"):
        dataset(folder, {}, regions=5)


def test_the_cache_changes_nothing_and_cannot_be_written_into(folder: Path) -> None:
    for window in (None, GrayWindow("percentiles", 1, 99)):
        cached, plain = dataset(folder, window=window, cache=True), dataset(folder, window=window)
        cached[0][0].fill_(0)
        cached[0][1].fill_(0)
        for k in range(3):
            assert torch.equal(cached[k][0], plain[k][0])
            assert torch.equal(cached[k][1], plain[k][1])


def test_negatives_can_be_left_out(folder: Path) -> None:
    assert [dataset(folder, keep_negatives=False)[k][2] for k in range(2)] == [1, 2]


def test_sources_mix_in_shares(folder: Path) -> None:
    clean = read_mask_folder(folder, folder).subset([3])
    sources = [dataset(folder, {"crop": CROP}, regions=6), SegmentationDataset(clean, folder, AugmentationConfig())]
    mixed = MixedDataset(sources, [1, 3], 40, seed=1)
    assert 20 < sum(tuple(mixed[k][0].shape) == (1, *SHAPE) for k in range(40)) < 38


def test_a_box_without_a_mask_is_named_before_training(folder: Path) -> None:
    coco = read_mask_folder(folder, folder)
    boxes = CocoDataset(coco.images, [a | {"segmentation": []} for a in coco.annotations], coco.categories)
    with pytest.raises(InputError, match=r"annotation 1 of image 1 \(a\.png\) has a box .* and no segmentation"):
        SegmentationDataset(boxes, folder)


def test_batches_are_stacked_and_unequal_sizes_named(folder: Path) -> None:
    samples = dataset(folder, {"crop": CROP})
    images, masks, ids = stack_segmentation([samples[0], samples[1]])
    assert (images.shape, masks.shape, ids) == ((2, 1, 48, 48), (2, 48, 48), [1, 2])
    with pytest.raises(InputError, match=r"a batch holds images of .*crop\.size"):
        stack_segmentation([samples[0], dataset(folder)[1]])


# Simulated defects

FRESH = {"per_image": (2, 3), "semi_axis": {"low": 4, "high": 6}, "contrast": {"low": 0.1, "high": 0.3}}


@pytest.mark.parametrize("cache", [False, True])
def test_masks_of_simulated_defects_are_the_simulators(folder: Path, cache: bool) -> None:
    simulation = SimulationConfig(**FRESH)
    samples = dataset(folder, seed=3, simulation=simulation, cache=cache)
    samples.set_epoch(2)
    plain, real = dataset(folder)[0], discs([(30, 40), (80, 20)])
    image, mask, _ = samples[0]
    boxes = np.array([[21, 31, 40, 50], [71, 11, 90, 30]], np.float32)  # discs of radius 9
    fresh = OnTheFlyDefects(simulation)
    fresh.analyze(0, plain[0][0].numpy(), boxes, 255)
    expected = fresh(0, plain[0][0].numpy(), np.random.default_rng([3, 2, 0]))
    assert len(expected.masks) >= 2
    union = real > 0
    for x, y, footprint, _ in expected.masks:
        there = union[y : y + footprint.shape[0], x : x + footprint.shape[1]]
        assert not (there & footprint).any()  # clear of the real ones
        there |= footprint
    np.testing.assert_array_equal(mask.numpy(), union)
    np.testing.assert_array_equal(image[0].numpy(), expected.pixels)
    samples[0][1].fill_(7)  # does not reach the cache
    assert torch.equal(samples[0][1], mask)


def test_boxes_without_masks_will_do_where_real_defects_are_inpainted(folder: Path) -> None:
    coco = read_mask_folder(folder, folder)
    boxes = CocoDataset(coco.images, [a | {"segmentation": []} for a in coco.annotations], coco.categories)
    simulation = SimulationConfig(**FRESH, real_defects="inpaint")
    samples = SegmentationDataset(boxes, folder, simulation=simulation)
    for k, (image, mask, _) in enumerate(samples[k] for k in range(3)):
        assert mask.any()
        assert float(image.max()) < 0.5  # the discs of 0.8 are gone
        assert not (mask.numpy() * discs([(30, 40), (80, 20)] if k == 0 else [(100, 70)] if k == 1 else [])).any()


@pytest.mark.parametrize("regions", [None, 4])
def test_simulated_defects_depend_on_seed_epoch_and_index(folder: Path, regions: int | None) -> None:
    def draw(seed: int, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        simulation = SimulationConfig(**FRESH, real_defects="inpaint")
        crop = {"crop": {"size": 90, "defect_crop_fraction": 1}}
        samples = dataset(folder, crop, seed=seed, regions=regions, simulation=simulation)
        samples.set_epoch(epoch)
        return samples[1][:2]

    first = draw(1, 0)
    assert first[1].any()
    assert torch.equal(first[0], draw(1, 0)[0])
    assert not torch.equal(first[0], draw(2, 0)[0])
    # Regions are cut once; the same ones come again.
    assert torch.equal(first[1], draw(1, 1)[1]) == (regions is not None)
