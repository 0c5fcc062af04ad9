"""What the training loop needs to know of a task: the one interface between the loop and what it trains."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from data.epochs import EpochDataset
from data.records import Category
from detectors.evaluation.metrics import Metrics

Batch = Any
"""What `Task.collate` makes of samples; its first element has as many entries as the batch has samples."""


class Task(Protocol):
    """One kind of training: what its data are, what its losses are, and how it is evaluated.

    A new task is one file with a class that derives from this one, and one row in `detectors.training.tasks.TASKS`;
    models name it in `ModelSection.task`. Its constructor takes the `ExperimentConfig`, reads the data, and raises
    InputError for everything that is wrong with them, before any training.

    Attributes:
        metrics: names of the validation metrics that choose `best.ckpt`, larger is better: the first decides, the
            next breaks ties. Of equal epochs the later one is kept.
        categories: COCO categories, whose order gives the labels 1..K.
        train_set: the training samples.

    """

    metrics: tuple[str, ...]
    categories: Sequence[Category]
    train_set: EpochDataset[Any]

    def collate(self, samples: Sequence[Any]) -> Batch:
        """Return a batch of samples; called in the workers."""
        ...

    def check_data(self) -> None:
        """Read all radiographs once. Raises InputError for a torn one, before hours of training and not after."""

    def losses(self, model: nn.Module, batch: Batch, device: torch.device) -> dict[str, Tensor]:
        """Return the weighted losses of a batch, scalars by name, to be summed."""
        ...

    def describe_batch(self, batch: Batch) -> str:
        """Return words that name the samples of a batch, for an error message."""
        ...

    def preview(self, batch: Batch) -> np.ndarray:
        """Return some training samples as one picture, RGB uint8 [H, W, 3]."""
        ...

    def samples(self, model: nn.Module, folder: Path, epoch: int) -> np.ndarray | None:
        """Return a picture RGB uint8 [H, W, 3] of what a generative model makes after an epoch, None of others.

        Files go into the run's `folder`. Called in the first process alone.
        """
        return None

    def validate(self, model: nn.Module, accelerator: Accelerator) -> Metrics | None:
        """Return the metrics on the validation data, None where there are none.

        Called in every process; the first one must return the metrics of all data.
        """
        ...

    def finish(self, model: nn.Module, accelerator: Accelerator, folder: Path) -> Metrics | None:
        """Evaluate on the test data, else on the validation data, and write all results into the run's folder.

        Called in every process with the best weights. Returns the metrics in the first, None in the others and where
        there are no data.
        """
        ...
