"""Torch dataset over COCO segmentations: regions of radiographs with their masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from data.coco import CocoDataset
from data.epochs import RepeatedDataset
from data.errors import InputError
from data.gray_window import GrayWindow
from data.masks import rasterize
from data.radiograph_store import RadiographStore, compact_scale, restore
from data.streams import stream
from data.synthesis.simulation_config import SimulationConfig
from data.targets import SimulatedTargets, read_targets
from data.transforms import AugmentationConfig, build_transform

SegmentationSample = tuple[torch.Tensor, torch.Tensor, int]
SegmentationBatch = tuple[torch.Tensor, torch.Tensor, list[int]]


class Region(NamedTuple):
    """A radiograph or a piece of one, kept in memory: `levels` of full scale `full`, boxes and mask in its pixels."""

    image_id: int
    levels: np.ndarray
    full: int
    boxes: np.ndarray
    mask: np.ndarray


class SegmentationDataset(RepeatedDataset[SegmentationSample]):
    """Radiographs with their masks, augmented alike; a sample depends on (`seed`, epoch, index) and nothing else.

    A sample is (image, mask, image id): the image float32 `[1, H, W]` in [0, 1], the mask uint8 `[H, W]` as
    `data.masks.rasterize` gives it (0 background, a label 1..K, 255 not to be trained on). The boxes of the
    annotations say where the defects are that crops are placed around.

    Parameters: as `DetectionDataset`; `cache` keeps the masks too, 1 byte a pixel. With `regions`, so many regions of
    the crop's size are cut once from the radiographs in turn, as the crop's settings say and by `seed` alone, and kept
    in memory; an epoch draws each of them `repeat` times, augmented. `simulation` puts simulated defects into each
    sample before its augmentation, and their masks join the real ones; into `regions` when they are cut. Where it
    inpaints the real defects, their boxes need no segmentation.

    Raises `InputError` as `DetectionDataset`, for an annotation without a segmentation, and for `regions` without a
    crop's size.
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
        regions: int | None = None,
        simulation: SimulationConfig | None = None,
        simulated_margin: float = 0.0,
    ) -> None:
        self._dataset = dataset
        self._store = RadiographStore(dataset, image_dir, window, keep_negatives)
        super().__init__(len(self._store) if regions is None else regions, seed, repeat)
        self._targets = read_targets(dataset, self._store)
        self._transform = build_transform(augmentation) if augmentation is not None else None
        self._simulated: SimulatedTargets | None = None
        if simulation is not None:
            self._simulated = SimulatedTargets(dataset, self._store, self._targets, simulation, simulated_margin)
        self._regions: list[Region] | None = None
        if regions is not None:
            self._regions = self._cut_regions(regions, augmentation)
            self._simulated = None  # the regions have theirs
        elif cache:
            self._regions = [
                Region(self._image_id(k), *self._store.levels(k), self._targets[k].boxes, self._annotated_mask(k))
                for k in range(len(self._store))
            ]
        else:
            for position in range(len(self._store)):
                self._annotated_mask(position)  # a faulty segmentation is named now and not after hours of training

    def sample(self, position: int, rng: np.random.Generator) -> SegmentationSample:
        """Draw one sample of the radiograph (or region) at a position, every random choice from `rng`."""
        if self._regions is not None:
            image_id, levels, full, boxes, mask = self._regions[position]
            pixels = restore(levels, full)
        else:
            image_id, boxes = self._image_id(position), self._targets[position].boxes
            pixels, mask = self._store.pixels(position), self._annotated_mask(position)
        pixels, boxes, mask = self._with_simulated(position, pixels, boxes, mask, rng)
        if self._transform is not None:
            augmented = self._transform(pixels, boxes, np.arange(len(boxes)), rng, mask)
            pixels, mask = augmented.pixels, augmented.label_map
        # Copies, so that nobody writes into what is kept.
        image_tensor = torch.from_numpy(np.array(pixels, dtype=np.float32))[None]
        return image_tensor, torch.from_numpy(np.array(mask, dtype=np.uint8)), image_id

    def _image_id(self, position: int) -> int:
        return self._store.images[position]["id"]

    def _annotated_mask(self, position: int) -> np.ndarray:
        """Return the mask of the annotated defects that stay in a radiograph."""
        if self._simulated is None or self._simulated.keeps_real:
            return rasterize(self._dataset, self._image_id(position))
        return np.zeros(self._store.shape(position), np.uint8)

    def _with_simulated(
        self, position: int, pixels: np.ndarray, boxes: np.ndarray, mask: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return pixels, boxes and mask of a radiograph with simulated defects, if the source simulates any."""
        if self._simulated is None:
            return pixels, boxes, mask
        pixels, targets, defects = self._simulated(position, pixels, rng)
        mask = mask.copy()
        for defect in defects:
            x0, y0, x1, y1 = defect.box
            mask[y0:y1, x0:x1][defect.mask] = self._simulated.label
        return pixels, targets.boxes, mask

    def _cut_regions(self, count: int, augmentation: AugmentationConfig | None) -> list[Region]:
        """Return `count` regions, the radiographs taking turns; each radiograph is read once."""
        if augmentation is None or augmentation.crop is None:
            raise InputError(f"{count} regions of no size: data.regions needs data.augmentation.crop.size, such as 256")
        cut = build_transform(AugmentationConfig(crop=augmentation.crop))
        regions: dict[int, Region] = {}
        for position in range(len(self._store)):
            mask = self._annotated_mask(position)  # of all of them, so that every issue is named
            numbers = range(position, count, len(self._store))
            if not numbers:
                continue
            radiograph = self._store.read(position)
            pixels, boxes = radiograph.pixels, self._targets[position].boxes
            for number in numbers:
                rng = stream(self.seed, "region", number)
                simulated, around, labels = self._with_simulated(position, pixels, boxes, mask, rng)
                region = cut(simulated, around, np.arange(len(around)), rng, labels)
                levels, full = compact_scale(region.pixels, radiograph.full_scale)
                regions[number] = Region(self._image_id(position), levels, full, region.boxes, region.label_map)
        return [regions[number] for number in range(count)]


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
