"""Patches cut out of radiographs."""

from pathlib import Path

import numpy as np
import pytest

from data.coco import CocoDataset, read_coco
from data.errors import InputError
from data.patch_windows import DEFECT, NEGATIVE, WindowPose, extent, label_window
from data.patches import PatchConfig, RadiographPatches
from data.radiograph import read_radiograph, write_radiograph


def test_patches_are_cut_neither_around_crowds_nor_as_negatives_from_them(tmp_path: Path) -> None:
    levels = np.full((96, 96), 0.4)
    levels[:, 40:] = 0.9  # the crowd region
    levels[20:28, 10:18] = 0.1  # the defect
    write_radiograph(tmp_path / "a.png", levels, 8)
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 8, 8]},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [40, 0, 56, 96], "iscrowd": 1},
    ]
    dataset = CocoDataset(
        [{"id": 1, "file_name": "a.png", "width": 96, "height": 96}], annotations, [{"id": 1, "name": "pore"}]
    )
    source = RadiographPatches(dataset, tmp_path, PatchConfig(size=16, rotation_step=None, on_object=0))
    for seed in range(60):
        rng = np.random.default_rng(seed)
        assert source.sample(NEGATIVE, rng).max() < 0.5
        assert source.sample(DEFECT, rng).min() < 0.2


@pytest.fixture(scope="module")
def on_castings(castings: Path) -> RadiographPatches:
    return RadiographPatches(read_coco(castings), castings.parent, PatchConfig(size=16, per_image=10))


def test_patches_of_radiographs_keep_the_rules(on_castings: RadiographPatches, castings: Path) -> None:
    dataset = read_coco(castings)
    boxes = {}
    for image in dataset.images:
        bbox = np.array([a["bbox"] for a in dataset.annotations_of(image["id"])]).reshape(-1, 4)
        boxes[image["file_name"]] = np.hstack([bbox[:, :2], bbox[:, :2] + bbox[:, 2:]])
    patches = on_castings.sample_set(0)
    assert np.bincount(patches.labels).tolist() == [60, 60]
    assert len(np.unique(patches.places[:, 2])) == 6
    for name, (x, y, angle), truth in zip(patches.files, patches.places.tolist(), patches.labels, strict=True):
        assert label_window(WindowPose(0, x, y, angle), boxes[str(name)], 16) == truth
    upright = (patches.places[:, 2] == 0) & (patches.labels == 1)
    first = int(np.flatnonzero(upright)[0])
    x, y = (patches.places[first, :2] - 8).astype(int)
    values = read_radiograph(castings.parent / str(patches.files[first])).pixels[y : y + 16, x : x + 16]
    assert any(np.array_equal(patches.floats(first), v) for v in (values, values[:, ::-1]))


def test_the_choice_depends_on_the_seed_alone(on_castings: RadiographPatches) -> None:
    first, again, other = (on_castings.sample_set(seed, per_class=5) for seed in (0, 0, 1))
    assert np.array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.pixels, other.pixels)
    assert len(first) == 10


def test_radiographs_smaller_than_a_window_and_defects_larger_than_it(tmp_path: Path) -> None:
    for name, size in (("small.png", (20, 24)), ("large.png", (90, 90))):
        write_radiograph(tmp_path / name, np.random.default_rng(1).random(size[::-1]).astype(np.float32) * 0.9)
    images = [
        {"id": 1, "file_name": "small.png", "width": 20, "height": 24},
        {"id": 2, "file_name": "large.png", "width": 90, "height": 90},
    ]
    boxes = {1: [5, 5, 8, 8], 2: [10, 10, 79, 79]}
    annotations = [{"id": k, "image_id": k, "category_id": 1, "bbox": box} for k, box in boxes.items()]
    dataset = CocoDataset(images, annotations, [{"id": 1, "name": "defect"}])
    source = RadiographPatches(dataset, tmp_path, PatchConfig(size=32))
    assert source.has(1)
    assert not source.has(0)
    for seed in range(20):
        patch = source.sample(1, np.random.default_rng(seed))
        assert patch.shape == (32, 32)
        assert patch.max() > 0
    with pytest.raises(InputError, match="no no-defect patch"):
        source.sample_set(0)


def test_windows_around_defects_at_the_edge_show_nothing_beyond_it(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "a.png", np.full((60, 70), 0.5))
    corners = [[0, 0, 6, 6], [64, 0, 6, 6], [0, 54, 6, 6], [64, 54, 6, 6]]
    boxes = [{"id": k, "image_id": 1, "category_id": 1, "bbox": box} for k, box in enumerate(corners)]
    dataset = CocoDataset([{"id": 1, "file_name": "a.png", "width": 70, "height": 60}], boxes,
                          [{"id": 1, "name": "defect"}])  # fmt: skip
    source = RadiographPatches(dataset, tmp_path, PatchConfig(size=16))
    for seed in range(60):
        _, pose = source.sample_posed(DEFECT, np.random.default_rng(seed))
        half = extent(16, pose.angle) / 2
        assert half <= pose.x <= 70 - half
        assert half <= pose.y <= 60 - half
