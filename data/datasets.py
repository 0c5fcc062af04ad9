"""Torch datasets over COCO data: whole radiographs or crops, with their boxes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from data.coco import CocoDataset
from data.errors import InputError
from data.radiograph import PercentileWindow, read_radiograph
from data.synthesis.fresh_defects import FreshDefects
from data.synthesis.simulated_defects import Simulated
from data.synthesis.simulation_config import SimulationConfig
from data.transforms import THINNEST, AugmentationConfig, build_transform

Sample = tuple[torch.Tensor, dict[str, torch.Tensor]]


class DetectionDataset(Dataset[Sample]):
    """Radiographs with their boxes, augmented; a sample depends on (`seed`, epoch, index) and nothing else.

    A sample is (image, target). The image is float32 `[1, H, W]` in [0, 1]. The target holds `boxes`
    float32 `[N, 4]` xyxy in pixels of this sample, `labels` int64 `[N]` (1..K), `image_id` int64 `[]`,
    `area` float32 `[N]` (of the box, in pixels squared) and `iscrowd` int64 `[N]`. N may be 0. Crowd
    annotations stay in the target with `iscrowd` 1. No annotation is ever dropped unless a crop leaves
    nothing of its box.

    Parameters: `augmentation` None gives the radiographs as they are. `window` maps gray values of the
    whole radiograph before anything else. `keep_negatives` False leaves out images without an annotation
    (crowds do not count). `repeat` draws each radiograph so many
    times an epoch. `cache` reads every radiograph once, here, and keeps it in memory, which forked
    workers share: 1 or 2 bytes a pixel, 4 with a `window`; no value changes. `simulation` puts fresh simulated
    defects into each sample before its augmentation; their boxes get `simulated_margin` pixels on each side.

    Raises `InputError` here for an image file that is missing, a box thinner than 0.01 pixels inside its image, or no
    image at all; and on reading, for a file whose size is not the one recorded.
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
        simulation: SimulationConfig | None = None,
        simulated_margin: float = 0.0,
    ) -> None:
        self.seed = seed
        self.repeat = repeat
        self._window = window
        self._fresh = FreshDefects(simulation, simulated_margin) if simulation is not None else None
        self._simulated_label = _label_named(dataset, simulation.category) if simulation is not None else 0
        self._transform = build_transform(augmentation) if augmentation is not None else None
        # Shared memory, because workers that outlive an epoch hold a copy of this object from the first one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._items = []
        for image in dataset.images:
            annotations = dataset.annotations_of(image["id"])
            if keep_negatives or any(not annotation.get("iscrowd", 0) for annotation in annotations):
                self._items.append(_item(dataset, image, annotations, Path(image_dir)))
        if not self._items:
            raise InputError(
                f"{image_dir}: no image to draw from; give a data set with images"
                + ("" if keep_negatives else ", or keep the negatives")
            )
        self._cache = [compact(*self._read(item)) for item in self._items] if cache else None
        if cache and self._fresh is not None:
            for image, item in enumerate(self._items):  # once, here, and not once in every worker
                levels, full = self._cache[image]
                self._fresh.study(image, restore(levels, full), item["boxes"], full)

    def __len__(self) -> int:
        """Return the number of samples an epoch: images times `repeat`."""
        return len(self._items) * self.repeat

    @property
    def epoch(self) -> int:
        """The epoch that the samples are drawn for."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw the samples of this epoch from now on, in every worker."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index` of the epoch."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return self.sample(index % len(self._items), np.random.default_rng([self.seed, self.epoch, index]))

    def sample(self, image: int, rng: np.random.Generator) -> Sample:
        """Draw one sample of the radiograph at position `image`, every random choice from `rng`."""
        item = self._items[image]
        pixels = restore(*self._cache[image]) if self._cache is not None else self._read(item)[0]
        boxes, labels, iscrowd = item["boxes"], item["labels"], item["iscrowd"]
        if self._fresh is not None:
            pixels, fresh, _ = self._simulate(self._fresh, image, pixels, rng)
            boxes, labels, iscrowd = self._targets(self._fresh, item, fresh)
        kept = np.arange(len(boxes))
        if self._transform is not None:
            pixels, boxes, kept, _ = self._transform(pixels, boxes, kept, rng)
        boxes = torch.from_numpy(np.array(boxes, dtype=np.float32))
        target = {
            "boxes": boxes,
            "labels": torch.from_numpy(labels[kept]),
            "image_id": torch.tensor(item["id"], dtype=torch.int64),
            "area": (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
            "iscrowd": torch.from_numpy(iscrowd[kept]),
        }
        # A copy, so that nobody writes into the cache.
        return torch.from_numpy(np.array(pixels, dtype=np.float32))[None], target

    def _simulate(self, fresh: FreshDefects, image: int, pixels: np.ndarray, rng: np.random.Generator) -> Simulated:
        """Return a radiograph with fresh simulated defects; what it offers is found out at the first time."""
        if image not in fresh:
            item = self._items[image]
            fresh.study(image, pixels, item["boxes"], compact(*self._read(item))[1])
        return fresh(image, pixels, rng)

    def _targets(
        self, fresh: FreshDefects, item: dict[str, Any], boxes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return boxes, labels and crowd flags of simulated defects, behind those of the real ones that are kept."""
        labels = np.full(len(boxes), self._simulated_label, dtype=np.int64)
        iscrowd = np.zeros(len(boxes), dtype=np.int64)
        if not fresh.keeps_real:
            return boxes, labels, iscrowd
        real = item["boxes"], item["labels"], item["iscrowd"]
        return tuple(np.concatenate(pair) for pair in zip(real, (boxes, labels, iscrowd), strict=True))

    def _read(self, item: dict[str, Any]) -> tuple[np.ndarray, int]:
        """Read a radiograph and apply the window; return float32 `[H, W]` and the bits of a stored value."""
        radiograph = read_radiograph(item["path"])
        found, recorded = radiograph.pixels.shape, item["size"]
        if found != recorded:
            raise InputError(
                f"{item['path']}: image {item['id']} has {found[1]} x {found[0]} pixels, but the data set"
                f" says {recorded[1]} x {recorded[0]}; correct its width and height"
            )
        pixels = radiograph.pixels if self._window is None else self._window(radiograph.pixels)
        return pixels, radiograph.bit_depth


class MixedDataset(Dataset[Sample]):
    """Samples of several `DetectionDataset`s in given shares, such as real and simulated radiographs.

    `weights` are relative shares, one a data set; `length` is the number of samples an epoch. Source,
    radiograph and augmentation of a sample depend on (`seed`, epoch, index) and nothing else; radiographs of
    a source are drawn with replacement, each draw with its own augmentation.

    Raises `InputError` where the weights are not one a data set, finite, not negative and not all zero.
    """

    def __init__(
        self, datasets: Sequence[DetectionDataset], weights: Sequence[float], length: int, seed: int = 0
    ) -> None:
        shares = np.asarray(weights, dtype=np.float64)
        valid = np.isfinite(shares).all() and (shares >= 0).all() and shares.any()
        if shares.shape != (len(datasets),) or not valid:
            raise InputError(
                f"weights {list(weights)} for {len(datasets)} data sets: give one finite, non-negative number"
                " for each, not all zero"
            )
        self.datasets = list(datasets)
        self.seed = seed
        self._shares = shares / shares.sum()
        self._length = length
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        """Return the number of samples an epoch."""
        return self._length

    @property
    def epoch(self) -> int:
        """The epoch that the samples are drawn for."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw the samples of this epoch from now on, here and in the sources."""
        self._epoch.fill_(epoch)
        for dataset in self.datasets:
            dataset.set_epoch(epoch)

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index` of the epoch."""
        if not 0 <= index < self._length:
            raise IndexError(f"sample {index} of {self._length}")
        rng = np.random.default_rng([self.seed, self.epoch, index])
        source = self.datasets[int(rng.choice(len(self.datasets), p=self._shares))]
        return source.sample(int(rng.integers(len(source) // source.repeat)), rng)


class _Targets(list):
    """Target dicts that reach another process as bytes.

    A tensor goes by shared memory, which costs more than these few numbers do, and there are five a sample.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _targets, ([{key: value.numpy() for key, value in target.items()} for target in self],)


def _targets(arrays: list[dict[str, np.ndarray]]) -> _Targets:
    """Undo the pickling of `_Targets`."""
    return _Targets({key: torch.from_numpy(value) for key, value in target.items()} for target in arrays)


def collate(batch: Sequence[Sample]) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    """Turn a list of samples into (list of images, list of targets); sizes may differ."""
    images, targets = zip(*batch, strict=True)
    return list(images), _Targets(targets)


def limit_threads(worker: int) -> None:
    """Keep OpenCV to one thread in a loading worker; the `worker_init_fn` of a DataLoader."""
    cv2.setNumThreads(0)


def _item(
    dataset: CocoDataset,
    image: dict[str, Any],
    annotations: list[dict[str, Any]],
    folder: Path,
) -> dict[str, Any]:
    """Return path, size, boxes, labels and crowd flags of one image, checked."""
    path = folder / image["file_name"]
    if not path.is_file():
        raise InputError(f"{path}: no such file, for image {image['id']}; check the image folder")
    boxes = [_box(annotation, image, path) for annotation in annotations]
    return {
        "id": image["id"],
        "path": path,
        "size": (image["height"], image["width"]),
        "boxes": np.array(boxes, dtype=np.float32).reshape(-1, 4),
        "labels": np.array([dataset.label_of[a["category_id"]] for a in annotations], dtype=np.int64),
        "iscrowd": np.array([a.get("iscrowd", 0) for a in annotations], dtype=np.int64),
    }


def _label_named(dataset: CocoDataset, category: str | None) -> int:
    """Return the label of a category, of the first one without a name."""
    names = dataset.class_names
    if category is None:
        return 1
    if category not in names:
        raise InputError(f"{dataset.path}: no category {category!r} for simulated defects; it has {', '.join(names)}")
    return names.index(category) + 1


def _box(annotation: dict[str, Any], image: dict[str, Any], path: Path) -> np.ndarray:
    """Return the annotation's box as xyxy float32 `[4]`, clipped to the image."""
    x, y, width, height = annotation["bbox"]
    right, bottom = image["width"], image["height"]
    box = np.array([max(x, 0), max(y, 0), min(x + width, right), min(y + height, bottom)], dtype=np.float32)
    # As "not all", which refuses NaN too.
    if not (box[2:] - box[:2] >= THINNEST).all():
        raise InputError(
            f"{path}: image {image['id']}, annotation {annotation['id']}: box {annotation['bbox']} (x, y,"
            f" width, height in pixels) is nothing, or thinner than {THINNEST}, inside the {right} x {bottom} image;"
            " correct or remove it"
        )
    return box


def compact(pixels: np.ndarray, bit_depth: int) -> tuple[np.ndarray, int]:
    """Return gray values as integers and their full scale; as they are and 1 if that would change them."""
    full = 2**bit_depth - 1
    levels = np.rint(pixels * full).astype(np.uint8 if bit_depth <= 8 else np.uint16)
    return (levels, full) if np.array_equal(restore(levels, full), pixels) else (pixels, 1)


def restore(levels: np.ndarray, full: int) -> np.ndarray:
    """Undo `compact`."""
    return levels if full == 1 else levels.astype(np.float32) / np.float32(full)
