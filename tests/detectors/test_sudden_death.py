"""Processes killed at random moments: training loses no epoch, prediction leaves nothing that looks whole and is not.

`SUDDEN_DEATHS=50 python -m pytest tests/detectors/test_sudden_death.py` kills each of them 50 times.
"""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from data.radiograph import write_radiograph
from detectors.backbones.checkpoint_file import read_checkpoint
from detectors.runs import output_folder
from detectors.runs.prediction import predict_files
from detectors.training import train
from tests.detectors.runs.test_prediction import BrightIsHot, make_predictor
from tests.detectors.training.conftest import line  # noqa: F401
from tests.detectors.training.line_task import LineTask, line_config, log_rows

DEATHS = int(os.environ.get("SUDDEN_DEATHS", "6"))


def killed_after(seconds: float, work: Callable[[], object]) -> int | None:
    """Run `work` in a child and kill it after some time; return its exit code where it was done before."""
    child = os.fork()
    if not child:
        code = 1
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            work()
            code = 0
        finally:
            os._exit(code)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    return None if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)


def test_a_training_killed_again_and_again_ends_as_if_it_never_was(
    line: type[LineTask],  # noqa: F811
    tmp_path: Path,
) -> None:
    settings = {"epochs": 4 * DEATHS, "ema_decay": 0.9, "validate_every": 2, "momentum": 0.9}
    start = time.perf_counter()
    whole, _ = train(line_config(tmp_path / "whole", **settings))
    duration = time.perf_counter() - start
    config, rng = line_config(tmp_path / "part", **settings), random.Random(1)
    deaths, code, done = 0, None, 0
    while code is None and deaths < 5 * DEATHS:
        runs = sorted((tmp_path / "part" / "line").glob("*/last.ckpt"))
        epochs = read_checkpoint(runs[0])["epoch"] if runs else 0
        assert epochs >= done, "an epoch was lost"
        done = epochs
        resume = runs[0].parent if runs else None
        # Slow enough for an epoch or two, fast enough to die many times.
        moment = rng.uniform(0, 3 * duration / DEATHS) if deaths < DEATHS else 60
        code = killed_after(moment, lambda resume=resume: train(config, resume))
        deaths += code is None
    assert code == 0
    assert deaths >= 1
    (part,) = (file.parent for file in (tmp_path / "part" / "line").glob("*/last.ckpt"))
    one, other = (read_checkpoint(run / "last.ckpt") for run in (whole, part))
    for name in ("model", "averaged"):
        first, second = one["training"][name], other["training"][name]
        assert all(torch.equal(first[k], second[k]) for k in first)
    assert torch.equal(one["training"]["random"][0]["torch"], other["training"]["random"][0]["torch"])
    assert log_rows(whole) == log_rows(part)
    assert not [path for path in part.iterdir() if path.name.startswith(".")]


def test_a_prediction_killed_at_any_moment_leaves_no_half_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_folder, "YOUNG", 0.0)
    pixels = np.tile(np.linspace(0, 1, 60, dtype=np.float32), (50, 1))
    for number in range(8):
        write_radiograph(tmp_path / "in" / f"{number}.png", pixels, 16)
    before = {path: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    predictor, rng = make_predictor(BrightIsHot()), random.Random(2)
    start = time.perf_counter()
    predict_files(predictor, [tmp_path / "in"], tmp_path / "whole", 0.2)
    duration = time.perf_counter() - start
    out = tmp_path / "out"
    for _ in range(DEATHS):
        code = killed_after(
            rng.uniform(0, 1.3 * duration), lambda: predict_files(predictor, [tmp_path / "in"], out, 0.2)
        )
        assert code in (None, 0)
        if (out / "detections.json").exists():
            assert len(json.loads((out / "detections.json").read_text())) == 8
            assert len(json.loads((out / "images.json").read_text())["images"]) == 8
            pictures = [*(out / "overlays").iterdir(), *(out / "heat_maps").iterdir()]
            assert len(pictures) == 16
            assert all(cv2.imread(str(path)) is not None for path in pictures)
    predict_files(predictor, [tmp_path / "in"], out, 0.2)
    assert (out / "detections.json").read_bytes() == (tmp_path / "whole" / "detections.json").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out", "whole"}
    assert {path: path.read_bytes() for path in (tmp_path / "in").iterdir()} == before
