"""The segmentation task: masks in, weighted losses out; evaluated by pixels and by boxes on whole radiographs."""

from collections.abc import Sequence

import numpy as np
from accelerate import Accelerator
from torch import nn

from data.console import progress
from data.masks import rasterize
from data.records import ImageRecord
from data.segmentation import SegmentationBatch, SegmentationSample, stack_segmentation
from detectors.config.experiment import ExperimentConfig
from detectors.config.sources import check_radiographs, load_evaluation_source, segmentation_dataset
from detectors.config.window import gray_window
from detectors.evaluation.metrics import Metrics, compute_metrics
from detectors.evaluation.pixel_scores import PixelCounts
from detectors.maps.heat_map import HeatMap
from detectors.runs.inference import detect_dataset
from detectors.training.masks import MaskTask, over_masks


class SegmentationTask(MaskTask):
    """Segmentation networks: validated on whole radiographs, by pixels first."""

    metrics = ("pixel_f1_max", "ap50")  # the run is evaluated at the threshold that reaches the first

    def __init__(self, config: ExperimentConfig) -> None:
        super().__init__(config)
        self.window = gray_window(config.data)
        self.train_set, self.categories = segmentation_dataset(config)
        data = config.data
        self._val = load_evaluation_source(data.val, self.categories) if data.val else None
        if data.test:
            load_evaluation_source(data.test, self.categories)  # bad data are found now and not after the training

    def collate(self, samples: Sequence[SegmentationSample]) -> SegmentationBatch:
        """Return the images and masks of samples, all of one size, and their image ids."""
        return stack_segmentation(samples)

    def check_data(self) -> None:
        """Read all radiographs once. Raises InputError for a torn one."""
        check_radiographs(self.config, self.categories)

    def describe_batch(self, batch: SegmentationBatch) -> str:
        """Return words that name the radiographs of a batch."""
        return "image ids " + ", ".join(str(identity) for identity in batch[2])

    def validate(self, model: nn.Module, accelerator: Accelerator) -> Metrics | None:
        """Return the metrics on the validation radiographs, or None where the configuration names none."""
        if self._val is None or not accelerator.is_main_process:
            return None
        dataset, folder = self._val
        counts = PixelCounts()

        def count(image: ImageRecord, heat_map: HeatMap, pixels: np.ndarray) -> None:
            values = heat_map.per_pixel(image["height"], image["width"]).float().cpu().numpy()
            counts.add(values, rasterize(dataset, image["id"]))

        with progress(transient=True) as bar:
            task = bar.add_task("validating", total=len(dataset.images))
            results, seconds = detect_dataset(
                model, dataset, folder, self.categories, self.window, accelerator.device,
                lambda: bar.advance(task), count,
            )  # fmt: skip
        return compute_metrics(dataset, results, seconds) | counts.metrics()

    def preview(self, batch: SegmentationBatch, count: int = 4) -> np.ndarray:
        """Return some training samples side by side, their masks below them, uint8 [H, W, 3]."""
        images, masks, _ = batch
        gray = np.hstack([np.rint(image[0].numpy() * 255) for image in images[:count]])
        return over_masks(gray, np.hstack([mask.numpy() for mask in masks[:count]]))
