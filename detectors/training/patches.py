"""The patch task: windows in, defect or not out; evaluated by accuracy on patches, by mAP on whole radiographs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from data.drawing import draw_boxes
from data.errors import InputError
from data.masks import CATEGORIES
from data.patch_datasets import PatchDataset, PatchSample, StoredPatches, collate_patches
from data.patch_files import PatchSet, check_classes, read_patches
from data.patch_folds import parse_fold, split_folds
from data.patch_windows import DEFECT, NEGATIVE
from data.patches import RadiographPatches
from data.records import Category
from data.simulated_patches import SimulatedPatches
from detectors.config.experiment import ExperimentConfig, SourceConfig
from detectors.config.sources import (
    check_radiographs,
    load_evaluation_source,
    load_training_source,
    read_patch_source,
    refuse_unstored,
)
from detectors.config.window import gray_window
from detectors.evaluation.metrics import Metrics
from detectors.evaluation.patch_scores import classify_patches, patch_metrics, score_patches, write_patch_evaluation
from detectors.runs.evaluate import evaluate_source
from detectors.training.task import Task

Batch = tuple[Tensor, Tensor, Tensor]
VALIDATION_SEED = 0


class PatchTask(Task):
    """Patch classifiers.

    Validation is on patches: those of `data.val`, a fixed choice of patches from its radiographs, or the fold
    `data.patches.validation_fold` of the training patches.
    """

    metrics: tuple[str, ...] = ("accuracy", "roc_auc")
    classes: tuple[int, ...] = (NEGATIVE, DEFECT)  # that patches are drawn of

    def __init__(self, config: ExperimentConfig) -> None:
        self.config = config
        data = config.data
        if data.val is not None and data.patches.validation_fold:
            raise InputError("data.val and data.patches.validation_fold both name validation patches; give one")
        self.categories = CATEGORIES
        self._val: PatchSet | None = None
        sources = [self._training_source(source) for source in data.train]
        weights = [source.weight for source in data.train]
        length = config.train.samples_per_epoch
        self.train_set = PatchDataset(
            sources, weights, data.patches, data.augmentation, length, config.seed, self.classes
        )
        self._sources = sources
        if data.val is not None:
            self._val = self._validation_patches(data.val)
        if self._val is not None:
            self._check_validation(self._val)
        if data.test is not None:
            self._check_source(data.test)

    def collate(self, samples: Sequence[PatchSample]) -> Batch:
        """Return patches, labels and the indices of the samples."""
        return collate_patches(samples)

    def check_data(self) -> None:
        """Read all radiographs that are not in memory already. Raises InputError for a torn one."""
        test = self.config.data.test
        check_radiographs(self.config, self.categories, [test] if test else [])

    def losses(self, model: nn.Module, batch: Batch, device: torch.device) -> dict[str, Tensor]:
        """Return the weighted losses of a batch, to be summed."""
        patches, labels, _ = batch
        return model(patches.to(device, non_blocking=True), labels.to(device, non_blocking=True))

    def describe_batch(self, batch: Batch) -> str:
        """Return words that name the samples of a batch."""
        return "samples " + ", ".join(str(index) for index in batch[2].tolist())

    def validate(self, model: nn.Module, accelerator: Accelerator) -> Metrics | None:
        """Return the metrics on the validation patches, or None where the configuration names none."""
        if self._val is None:
            return None
        probabilities = classify_patches(model, self._val, accelerator.device)
        return patch_metrics(score_patches(self._val.labels, probabilities))

    def finish(self, model: nn.Module, accelerator: Accelerator, folder: Path) -> Metrics | None:
        """Evaluate on the test data, patches or whole radiographs, and write all results.

        Without test data on those of `data.val`, and without either on the validation fold.
        """
        if not accelerator.is_main_process:
            return None
        source = self.config.data.test or self.config.data.val
        if source is not None:
            return evaluate_source(model, source, self.categories, self.config, accelerator.device, folder)
        if self._val is None:
            return None
        probabilities = classify_patches(model, self._val, accelerator.device)
        return write_patch_evaluation(folder, self._val, probabilities, self.config.name)

    def preview(self, batch: Batch, count: int = 32) -> np.ndarray:
        """Return some training patches side by side, those of defects framed, uint8 [H, W, 3]."""
        patches, labels, _ = batch
        side = patches.shape[-1] - 1
        drawn = [
            draw_boxes(patch[0].numpy(), [[1, 1, side, side]] if label else [])
            for patch, label in zip(patches[:count], labels[:count].tolist(), strict=True)
        ]
        return np.hstack([np.pad(picture, ((1, 1), (1, 1), (0, 0))) for picture in drawn])

    def _training_source(self, source: SourceConfig) -> StoredPatches | RadiographPatches:
        """Return what a training source gives; its validation fold, if there is one, joins the validation."""
        patches = self.config.data.patches
        if source.origin.content == "patches":
            stored = read_patch_source(source, self.config.data)
            return StoredPatches(self._without_fold(stored) if patches.validation_fold else stored)
        if patches.validation_fold:
            raise InputError(
                "data.patches.validation_fold splits patch files and folders; cut the radiographs into patches "
                "with radiograph make-patches, or give data.val"
            )
        refuse_unstored(source)
        coco, folder = load_training_source(source, self.categories)
        found: list[Category] = [{"id": c["id"], "name": c["name"]} for c in coco.categories]
        if len(found) != 1 or (self.categories not in (CATEGORIES, found)):
            raise InputError(f"{coco.path}: categories {found}; a patch classifier knows one, the same in all sources")
        self.categories = found
        window = gray_window(self.config.data)
        if source.simulate is None:
            return RadiographPatches(coco, folder, patches, window, source.repeat, source.keep_negatives)
        return SimulatedPatches(
            coco, folder, patches, source.simulate, source.box_padding, self.config.seed, window,
            source.repeat, source.keep_negatives,
        )  # fmt: skip

    def _without_fold(self, stored: PatchSet) -> PatchSet:
        """Return the patches that are not in the validation fold, which is set aside."""
        if self._val is not None:
            raise InputError("data.patches.validation_fold splits one source of patches; data.train names several")
        patches = self.config.data.patches
        k, n = parse_fold(patches.validation_fold or "")
        held_out = split_folds(stored, n, patches.group_views) == k
        self._val = stored.subset(held_out)
        return stored.subset(~held_out)

    def _validation_patches(self, source: SourceConfig) -> PatchSet:
        if source.origin.content == "patches":
            return read_patch_source(source, self.config.data)
        coco, folder = load_evaluation_source(source, self.categories)
        drawn = RadiographPatches(coco, folder, self.config.data.patches, gray_window(self.config.data))
        return drawn.sample_set(VALIDATION_SEED)

    def _check_validation(self, patches: PatchSet) -> None:
        """Raise InputError for validation patches that lack a class."""
        check_classes(patches.path, patches.labels)

    def _check_source(self, source: SourceConfig) -> None:
        """Raise InputError for test data that cannot be read, before hours of training and not after."""
        if source.origin.content == "patches":
            read_patches(source.location, self.config.data.patches.size)
        else:
            load_evaluation_source(source, self.categories)
