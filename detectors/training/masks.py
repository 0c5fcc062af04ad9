"""What tasks share that learn from masks, of pixels or of voxels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from data.masks import IGNORED
from data.montage import TRUTH_COLOR
from detectors.config.experiment import ExperimentConfig
from detectors.evaluation.metrics import Metrics
from detectors.runs.evaluate import evaluate_source, validated_pixel_threshold
from detectors.training.task import Task


class MaskTask(Task):
    """A task whose batches are (images, masks, names), evaluated at the threshold that validation chose."""

    def __init__(self, config: ExperimentConfig) -> None:
        self.config = config
        self._evaluated = config.data.test or config.data.val

    def losses(
        self, model: nn.Module, batch: tuple[Tensor, Tensor, Sequence[Any]], device: torch.device
    ) -> dict[str, Tensor]:
        """Return the weighted losses of a batch, to be summed."""
        images, masks, _ = batch
        losses: dict[str, Tensor] = model(images.to(device, non_blocking=True), masks.to(device, non_blocking=True))
        return losses

    def finish(self, model: nn.Module, accelerator: Accelerator, folder: Path) -> Metrics | None:
        """Evaluate on the test data (the validation data without a test set) and write all results."""
        if self._evaluated is None or not accelerator.is_main_process:
            return None
        threshold = validated_pixel_threshold(folder)
        return evaluate_source(
            model, self._evaluated, self.categories, self.config, accelerator.device, folder, threshold
        )


def over_masks(gray: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return gray levels [H, W], 0 to 255, above their masks [H, W]: defects colored, ignored pixels gray."""
    painted = np.zeros((*masks.shape, 3), np.uint8)
    painted[masks == IGNORED] = 128
    painted[(masks > 0) & (masks != IGNORED)] = TRUTH_COLOR
    return np.vstack([np.repeat(gray.astype(np.uint8)[..., None], 3, axis=2), painted])
