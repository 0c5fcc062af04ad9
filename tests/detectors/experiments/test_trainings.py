"""Trainings at the same time are the trainings one after the other."""

import os
from pathlib import Path

import pytest
import torch

from data.tasks import ProcessTasks
from detectors.backbones.weights import read_checkpoint
from detectors.experiments.learning_curve import learning_curve
from detectors.experiments.trainings import share_threads, train_all
from detectors.training import train
from tests.detectors.training.test_loop import tiny_config


@pytest.mark.slow
def test_a_learning_curve_of_processes_is_that_of_one_training_after_the_other(
    castings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    curves = []
    for name, tasks in (("one", None), ("two", ProcessTasks(2))):
        config = tiny_config(castings, tmp_path / name / "runs", epochs=1)
        curves.append(learning_curve(config, [0.5, 1.0], tmp_path / name, train, tasks))
    runs = [[Path(point.pop("run")) for point in curve] for curve in curves]
    assert curves[0] == curves[1]
    for first, second in zip(*runs, strict=True):
        one, other = (read_checkpoint(run)["model"] for run in (first, second))
        assert all(torch.equal(one[key], other[key]) for key in one)
        assert (first / "detections.json").read_bytes() == (second / "detections.json").read_bytes()
    logs = tmp_path / "two" / "logs"
    assert sorted(path.name for path in logs.iterdir()) == ["tiny-0.5.log", "tiny-1.log"]
    assert "epoch 1/1" in (logs / "tiny-1.log").read_text()


def test_each_training_is_named_and_prints_into_its_own_file(tmp_path: Path, castings: Path) -> None:
    from data.console import console

    configs = {name: tiny_config(castings, tmp_path / name) for name in ("a", "b")}
    found = dict(
        train_all(
            configs, lambda config: console.print(f"into {config.output}"), lambda f, items: map(f, items), tmp_path
        )
    )
    assert found == {"a": None, "b": None}
    for name in found:
        assert (tmp_path / f"{name}.log").read_text().split() == ["into", str(tmp_path / name)]


def test_trainings_share_the_threads_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    share_threads(1)
    assert "OMP_NUM_THREADS" not in os.environ
    share_threads(3)
    assert os.environ["OMP_NUM_THREADS"] == "2"
    share_threads(8)
    assert os.environ["OMP_NUM_THREADS"] == "2"
