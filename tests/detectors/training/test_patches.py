"""Patch classifiers through the loop: from radiographs or patches to an accuracy, and to boxes on radiographs."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_patches import TinyConfig, TinyPatchClassifier
from torch import Tensor, nn

from data.coco import read_coco
from data.errors import InputError
from data.patch_files import PatchSet, write_patches
from data.patches import PatchConfig, RadiographPatches
from data.radiograph import write_radiograph
from detectors.build import MODELS
from detectors.config.experiment import ExperimentConfig
from detectors.config.files import check_config
from detectors.runs.reevaluate import evaluate_run
from detectors.training import train

SIZE = 16


class TinyClassifier(TinyPatchClassifier):
    """Gray values against their surroundings, two convolutions, the strongest answer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 12, 5), nn.ReLU(), nn.Conv2d(12, 12, 5, stride=2), nn.ReLU())
        self.head = nn.Linear(24, 2)

    def logits(self, patches: Tensor) -> Tensor:
        around = F.avg_pool2d(patches, 9, 1, 4, count_include_pad=False)
        maps = self.layers(50 * (patches - around))
        return self.head(torch.cat([maps.amax(dim=(2, 3)), maps.mean(dim=(2, 3))], dim=1))


@pytest.fixture(autouse=True)
def _known_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny_patches", (TinyConfig, lambda config, num_classes: TinyClassifier()))


@pytest.fixture(scope="module")
def stored(castings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A patch file of the castings, whose radiographs can be told apart by name."""
    path = tmp_path_factory.mktemp("patches") / "castings.npz"
    source = RadiographPatches(read_coco(castings), castings.parent, PatchConfig(size=SIZE, min_defect_fraction=0.9))
    write_patches(path, source.sample_set(1, per_class=100))
    return path


def patch_config(
    output: Path, patches: dict | None = None, training: dict | None = None, **data: object
) -> ExperimentConfig:
    return check_config(
        {
            "name": "patches",
            "output": str(output),
            "model": {"name": "tiny_patches"},
            "data": {"workers": 0, "patches": {"size": SIZE} | (patches or {})} | data,
            "train": {"epochs": 1, "batch_size": 32, "optimizer": "adamw", "lr": 5e-3, "device": "cpu"}
            | {"schedule": {"warmup_steps": 0}}
            | (training or {}),
        }
    )


@pytest.mark.slow
def test_radiographs_teach_a_classifier_that_is_right_on_other_patches(
    castings: Path, stored: Path, tmp_path: Path
) -> None:
    source = {"json": str(castings)}
    config = patch_config(
        tmp_path,
        {"per_image": 60, "share": 0.9},
        {"epochs": 8},
        train=source,
        val=source,
        test={"patches": str(stored)},
    )
    folder, metrics = train(config)
    assert metrics["accuracy"] > 0.85
    assert metrics["roc_auc"] > 0.9
    assert metrics["ap50"] is None
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    names = {str(p.relative_to(folder)) for p in folder.rglob("*")}
    assert {"patches.csv", "plots/roc_curve.png", "plots/confusion.png", "plots/wrong_patches.png"} <= names
    rows = list(csv.DictReader((folder / "log.csv").open()))
    assert float(rows[-1]["val_accuracy"]) > float(rows[0]["val_accuracy"]) - 0.05
    with (folder / "patches.csv").open(newline="") as stream:
        assert sum(row["right"] == "1" for row in csv.DictReader(stream)) == round(200 * metrics["accuracy"])

    # Again from the run, on patches and on radiographs.
    assert evaluate_run(folder, out=tmp_path / "again")[1] == metrics
    assert evaluate_run(folder, json_file=stored)[1] == metrics
    place, on_images = evaluate_run(folder, json_file=castings)
    assert on_images["images"] == 6
    assert on_images["accuracy"] is None
    assert (place / "detections.json").is_file()


def test_a_test_on_radiographs_is_judged_like_every_detector(castings: Path, stored: Path, tmp_path: Path) -> None:
    config = patch_config(tmp_path, train={"patches": str(stored)}, test={"json": str(castings)})
    folder, metrics = train(config)
    assert metrics["images"] == 6
    assert metrics["ap50"] is not None
    assert (folder / "plots" / "pr_curve.png").is_file()


def test_a_fold_of_the_training_patches_is_held_out(stored: Path, tmp_path: Path) -> None:
    config = patch_config(tmp_path, {"validation_fold": "2/3"}, train={"patches": str(stored)})
    folder, metrics = train(config)
    with (folder / "patches.csv").open(newline="") as stream:
        held_out = list(csv.DictReader(stream))
    assert 0 < len(held_out) < 200
    assert 0 <= metrics["accuracy"] <= 1
    other = patch_config(tmp_path, {"validation_fold": "1/3"}, train={"patches": str(stored)})
    with (train(other)[0] / "patches.csv").open(newline="") as stream:
        files = {row["file"] for row in csv.DictReader(stream)}
    assert not files & {row["file"] for row in held_out}


def test_without_validation_and_test_there_are_no_figures(stored: Path, tmp_path: Path) -> None:
    assert train(patch_config(tmp_path, train={"patches": str(stored)}))[1] is None


def test_simulated_defects_join_real_patches(castings: Path, stored: Path, tmp_path: Path) -> None:
    pixels = np.full((10, SIZE, SIZE), 99, dtype=np.uint8)
    places, names = np.full((10, 3), np.nan, dtype=np.float32), np.array(["a.png"] * 10)
    simulated = PatchSet(pixels, np.ones(10, dtype=np.int64), names, places, np.array(["ellipsoid"] * 10))
    write_patches(tmp_path / "ellipsoids.npz", simulated)
    sources = [
        {"patches": str(stored), "weight": 0.25},
        {"patches": str(tmp_path / "ellipsoids.npz"), "weight": 0.5},
        {"json": str(castings), "weight": 0.25},
    ]
    config = patch_config(tmp_path, {"per_image": 5}, {"samples_per_epoch": 64}, train=sources, val=sources[0])
    assert train(config)[1]["accuracy"] is not None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": {"patches": "none.npz"}}, r"none\.npz: no such patch file"),
        ({"patches": {"size": 32}}, "16 x 16 pixels, but data.patches.size is 32"),
        ({"window": {"low": 1}}, "data.window needs whole radiographs"),
        ({"augmentation": {"scale": [0.5, 2]}}, "change a patch's size"),
        ({"patches": {"size": SIZE, "validation_fold": "1/2"}, "val": {"patches": "x.npz"}}, "both name validation"),
        ({"test": {"patches": "none.npz"}}, r"none\.npz: no such patch file"),
        ({"patches": {"size": SIZE, "validation_fold": "7/2"}}, "is not k/n"),
    ],
)
def test_faults_stop_before_training(stored: Path, tmp_path: Path, changes: dict, words: str) -> None:
    data = {"train": {"patches": str(stored)}} | changes
    with pytest.raises(InputError, match=words):
        train(patch_config(tmp_path / "runs", data.pop("patches", None), **data))
    assert not (tmp_path / "runs").exists()


def test_a_fold_of_radiographs_and_several_classes_are_refused(castings: Path, tmp_path: Path) -> None:
    config = patch_config(tmp_path, {"validation_fold": "1/2"}, train={"json": str(castings)})
    with pytest.raises(InputError, match="splits patch files and folders"):
        train(config)
    content = json.loads(castings.read_text())
    content["categories"].append({"id": 2, "name": "crack"})
    (tmp_path / "two.json").write_text(json.dumps(content))
    two = {"json": str(tmp_path / "two.json"), "images": str(castings.parent)}
    with pytest.raises(InputError, match="a patch classifier knows one"):
        train(patch_config(tmp_path, train=two))
    write_radiograph(tmp_path / "one" / "class_0" / "a.png", np.zeros((SIZE, SIZE), dtype=np.float32))
    with pytest.raises(InputError, match="no defect patch"):
        train(patch_config(tmp_path, train={"patches": str(tmp_path / "one")}))
