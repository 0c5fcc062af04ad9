"""The detection task: boxes in, weighted losses out; evaluated by mAP at IoU 0.5 on whole radiographs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from data.coco import CocoDataset
from data.console import progress
from data.datasets import Sample, collate
from data.drawing import draw_boxes
from detectors.config.experiment import ExperimentConfig
from detectors.config.sources import check_radiographs, load_evaluation_source, training_dataset
from detectors.config.window import gray_window
from detectors.evaluation.metrics import Metrics, compute_metrics
from detectors.evaluation.runs import write_evaluation
from detectors.runs.inference import detect_dataset
from detectors.training.task import Task

Batch = tuple[list[Tensor], list[dict[str, Tensor]]]


class DetectionTask(Task):
    """Detectors of boxes: validated and tested on whole radiographs, each process its share of them."""

    metrics: tuple[str, ...] = ("ap50", "ap30")

    def __init__(self, config: ExperimentConfig) -> None:
        self.config = config
        if config.train.best_by is not None:
            self.metrics = (config.train.best_by, "ap30")
        self.window = gray_window(config.data)
        self.train_set, self.categories = training_dataset(config)
        data = config.data
        self._val = load_evaluation_source(data.val, self.categories) if data.val else None
        self._test = load_evaluation_source(data.test, self.categories) if data.test else self._val

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Return the images and the targets of samples, whose sizes may differ."""
        return collate(samples)

    def check_data(self) -> None:
        """Read all radiographs once. Raises InputError for a torn one."""
        check_radiographs(self.config, self.categories)

    def losses(self, model: nn.Module, batch: Batch, device: torch.device) -> dict[str, Tensor]:
        """Return the weighted losses of a batch, to be summed."""
        images, targets = batch
        images = [image.to(device, non_blocking=True) for image in images]
        targets = [{k: v.to(device, non_blocking=True) for k, v in target.items()} for target in targets]
        return model(images, targets)

    def describe_batch(self, batch: Batch) -> str:
        """Return words that name the radiographs of a batch."""
        return "image ids " + ", ".join(str(int(target["image_id"])) for target in batch[1])

    def validate(self, model: nn.Module, accelerator: Accelerator) -> Metrics | None:
        """Return the metrics on the validation radiographs, or None where the configuration names none."""
        if self._val is None:
            return None
        results, seconds = self._detect(model, *self._val, accelerator, "validating")
        return compute_metrics(self._val[0], results, seconds)

    def finish(self, model: nn.Module, accelerator: Accelerator, folder: Path) -> Metrics | None:
        """Evaluate on the test radiographs (the validation ones without a test set) and write all results."""
        if self._test is None:
            return None
        dataset, images = self._test
        results, seconds = self._detect(model, dataset, images, accelerator, "testing")
        if not accelerator.is_main_process:
            return None
        return write_evaluation(folder, dataset, results, images, seconds, self.config.name)

    def preview(self, batch: Batch, count: int = 4) -> np.ndarray:
        """Return some training samples side by side with their boxes, uint8 [H, W, 3]."""
        images, targets = batch
        drawn = [
            draw_boxes(image[0].numpy(), target["boxes"].numpy())
            for image, target in zip(images[:count], targets[:count], strict=True)
        ]
        height = min(picture.shape[0] for picture in drawn)
        return np.hstack([picture[:height] for picture in drawn])

    def _detect(
        self, model: nn.Module, dataset: CocoDataset, images: Path, accelerator: Accelerator, status: str
    ) -> tuple[list[dict[str, Any]], float | None]:
        """Run over a data set, each process its share of the images, and gather the results."""
        ids = [image["id"] for image in dataset.images]
        share = dataset.subset(ids[accelerator.process_index :: accelerator.num_processes])
        with progress(transient=True, disable=not accelerator.is_main_process) as bar:
            task = bar.add_task(status, total=len(share.images))
            results, seconds = detect_dataset(
                model, share, images, self.categories, self.window, accelerator.device, lambda: bar.advance(task)
            )
        if accelerator.num_processes > 1:
            results = gather_object(results)
        return results, seconds
