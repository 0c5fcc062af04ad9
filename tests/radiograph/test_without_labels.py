"""annotate-volume and train-without-labels as a user runs them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from failures import check_one_line

from data.files import write_json
from data.volumes.labels import AIR, MATERIAL, PORE
from data.volumes.manifest import read_manifest
from data.volumes.reading import read_volume
from data.volumes.writing import write_volume
from detectors.build import build_model
from detectors.config.files import check_config
from detectors.config.volume_sources import VOLUME_CATEGORIES
from detectors.runs.checkpoint import save_checkpoint
from radiograph.commands import annotate_volume, evaluate, predict, train_without_labels

SHAPE = (16, 24, 24)


def run(command: object, *arguments: object) -> Result:
    return CliRunner().invoke(command.main, [str(argument) for argument in arguments])  # type: ignore[attr-defined]


def truth() -> np.ndarray:
    """Return the labels of a block with a pore of 3 voxels a side."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:14, 4:20, 4:20] = MATERIAL
    labels[7:10, 9:12, 10:13] = PORE
    return labels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a scan of the block, which `scans.json` names without its labels."""
    noise = np.random.default_rng(0).normal(0, 400, SHAPE)
    scan = (np.where(truth() == MATERIAL, 30_000, 9_000) + noise).astype(np.uint16)
    write_volume(tmp_path / "scan.tif", scan, (0.02, 0.02, 0.02))
    write_volume(tmp_path / "truth.tif", truth())
    write_json(tmp_path / "scans.json", {"volumes": [{"file": "scan.tif"}]})
    write_json(tmp_path / "labeled.json", {"volumes": [{"file": "scan.tif", "labels": "truth.tif"}]})
    return tmp_path


def settings(folder: Path, model: dict, **data: object) -> dict:
    return {
        "name": model["name"], "output": str(folder / "runs"), "model": {"block": 16, "overlap": 8, **model},
        "data": {"train": {"volumes": str(folder / "scans.json")}, "val": {"volumes": str(folder / "scans.json")},
                 "workers": 0, "volumes": {"crop": {"size": 16, **data}}},
        "train": {"epochs": 1, "samples_per_epoch": 4, "batch_size": 2, "device": "cpu"},
    }  # fmt: skip


VAE = {"name": "vae", "widths": [4, 8], "latent": 4}
UNET = {"name": "unet3d", "widths": [4, 8], "norm": "batch"}


def saved(folder: Path, model: dict, name: str) -> Path:
    """Return a checkpoint of a model that has learned nothing."""
    torch.manual_seed(0)
    config = check_config(settings(folder, model, around_defect=0.0))
    save_checkpoint(folder / name, build_model(config.model, 1), config, VOLUME_CATEGORIES, 1, {}, None)
    return folder / name


def test_thresholds_label_the_pore(folder: Path) -> None:
    done = run(annotate_volume, folder / "scan.tif", "--otsu-fixed", "--out", folder / "out")
    assert done.exit_code == 0, done.output
    assert "27 pore voxels" in done.output
    (entry,) = read_manifest(folder / "out")
    assert entry.labels is not None
    np.testing.assert_array_equal(read_volume(entry.labels).slab(0, SHAPE[0]), truth())
    assert entry.volume().voxel_mm == pytest.approx((0.02,) * 3)
    assert (folder / "out" / "labels.png").is_file()
    before = (folder / "out" / "labels_0001.tif").stat().st_mtime_ns
    assert run(annotate_volume, folder / "scan.tif", "--otsu-fixed", "--out", folder / "out").exit_code == 0
    assert (folder / "out" / "labels_0001.tif").stat().st_mtime_ns == before
    check_one_line(
        run(annotate_volume, folder / "scan.tif", "--otsu", "--out", folder / "out"), "volumes.json", "another folder"
    )


def test_an_autoencoder_labels_material_only(folder: Path) -> None:
    checkpoint = saved(folder, VAE, "vae.ckpt")
    out = folder / "out"
    done = run(annotate_volume, folder / "scans.json", "--run", checkpoint, "--threshold", "0.05", "--out", out)
    assert done.exit_code == 0, done.output
    labels = read_volume(out / "labels_0001.tif").slab(0, SHAPE[0])
    assert (labels == PORE).any()
    np.testing.assert_array_equal(labels == AIR, truth() == AIR)
    assert json.loads((out / "volumes.json").read_text())["made_by"]["threshold"] == 0.05


def test_bad_calls_end_in_one_line(folder: Path) -> None:
    unet = saved(folder, UNET, "unet.ckpt")
    scan = folder / "scan.tif"
    check_one_line(
        run(annotate_volume, scan, "--run", unet, "--out", folder / "out"), "unet3d", "post-process", "ct_vae"
    )
    assert not (folder / "out").exists()
    assert run(annotate_volume, scan).exit_code == 2
    assert run(annotate_volume, scan, "--otsu", "--threshold", "0.2").exit_code == 2
    check_one_line(run(train_without_labels, "--cfg", "ct_vae", "--otsu", "--out", folder / "out"), "vae", "ct_unet")
    check_one_line(run(train_without_labels, "--cfg", "quickstart", "--otsu", "--out", folder / "out"), "quickstart")
    configuration = folder / "unet.yaml"
    configuration.write_text(yaml.safe_dump(settings(folder, UNET)))
    check_one_line(
        run(train_without_labels, "--cfg", configuration, "--autoencoder", configuration, "--out", folder / "out"),
        "no autoencoder", "ct_vae",
    )  # fmt: skip
    vae = saved(folder, VAE, "vae.ckpt")
    check_one_line(
        run(train_without_labels, "--cfg", configuration, "--run", vae, "--threshold", "1", "--out", folder / "out"),
        "not one voxel", "--threshold",
    )  # fmt: skip


def test_models_of_volumes_are_not_asked_for_boxes_and_networks_not_for_post_processing(folder: Path) -> None:
    vae, unet = saved(folder, VAE, "vae.ckpt"), saved(folder, UNET, "unet.ckpt")
    for checkpoint, name in ((vae, "'vae'"), (unet, "'unet3d'")):
        check_one_line(run(predict, "--run", checkpoint, folder / "scan.tif", "--out", folder / "found"), name,
                       "analyze-pores")  # fmt: skip
    assert not (folder / "found").exists()
    configuration = folder / "unet.yaml"
    configuration.write_text(yaml.safe_dump(settings(folder, UNET)))
    asked = ("--set", "model.post_processing=true", "--weights", unet, "--out", folder / "out")
    check_one_line(run(evaluate, "--cfg", configuration, *asked), "'unet3d' reconstructs nothing", "post_processing")


def test_the_loss_that_autoencoders_once_had_is_left_out_of_old_files(folder: Path) -> None:
    old = settings(folder, VAE | {"loss": {"bce": 0.5}}, around_defect=0.0)
    assert "loss" not in check_config(old).as_dict()["model"]
    assert check_config(settings(folder, UNET | {"loss": {"bce": 0.5}})).as_dict()["model"]["loss"]["bce"] == 0.5


def test_the_chain_trains_an_autoencoder_and_a_network_on_its_labels(folder: Path) -> None:
    network, autoencoder = folder / "unet.yaml", folder / "vae.yaml"
    content = settings(folder, UNET)
    content["data"]["test"] = {"volumes": str(folder / "labeled.json")}
    network.write_text(yaml.safe_dump(content))
    autoencoder.write_text(yaml.safe_dump(settings(folder, VAE, around_defect=0.0)))
    arguments = ("--cfg", network, "--autoencoder", autoencoder, "--threshold", "0.05", "--out", folder / "out")
    done = run(train_without_labels, *arguments)
    assert done.exit_code == 0, done.output
    assert {path.name for path in (folder / "runs").iterdir()} == {"vae", "unet3d"}
    (trained,) = (folder / "runs" / "unet3d").iterdir()
    used = yaml.safe_load((trained / "config.yaml").read_text())["data"]
    assert Path(used["train"][0]["volumes"]) == (folder / "out" / "train" / "volumes.json").resolve()
    assert Path(used["test"]["volumes"]) == folder / "labeled.json"
    assert json.loads((trained / "metrics.json").read_text())["pores"] == 1
    check_one_line(run(train_without_labels, *arguments), "has labels already", "--out")
