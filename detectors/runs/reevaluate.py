"""Evaluate trained weights again, on the run's own test radiographs or on any COCO data or patches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data.errors import InputError
from data.files import write_json
from data.records import Category
from detectors.backbones.weights import load_compatible, read_checkpoint
from detectors.build import build_model
from detectors.config.experiment import ExperimentConfig
from detectors.config.source import source_at
from detectors.config.volume_sources import VOLUME_CATEGORIES
from detectors.config.window import with_bit_depth
from detectors.evaluation.metrics import Metrics
from detectors.evaluation.runs import read_object
from detectors.runs.checkpoint import load_model
from detectors.runs.evaluate import evaluate_source, validated_pixel_threshold

DATA_FILE = "evaluated.json"  # says which data a folder of <run>/eval is about


def evaluate_run(
    run: Path,
    json_file: Path | None = None,
    images: Path | None = None,
    out: Path | None = None,
    bit_depth: int | None = None,
) -> tuple[Path, Metrics]:
    """Evaluate a run's best weights on its own test data, or on other data.

    `json_file` is COCO, a patch file or folder, or, where `images` is given too, a folder of masks. Results go into
    the run's folder for its own data; into `<run>/eval/<name of the JSON>` for other data, with a number behind the
    name where other data of that name were evaluated before; into `<run>/eval/<name of the checkpoint>` if `run` is a
    checkpoint and not a folder; or into `out`. `bit_depth` replaces the run's, for files that state theirs wrongly.
    Returns the folder and the metrics. Raises InputError for a missing run or bad data.
    """
    model, config, categories = load_model(run)
    config = with_bit_depth(config, bit_depth)
    folder = base = run if run.is_dir() else run.parent / "eval" / run.stem
    identity: dict[str, Any] | None = None
    if json_file is not None:
        identity = {"data": str(json_file.resolve()), "images": str((images or json_file.parent).resolve())}
        folder = _folder_for(identity, base / "eval" / json_file.stem)
    metrics = _evaluate(model, config, categories, json_file, images, out or folder, validated_pixel_threshold(run))
    if identity is not None:
        write_json((out or folder) / DATA_FILE, identity, indent=2)
    return out or folder, metrics


def _folder_for(identity: dict[str, Any], folder: Path) -> Path:
    """Return `folder`, or it with a number behind, that holds no evaluation on other data."""
    chosen, number = folder, 2
    while _data_of(chosen) not in (None, identity):
        chosen, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return chosen


def _data_of(folder: Path) -> dict[str, Any] | None:
    """Return which data an evaluation's folder is about, None where it holds none or does not say."""
    if (folder / DATA_FILE).is_file():
        return read_object(folder / DATA_FILE)
    if not (folder / "ground_truth.json").is_file():
        return None
    info = read_object(folder / "ground_truth.json").get("info")
    return {"data": info.get("source"), "images": info.get("image_dir")} if isinstance(info, dict) else None


def evaluate_weights(
    config: ExperimentConfig, weights: Path | None, json_file: Path | None, images: Path | None, out: Path | None
) -> tuple[Path, Metrics]:
    """Evaluate a checkpoint under another configuration than its own, such as another threshold or NMS.

    A model that needs no training, such as otsu, has no checkpoint: `weights` is None.

    Results go into `out`, or into `<output>/<config>/eval`. Raises InputError where the weights do not fit.
    """
    folder = out or config.output / config.name / "eval"
    if weights is None:
        if config.model.name != "otsu":
            raise InputError(f"{config.name}: {config.model.name} is trained; give its checkpoint with --weights")
        model = build_model(config.model, 1)
        return folder, _evaluate(model, config, VOLUME_CATEGORIES, json_file, images, folder, None)
    categories = read_checkpoint(weights)["categories"]
    model = build_model(config.model.without_weights(), len(categories))
    load_compatible(model, weights, may_differ=())
    return folder, _evaluate(model, config, categories, json_file, images, folder, validated_pixel_threshold(weights))


def _evaluate(
    model: nn.Module,
    config: ExperimentConfig,
    categories: Sequence[Category],
    json_file: Path | None,
    images: Path | None,
    folder: Path,
    pixel_threshold: float | None,
) -> Metrics:
    source = config.data.test or config.data.val
    if json_file is not None:
        source = source_at(json_file, images, of_volumes=config.model.task == "volumes")
    if source is None:
        raise InputError("the configuration has neither data.test nor data.val; name a COCO file with --data")
    device = torch.device("cuda" if torch.cuda.is_available() and config.train.device != "cpu" else "cpu")
    return evaluate_source(model.to(device), source, categories, config, device, folder, pixel_threshold)
