"""The loop: resuming is exact, bad data stop it with a message, and a run leaves what it promises."""

import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from data.errors import InputError
from detectors.backbones.weights import read_checkpoint
from detectors.config.experiment import ExperimentConfig, ScheduleConfig, SourceConfig
from detectors.config.files import check_config, write_config
from detectors.runs.checkpoint import load_model
from detectors.runs.reevaluate import evaluate_run
from detectors.training import train
from detectors.training.detection import DetectionTask
from detectors.training.logs import RunLog, read_rows
from detectors.training.loop import Trainer
from detectors.training.optimization import averaged_model, learning_rate_factor

TINY_MODEL = {
    "name": "faster_rcnn", "backbone": "resnet18", "pyramid": True, "fpn_channels": 16, "min_size": None,
    "crop_size": 7, "head_channels": 16, "roi_batch_size": 8, "input": "local_contrast",
    "rpn": {"anchor_sizes": [[8], [16], [32]], "proposals": 8, "proposals_before_nms": 16, "batch": 16},
}  # fmt: skip


def tiny_config(json_file: Path, output: Path, **train: object) -> ExperimentConfig:
    source = {"json": str(json_file)}
    return check_config(
        {
            "name": "tiny",
            "seed": 5,
            "output": str(output),
            "model": TINY_MODEL,
            "data": {
                "train": source,
                "val": source,
                "workers": 0,
                "augmentation": {
                    "crop": {"size": 64, "defect_crop_fraction": 0.5},
                    "horizontal_flip": 0.5,
                    "noise": 0.01,
                },
            },
            "train": {"epochs": 4, "batch_size": 2, "optimizer": "adamw", "lr": 1e-3, "ema_decay": 0.9, "device": "cpu"}
            | train,
        }
    )


def same(first: object, second: object) -> bool:
    """Whether two nests of dicts, lists and tensors are equal bit by bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    return first == second


def mixed_config(json_file: Path, output: Path) -> ExperimentConfig:
    """Two sources, workers, SGD with steps: what the plain configuration does not exercise."""
    schedule = ScheduleConfig(kind="step", milestones=[3], warmup_steps=2)
    config = tiny_config(json_file, output, optimizer="sgd", samples_per_epoch=4, ema_decay=None)
    sources = [SourceConfig(json=str(json_file), weight=weight) for weight in (1.0, 3.0)]
    data = config.data.model_copy(update={"train": sources, "workers": 2})
    return config.model_copy(update={"data": data, "train": config.train.model_copy(update={"schedule": schedule})})


@pytest.mark.slow
@pytest.mark.parametrize("make_config", [tiny_config, mixed_config])
def test_two_epochs_killed_and_two_resumed_equal_four(
    make_config: Callable[[Path, Path], ExperimentConfig],
    castings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, _ = train(make_config(castings, tmp_path / "whole"))

    run_epoch = Trainer._run_epoch

    def killed(self: Trainer, epoch: int) -> dict[str, float]:
        if epoch == 2:
            raise KeyboardInterrupt
        return run_epoch(self, epoch)

    monkeypatch.setattr(Trainer, "_run_epoch", killed)
    config = make_config(castings, tmp_path / "parts")
    with pytest.raises(KeyboardInterrupt):
        train(config)
    monkeypatch.undo()
    (folder,) = (tmp_path / "parts" / "tiny").iterdir()
    assert read_checkpoint(folder / "last.ckpt")["epoch"] == 2
    # Whatever happened to the generators in between must not matter.
    torch.rand(17)
    train(config, resume=folder)

    first, second = read_checkpoint(whole / "last.ckpt"), read_checkpoint(folder / "last.ckpt")
    for name in ("model", "epoch", "categories"):
        assert same(first[name], second[name]), name
    for name in ("model", "averaged", "optimizer", "schedule", "step", "best", "random"):
        assert same(first["training"][name], second["training"][name]), name
    assert json.loads((whole / "detections.json").read_text()) == json.loads((folder / "detections.json").read_text())
    losses = [[row["loss"] for row in csv.DictReader((run / "log.csv").open())] for run in (whole, folder)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4


def test_a_run_leaves_what_it_promises(castings: Path, tmp_path: Path) -> None:
    folder, metrics = train(tiny_config(castings, tmp_path, epochs=1))
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {
        "config.yaml", "best.ckpt", "last.ckpt", "log.csv", "metrics.json", "detections.json",
        "plots/pr_curve.png", "plots/examples.png",
    } <= names  # fmt: skip
    assert any(name.startswith("tensorboard/") for name in names)
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert metrics["images"] == 6
    assert not [name for name in names if Path(name).name.startswith(".")], "temporary files are left"
    assert yaml.safe_load((folder / "config.yaml").read_text())["model"]["backbone"] == "resnet18"
    model, config, categories = load_model(folder)
    assert not model.training
    assert categories == [{"id": 1, "name": "defect"}]
    assert config.name == "tiny"


def test_the_first_loss_that_is_not_finite_stops_with_the_batch_named(
    castings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = DetectionTask.losses

    def broken(self: DetectionTask, *arguments: object) -> dict[str, torch.Tensor]:
        return losses(self, *arguments) | {"loss_classifier": torch.tensor(math.nan, requires_grad=True)}

    monkeypatch.setattr(DetectionTask, "losses", broken)
    with pytest.raises(InputError, match=r"loss_classifier is nan in epoch 1 at step 0, batch of image ids \d"):
        train(tiny_config(castings, tmp_path))


def test_what_cannot_change_on_resuming_is_refused(castings: Path, tmp_path: Path) -> None:
    folder, _ = train(tiny_config(castings, tmp_path, epochs=1))
    with pytest.raises(InputError, match=r"train\.lr cannot change when a run is resumed"):
        train(tiny_config(castings, tmp_path, epochs=2, lr=0.5), resume=folder)


def test_validation_data_is_checked_before_training(castings: Path, tmp_path: Path) -> None:
    content = json.loads(castings.read_text())
    content["categories"][0]["name"] = "screw"
    (tmp_path / "screws.json").write_text(json.dumps(content))
    config = tiny_config(castings, tmp_path / "runs")
    test = SourceConfig(json=str(tmp_path / "screws.json"), images=str(castings.parent))
    with pytest.raises(InputError, match="screw"):
        train(config.model_copy(update={"data": config.data.model_copy(update={"test": test})}))
    assert not (tmp_path / "runs").exists()


def test_without_validation_the_last_weights_are_the_best(castings: Path, tmp_path: Path) -> None:
    config = tiny_config(castings, tmp_path, epochs=2)
    folder, metrics = train(config.model_copy(update={"data": config.data.model_copy(update={"val": None})}))
    assert metrics is None
    assert read_checkpoint(folder / "best.ckpt")["epoch"] == 2


def test_a_torn_radiograph_is_found_before_training(castings: Path, tmp_path: Path) -> None:
    """The last of the validation radiographs, which no step needs."""
    for path in castings.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    torn = tmp_path / "C0001_0006.png"
    torn.write_bytes(torn.read_bytes()[:-40])
    config = tiny_config(castings, tmp_path / "runs")
    val = SourceConfig(json=str(tmp_path / castings.name))
    with pytest.raises(InputError, match=r"C0001_0006\.png"):
        train(config.model_copy(update={"data": config.data.model_copy(update={"val": val})}))
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_two_processes_share_the_work(castings: Path, tmp_path: Path) -> None:
    write_config(tmp_path / "tiny.yaml", tiny_config(castings, tmp_path / "runs", epochs=1))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    tool = Path(__file__).resolve().parents[3] / "tools" / "train.py"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([*launch, tool, "--cfg", tmp_path / "tiny.yaml"], check=True, timeout=300, env=environment)
    (folder,) = (tmp_path / "runs" / "tiny").iterdir()
    assert json.loads((folder / "metrics.json").read_text())["images"] == 6
    # Three batches of two in one process are two batches a process here: the sampler evens the shares out.
    training = read_checkpoint(folder / "last.ckpt")["training"]
    assert training["step"] == 2
    assert len(training["random"]) == 2
    assert not torch.equal(training["random"][0]["torch"], training["random"][1]["torch"])
    # Each process detected in its share; one alone, in all of them, finds the same.
    detected = json.loads((folder / "detections.json").read_text())
    assert {result["image_id"] % 2 for result in detected} == {0, 1}
    evaluate_run(folder, out=tmp_path / "again")
    alone = json.loads((tmp_path / "again" / "detections.json").read_text())
    key = ("image_id", "score")
    assert sorted(detected, key=lambda r: [r[k] for k in key]) == sorted(alone, key=lambda r: [r[k] for k in key])


def test_weights_of_another_run_start_a_new_one(castings: Path, tmp_path: Path) -> None:
    folder, _ = train(tiny_config(castings, tmp_path / "first", epochs=1))
    config = tiny_config(castings, tmp_path / "second", epochs=1)
    start = config.model_copy(update={"model": config.model.model_copy(update={"weights": str(folder)})})
    trainer = Trainer(start)
    source = read_checkpoint(folder)["model"]
    assert all(torch.equal(v, source[k]) for k, v in trainer._plain_model().state_dict().items())


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_missing_or_foreign_checkpoint_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "some.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"some\.ckpt") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_other_layers_names_the_first_that_differs(castings: Path, tmp_path: Path) -> None:
    folder, _ = train(tiny_config(castings, tmp_path, epochs=1))
    config = tiny_config(castings, tmp_path)
    update = {"weights": str(folder), "fpn_channels": 24}
    with pytest.raises(InputError, match=r"do not fit this model, the first is 'backbone\.fpn"):
        Trainer(config.model_copy(update={"model": config.model.model_copy(update=update)}))


def test_schedules_by_hand() -> None:
    cosine = learning_rate_factor(ScheduleConfig(kind="cosine", warmup_steps=0, min_lr_factor=0.1), 100)
    assert cosine(0) == 1.0
    assert cosine(50) == pytest.approx(0.55)
    assert cosine(100) == pytest.approx(0.1)
    step = learning_rate_factor(ScheduleConfig(kind="step", warmup_steps=3, milestones=[10, 20], gamma=0.1), 100)
    assert [round(step(k), 6) for k in (0, 1, 2, 3, 9, 10, 20)] == [0.25, 0.5, 0.75, 1.0, 1.0, 0.1, 0.01]


def test_averaged_weights_follow_the_warm_decay() -> None:
    """From 0 with a constant 1: decays 2/11 and 3/12 leave 1 - (2/11)(3/12) after the first copy and two steps."""
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(layer.weight)
    averaged = averaged_model(layer, 0.999)
    averaged.update_parameters(layer)
    torch.nn.init.ones_(layer.weight)
    averaged.update_parameters(layer)
    averaged.update_parameters(layer)
    assert averaged.module.weight.item() == pytest.approx(1 - (2 / 11) * (3 / 12))


def test_unknown_metrics_stay_empty_in_the_log(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.write([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "val_ap50": 0.75}])
    log.close()
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [row["val_ap50"] for row in rows] == ["", "0.75"]
    assert read_rows(tmp_path / "log.csv", 1) == [{"epoch": 1, "loss": 0.5, "val_ap50": None}]


def test_averaged_weights_come_with_averaged_batch_norm() -> None:
    """Statistics of the current weights would not fit the averaged ones; the count of batches is no average."""
    norm = nn.BatchNorm1d(1)
    averaged = averaged_model(norm, 0.5)
    averaged.update_parameters(norm)
    with torch.no_grad():
        norm.running_mean.fill_(4.0)
        norm.num_batches_tracked.fill_(7)
    averaged.update_parameters(norm)
    assert averaged.module.running_mean.item() == pytest.approx(4 * (1 - 2 / 11))
    assert averaged.module.num_batches_tracked.item() == 7
