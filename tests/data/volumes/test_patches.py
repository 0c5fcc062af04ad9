"""Training patches: where they lie, what is in them, and that they come again."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import InputError
from data.volumes.gray_levels import GrayLevels
from data.volumes.labeled import LabeledVolume
from data.volumes.labels import AIR, IGNORED, MATERIAL, OPEN_PORE, PORE
from data.volumes.manifest import read_manifest
from data.volumes.patches import VolumeDataset, stack_volumes
from data.volumes.transforms import PatchCropConfig, VolumeAugmentationConfig, augment, turn
from data.volumes.volume import Volume
from data.volumes.writing import write_volume

NONE = VolumeAugmentationConfig(
    symmetries=False, contrast=0, brightness=0, noise=(0, 0), blur=(0, 0), wave=0, elastic=0
)  # fmt: skip


def labeled() -> LabeledVolume:
    labels = np.zeros((30, 40, 50), np.uint8)
    labels[5:25, 10:30, 10:40] = MATERIAL
    labels[14:17, 15:18, 20:23] = PORE
    labels[5:7, 20:22, 30:32] = OPEN_PORE
    # The gray value of a voxel says where it is, and what: metal 1000, air and pores 0.
    values = np.where(labels == MATERIAL, 1000, 0).astype(np.uint16)
    return LabeledVolume(Volume(values, None, Path("scan.tif")), labels, GrayLevels(0, 1000))


def dataset(size: int | tuple[int, int, int] = 12, seed: int = 0, **options) -> VolumeDataset:
    crop = PatchCropConfig(size=size, **{"around_defect": 0.5, "around_surface": 0.25} | options.pop("crop", {}))
    return VolumeDataset([labeled()], 40, crop, options.pop("augmentation", NONE), seed=seed, **options)


def test_image_and_mask_show_the_same_place() -> None:
    for patch, mask, name in (dataset()[k] for k in range(20)):
        assert name == "scan"
        assert patch.shape == (1, 12, 12, 12)
        assert (patch[0][mask == 1] == 0).all()
        assert set(mask.unique().tolist()) <= {0, 1, IGNORED}


def test_air_alone_is_never_drawn() -> None:
    assert all(patch.max() == 1 for patch, _, _ in (dataset(8)[k] for k in range(40)))


def test_patches_are_placed_around_defects() -> None:
    always, never = dataset(crop={"around_defect": 1.0}), dataset(crop={"around_defect": 0.0, "around_surface": 1.0})
    assert all(((mask == 1) | (mask == IGNORED)).any() for _, mask, _ in (always[k] for k in range(40)))
    surfaces = [patch for patch, _, _ in (never[k] for k in range(40))]
    assert all(patch.min() == 0 and patch.max() == 1 for patch in surfaces)


def test_hollow_patches_lie_at_holes() -> None:
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[4:36, 4:36, 4:36] = MATERIAL
    labels[20:36, 17:23, 17:23] = AIR  # a blind hole from above
    values = np.where(labels == MATERIAL, 1000, 0).astype(np.uint16)
    values[20:36, 17:23, 17:23] = 500  # tells the hole from the air around the block
    entry = LabeledVolume(Volume(values, None, Path("scan.tif")), labels, GrayLevels(0, 1000))
    shown = {}
    for name in ("around_hollow", "around_surface"):
        crop = PatchCropConfig(size=8, **{"around_defect": 0, "around_surface": 0, name: 1})
        patches = VolumeDataset([entry], 40, crop, NONE)
        shown[name] = sum(bool((patches[k][0] == 0.5).any()) for k in range(40))
    # The point lies up to the edge of its patch, so that a few show the metal beside the hole alone.
    assert shown["around_hollow"] > 30 > 15 > shown["around_surface"]


def test_pores_are_drawn_by_their_diameter() -> None:
    labels = np.full((20, 20, 40), MATERIAL, np.uint8)
    labels[10, 10, 5] = PORE  # 1 voxel, and 27 on the other side: a third of the diameter
    labels[9:12, 9:12, 30:33] = PORE
    volume = LabeledVolume(Volume(np.ones(labels.shape, np.uint16)), labels, GrayLevels(0, 1))
    patches = VolumeDataset([volume], 2000, PatchCropConfig(size=8, around_defect=1.0, around_surface=0.0), NONE)
    large = np.mean([int(mask.sum()) > 1 for _, mask, _ in (patches[k] for k in range(2000))])
    assert abs(large - 0.75) < 0.04


@pytest.mark.parametrize(("rule", "value"), [("ignore", IGNORED), ("pore", 1), ("background", 0)])
def test_open_pores_teach_what_the_user_says(rule: str, value: int) -> None:
    found = dataset((30, 40, 50), open_pores=rule, crop={"around_defect": 1.0})._mask_of
    assert found[OPEN_PORE] == value


def test_a_sample_depends_on_seed_epoch_and_index_alone() -> None:
    one, two = dataset(augmentation=VolumeAugmentationConfig()), dataset(augmentation=VolumeAugmentationConfig())
    one.set_epoch(3)
    two.set_epoch(3)
    for k in (5, 2):
        assert torch.equal(one[k][0], two[k][0])
    two.set_epoch(4)
    assert not torch.equal(one[5][0], two[5][0])
    with pytest.raises(IndexError):
        one[40]


def test_slices_are_cut_in_all_three_directions() -> None:
    slices = dataset((1, 16, 16))
    batch, masks, names = stack_volumes([slices[k] for k in range(8)])
    assert batch.shape == (8, 1, 1, 16, 16)
    assert masks.shape == (8, 1, 16, 16)
    assert len(names) == 8


def test_the_48_symmetries_of_a_cube() -> None:
    cube = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(1500):
        values, labels = turn(cube, cube.astype(np.uint8), rng)
        np.testing.assert_array_equal(values, labels)
        seen.add(values.tobytes())
    assert len(seen) == 48


def test_augmentation_moves_labels_with_the_image() -> None:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[6:13, 5:12, 8:15] = 1
    config = VolumeAugmentationConfig(contrast=0, brightness=0, noise=(0, 0), blur=(0, 0), wave=0, elastic=3, chance=1)
    for seed in range(5):
        values, moved = augment(1 - labels.astype(np.float32), labels, config, np.random.default_rng(seed))
        assert ((values < 0.5) != (moved == 1)).mean() < 0.01


def test_labels_of_another_grid_are_refused(tmp_path: Path) -> None:
    write_volume(tmp_path / "v.tif", np.zeros((4, 5, 6), np.uint16))
    write_volume(tmp_path / "l.tif", np.zeros((4, 6, 6), np.uint8))
    entry = {"file": "v.tif", "labels": "l.tif", "air": 0, "metal": 10}
    (tmp_path / "volumes.json").write_text(json.dumps({"volumes": [entry]}))
    with pytest.raises(InputError, match=r"l\.tif: labels of 4 x 6 x 6 voxels .* has 4 x 5 x 6"):
        read_manifest(tmp_path)[0].labeled()


def test_a_mask_of_pores_is_completed_by_the_volume(tmp_path: Path) -> None:
    scene = labeled()
    write_volume(tmp_path / "v.tif", np.where(scene.labels == MATERIAL, 1000, 0).astype(np.uint16))
    for pore in (1, 255):
        write_volume(tmp_path / "l.tif", ((scene.labels >= PORE) * pore).astype(np.uint8))
        entry = {"file": "v.tif", "labels": "l.tif", "air": 0, "metal": 1000}
        (tmp_path / "volumes.json").write_text(json.dumps({"volumes": [entry]}))
        np.testing.assert_array_equal(read_manifest(tmp_path / "volumes.json")[0].labeled().labels, scene.labels)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"volumes": []}, "no list 'volumes'"),
        ({"volumes": [{"labels": "a"}]}, "volume 0: no 'file'"),
        ({"volumes": [{"file": "../../a.tif"}]}, "leads out of the manifest's folder"),
        ({"volumes": [{"file": "a.tif", "air": 3}]}, "give two numbers"),
        ({"volumes": [{"file": "a.tif", "voxel_mm": -1}]}, "voxel_mm"),
    ],
)
def test_faulty_manifests_are_named(tmp_path: Path, content: dict, message: str) -> None:
    (tmp_path / "volumes.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_manifest(tmp_path)


def test_unknown_labels_are_named(tmp_path: Path) -> None:
    write_volume(tmp_path / "v.tif", np.zeros((4, 5, 6), np.uint16))
    write_volume(tmp_path / "l.tif", np.full((4, 5, 6), 7, np.uint8))
    entry = {"file": "v.tif", "labels": "l.tif", "air": 0, "metal": 10}
    (tmp_path / "volumes.json").write_text(json.dumps({"volumes": [entry]}))
    with pytest.raises(InputError, match="value 7 is no label"):
        read_manifest(tmp_path)[0].labeled()


def test_a_volume_of_air_teaches_nothing() -> None:
    entry = LabeledVolume(Volume(np.zeros((9, 9, 9), np.uint16)), np.zeros((9, 9, 9), np.uint8), GrayLevels(0, 1))
    with pytest.raises(InputError, match="no material"):
        VolumeDataset([entry], 4, PatchCropConfig(size=8))
