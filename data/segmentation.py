"""Torch dataset over COCO segmentations: regions of radiographs with their masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.coco import CocoDataset
from data.datasets import DetectionDataset, compact, restore
from data.errors import InputError
from data.masks import rasterize
from data.radiograph import PercentileWindow
from data.synthesis.simulation_config import SimulationConfig
from data.transforms import AugmentationConfig, build_transform

SegmentationSample = tuple[torch.Tensor, torch.Tensor, int]
SegmentationBatch = tuple[torch.Tensor, torch.Tensor, list[int]]

_REGION_DRAWS = 2**32 - 1  # stands where a sample has its epoch, so that regions have random numbers of their own


class SegmentationDataset(DetectionDataset):
    """Radiographs with their masks, augmented alike; a sample depends on (`seed`, epoch, index) and nothing else.

    A sample is (image, mask, image id): the image float32 `[1, H, W]` in [0, 1], the mask uint8 `[H, W]` as
    `data.masks.rasterize` gives it (0 sound, a label 1..K, 255 not to be trained on). The boxes of the annotations
    say where the defects are that crops are placed around.

    Parameters: as `DetectionDataset`; `cache` keeps the masks too, 1 byte a pixel. With `regions`, so many regions of
    the crop's size are cut once from the radiographs in turn, as the crop's settings say and by `seed` alone, and kept
    in memory; an epoch draws each of them `repeat` times, augmented. `simulation` puts fresh simulated defects into
    each sample before its augmentation, and their masks join the real ones; into `regions` when they are cut. Where
    it inpaints the real defects, their boxes need no segmentation.

    Raises `InputError` as `DetectionDataset`, for an annotation without a segmentation, and for `regions` without a
    crop's size.
    """

    def __init__(
        self,
        dataset: CocoDataset,
        image_dir: Path,
        augmentation: AugmentationConfig | None = None,
        window: PercentileWindow | None = None,
        keep_negatives: bool = True,
        seed: int = 0,
        repeat: int = 1,
        cache: bool = False,
        regions: int | None = None,
        simulation: SimulationConfig | None = None,
        simulated_margin: float = 0.0,
    ) -> None:
        super().__init__(
            dataset, image_dir, augmentation, window, keep_negatives, seed, repeat,
            simulation=simulation, simulated_margin=simulated_margin,
        )  # fmt: skip
        self._dataset = dataset
        self._scenes: list[tuple[np.ndarray, int, np.ndarray]] | None = None
        # The first fault of the segmentations is named now and not after hours of training.
        masks = (self._real_mask(item) for item in self._items)
        if regions is not None:
            self._items, self._scenes = self._draw_regions(regions, augmentation, list(masks))
            self._fresh = None  # the regions have theirs
        elif cache:
            self._scenes = [(*compact(*self._read(item)), mask) for item, mask in zip(self._items, masks, strict=True)]
        else:
            for _ in masks:
                pass

    def sample(self, image: int, rng: np.random.Generator) -> SegmentationSample:
        """Draw one sample of the radiograph (or region) at position `image`, every random choice from `rng`."""
        item = self._items[image]
        if self._scenes is not None:
            levels, full, mask = self._scenes[image]
            pixels = restore(levels, full)
        else:
            pixels, mask = self._read(item)[0], self._real_mask(item)
        pixels, boxes, mask = self._with_simulated(image, pixels, mask, rng)
        if self._transform is not None:
            pixels, _, _, mask = self._transform(pixels, boxes, np.arange(len(boxes)), rng, mask)
        # Copies, so that nobody writes into the cache.
        image_tensor = torch.from_numpy(np.array(pixels, dtype=np.float32))[None]
        return image_tensor, torch.from_numpy(np.array(mask, dtype=np.uint8)), item["id"]

    def _real_mask(self, item: dict[str, Any]) -> np.ndarray:
        """Return the mask of the annotated defects that stay in a radiograph."""
        if self._fresh is None or self._fresh.keeps_real:
            return rasterize(self._dataset, item["id"])
        return np.zeros(item["size"], np.uint8)

    def _with_simulated(
        self, image: int, pixels: np.ndarray, mask: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return pixels, boxes and mask of a radiograph with fresh defects, if the source simulates any."""
        item = self._items[image]
        if self._fresh is None:
            return pixels, item["boxes"], mask
        pixels, fresh, footprints = self._simulate(self._fresh, image, pixels, rng)
        boxes, _, _ = self._targets(self._fresh, item, fresh)
        mask = mask.copy()
        for x, y, footprint in footprints:
            mask[y : y + footprint.shape[0], x : x + footprint.shape[1]][footprint] = self._simulated_label
        return pixels, boxes, mask

    def _draw_regions(
        self, count: int, augmentation: AugmentationConfig | None, masks: list[np.ndarray]
    ) -> tuple[list[dict[str, Any]], list[tuple[np.ndarray, int, np.ndarray]]]:
        """Return items and scenes of `count` regions, the radiographs taking turns."""
        if augmentation is None or augmentation.crop is None:
            raise InputError(f"{count} regions of no size: data.regions needs data.augmentation.crop.size, such as 256")
        cut = build_transform(AugmentationConfig(crop=augmentation.crop))
        drawn: dict[int, tuple[dict[str, Any], tuple[np.ndarray, int, np.ndarray]]] = {}
        for place, (item, mask) in enumerate(zip(self._items, masks, strict=True)):
            numbers = range(place, count, len(self._items))
            pixels, bit_depth = self._read(item) if numbers else (np.zeros((1, 1), np.float32), 1)
            for number in numbers:
                rng = np.random.default_rng([self.seed, _REGION_DRAWS, number])
                shown, boxes, labels = self._with_simulated(place, pixels, mask, rng)
                region = cut(shown, boxes, np.arange(len(boxes)), rng, labels)
                shape = {"size": region.pixels.shape, "boxes": region.boxes}
                drawn[number] = item | shape, (*compact(region.pixels, bit_depth), region.masks)
        items, scenes = zip(*(drawn[number] for number in range(count)), strict=True)
        return list(items), list(scenes)


def stack_segmentation(batch: Sequence[SegmentationSample]) -> SegmentationBatch:
    """Turn samples into (images [B, 1, H, W], masks [B, H, W], image ids). Raises InputError for unequal sizes."""
    images, masks, ids = zip(*batch, strict=True)
    sizes = {tuple(image.shape[1:]) for image in images}
    if len(sizes) > 1:
        raise InputError(
            f"a batch holds images of {sorted(sizes)} pixels (height, width); set data.augmentation.crop.size, "
            "or train.batch_size=1"
        )
    return torch.stack(images), torch.stack(masks), list(ids)
