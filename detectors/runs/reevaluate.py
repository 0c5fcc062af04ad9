"""Evaluate trained weights again, on the run's own test radiographs or on any COCO data or patches."""

from pathlib import Path

import torch
from torch import nn

from data.errors import InputError
from detectors.backbones.weights import load_matching, read_checkpoint
from detectors.build import build_model
from detectors.config.experiment import ExperimentConfig
from detectors.config.source import source_at
from detectors.evaluation.metrics import Metrics
from detectors.runs.checkpoint import load_model
from detectors.runs.evaluate import judge, validated_pixel_threshold


def evaluate_run(
    run: Path, json_file: Path | None = None, images: Path | None = None, out: Path | None = None
) -> tuple[Path, Metrics]:
    """Evaluate a run's best weights on its own test data, or on other data.

    `json_file` is COCO, a patch file or folder, or, where `images` is given too, a folder of masks. Results go into
    the run's folder for its own data; into `<run>/eval/<name of the JSON>` for other data; into
    `<run>/eval/<name of the checkpoint>` if `run` is a checkpoint and not a folder; or into `out`.
    Returns the folder and the figures. Raises InputError for a missing run or bad data.
    """
    model, config, categories = load_model(run)
    base = run if run.is_dir() else run.parent / "eval" / run.stem
    folder = out or (base / "eval" / json_file.stem if json_file else base)
    return folder, _evaluate(model, config, categories, json_file, images, folder, validated_pixel_threshold(run))


def evaluate_weights(
    config: ExperimentConfig, weights: Path, json_file: Path | None, images: Path | None, out: Path | None
) -> tuple[Path, Metrics]:
    """Evaluate a checkpoint under another configuration than its own, such as another threshold or NMS.

    Results go into `out`, or into `<output>/<config>/eval`. Raises InputError where the weights do not fit.
    """
    categories = read_checkpoint(weights)["categories"]
    model = build_model(config.model.without_weights(), len(categories))
    load_matching(model, weights, replaceable=())
    folder = out or config.output / config.name / "eval"
    return folder, _evaluate(model, config, categories, json_file, images, folder, validated_pixel_threshold(weights))


def _evaluate(
    model: nn.Module,
    config: ExperimentConfig,
    categories: list[dict],
    json_file: Path | None,
    images: Path | None,
    folder: Path,
    pixel_threshold: float | None,
) -> Metrics:
    source = config.data.test or config.data.val
    if json_file is not None:
        source = source_at(json_file, images)
    if source is None:
        raise InputError("the configuration has neither data.test nor data.val; name a COCO file with --data")
    device = torch.device("cuda" if torch.cuda.is_available() and config.train.device != "cpu" else "cpu")
    return judge(model.to(device), source, categories, config, device, folder, pixel_threshold)
