import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from data.coco import CocoDataset
from data.datasets import DetectionDataset, MixedDataset, collate, limit_threads
from data.errors import InputError
from data.gray_window import GrayWindow
from data.radiograph import write_radiograph
from data.transforms import AugmentationConfig, CropConfig

VARIED = AugmentationConfig(
    crop=CropConfig(size=12, defect_crop_fraction=0.5),
    horizontal_flip=0.5,
    vertical_flip=0.5,
    brightness=0.1,
    noise=0.02,
)


def annotation(identity, image_id, bbox, category_id=4, iscrowd=0):
    return {
        "id": identity,
        "image_id": image_id,
        "bbox": bbox,
        "category_id": category_id,
        "area": 1.0,
        "iscrowd": iscrowd,
    }


@pytest.fixture
def folder(tmp_path):
    """Four radiographs of 20 x 16 pixels: values of 16, 8, 16 and (in a TIFF) 12 bits."""
    rng = np.random.default_rng(0)
    for name, bits in (("a.png", 16), ("b.png", 8), ("c.png", 16), ("d.tif", 12)):
        write_radiograph(tmp_path / name, rng.integers(0, 2**bits, (16, 20)) / (2**bits - 1), bits)
    return tmp_path


def coco(annotations=None):
    """Two radiographs with boxes, one of them with a crowd too, and two without; category ids 4 and 9."""
    names = {11: "a.png", 3: "b.png", 5: "c.png", 8: "d.tif"}
    if annotations is None:
        annotations = [
            annotation(1, 11, [2, 3, 4, 5]),
            annotation(2, 11, [10, 0, 6, 6], category_id=9),
            annotation(3, 11, [0, 10, 20, 6], iscrowd=1),
            annotation(4, 3, [0.5, 1.5, 3, 2]),
            annotation(5, 5, [0, 0, 5, 5], iscrowd=1),
        ]
    return CocoDataset(
        [{"id": k, "file_name": name, "width": 20, "height": 16} for k, name in names.items()],
        annotations,
        [{"id": 9, "name": "crack"}, {"id": 4, "name": "pore"}],
    )


def equal(first, second):
    (image, target), (other_image, other_target) = first, second
    return torch.equal(image, other_image) and all(torch.equal(target[key], other_target[key]) for key in target)


def test_sample_without_augmentation(folder):
    dataset = DetectionDataset(coco(), folder)
    assert len(dataset) == 4
    image, target = dataset[0]
    assert image.shape == (1, 16, 20)
    assert image.dtype == torch.float32
    assert target["boxes"].tolist() == [[2, 3, 6, 8], [10, 0, 16, 6], [0, 10, 20, 16]]
    assert target["labels"].tolist() == [1, 2, 1]
    assert target["iscrowd"].tolist() == [0, 0, 1]
    assert target["area"].tolist() == [20, 36, 120]
    assert target["image_id"].item() == 11
    assert target["image_id"].shape == ()
    kinds = {key: value.dtype for key, value in target.items()}
    integers = dict.fromkeys(("labels", "image_id", "iscrowd"), torch.int64)
    assert kinds == {"boxes": torch.float32, "area": torch.float32, **integers}


@pytest.mark.parametrize("augmentation", [None, VARIED])
def test_negative_sample(folder, augmentation):
    _, target = DetectionDataset(coco(), folder, augmentation)[3]
    assert target["boxes"].shape == (0, 4)
    assert target["labels"].shape == target["area"].shape == target["iscrowd"].shape == (0,)
    assert target["labels"].dtype == target["iscrowd"].dtype == torch.int64


def test_labels_and_crowd_flags_follow_their_boxes(folder):
    augmentation = AugmentationConfig(crop=CropConfig(size=8), horizontal_flip=1)
    dataset = DetectionDataset(coco(), folder, augmentation, repeat=50)
    sides = {(1, 0): (4, 5), (2, 0): (6, 6), (1, 1): (8, 6)}
    seen = set()
    for index in range(0, len(dataset), 4):
        target = dataset[index][1]
        for box, label, crowd in zip(target["boxes"], target["labels"], target["iscrowd"], strict=True):
            width, height = sides[label.item(), crowd.item()]
            assert box[2] - box[0] <= width + 1e-3
            assert box[3] - box[1] <= height + 1e-3
            seen.add((label.item(), crowd.item()))
    assert seen == set(sides)


def test_values_are_exact_with_and_without_cache(folder):
    plain, cached = (DetectionDataset(coco(), folder, cache=cache) for cache in (False, True))
    before = [plain[index] for index in range(4)]
    assert len(np.unique(before[0][0])) > 256
    for path in folder.iterdir():
        path.unlink()
    for index in range(4):
        cached[index][0].zero_()  # what a reader does with a sample does not reach the cache
        assert equal(before[index], cached[index])


def test_values_are_the_stored_ones(folder):
    stored = np.random.default_rng(7).integers(0, 65536, (16, 20))
    write_radiograph(folder / "a.png", stored / 65535, 16)
    image = DetectionDataset(coco(), folder)[0][0][0].numpy()
    np.testing.assert_array_equal(np.rint(image.astype(np.float64) * 65535), stored)


@pytest.mark.parametrize("cache", [False, True])
def test_window_stretches_the_whole_radiograph(folder, cache):
    plain = DetectionDataset(coco(), folder)[1][0].numpy()
    dataset = DetectionDataset(coco(), folder, window=GrayWindow("percentiles", 10, 90), cache=cache)
    dataset[1][0].zero_()  # reaches neither cache nor file
    low, high = np.percentile(plain, (10, 90))
    np.testing.assert_allclose(dataset[1][0].numpy(), np.clip((plain - low) / (high - low), 0, 1), atol=1e-4)


def test_keep_negatives_false_leaves_out_images_without_a_defect(folder):
    dataset = DetectionDataset(coco(), folder, keep_negatives=False)
    assert [target["image_id"].item() for _, target in (dataset[0], dataset[1])] == [11, 3]
    assert len(dataset) == 2


def test_fractional_overhang_is_clipped(folder):
    boxes = DetectionDataset(coco([annotation(1, 11, [-0.5, 12.5, 4, 4])]), folder)[0][1]["boxes"]
    assert boxes.tolist() == [[0, 12.5, 3.5, 16]]


@pytest.mark.parametrize(
    "bbox",
    [[3, 3, 0, 4], [3, 3, 4, -1], [20, 3, 4, 4], [-9, 3, 4, 4], [float("nan"), 3, 4, 4], [3, 3, 4, float("nan")]],
)
def test_degenerate_box_is_named(folder, bbox):
    with pytest.raises(InputError, match=r"a\.png: image 11, annotation 77: box \["):
        DetectionDataset(coco([annotation(77, 11, bbox)]), folder)


def test_missing_image_is_named(folder):
    (folder / "c.png").unlink()
    with pytest.raises(InputError, match=r"c\.png: no such file, for image 5"):
        DetectionDataset(coco(), folder)


def test_wrong_size_is_named(folder):
    write_radiograph(folder / "b.png", np.zeros((20, 16)))
    with pytest.raises(InputError, match=r"b\.png: image 3 has 16 x 20 pixels.* 20 x 16"):
        DetectionDataset(coco(), folder)[1]


def test_no_image_left_is_an_error(folder):
    with pytest.raises(InputError, match="keep the negatives"):
        DetectionDataset(coco([]), folder, keep_negatives=False)


def test_index_beyond_the_end(folder):
    dataset = DetectionDataset(coco(), folder, repeat=2)
    with pytest.raises(IndexError):
        dataset[8]


# Determinism


def test_samples_differ_by_repeat_epoch_and_seed_and_come_again(folder):
    dataset = DetectionDataset(coco(), folder, VARIED, repeat=2, seed=5)
    first, repeated = dataset[0], dataset[4]
    assert first[1]["image_id"] == repeated[1]["image_id"]
    assert not torch.equal(first[0], repeated[0])
    dataset.set_epoch(1)
    assert not torch.equal(first[0], dataset[0][0])
    dataset.set_epoch(0)
    assert equal(first, dataset[0])
    assert equal(first, DetectionDataset(coco(), folder, VARIED, seed=5, cache=True)[0])
    assert not torch.equal(first[0], DetectionDataset(coco(), folder, VARIED, seed=6)[0][0])


@pytest.mark.parametrize("mixed", [False, True])
def test_workers_change_nothing_and_follow_the_epoch(folder, mixed):
    def samples(workers):
        dataset = DetectionDataset(coco(), folder, VARIED, repeat=3, seed=2)
        if mixed:
            dataset = MixedDataset([dataset, DetectionDataset(coco(), folder, seed=3)], [1, 1], 12)
        loader = DataLoader(
            dataset,
            batch_size=5,
            num_workers=workers,
            collate_fn=collate,
            persistent_workers=workers > 0,
            worker_init_fn=limit_threads,
        )
        drawn = []
        for epoch in range(2):
            dataset.set_epoch(epoch)
            for images, targets in loader:
                assert isinstance(images, list)
                drawn += zip(images, targets, strict=True)
        return drawn

    alone, shared = samples(0), samples(2)
    assert len(alone) == len(shared) == 24
    assert all(equal(*pair) for pair in zip(alone, shared, strict=True))
    assert not all(equal(*pair) for pair in zip(alone[:12], alone[12:], strict=True))


# Mixing


def test_mixed_sources_come_in_their_shares(folder):
    real = DetectionDataset(coco(), folder, repeat=7)
    simulated = DetectionDataset(coco([annotation(1, 8, [1, 1, 2, 2])]), folder, keep_negatives=False)
    mixed = MixedDataset([real, simulated], [3, 1], 400, seed=1)
    targets = [mixed[index][1] for index in range(400)]
    # Image 8 has a box in the second source alone; 100 expected of 400, standard deviation 8.7.
    assert 65 < sum(len(target["boxes"]) == 1 and target["image_id"].item() == 8 for target in targets) < 135
    assert {target["image_id"].item() for target in targets} == {11, 3, 5, 8}
    assert len(mixed) == 400


def test_mixed_epochs_differ_and_reach_the_sources(folder):
    source = DetectionDataset(coco(), folder, VARIED)
    mixed = MixedDataset([source], [1.0], 30)
    first = [mixed[index][0] for index in range(30)]
    mixed.set_epoch(3)
    assert source.epoch == mixed.epoch == 3
    assert not all(torch.equal(image, mixed[index][0]) for index, image in enumerate(first))


@pytest.mark.parametrize("weights", [[1.0], [0, 0], [1, -1], [1, float("nan")]])
def test_bad_weights_are_named(folder, weights):
    source = DetectionDataset(coco(), folder)
    with pytest.raises(InputError, match="weights"):
        MixedDataset([source, source], weights, 10)
