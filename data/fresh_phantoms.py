"""Phantoms simulated anew for every sample: a training that never sees the same radiograph twice."""

from dataclasses import dataclass

import numpy as np
import torch

from data.datasets import Sample
from data.epochs import RepeatedDataset
from data.errors import InputError
from data.streams import stream
from data.synthesis.phantom import PHANTOM_KINDS, check_arguments
from data.transforms import AugmentationConfig, build_transform


class FreshPhantomDataset(RepeatedDataset[Sample]):
    """Simulated radiographs with their boxes, as `data.datasets.DetectionDataset` gives them, and no file.

    A sample depends on (`seed`, epoch, index) and nothing else; `positions` are the samples an epoch, before `repeat`.
    To simulate one takes 20 to 40 ms of one core at 256 x 256 px, more than a small detector needs to learn from it:
    `reuse` shows each radiograph in several samples of its epoch, every time augmented anew, and keeps it in memory
    until then (65 kB, twice that with its twin; in each loader process that draws it). The label is always 1.

    Args:
        kind: one of `PHANTOM_KINDS`.
        positions: samples an epoch.
        seed: of all random choices.
        augmentation: of each sample, None for none. Radiographs that no crop fits into are shown whole.
        padding: pixels added to each side of a box, as annotators draw loose ones.
        family: one kind of part alone; by default all of them take turns.
        easy: whether the style is easy.
        size: width and height in pixels; by default those of the kind.
        repeat: how many times an epoch draws every position.
        reuse: in how many samples of an epoch a radiograph is shown.
        twins: the share of samples that show a radiograph's twin: the same part without its defects.

    Raises InputError for a kind or family that is not there, for a size out of range, and for twins of a kind that
    has none.

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
        reuse: int = 1,
        twins: float = 0.0,
    ) -> None:
        check_arguments(kind, seed, 0, "easy" if easy else "realistic", family, size)
        super().__init__(positions, seed, repeat)
        if twins and PHANTOM_KINDS[kind].make_pair is None:
            having = ", ".join(name for name, row in PHANTOM_KINDS.items() if row.make_pair is not None)
            raise InputError(f"phantoms of kind '{kind}' have no twins without defects; give twins=0, or {having}")
        self._reuse = reuse
        self._twins = twins
        self._kept: dict[tuple[int, int], _Kept] = {}
        self._kind = PHANTOM_KINDS[kind]
        largest = max(max(sides) for sides in ((size,) if size else self._kind.sizes))
        if augmentation is not None and augmentation.crop is not None and augmentation.crop.size >= largest:
            augmentation = augmentation.model_copy(update={"crop": None})
        self._transform = build_transform(augmentation) if augmentation is not None else None
        self._padding = padding
        self._family = family
        self._easy = easy
        self._size = size

    def sample(self, position: int, rng: np.random.Generator) -> Sample:
        """Draw one radiograph, every random choice from `rng`."""
        scene = position // self._reuse
        pixels, boxes = self._shown(position, scene, rng)
        height, width = pixels.shape
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

    def _shown(self, position: int, scene: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the radiograph float32 [H, W] of a sample, or its twin, and tight boxes float32 [N, 4]."""
        if self._reuse == 1 and not self._twins:
            pixels, _, boxes = self._simulate(position, rng)
            return pixels, boxes
        key = self.epoch, scene
        if key not in self._kept:
            self._kept = {k: kept for k, kept in self._kept.items() if k[0] == self.epoch}
            pixels, twin, boxes = self._simulate(scene, stream(self.seed, "scene", *key))
            self._kept[key] = _Kept(_levels(pixels), None if twin is None else _levels(twin), boxes, self._reuse)
        kept = self._kept[key]
        kept.uses_left -= 1
        if kept.uses_left == 0:
            del self._kept[key]
        if kept.twin is not None and rng.random() < self._twins:
            return kept.twin.astype(np.float32) / 255, kept.boxes[:0]
        return kept.pixels.astype(np.float32) / 255, kept.boxes

    def _simulate(self, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Return a new radiograph float32 [H, W], its twin where asked for, and tight boxes float32 [N, 4]."""
        kind = self._kind
        usual = kind.easy_size if self._easy else kind.sizes[int(rng.integers(len(kind.sizes)))]
        family = self._family or kind.cycle[number % len(kind.cycle)]
        twin = None
        if self._twins and kind.make_pair is not None:
            pixels, twin, defects = kind.make_pair(rng, family, self._size or usual, self._easy)
        else:
            pixels, defects, _ = kind.make_radiograph(rng, family, self._size or usual, self._easy)
        boxes = np.array([(d.x0, d.y0, d.x0 + d.mask.shape[1], d.y0 + d.mask.shape[0]) for d in defects], np.float32)
        return pixels, twin, boxes.reshape(-1, 4)


@dataclass
class _Kept:
    """A simulated radiograph uint8 [H, W] that will be shown again, its twin, its tight boxes float32 [N, 4]."""

    pixels: np.ndarray
    twin: np.ndarray | None
    boxes: np.ndarray
    uses_left: int


def _levels(pixels: np.ndarray) -> np.ndarray:
    """Return display values float32 [H, W] in [0, 1] as uint8, which is what simulated radiographs are drawn in."""
    return np.round(pixels * 255).astype(np.uint8)
