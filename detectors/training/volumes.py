"""The task of volumes: patches with masks in, weighted losses out; evaluated voxel by voxel and pore by pore."""

from collections.abc import Sequence

import numpy as np
from accelerate import Accelerator
from torch import nn

from data.console import progress
from data.errors import InputError
from data.volumes.patches import VolumeBatch, VolumeSample, stack_volumes
from detectors.config.experiment import ExperimentConfig
from detectors.config.unlabeled_volumes import unlabeled_dataset
from detectors.config.volume_sources import VOLUME_CATEGORIES, labeled_volumes, volume_dataset, volume_entries
from detectors.evaluation.metrics import EMPTY_METRICS, Metrics
from detectors.runs.evaluate_volumes import count_volumes
from detectors.training.masks import MaskTask, over_masks
from detectors.volumes.otsu import OtsuConfig
from detectors.volumes.vae.interface import AutoencoderConfig


class VolumeTask(MaskTask):
    """Networks over voxels, validated on whole volumes; autoencoders look at no label while they learn."""

    metrics = ("voxel_f1_max_in_part", "voxel_ap_in_part")  # a run is evaluated at the threshold of the first

    def __init__(self, config: ExperimentConfig) -> None:
        if isinstance(config.model, OtsuConfig):
            raise InputError("model otsu has nothing to train; evaluate it with 'radiograph evaluate --cfg', or use "
                             "analyze-pores --otsu")  # fmt: skip
        super().__init__(config)
        unlabeled = isinstance(config.model, AutoencoderConfig)
        self.train_set = unlabeled_dataset(config) if unlabeled else volume_dataset(config)
        self.categories = VOLUME_CATEGORIES

    def collate(self, samples: Sequence[VolumeSample]) -> VolumeBatch:
        """Return the patches and masks of samples, and the names of their volumes."""
        return stack_volumes(samples)

    def check_data(self) -> None:
        """Read the volumes of validation and test once. Raises InputError for what is wrong with them."""
        for source in (self.config.data.val, self.config.data.test):
            for labeled in labeled_volumes(source, self.config.data.volumes) if source else ():
                for first in range(0, labeled.volume.shape[0], 32):
                    labeled.volume.slab(first, first + 32)

    def describe_batch(self, batch: VolumeBatch) -> str:
        """Return words that name the volumes of a batch."""
        return "volumes " + ", ".join(sorted(set(batch[2])))

    def validate(self, model: nn.Module, accelerator: Accelerator) -> Metrics | None:
        """Return the metrics on the validation volumes, or None where the configuration names none."""
        if self.config.data.val is None or not accelerator.is_main_process:
            return None
        with progress(transient=True) as bar:
            task = bar.add_task("validating", total=len(volume_entries(self.config.data.val)))
            counts = count_volumes(
                model, self.config.data.val, self.config, accelerator.device, on_volume=lambda: bar.advance(task)
            )
        return EMPTY_METRICS | counts.metrics()

    def preview(self, batch: VolumeBatch, count: int = 6) -> np.ndarray:
        """Return the middle slices of some training patches, their masks below them, uint8 [H, W, 3]."""
        volumes, masks, _ = batch
        middle = volumes.shape[2] // 2
        gray = np.hstack([volume[0, middle].numpy() for volume in volumes[:count]])
        slices = np.hstack([mask[middle].numpy() for mask in masks[:count]])
        return over_masks(np.rint(np.clip(gray / 1.3, 0, 1) * 255), slices)
