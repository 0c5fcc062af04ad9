"""Patches with fresh simulated defects: what the label says, away from real defects, the same for every worker."""

from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from data.coco import CocoDataset
from data.datasets import limit_threads
from data.errors import InputError
from data.patch_datasets import PatchDataset, collate_patches
from data.patch_windows import DEFECT, NEGATIVE
from data.patches import PatchConfig
from data.radiograph import write_radiograph
from data.simulated_patches import SimulatedPatches
from data.synthesis.simulation_config import SimulationConfig
from data.transforms import AugmentationConfig

GRAY, BRIGHT = 100, 200  # of 255: the part and its real defects
REAL = [60.0, 40, 30, 20]  # x, y, width, height
SIMULATION = {"per_image": (3, 4), "semi_axis": {"low": 4, "high": 6}, "contrast": {"low": 0.1, "high": 0.3}}
UPRIGHT = PatchConfig(size=16, per_image=10, rotation_step=None, mirror=False)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[CocoDataset, Path]:
    """Two flat radiographs with a bright real defect each and one without."""
    folder = tmp_path_factory.mktemp("parts")
    pixels = np.full((120, 160), GRAY / 255)
    write_radiograph(folder / "c.png", pixels, 8)
    pixels[40:60, 60:90] = BRIGHT / 255
    for name in ("a.png", "b.png"):
        write_radiograph(folder / name, pixels, 8)
    images = [{"id": k, "file_name": f"{name}.png", "width": 160, "height": 120} for k, name in enumerate("abc")]
    annotations = [{"id": k, "image_id": k, "category_id": 1, "bbox": REAL} for k in (0, 1)]
    return CocoDataset(images, annotations, [{"id": 1, "name": "defect"}]), folder


def source(
    parts: tuple[CocoDataset, Path], config: PatchConfig = UPRIGHT, seed: int = 4, **settings: object
) -> SimulatedPatches:
    simulation = SimulationConfig(**SIMULATION | {"real_defects": "inpaint"} | settings)
    return SimulatedPatches(*parts, config, simulation, margin=2.0, seed=seed)


def test_patches_hold_a_defect_where_their_label_says_so(parts: tuple[CocoDataset, Path]) -> None:
    drawn = source(parts).sample_set(0)
    assert np.bincount(drawn.labels).tolist() == [30, 30]
    assert set(drawn.origins[drawn.labels == DEFECT]) == {"ellipsoid"}
    assert set(drawn.origins[drawn.labels == NEGATIVE]) == {"real"}
    # The part is flat, so that every other gray level is a defect; a real one stands 100 levels out.
    above = drawn.pixels.astype(int) - GRAY
    assert not above[drawn.labels == NEGATIVE].any()
    strongest = above[drawn.labels == DEFECT].max(axis=(1, 2))
    assert strongest.min() >= 3
    assert np.mean(strongest) > 8
    assert strongest.max() < 70
    assert above[drawn.labels == DEFECT].mean() > 1


def test_inpainted_real_defects_are_in_no_patch(parts: tuple[CocoDataset, Path]) -> None:
    """Sound patches keep off their place, though nothing can be seen there any more."""
    turned = PatchConfig(size=16, per_image=40)
    drawn = source(parts, turned).sample_set(1)
    reach = 8 * (abs(np.cos(np.radians(drawn.places[:, 2]))) + abs(np.sin(np.radians(drawn.places[:, 2]))))
    x, y = drawn.places[:, 0], drawn.places[:, 1]
    met = (x + reach > 60) & (x - reach < 90) & (y + reach > 40) & (y - reach < 60) & (drawn.files != "c.png")
    assert not (met & (drawn.labels == NEGATIVE)).any()
    assert drawn.pixels.max() < BRIGHT - 25


def test_real_defects_that_are_kept_are_drawn_too(parts: tuple[CocoDataset, Path]) -> None:
    drawn = source(parts, real_defects="keep").sample_set(0)
    real = (drawn.pixels >= BRIGHT - 1).sum(axis=(1, 2)) >= 16 * 16 // 3
    assert not real[drawn.labels == NEGATIVE].any()
    # One of four or five defects, in two of three radiographs.
    assert 1 <= real.sum() <= 15


def test_without_simulated_defects_negative_patches_alone_remain(parts: tuple[CocoDataset, Path]) -> None:
    nothing = source(parts, image_fraction=0.0)
    assert nothing.has(NEGATIVE)
    assert not nothing.has(DEFECT)
    both = PatchDataset([nothing, source(parts)], [3.0, 1.0], UPRIGHT, length=40)
    assert all((both[k][0] * 255 > GRAY + 2).any() == k % 2 for k in range(40))
    with pytest.raises(InputError, match="no defect patch"):
        PatchDataset([nothing], [1.0], UPRIGHT)


def test_a_part_without_room_for_defects_is_named(parts: tuple[CocoDataset, Path]) -> None:
    with pytest.raises(InputError, match=r"none of 2 radiographs has room .* raise data\.train\.simulate\.per_image"):
        source((parts[0].subset([0, 1]), parts[1]), clearance=500)


@pytest.mark.parametrize(
    "settings", [{"image_fraction": 0.02}, {"per_image": (0, 1)}, {"image_fraction": 0.02, "per_image": (0, 1)}]
)
def test_few_radiographs_have_defects_in_every_epoch(parts: tuple[CocoDataset, Path], settings: dict) -> None:
    for seed in range(3):
        drawn = source(parts, seed=seed, **settings)
        assert drawn.has(DEFECT)
        for epoch in range(10):
            assert drawn.sample(DEFECT, np.random.default_rng(0), epoch=epoch).max() > (GRAY + 2) / 255


def test_an_epoch_in_which_nothing_shows_has_the_defects_of_the_first(parts: tuple[CocoDataset, Path]) -> None:
    drawn = source(parts)
    drawn._simulator._simulator.config = drawn._simulator.config.model_copy(update={"image_fraction": 0.0})
    assert drawn.sample(DEFECT, np.random.default_rng(0), epoch=7).max() > (GRAY + 2) / 255


def test_a_share_of_the_radiographs_have_simulated_defects_beside_real_ones(parts: tuple[CocoDataset, Path]) -> None:
    drawn = source(parts, real_defects="keep", image_fraction=0.3)
    counts = [[len(drawn._radiograph(image, epoch).boxes) for image in range(3)] for epoch in range(40)]
    alone = np.array(counts)[:, :2] == 1
    assert 0.5 < alone.mean() < 0.9
    assert (np.array(counts)[:, 2] > 0).all()


def test_defects_are_fresh_each_epoch_and_depend_on_seed_epoch_and_radiograph(parts: tuple[CocoDataset, Path]) -> None:
    first, again, other = source(parts), source(parts), source(parts, seed=5)

    def draw(drawn: SimulatedPatches, epoch: int) -> np.ndarray:
        return drawn.sample(DEFECT, np.random.default_rng(3), epoch=epoch)

    before = draw(first, 0)
    assert not np.array_equal(before, draw(first, 1))
    assert not np.array_equal(before, draw(other, 0))
    again.sample(DEFECT, np.random.default_rng(8), epoch=6)  # what was drawn before does not matter
    assert np.array_equal(before, draw(again, 0))
    assert np.array_equal(before, draw(first, 0))


def test_workers_change_nothing(parts: tuple[CocoDataset, Path]) -> None:
    def samples(workers: int) -> np.ndarray:
        config, augmentation = PatchConfig(size=16, per_image=4), AugmentationConfig(horizontal_flip=0.5)
        drawn = PatchDataset([source(parts, config)], [1.0], config, augmentation, seed=2)
        loader = DataLoader(
            drawn, batch_size=5, num_workers=workers, collate_fn=collate_patches, persistent_workers=workers > 0,
            worker_init_fn=limit_threads,
        )  # fmt: skip
        found = []
        for epoch in range(2):
            drawn.set_epoch(epoch)
            found += [patches.numpy() for patches, _, _ in loader]
        return np.concatenate(found)

    alone = samples(0)
    assert len(alone) == 48
    assert np.array_equal(alone, samples(2))
    assert not np.array_equal(alone[:24], alone[24:])


def test_a_radiograph_keeps_its_16_bits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = 0.4 + rng.normal(0, 0.003, (96, 96))
    write_radiograph(tmp_path / "deep.png", pixels, 16)
    dataset = CocoDataset(
        [{"id": 1, "file_name": "deep.png", "width": 96, "height": 96}], [], [{"id": 1, "name": "defect"}]
    )
    drawn = SimulatedPatches(dataset, tmp_path, UPRIGHT, SimulationConfig(**SIMULATION)).sample_set(0)
    assert drawn.pixels.dtype == np.uint16
    assert len(np.unique(drawn.pixels % 257)) > 200
