"""Evaluate any model on any source of radiographs: one way in for the end of a training and for radiograph evaluate."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from data.coco import CocoDataset
from data.console import console, progress
from data.gray_notes import look_at
from data.image_paths import existing_image
from data.image_quality.limits import limits_of_files, write_limits
from data.masks import rasterize
from data.records import Category, ImageRecord
from detectors.backbones.weights import read_checkpoint
from detectors.caps import cap_notice, capped_images
from detectors.config.experiment import ExperimentConfig, SourceConfig
from detectors.config.sources import load_evaluation_source, read_patch_source
from detectors.config.window import gray_window
from detectors.evaluation.metrics import Metrics
from detectors.evaluation.patch_scores import classify_patches, write_patch_evaluation
from detectors.evaluation.pixel_plots import WorstPredictions, plot_pixel_curves
from detectors.evaluation.pixel_scores import DEFAULT_THRESHOLD, PixelCounts
from detectors.evaluation.runs import write_evaluation
from detectors.maps.heat_map import HeatMap
from detectors.runs.evaluate_volumes import evaluate_volumes
from detectors.runs.inference import detect_dataset

THRESHOLDS = ("pixel_best_threshold", "voxel_best_threshold")
"""Metrics of a validation that say where a map is marked."""


def evaluate_source(
    model: nn.Module,
    source: SourceConfig,
    categories: Sequence[Category],
    config: ExperimentConfig,
    device: torch.device,
    folder: Path,
    pixel_threshold: float | None = None,
) -> Metrics:
    """Run a model over a source and write metrics, detections and plots into `folder`.

    Args:
        model: on `device`.
        source: what to evaluate on.
        categories: COCO categories of the model's labels 1..K.
        config: the run's configuration; its window is applied before the model.
        device: where the model lies.
        folder: the run's folder, or one for this evaluation.
        pixel_threshold: where a segmentation marks a pixel (or voxel), chosen on validation data; 0.5 without.

    Returns:
        The metrics that `metrics.json` then holds.

    Raises InputError for bad data.

    """
    if source.origin.content == "patches":
        patches = read_patch_source(source, config.data)
        return write_patch_evaluation(folder, patches, classify_patches(model, patches, device), config.name)
    if config.model.task == "volumes":
        return evaluate_volumes(model, source, config, device, folder, pixel_threshold)
    dataset, images = load_evaluation_source(source, categories)
    maps = MapEvaluator(dataset, pixel_threshold) if _has_masks(config, dataset) else None
    window = gray_window(config.data)
    files = [existing_image(images, image) for image in dataset.images]
    look_at(files, window).warn()
    if files:
        write_limits(folder, limits_of_files(files, window))
    with progress() as bar:
        task = bar.add_task("detecting", total=len(dataset.images))
        results, seconds = detect_dataset(
            model,
            dataset,
            images,
            categories,
            window,
            device,
            lambda: bar.advance(task),
            maps.add if maps else None,
        )
    extra = maps.write(folder, config.name) if maps else None
    metrics = write_evaluation(folder, dataset, results, images, seconds, config.name, extra)
    threshold = metrics.get("threshold")
    capped = capped_images(model, dataset.images, results, 0.5 if threshold is None else float(threshold))
    if capped:
        console.print(
            cap_notice(capped, "raise detections_per_image or regions.max_regions of the model"), markup=False
        )
    return metrics


def validated_pixel_threshold(run: Path) -> float | None:
    """Return the threshold of the best pixel (or voxel) F1 on a run's validation data, None without one."""
    found = read_checkpoint(run).get("metrics") or {}
    return next((found[name] for name in THRESHOLDS if found.get(name) is not None), None)


def _has_masks(config: ExperimentConfig, dataset: CocoDataset) -> bool:
    """Return whether there are masks to evaluate pixels on: data of boxes alone is evaluated by boxes alone."""
    return config.model.task == "segmentation" and all(a.get("segmentation") for a in dataset.annotations)


class MapEvaluator:
    """Evaluates heat maps by the masks of a data set, one radiograph at a time.

    Args:
        dataset: its segmentations are the masks.
        threshold: where a pixel is marked; 0.5 if None.

    """

    def __init__(self, dataset: CocoDataset, threshold: float | None = None) -> None:
        self._dataset = dataset
        self._threshold = DEFAULT_THRESHOLD if threshold is None else threshold
        self._counts = PixelCounts(self._threshold)
        self._worst = WorstPredictions(self._threshold)

    def add(self, image: ImageRecord, heat_map: HeatMap, pixels: NDArray[np.float32]) -> None:
        """Count the map of an image, a record of the data set with its pixels, float32 [H, W].

        Raises InputError as `data.masks.rasterize`.
        """
        values = heat_map.per_pixel(image["height"], image["width"]).float().cpu().numpy()
        labels = rasterize(self._dataset, image["id"])
        self._counts.add(values, labels)
        self._worst.add(Path(image["file_name"]).name, pixels, values, labels)

    def metrics(self) -> Metrics:
        """Return the pixel metrics of `metrics.json`."""
        return self._counts.metrics()

    def write(self, folder: Path, name: str = "") -> Metrics:
        """Write `plots/pixel_curves.png` and `plots/worst_predictions.png` into `folder`; return the pixel metrics."""
        curve, defects = self._counts.curve(), self._counts.defect_curve()
        plot_pixel_curves(curve, defects, self._threshold, folder / "plots" / "pixel_curves.png", name)
        self._worst.write(folder / "plots" / "worst_predictions.png")
        return self.metrics()
