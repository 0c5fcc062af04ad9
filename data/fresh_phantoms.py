"""Phantoms simulated anew for every sample: a training that never sees the same radiograph twice."""

import numpy as np
import torch

from data.datasets import Sample
from data.epochs import RepeatedDataset
from data.synthesis.phantom import PHANTOM_KINDS, check_arguments
from data.transforms import AugmentationConfig, build_transform


class FreshPhantomDataset(RepeatedDataset[Sample]):
    """Simulated radiographs with their boxes, as `data.datasets.DetectionDataset` gives them, and no file.

    A sample depends on (`seed`, epoch, index) and nothing else; `positions` are the samples an epoch, before `repeat`.
    It takes 20 to 40 ms of one core at 256 x 256 px. The label is always 1.

    Args:
        kind: one of `PHANTOM_KINDS`.
        positions: samples an epoch.
        seed: of all random choices.
        augmentation: of each sample, None for none.
        padding: pixels added to each side of a box, as annotators draw loose ones.
        family: one kind of part alone; by default all of them take turns.
        easy: whether the style is easy.
        size: width and height in pixels; by default those of the kind.
        repeat: how many times an epoch draws every position.

    Raises InputError for a kind or family that is not there, and for a size out of range.

    """

    def __init__(
        self,
        kind: str,
        positions: int,
        seed: int = 0,
        augmentation: AugmentationConfig | None = None,
        padding: float = 0.0,
        family: str | None = None,
        easy: bool = False,
        size: tuple[int, int] | None = None,
        repeat: int = 1,
    ) -> None:
        check_arguments(kind, seed, 0, "easy" if easy else "realistic", family, size)
        super().__init__(positions, seed, repeat)
        self._kind = PHANTOM_KINDS[kind]
        self._transform = build_transform(augmentation) if augmentation is not None else None
        self._padding = padding
        self._family = family
        self._easy = easy
        self._size = size

    def sample(self, position: int, rng: np.random.Generator) -> Sample:
        """Draw one radiograph, every random choice from `rng`."""
        kind = self._kind
        usual = kind.easy_size if self._easy else kind.sizes[int(rng.integers(len(kind.sizes)))]
        family = self._family or kind.cycle[position % len(kind.cycle)]
        pixels, defects, _ = kind.make_radiograph(rng, family, self._size or usual, self._easy)
        height, width = pixels.shape
        boxes = np.array(
            [(d.x0, d.y0, d.x0 + d.mask.shape[1], d.y0 + d.mask.shape[0]) for d in defects], np.float32
        ).reshape(-1, 4)
        boxes = (boxes + self._padding * np.array([-1, -1, 1, 1], np.float32)).clip(0, [width, height, width, height])
        if self._transform is not None:
            pixels, boxes, _, _ = self._transform(pixels, boxes.astype(np.float32), np.arange(len(boxes)), rng)
        xyxy = torch.from_numpy(np.array(boxes, np.float32).reshape(-1, 4))
        target = {
            "boxes": xyxy,
            "labels": torch.ones(len(xyxy), dtype=torch.int64),
            "image_id": torch.tensor(position, dtype=torch.int64),
            "area": (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]),
            "iscrowd": torch.zeros(len(xyxy), dtype=torch.int64),
        }
        return torch.from_numpy(np.array(pixels, np.float32))[None], target
