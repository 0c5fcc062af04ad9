"""Maps of whole volumes: probabilities, and files that go on where they were stopped."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from data.volumes.gray_levels import GrayLevels
from data.volumes.volume import Volume
from detectors.build import build_model
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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.npy", "whole.npy"]


def test_a_map_of_other_weights_is_begun_anew(network: nn.Module, tmp_path: Path) -> None:
    volume = metal((24, 16, 16))
    writer = inference.SlabWriter(tmp_path / "map.npy", volume.shape, np.float32, {"key": "other"})
    writer.append(np.full((8, 16, 16), 7, np.float32))
    found = np.load(write_map(network, volume, LEVELS, tmp_path / "map.npy", "key"))
    assert found.max() <= 1
