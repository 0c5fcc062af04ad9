"""Networks over volumes through the loop: a run that is stopped goes on as if it had not been."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data.files import write_json
from data.volumes.labels import MATERIAL, PORE
from data.volumes.writing import write_volume
from detectors.backbones.weights import read_checkpoint
from detectors.config.experiment import ExperimentConfig
from detectors.config.files import check_config, read_config
from detectors.training import train
from detectors.training.loop import Trainer

MODELS = {
    "unet3d": {"name": "unet3d", "widths": [4, 8], "norm": "batch", "dropout": 0.1, "block": 16, "overlap": 4},
    "slice_unet": {"name": "slice_unet", "widths": [4, 8], "norm": "batch", "block": 16, "overlap": 4},
    "frozen": {"name": "deep_defect", "widths": [4, 8], "norm": "batch", "freeze": "stem", "refine_width": 4,
               "block": 16, "overlap": 4},
}  # fmt: skip


@pytest.mark.parametrize("name", ["ct_unet", "ct_slice_unet", "ct_deep_defect", "ct_dilated"])
def test_the_family_tested_on_is_neither_trained_on_nor_chosen_by(name: str) -> None:
    data = read_config(name).data
    assert data.val is not None
    assert data.test is not None
    train, val, test = (
        set(source.ct_phantoms.families or ()) if source.ct_phantoms else set()
        for source in (data.train[0], data.val, data.test)
    )
    assert test
    assert not test & (train | val)
    assert val - train  # one family of the validation is new, too


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    rng = np.random.default_rng(0)
    entries = []
    for number in range(2):
        labels = np.zeros((20, 24, 24), np.uint8)
        labels[3:17, 4:20, 4:20] = MATERIAL
        for z, y, x in rng.integers(5, 14, (4, 3)):
            labels[z : z + 2, y : y + 3, x : x + 2] = PORE
        values = np.where(labels == MATERIAL, 30_000, 9_000) + rng.normal(0, 400, labels.shape)
        write_volume(folder / f"scan_{number}.tif", values.astype(np.uint16))
        write_volume(folder / f"labels_{number}.tif", labels)
        entries.append({"file": f"scan_{number}.tif", "labels": f"labels_{number}.tif"})
    write_json(folder / "volumes.json", {"volumes": entries})
    return folder / "volumes.json"


def tiny_config(manifest: Path, output: Path, model: str) -> ExperimentConfig:
    source = {"volumes": str(manifest)}
    size = [1, 16, 16] if model == "slice_unet" else 16
    return check_config(
        {
            "name": "tiny", "seed": 3, "output": str(output), "model": MODELS[model],
            "data": {
                "train": source, "val": source, "workers": 0,
                "volumes": {"crop": {"size": size}, "augmentation": {"elastic": 1.0, "chance": 0.5}},
            },
            "train": {"epochs": 3, "samples_per_epoch": 6, "batch_size": 3, "optimizer": "adamw", "lr": 1e-2,
                      "ema_decay": 0.9, "device": "cpu"},
        }
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_resumed_run_equals_one_that_was_never_stopped(
    model: str, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, metrics = train(tiny_config(manifest, tmp_path / "whole", model))
    run_epoch = Trainer._run_epoch

    def killed(self: Trainer, epoch: int) -> dict:
        if epoch == 1:
            raise KeyboardInterrupt
        return run_epoch(self, epoch)

    monkeypatch.setattr(Trainer, "_run_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_config(manifest, tmp_path / "parts", model))
    monkeypatch.undo()
    (folder,) = (tmp_path / "parts" / "tiny").iterdir()
    torch.rand(11)
    _, resumed = train(tiny_config(manifest, tmp_path / "parts", model), resume=folder)
    assert resumed == metrics
    first, second = read_checkpoint(whole / "last.ckpt"), read_checkpoint(folder / "last.ckpt")
    assert first["model"].keys() == second["model"].keys()
    for name, value in first["model"].items():
        assert torch.equal(value, second["model"][name]), name
    for name, value in first["training"]["averaged"].items():
        assert torch.equal(value, second["training"]["averaged"][name]), name
