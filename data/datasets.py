"""Torch datasets over COCO data: whole radiographs or crops, with their boxes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from data.coco import CocoDataset
from data.epochs import MixedDataset, RepeatedDataset
from data.gray_window import GrayWindow
from data.radiograph_store import RadiographStore, compact
from data.synthesis.simulation_config import SimulationConfig
from data.targets import SimulatedTargets, read_targets
from data.transforms import AugmentationConfig, build_transform

__all__ = ["DetectionDataset", "MixedDataset", "Sample", "collate", "compact", "limit_threads"]

Sample = tuple[torch.Tensor, dict[str, torch.Tensor]]


class DetectionDataset(RepeatedDataset[Sample]):
    """Radiographs with their boxes, augmented; a sample depends on (`seed`, epoch, index) and nothing else.

    A sample is (image, target). The image is float32 `[1, H, W]` in [0, 1]. The target holds `boxes`
    float32 `[N, 4]` xyxy in pixels of this sample, `labels` int64 `[N]` (1..K), `image_id` int64 `[]`,
    `area` float32 `[N]` (of the box, in pixels squared) and `iscrowd` int64 `[N]`. N may be 0. Crowd
    annotations stay in the target with `iscrowd` 1. No annotation is ever dropped unless a crop leaves
    nothing of its box.

    Parameters: `augmentation` None gives the radiographs as they are. `window`, `keep_negatives` and `cache` are
    those of `RadiographStore`. `repeat` draws each radiograph so many times an epoch. `simulation` puts simulated
    defects into each sample before its augmentation; their boxes get `simulated_margin` pixels on each side.

    Raises `InputError` as `RadiographStore`, and here for a box with a side under 0.01 pixels inside its image.
    """

    def __init__(
        self,
        dataset: CocoDataset,
        image_dir: Path,
        augmentation: AugmentationConfig | None = None,
        window: GrayWindow | None = None,
        keep_negatives: bool = True,
        seed: int = 0,
        repeat: int = 1,
        cache: bool = False,
        simulation: SimulationConfig | None = None,
        simulated_margin: float = 0.0,
    ) -> None:
        self._store = RadiographStore(dataset, image_dir, window, keep_negatives)
        super().__init__(len(self._store), seed, repeat)
        self._targets = read_targets(dataset, self._store)
        self._transform = build_transform(augmentation) if augmentation is not None else None
        self._simulated: SimulatedTargets | None = None
        if simulation is not None:
            self._simulated = SimulatedTargets(dataset, self._store, self._targets, simulation, simulated_margin)
        if cache:
            self._store.keep_all()
            if self._simulated is not None:
                self._simulated.analyze_all()

    def sample(self, position: int, rng: np.random.Generator) -> Sample:
        """Draw one sample of the radiograph at a position, every random choice from `rng`."""
        pixels, targets = self._store.pixels(position), self._targets[position]
        if self._simulated is not None:
            pixels, targets, _ = self._simulated(position, pixels, rng)
        boxes, kept = targets.boxes, np.arange(len(targets.boxes))
        if self._transform is not None:
            pixels, boxes, kept, _ = self._transform(pixels, boxes, kept, rng)
        xyxy = torch.from_numpy(np.array(boxes, dtype=np.float32))
        target = {
            "boxes": xyxy,
            "labels": torch.from_numpy(targets.labels[kept]),
            "image_id": torch.tensor(self._store.images[position]["id"], dtype=torch.int64),
            "area": (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]),
            "iscrowd": torch.from_numpy(targets.iscrowd[kept]),
        }
        # A copy, so that nobody writes into what the store keeps.
        return torch.from_numpy(np.array(pixels, dtype=np.float32))[None], target


class _Targets(list[dict[str, torch.Tensor]]):
    """Target dicts that reach another process as bytes.

    A tensor goes by shared memory, which costs more than these few numbers do, and there are five a sample.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, ([{key: value.numpy() for key, value in target.items()} for target in self],)


def _unpickled(arrays: list[dict[str, np.ndarray]]) -> _Targets:
    """Undo the pickling of `_Targets`."""
    return _Targets({key: torch.from_numpy(value) for key, value in target.items()} for target in arrays)


def collate(batch: Sequence[Sample]) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    """Turn a list of samples into (list of images, list of targets); sizes may differ."""
    images, targets = zip(*batch, strict=True)
    return list(images), _Targets(targets)


def limit_threads(worker: int) -> None:
    """Keep OpenCV to one thread in a loading worker; the `worker_init_fn` of a DataLoader."""
    cv2.setNumThreads(0)
