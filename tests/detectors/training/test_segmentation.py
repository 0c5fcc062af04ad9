"""The weld FCN through the loop: from simulated welds to pixel figures, boxes and a prediction."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from data.errors import InputError
from detectors.config.experiment import ExperimentConfig
from detectors.config.files import check_config, read_config
from detectors.runs.prediction import Predictor
from detectors.training import train
from detectors.training.loop import TASKS
from detectors.training.segmentation import SegmentationTask


def settings(folder: Path, **data: object) -> dict:
    def welds(n: int, seed: int) -> dict:
        phantoms = {"kind": "welds", "n": n, "seed": seed, "style": "easy", "size": [128, 96]}
        return {"phantoms": phantoms | {"folder": str(folder / "datasets")}}

    return {
        "name": "weld_test",
        "output": str(folder / "runs"),
        "model": {"name": "weld_fcn", "width": 4, "depth": 2},
        "data": {
            "train": welds(4, 1), "val": welds(2, 2), "test": welds(2, 3), "workers": 0,
            "augmentation": {"crop": {"size": 64, "defect_crop_fraction": 0.8}, "horizontal_flip": 0.5},
        } | data,
        "train": {
            "epochs": 2, "samples_per_epoch": 16, "batch_size": 4, "optimizer": "adamw", "lr": 1e-2,
            "schedule": {"warmup_steps": 1}, "device": "cpu",
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("welds")


@pytest.fixture(scope="module")
def config(folder: Path) -> ExperimentConfig:
    return check_config(settings(folder))


def test_a_training_ends_with_pixel_figures_and_boxes(config: ExperimentConfig) -> None:
    run, metrics = train(config)
    assert metrics is not None
    written = json.loads((run / "metrics.json").read_text())
    assert 0 <= written["pixel_f1"] <= 1
    assert written["ap50"] is not None
    assert {"pixel_iou", "pixel_ap", "defect_recall", "false_regions_per_image"} <= written.keys()
    assert (run / "detections.json").is_file()
    checkpoint = torch.load(run / "best.ckpt", weights_only=True)
    assert checkpoint["metrics"]["pixel_f1"] is not None
    # Where a pixel is marked was chosen on the validation radiographs.
    assert written["pixel_threshold"] == checkpoint["metrics"]["pixel_best_threshold"]

    data = Path(config.data.test.phantoms.folder)
    radiograph = next(data.glob("*/Welds/W0001/*.png"))
    output = Predictor(run)(radiograph)
    assert output["boxes"].shape == (len(output["scores"]), 4)


def test_the_task_trains_on_stacked_crops_and_their_masks(config: ExperimentConfig) -> None:
    task = SegmentationTask(config)
    assert TASKS[config.model.task] is SegmentationTask
    images, masks, ids = batch = task.collate([task.train_set[k] for k in range(4)])
    assert images.shape == (4, 1, 64, 64)
    assert masks.shape == (4, 64, 64)
    assert masks.dtype == torch.uint8
    assert task.describe_batch(batch) == "image ids " + ", ".join(map(str, ids))
    picture = task.preview(batch)
    assert picture.shape == (128, 256, 3)
    green = (picture[64:] == [0, 200, 83]).all(axis=2)
    assert np.array_equal(green, np.hstack([mask.numpy() == 1 for mask in masks]))


def test_without_validation_there_is_no_figure(folder: Path) -> None:
    task = SegmentationTask(check_config(settings(folder, val=None, test=None)))
    model = torch.nn.Identity()
    assert task.validate(model, Accelerator(cpu=True)) is None
    assert task.finish(model, Accelerator(cpu=True), folder) is None


def test_issues_of_the_test_data_come_before_the_training(folder: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.json"):
        SegmentationTask(check_config(settings(folder, test={"json": str(folder / "nowhere.json")})))


def test_the_configuration_of_the_welds_is_valid() -> None:
    config = read_config("weld_fcn.yaml")
    assert config.model.task == "segmentation"
    assert config.data.augmentation.crop.size == 256
