"""Judge any model on any source of radiographs: one way in for the end of a training and for tools/eval.py."""

from pathlib import Path

import torch
from torch import nn

from data.console import progress
from detectors.config import ExperimentConfig, SourceConfig
from detectors.evaluation.metrics import Metrics
from detectors.evaluation.patch_scores import classify_patches, write_patch_evaluation
from detectors.evaluation.runs import write_evaluation
from detectors.inference import detect_dataset
from detectors.sources import load_judged_source, percentile_window, read_patch_source


def judge(
    model: nn.Module,
    source: SourceConfig,
    categories: list[dict],
    config: ExperimentConfig,
    device: torch.device,
    folder: Path,
) -> Metrics:
    """Run a model over a source and write figures, detections and plots into `folder`.

    Args:
        model: on `device`.
        source: what to judge on.
        categories: COCO categories of the model's labels 1..K.
        config: the run's configuration; its window is applied before the model.
        device: where the model lies.
        folder: the run's folder, or one for this evaluation.

    Returns:
        The figures that `metrics.json` then holds.

    Raises InputError for bad data.

    """
    if source.patches is not None:
        patches = read_patch_source(source, config.data)
        return write_patch_evaluation(folder, patches, classify_patches(model, patches, device), config.name)
    dataset, images = load_judged_source(source, categories)
    with progress() as bar:
        task = bar.add_task("detecting", total=len(dataset.images))
        results, seconds = detect_dataset(
            model, dataset, images, categories, percentile_window(config.data), device, lambda: bar.advance(task)
        )
    return write_evaluation(folder, dataset, results, images, seconds, config.name)
