import numpy as np
import pytest
import torch

from data.errors import InputError
from data.fresh_phantoms import FreshPhantomDataset
from data.transforms import AugmentationConfig
from detectors.config.files import read_config
from detectors.config.sources import load_evaluation_source, training_dataset
from detectors.training.loop import TASKS


def test_samples_depend_on_seed_epoch_and_index_alone() -> None:
    first, second = (FreshPhantomDataset("varied_castings", 4, seed=3, size=(96, 96)) for _ in range(2))
    assert torch.equal(first[2][0], second[2][0])
    second.set_epoch(1)
    assert not torch.equal(first[2][0], second[2][0])
    first.set_epoch(1)
    assert torch.equal(first[2][0], second[2][0])
    assert not torch.equal(first[1][0], first[2][0])


def test_a_sample_is_what_detectors_take() -> None:
    dataset = FreshPhantomDataset("varied_castings", 12, padding=3, size=(96, 128), augmentation=AugmentationConfig())
    count = 0
    for index in range(12):
        image, target = dataset[index]
        assert image.shape == (1, 128, 96)
        assert 0 <= image.min() <= image.max() <= 1
        boxes = target["boxes"]
        assert boxes.shape == (len(target["labels"]), 4)
        assert (boxes >= 0).all()
        assert (boxes[:, 2] <= 96).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        count += len(boxes)
    assert count > 6


def test_a_phantom_that_no_crop_fits_into_is_shown_whole() -> None:
    for side, shown in ((160, 128), (96, 96)):
        augmentation = AugmentationConfig.model_validate({"crop": {"size": 128}})
        dataset = FreshPhantomDataset("varied_castings", 2, size=(side, side), augmentation=augmentation)
        assert dataset[0][0].shape == (1, shown, shown)


def test_padding_is_on_every_side() -> None:
    tight = FreshPhantomDataset("varied_castings", 8, seed=1, size=(128, 128))
    loose = FreshPhantomDataset("varied_castings", 8, seed=1, size=(128, 128), padding=2)
    for index in range(8):
        expected = (tight[index][1]["boxes"].numpy() + np.array([-2, -2, 2, 2])).clip(0, 128)
        assert np.allclose(loose[index][1]["boxes"].numpy(), expected)


def test_a_reused_radiograph_is_shown_in_neighboring_samples_whatever_their_order() -> None:
    arguments = {"seed": 2, "size": (96, 96), "reuse": 3}
    forward, backward = (FreshPhantomDataset("varied_castings", 7, **arguments) for _ in range(2))
    first = [forward[index] for index in range(7)]
    second = [backward[index] for index in reversed(range(7))][::-1]
    for (image, target), (again, same) in zip(first, second, strict=True):
        assert torch.equal(image, again)
        assert torch.equal(target["boxes"], same["boxes"])
    groups = [[0, 1, 2], [3, 4, 5], [6]]
    for group in groups:
        assert all(torch.equal(first[group[0]][0], first[index][0]) for index in group)
    assert not torch.equal(first[0][0], first[3][0])
    forward.set_epoch(1)
    assert not torch.equal(forward[0][0], first[0][0])
    assert len(forward._kept) == 1  # what an epoch leaves is dropped in the next


def test_twins_have_no_defect_and_show_the_same_part() -> None:
    with_twins = FreshPhantomDataset("varied_castings", 24, seed=5, size=(96, 96), reuse=2, twins=0.5)
    samples = [with_twins[index] for index in range(24)]
    pairs = [(samples[2 * k], samples[2 * k + 1]) for k in range(12)]
    mixed = [(a, b) for a, b in pairs if len(a[1]["boxes"]) != len(b[1]["boxes"])]
    assert mixed
    for a, b in mixed:
        assert 0 in (len(a[1]["boxes"]), len(b[1]["boxes"]))
        assert float(np.corrcoef(a[0].numpy().ravel(), b[0].numpy().ravel())[0, 1]) > 0.8
    alone = FreshPhantomDataset("varied_castings", 6, seed=5, size=(96, 96), twins=1.0)
    assert all(len(alone[index][1]["boxes"]) == 0 for index in range(6))


def test_kinds_without_twins_are_named() -> None:
    with pytest.raises(InputError, match=r"'castings' have no twins.*varied_castings"):
        FreshPhantomDataset("castings", 4, twins=0.2)


def test_unknown_families_are_refused() -> None:
    with pytest.raises(InputError, match="family"):
        FreshPhantomDataset("varied_castings", 8, family="wheel")


def test_a_configuration_asks_for_them_in_training_alone() -> None:
    config = read_config("casting", ["data.train.phantoms.n=5", "data.train.phantoms.size=[64,64]"])
    dataset, categories = training_dataset(config)
    assert len(dataset) == 5
    assert [category["name"] for category in categories] == ["defect"]
    with pytest.raises(InputError, match="fresh is for training"):
        load_evaluation_source(config.data.train[0], categories)


@pytest.mark.parametrize("name", ["weld_fcn", "xnet_v2"])
def test_models_that_need_masks_or_patches_refuse_them(name: str) -> None:
    config = read_config(name, ["data.train=[{phantoms: {kind: welds, n: 2, fresh: true}}]"])
    with pytest.raises(InputError, match=r"phantoms\.fresh gives boxes, for detectors"):
        TASKS[config.model.task](config)
