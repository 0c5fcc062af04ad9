"""Patches out of radiographs, by the labeling rules of the patch classifiers' papers (see `data.patch_windows`)."""

import math
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from pydantic import Field, field_validator

from data.coco import CocoDataset
from data.gray_window import GrayWindow
from data.part_mask import segment_test_object
from data.patch_files import PatchSet, check_classes, stack_levels, to_levels
from data.patch_folds import parse_fold
from data.patch_windows import DEFECT, NEGATIVE, WindowPose, cut_window, extent, label_window
from data.radiograph_store import RadiographStore
from data.schema import StrictModel
from data.streams import stream
from data.targets import read_targets

MAX_ATTEMPTS = 64


class PatchConfig(StrictModel):
    """How patches are cut, labeled and varied.

    Patches from files and folders, and those cut from radiographs, are varied alike by `data.augmentation` and by
    small movements, continued by reflection: the fields `jitter_...`, which are half-ranges.
    """

    former_names: ClassVar = {"share": "min_defect_fraction", "views_together": "group_views"}

    size: int = Field(32, ge=4, description="Side of a patch in pixels.")
    min_defect_fraction: float = Field(
        1 / 3, gt=0, le=1, description="Least part of a defect, or of as much of it as fits, in a *defect* patch."
    )
    per_image: int = Field(100, ge=1, description="Patches of each class an epoch (or in a file) for every radiograph.")
    rotation_step: float | None = Field(
        60.0, gt=0, le=360, description="Windows are rotated by a random multiple of so many degrees; null: upright."
    )
    mirror: bool = Field(True, description="Whether windows are mirrored at random.")
    on_object: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Least share of a *no-defect* window on the test object; a sliding window meets its edges, too.",
    )
    saturated: float = Field(
        0.25, ge=0, le=1, description="Most of a *no-defect* window at full scale, as unattenuated air is."
    )
    jitter_rotation: float = Field(0.0, ge=0, le=180, description="Small rotations, in degrees.")
    jitter_shift: float = Field(0.0, ge=0, description="Small shifts, in pixels.")
    jitter_zoom: float = Field(0.0, ge=0, lt=1, description="Small changes of scale, as a share.")
    validation_fold: str | None = Field(
        None, description="'k/n' holds out fold k of n of the training patches for validation."
    )
    group_views: bool = Field(
        True, description="Whether flipped and rotated views of one place stay in one fold, so that none is tested on."
    )

    @field_validator("validation_fold")
    @classmethod
    def _a_fold(cls, value: str | None) -> str | None:
        if value is not None:
            parse_fold(value)
        return value


class RadiographPatches:
    """Patches drawn on the fly from COCO data; the radiographs stay in memory, 1 or 2 bytes a pixel.

    A *defect* patch is drawn around a random defect, a *no-defect* patch in a random radiograph, its place at random
    among all that qualify. `window` maps gray values of the whole radiograph first.

    Raises InputError as `RadiographStore`, and for a box with a side under 0.01 pixels inside its image.
    """

    def __init__(
        self,
        dataset: CocoDataset,
        image_dir: Path,
        config: PatchConfig,
        window: GrayWindow | None = None,
        repeat: int = 1,
        keep_negatives: bool = True,
    ) -> None:
        self.config = config
        self.path = dataset.path
        store = RadiographStore(dataset, image_dir, window, keep_negatives)
        self.files = [image["file_name"] for image in store.images]
        self._crowds = [targets.iscrowd.astype(bool) for targets in read_targets(dataset, store)]
        self._levels: list[np.ndarray] = []
        self._boxes: list[np.ndarray] = []
        self._negative: list[dict[int, np.ndarray]] = []
        for position, image in enumerate(store.images):
            radiograph = store.read(position)
            height, width = store.shape(position)
            boxes = dataset.boxes_xyxy(image["id"]).clip(0, [width, height, width, height])
            self._boxes.append(boxes)
            self._negative.append(negative_starts(radiograph.display(), boxes, config))
            self._levels.append(to_levels(radiograph.pixels, radiograph.gray_bits))
            self._analyze(position, radiograph.pixels, radiograph.full_scale)
        self._defects = [
            (image, k) for image, crowds in enumerate(self._crowds) for k in np.flatnonzero(~crowds).tolist()
        ]
        self._with_negatives = [k for k, starts in enumerate(self._negative) if any(map(len, starts.values()))]
        self._length = 2 * config.per_image * len(self.files) * repeat

    def __len__(self) -> int:
        """Return the number of patches of an epoch, both classes together."""
        return self._length

    def has(self, label: int) -> bool:
        """Return whether there is a place for patches of this class."""
        return bool(self._defects if label else self._with_negatives)

    def sample(self, label: int, rng: np.random.Generator, order: int | None = None, epoch: int = 0) -> np.ndarray:
        """Return a patch of a class, float32 [S, S]; `order` is of no use here."""
        return self.sample_posed(label, rng, epoch)[0]

    def sample_posed(self, label: int, rng: np.random.Generator, epoch: int = 0) -> tuple[np.ndarray, WindowPose]:
        """Return a patch of a class and where it lies."""
        if label == NEGATIVE:
            pose = self._sample_negative(rng)
        else:
            pose = self._sample_defect(*self._choose_defect(rng, epoch), rng)
        return cut_window(self._levels_for(pose.image, label, epoch), pose, self.config.size), pose

    def sample_set(self, seed: int, origin: str = "real", per_class: int | None = None) -> PatchSet:
        """Return a balanced, fixed choice of patches, as many as an epoch has or `per_class` of each class.

        Raises InputError where a class has no place.
        """
        check_classes(self.path, np.array([label for label in (0, 1) if self.has(label)]))
        count = 2 * per_class if per_class else len(self)
        deep = any(levels.dtype == np.uint16 for levels in self._levels)
        patches, places = [], []
        for index in range(count):
            rng = stream(seed, "sample", 0, index)
            pixels, place = self.sample_posed(index % 2, rng, index // len(self))
            patches.append(to_levels(pixels, 16 if deep else 8))
            places.append(place)
        labels = np.arange(count) % 2
        files = np.array([self.files[place.image] for place in places])
        where = np.array([(place.x, place.y, place.angle) for place in places], dtype=np.float32)
        return PatchSet(stack_levels(patches), labels, files, where, np.full(count, origin), self.path)

    def _analyze(self, image: int, pixels: np.ndarray, full: int) -> None:
        """Look at a radiograph that was added: its gray values after the window, their full scale in whole levels."""

    def _levels_for(self, image: int, label: int, epoch: int) -> np.ndarray:
        """Return the gray levels that patches of a class are cut from."""
        return self._levels[image]

    def _choose_defect(self, rng: np.random.Generator, epoch: int) -> tuple[int, np.ndarray]:
        """Return a random defect: its radiograph and its box x1 y1 x2 y2."""
        image, k = self._defects[int(rng.integers(len(self._defects)))]
        return image, self._boxes[image][k]

    def _orientation(self, rng: np.random.Generator) -> tuple[float, bool]:
        step = self.config.rotation_step
        angle = step * int(rng.integers(max(round(360 / step), 1))) if step else 0.0
        return angle, self.config.mirror and bool(rng.random() < 0.5)

    def _sample_defect(self, image: int, box: np.ndarray, rng: np.random.Generator) -> WindowPose:
        """Draw a window that holds enough of a defect; upright where a turned one finds no room."""
        size, share = self.config.size, self.config.min_defect_fraction
        angle, mirrored = self._orientation(rng)
        for turned in (angle, 0.0):
            least, most = self._room(image, turned)
            side = extent(size, turned)
            # No window further away holds its share, even if it filled the square around it.
            held = share * np.minimum(box[2:] - box[:2], size) * size / side
            low, high = box[:2] - side / 2 + held, box[2:] + side / 2 - held
            for _ in range(MAX_ATTEMPTS):
                x, y = _whole(rng.uniform(low, high), size).clip(least, most).tolist()
                place = WindowPose(image, x, y, turned, mirrored)
                if label_window(place, box[None], size, share) == DEFECT:
                    return place
        x, y = _whole(box.reshape(2, 2).mean(axis=0), size).clip(least, most).tolist()
        return WindowPose(image, x, y, 0.0, mirrored)

    def _room(self, image: int, angle: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and greatest center of a window that shows nothing beyond the radiograph's edge."""
        height, width = self._levels[image].shape
        half = extent(self.config.size, angle) / 2
        shape = np.array([width, height], dtype=np.float64)
        least = np.where(shape >= 2 * half, half, np.floor(shape / 2))
        return least, np.where(shape >= 2 * half, shape - half, np.floor(shape / 2))

    def _sample_negative(self, rng: np.random.Generator) -> WindowPose:
        """Draw a window without annotated pixels on the test object."""
        image = self._with_negatives[int(rng.integers(len(self._with_negatives)))]
        angle, mirrored = self._orientation(rng)
        clean = self._negative[image]
        side = extent(self.config.size, angle)
        if side not in clean or not len(clean[side]):
            angle, side = next((0.0 if s == self.config.size else angle, s) for s in clean if len(clean[s]))
        y, x = divmod(int(clean[side][int(rng.integers(len(clean[side])))]), self._levels[image].shape[1])
        return WindowPose(image, x + side / 2, y + side / 2, angle, mirrored)


def negative_starts(pixels: np.ndarray, boxes: np.ndarray, config: PatchConfig) -> dict[int, np.ndarray]:
    """Return where *no-defect* windows may start: for each side, flat positions int32 [K] of upper left pixels.

    The sides are those of the upright squares that hold a window at the angles of `config`; the rules hold for the
    whole square. `pixels` is float32 [H, W] in [0, 1], `boxes` [N, 4] x1 y1 x2 y2, any pixel of them is annotated.
    """
    height, width = pixels.shape
    annotated = np.zeros(pixels.shape, dtype=np.uint8)
    for x1, y1, x2, y2 in boxes:
        annotated[math.floor(y1) : math.ceil(y2), math.floor(x1) : math.ceil(x2)] = 1
    on_object = segment_test_object(pixels)
    sums = [cv2.integral(a.astype(np.uint8)) for a in (annotated, on_object, pixels >= 1 - 1e-6)]
    step = config.rotation_step or 360.0
    turns = (config.size, *(extent(config.size, k * step) for k in range(max(round(360 / step), 1))))
    found = {}
    for side in dict.fromkeys(turns):
        if side > min(height, width):
            found[side] = np.zeros(0, dtype=np.int32)
            continue
        defects, part, white = (_window_sums(table, side) for table in sums)
        middle = on_object[side // 2 : side // 2 + defects.shape[0], side // 2 : side // 2 + defects.shape[1]]
        area = side**2
        good = (defects == 0) & middle & (part >= config.on_object * area) & (white <= config.saturated * area)
        y, x = np.nonzero(good)
        found[side] = (y * width + x).astype(np.int32)
    return found


def _window_sums(table: np.ndarray, side: int) -> np.ndarray:
    """Return the sum of every window from an integral image [H + 1, W + 1]."""
    return table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side]


def _whole(center: np.ndarray, size: int) -> np.ndarray:
    """Return the nearest center of a window of `size` that starts at whole pixels."""
    return np.floor(center - size / 2) + size / 2
