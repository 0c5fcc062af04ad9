"""Maps of whole volumes: probabilities, and files that go on where they were stopped."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from data.errors import InputError
from data.volumes.gray_levels import GrayLevels
from data.volumes.labeled import LabeledVolume
from data.volumes.labels import MATERIAL, PORE
from data.volumes.reading import read_volume
from data.volumes.volume import Volume
from data.volumes.writing import write_volume
from detectors.build import build_model
from detectors.experiments.pore_analysis import analyze_pores, find_part
from detectors.runs.evaluate_volumes import whole_map
from detectors.volumes import inference
from detectors.volumes.inference import map_volume, write_map
from detectors.volumes.unet3d import UNet3DConfig

LEVELS = GrayLevels(0.0, 1.0)


def metal(shape: tuple[int, int, int]) -> Volume:
    return Volume(np.random.default_rng(0).normal(1, 0.05, shape).astype(np.float32))


class Certain(nn.Module):
    """A model that is sure of every voxel."""

    config = UNet3DConfig(block=12, overlap=7)

    def map_blocks(self, blocks: Tensor) -> Tensor:
        return torch.ones_like(blocks[:, 0])


def test_blending_makes_no_more_than_certain() -> None:
    values = np.concatenate([slab.values for slab in map_volume(Certain(), metal((31, 29, 37)), LEVELS)])
    assert values.max() == 1
    assert values.min() > 1 - 1e-6


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return build_model(UNet3DConfig(widths=[4, 8], norm="batch", block=16, overlap=8), 1).eval()


def test_a_stopped_map_goes_on_and_is_the_same_to_the_last_bit(
    network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = metal((50, 20, 24))
    whole = np.load(write_map(network, volume, LEVELS, tmp_path / "whole.npy", "key"))
    wanted: list[int] = []

    def stopped(*arguments: object, **options: object) -> Iterator[object]:
        slabs = map_volume(*arguments, **options)  # type: ignore[arg-type]
        yield next(slabs)
        yield next(slabs)
        raise KeyboardInterrupt

    monkeypatch.setattr(inference, "map_volume", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_map(network, volume, LEVELS, tmp_path / "map.npy", "key")
    assert not (tmp_path / "map.npy").exists()

    def late(model: nn.Module, volume: Volume, levels: GrayLevels, device: torch.device | None, first: int) -> object:
        wanted.append(first)
        return map_volume(model, volume, levels, device, first)

    monkeypatch.setattr(inference, "map_volume", late)
    found = np.load(write_map(network, volume, LEVELS, tmp_path / "map.npy", "key"))
    assert wanted == [16]  # two layers of 8 slices were kept
    np.testing.assert_array_equal(found, whole)
    names = ["map.npy", "map.npy.json", "whole.npy", "whole.npy.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    write_map(network, volume, LEVELS, tmp_path / "map.npy", "key")
    assert wanted == [16]  # a finished map is taken as it is


SLOW_MAP = """
import sys
import time
from pathlib import Path

from torch import nn

from data.volumes.gray_levels import GrayLevels
from data.volumes.reading import read_volume
from detectors.volumes.inference import write_map
from detectors.volumes.unet3d import UNet3DConfig


class Slow(nn.Module):
    config = UNet3DConfig(block=12, overlap=7)

    def map_blocks(self, blocks):
        time.sleep(0.1)
        return (blocks[:, 0] * 0.1 + blocks.mean() * 0.3).clamp(0, 1)


write_map(Slow(), read_volume(sys.argv[1]), GrayLevels(0.0, 1.0), Path(sys.argv[2]), "key")
"""


@pytest.mark.slow
def test_a_killed_process_leaves_what_the_next_one_goes_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_volume(tmp_path / "scan.npy", metal((120, 12, 12)).values)
    part = tmp_path / "map.npy.part"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_MAP, str(path), str(tmp_path / "map.npy")], cwd=Path(__file__).parents[3],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while not part.exists() or part.stat().st_size < 30 * 12 * 12 * 4:
        assert process.poll() is None, "the process ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (tmp_path / "map.npy").exists()
    # A map that depends on where a block lies.
    monkeypatch.setattr(Certain, "map_blocks", lambda _, blocks: (blocks[:, 0] * 0.1 + blocks.mean() * 0.3).clamp(0, 1))
    whole = np.load(write_map(Certain(), read_volume(path), LEVELS, tmp_path / "whole.npy", "key"))
    found = np.load(write_map(Certain(), read_volume(path), LEVELS, tmp_path / "map.npy", "key"))
    np.testing.assert_array_equal(found, whole)


def test_a_bad_voxel_far_down_leaves_nothing(network: nn.Module, tmp_path: Path) -> None:
    volume = metal((50, 20, 24))
    volume.values[47, 3, 5] = np.nan  # type: ignore[index]
    with pytest.raises(InputError, match="voxel z 47, y 3, x 5 is nan"):
        write_map(network, volume, LEVELS, tmp_path / "out" / "map.npy", "key")
    assert list(tmp_path.iterdir()) == []


def test_a_volume_that_changed_is_mapped_anew(network: nn.Module, tmp_path: Path) -> None:
    values = metal((24, 16, 16)).values
    path = write_volume(tmp_path / "scan.npy", values)
    first = np.load(write_map(network, read_volume(path), LEVELS, tmp_path / "map.npy", "key"))
    write_volume(path, np.asarray(values) * np.float32(0.7))
    second = np.load(write_map(network, read_volume(path), LEVELS, tmp_path / "map.npy", "key"))
    assert not np.array_equal(first, second)


class Blind(nn.Module):
    """A model that sees no pore."""

    config = UNet3DConfig(block=16, overlap=0)

    def map_blocks(self, blocks: Tensor) -> Tensor:
        return torch.zeros_like(blocks[:, 0])


@pytest.mark.parametrize("closed_air", [True, False])
def test_closed_air_is_a_pore_whatever_the_network_says(closed_air: bool, tmp_path: Path) -> None:
    labels = np.zeros((40, 24, 24), np.uint8)
    labels[4:36, 4:20, 4:20] = MATERIAL
    labels[15:25, 8:16, 8:16] = PORE
    volume = Volume((labels == MATERIAL).astype(np.float32))
    cpu = torch.device("cpu")
    values = whole_map(Blind(), LabeledVolume(volume, labels, LEVELS), cpu, closed_air)
    np.testing.assert_array_equal(values == 1, (labels == PORE) & closed_air)
    scores = write_map(Blind(), volume, LEVELS, tmp_path / "scores.npy", "key")
    part = find_part(volume, LEVELS, tmp_path)
    found = analyze_pores(volume, LEVELS, part, scores, 0.5, tmp_path, closed_air=closed_air)
    assert found.table.voxels.tolist() == ([640] if closed_air else [])


def test_what_touches_the_outer_air_is_no_pore_whatever_the_network_says(tmp_path: Path) -> None:
    labels = np.zeros((40, 24, 24), np.uint8)
    labels[4:36, 4:20, 4:20] = MATERIAL
    labels[20:36, 10:14, 10:14] = 0  # a blind hole
    labels[8:12, 8:12, 8:12] = PORE
    volume = Volume((labels == MATERIAL).astype(np.float32))
    expected = np.zeros(labels.shape, bool)
    expected[5:35, 5:19, 5:19] = True  # without the part's skin, one voxel thick
    for box in ((slice(19, 36), slice(10, 14), slice(10, 14)), (slice(20, 36), slice(9, 15), slice(10, 14)),
                (slice(20, 36), slice(10, 14), slice(9, 15))):  # fmt: skip
        expected[box] = False
    entry = LabeledVolume(volume, labels, LEVELS)
    values = whole_map(Certain(), entry, torch.device("cpu"), closed_air=True, outer_air=True)
    np.testing.assert_array_equal(values > 0.9, expected)
    scores = write_map(Certain(), volume, LEVELS, tmp_path / "scores.npy", "key")
    part = find_part(volume, LEVELS, tmp_path)
    found = analyze_pores(volume, LEVELS, part, scores, 0.5, tmp_path, closed_air=True, outer_air=True)
    assert found.table.voxels.tolist() == [expected.sum()]
    assert not found.table.is_open.any()


class Recorded:
    """An array-like that remembers how many slices were asked for at once."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype, self.most = values, values.shape, values.dtype, 0

    def __getitem__(self, key: object) -> np.ndarray:
        found = self.values[key]
        self.most = max(self.most, len(found))
        return found


def test_no_step_asks_for_more_than_a_slab_of_a_long_volume(network: nn.Module, tmp_path: Path) -> None:
    values = np.zeros((200, 24, 24), np.float32)
    values[:, 4:20, 4:20] = 1
    values[50:54, 10:14, 10:14] = 0
    recorded = Recorded(values)
    volume = Volume(recorded)
    scores = write_map(network, volume, LEVELS, tmp_path / "scores.npy", "key")
    part = find_part(volume, LEVELS, tmp_path)
    analyze_pores(volume, LEVELS, part, scores, 0.5, tmp_path, closed_air=True, outer_air=True)
    assert recorded.most <= 34


def test_a_map_of_other_weights_is_begun_anew(network: nn.Module, tmp_path: Path) -> None:
    volume = metal((24, 16, 16))
    writer = inference.SlabWriter(tmp_path / "map.npy", volume.shape, np.float32, {"key": "other"})
    writer.append(np.full((8, 16, 16), 7, np.float32))
    found = np.load(write_map(network, volume, LEVELS, tmp_path / "map.npy", "key"))
    assert found.max() <= 1
