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


def test_padding_is_on_every_side() -> None:
    tight = FreshPhantomDataset("varied_castings", 8, seed=1, size=(128, 128))
    loose = FreshPhantomDataset("varied_castings", 8, seed=1, size=(128, 128), padding=2)
    for index in range(8):
        expected = (tight[index][1]["boxes"].numpy() + np.array([-2, -2, 2, 2])).clip(0, 128)
        assert np.allclose(loose[index][1]["boxes"].numpy(), expected)


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
