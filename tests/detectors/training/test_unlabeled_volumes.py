"""Autoencoders through the loop: on volumes without labels, to a map that evaluation and analysis read."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import InputError
from data.files import write_json
from data.volumes.gray_levels import GrayLevels
from data.volumes.labels import MATERIAL, PORE
from data.volumes.manifest import read_manifest
from data.volumes.reading import read_volume
from data.volumes.writing import write_volume
from detectors.config.experiment import ExperimentConfig
from detectors.config.files import check_config
from detectors.config.unlabeled_volumes import unlabeled
from detectors.runs.checkpoint import load_model
from detectors.runs.evaluate import evaluate_source
from detectors.training import train
from detectors.volumes.inference import map_volume, write_map

LEVELS = GrayLevels(9_000, 30_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a volume whose labels are not named by `unlabeled.json`, and named by `volumes.json`."""
    folder = tmp_path_factory.mktemp("volumes")
    rng = np.random.default_rng(0)
    labels = np.zeros((20, 24, 24), np.uint8)
    labels[3:17, 4:20, 4:20] = MATERIAL
    labels[8:11, 9:12, 9:12] = PORE
    values = np.where(labels == MATERIAL, 30_000, 9_000) + rng.normal(0, 400, labels.shape)
    write_volume(folder / "scan.tif", values.astype(np.uint16))
    write_volume(folder / "labels.tif", labels)
    write_json(folder / "volumes.json", {"volumes": [{"file": "scan.tif", "labels": "labels.tif"}]})
    write_json(folder / "unlabeled.json", {"volumes": [{"file": "scan.tif"}]})
    return folder


def tiny(folder: Path, output: Path, **crop: object) -> ExperimentConfig:
    return check_config(
        {
            "name": "tiny", "seed": 3, "output": str(output),
            "model": {"name": "vae", "widths": [4, 8], "latent": 6, "block": 16, "overlap": 8},
            "data": {
                "train": {"volumes": str(folder / "unlabeled.json")}, "val": None,
                "test": {"volumes": str(folder / "volumes.json")}, "workers": 0,
                "volumes": {"crop": {"size": 16, "around_defect": 0, **crop}, "closed_air": False},
            },
            "train": {"epochs": 2, "samples_per_epoch": 16, "batch_size": 4, "optimizer": "adamw", "lr": 1e-2,
                      "device": "cpu"},
        }
    )  # fmt: skip


def test_a_volume_without_labels_trains_and_its_map_is_evaluated(folder: Path, tmp_path: Path) -> None:
    config = tiny(folder, tmp_path / "runs")
    run, metrics = train(config)
    assert metrics is not None
    assert 0 < metrics["voxel_ap_in_part"] <= 1  # type: ignore[operator]
    model, config, categories = load_model(run)
    assert config.data.test is not None
    device = torch.device("cpu")
    again = evaluate_source(model, config.data.test, categories, config, device, tmp_path / "again")
    assert again["voxel_ap_in_part"] == metrics["voxel_ap_in_part"]
    volume = read_volume(folder / "scan.tif")
    whole = np.load(write_map(model.eval(), volume, LEVELS, tmp_path / "map.npy", "key"))
    rest = np.concatenate([slab.values for slab in map_volume(model, volume, LEVELS, first=7)])
    np.testing.assert_allclose(rest, whole[7:], atol=1e-6)
    model.config = model.config.model_copy(update={"post_processing": False})
    before = np.concatenate([slab.values for slab in map_volume(model, volume, LEVELS)])
    assert (whole <= before + 1e-6).all()
    assert whole.sum() < before.sum()


@pytest.mark.parametrize(
    ("crop", "words"), [({"size": 24}, "crop.size is 24 and model.block 16"), ({"around_defect": 0.5}, "set it to 0")]
)
def test_patches_that_an_autoencoder_cannot_learn_from_are_refused(
    folder: Path, tmp_path: Path, crop: dict, words: str
) -> None:
    with pytest.raises(InputError) as caught:
        train(tiny(folder, tmp_path / "runs", **crop))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_pores_are_material_to_those_who_know_no_labels(folder: Path) -> None:
    (entry,) = read_manifest(folder / "unlabeled.json")
    labels = unlabeled(entry, LEVELS).labels
    truth = read_volume(folder / "labels.tif").slab(0, 20)
    assert np.array_equal(labels, np.minimum(truth, MATERIAL))
