"""Patches out of radiographs, by the labeling rules of the patch classifiers' papers.

A window is a *defect* patch if it holds at least a third of a defect: of as much of the defect's box as fits into a
window, so that for a defect larger than the window it is a third of the window. It is a *no-defect* patch if it
holds no annotated pixel and lies on the test object. All other windows are neither, and are never used.
"""

import math
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from pydantic import Field, field_validator

from data.coco import CocoDataset
from data.part_mask import segment_test_object
from data.patch_files import PatchSet, check_classes, scaled, stack_levels, to_levels
from data.patch_folds import parse_fold
from data.radiograph_store import RadiographStore, Window
from data.schema import StrictModel
from data.streams import stream
from data.targets import read_targets

DEFECT, CLEAN, NEITHER = 1, 0, -1
ROUNDING = 1e-6  # of a window: a share of exactly a third counts in spite of rounding
DRAWS = 64


class PatchConfig(StrictModel):
    """How patches are cut, labeled and varied.

    `size` is the side of a window in pixels, `share` the least part of a defect in a *defect* patch. `per_image` is
    the number of patches of each class an epoch (or in a file) for every radiograph. Windows are turned by a
    random multiple of `rotation_step` degrees (None: upright) and mirrored at random if `mirror`. A *no-defect*
    window has its center and at least `on_object` of its pixels on the test object, for a sliding window meets the
    part's edges too, and at most `saturated` of its pixels at full scale, as unattenuated air is.

    Patches from files and folders, and those cut from radiographs, are varied alike by `data.augmentation` and by
    small movements, continued by reflection: `jitter_rotation` (degrees), `jitter_shift` (pixels) and `jitter_zoom`
    (share) are half-ranges. `validation_fold` "k/n" holds out fold k of n of the training patches for validation;
    `views_together` keeps flipped and turned views of one place in one fold, without which a classifier is judged on
    defects it has seen.
    """

    size: int = Field(32, ge=4)
    share: float = Field(1 / 3, gt=0, le=1)
    per_image: int = Field(100, ge=1)
    rotation_step: float | None = Field(60.0, gt=0, le=360)
    mirror: bool = True
    on_object: float = Field(0.5, ge=0, le=1)
    saturated: float = Field(0.25, ge=0, le=1)
    jitter_rotation: float = Field(0.0, ge=0, le=180)
    jitter_shift: float = Field(0.0, ge=0)
    jitter_zoom: float = Field(0.0, ge=0, lt=1)
    validation_fold: str | None = None
    views_together: bool = True

    @field_validator("validation_fold")
    @classmethod
    def _a_fold(cls, value: str | None) -> str | None:
        if value is not None:
            parse_fold(value)
        return value


class Place(NamedTuple):
    """Where a window lies: radiograph, center in pixels, degrees turned, whether mirrored."""

    image: int
    x: float
    y: float
    angle: float = 0.0
    mirrored: bool = False


def label_window(
    place: Place, boxes: np.ndarray, size: int, share: float = 1 / 3, ignored: np.ndarray | None = None
) -> int:
    """Return DEFECT, CLEAN (no annotated pixel) or NEITHER for a window of `size` pixels.

    Args:
        place: center and angle of the window.
        boxes: [N, 4] x1 y1 x2 y2 of the defects in pixels.
        size: side of the window.
        share: least part of a defect, or of as much of it as fits into a window.
        ignored: bool [N], boxes (crowds) that are no defect to learn, but no sound material either.

    """
    inside = _areas_inside(place, boxes, size)
    fitting = np.minimum(boxes[:, 2] - boxes[:, 0], size) * np.minimum(boxes[:, 3] - boxes[:, 1], size)
    held = inside >= share * fitting - ROUNDING * size**2
    if ignored is not None:
        held &= ~ignored
    if (held & (inside > 0)).any():
        return DEFECT
    return NEITHER if (inside > 0).any() else CLEAN


def cut_window(levels: np.ndarray, place: Place, size: int) -> np.ndarray:
    """Return the window at `place`, float32 [size, size] in [0, 1].

    Turned windows are interpolated linearly from the radiograph around them; what lies beyond its edge is
    reflected. An upright window at whole pixels keeps its values.
    """
    left, top = place.x - size / 2, place.y - size / 2
    height, width = levels.shape
    if place.angle % 180 == 0 and left == int(left) and top == int(top):
        x, y = int(left), int(top)
        if 0 <= x <= width - size and 0 <= y <= height - size:
            patch = scaled(levels[y : y + size, x : x + size])
            patch = patch[::-1, ::-1] if place.angle % 360 else patch
            return np.ascontiguousarray(patch[:, ::-1] if place.mirrored else patch)
    reach = math.ceil(size * 0.71) + 2
    x0, y0 = max(int(place.x) - reach, 0), max(int(place.y) - reach, 0)
    around = scaled(levels[y0 : int(place.y) + reach + 1, x0 : int(place.x) + reach + 1])
    cos, sin = math.cos(math.radians(place.angle)), math.sin(math.radians(place.angle))
    sign = -1.0 if place.mirrored else 1.0
    matrix = np.array([[sign * cos, -sin, 0.0], [sign * sin, cos, 0.0]])
    matrix[:, 2] = [place.x - x0 - 0.5, place.y - y0 - 0.5] - matrix[:, :2] @ np.full(2, (size - 1) / 2)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(around, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)


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
        window: Window | None = None,
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
        self._clean: list[dict[int, np.ndarray]] = []
        for position, image in enumerate(store.images):
            radiograph = store.read(position)
            height, width = store.shape(position)
            boxes = dataset.boxes_xyxy(image["id"]).clip(0, [width, height, width, height])
            self._boxes.append(boxes)
            self._clean.append(clean_starts(radiograph.pixels, boxes, config))
            pixels, full = store.windowed(radiograph), store.full_scale(radiograph)
            self._levels.append(to_levels(pixels, radiograph.gray_bits if full > 1 else 16))
            self._study(position, pixels, full)
        self._defects = [
            (image, k) for image, crowds in enumerate(self._crowds) for k in np.flatnonzero(~crowds).tolist()
        ]
        self._sound = [k for k, clean in enumerate(self._clean) if any(len(rows) for rows in clean.values())]
        self._length = 2 * config.per_image * len(self.files) * repeat

    def __len__(self) -> int:
        """Return the number of patches of an epoch, both classes together."""
        return self._length

    def has(self, label: int) -> bool:
        """Return whether there is a place for patches of this class."""
        return bool(self._defects if label else self._sound)

    def draw(self, label: int, rng: np.random.Generator, turn: int | None = None, epoch: int = 0) -> np.ndarray:
        """Return a patch of a class, float32 [S, S]; `turn` is of no use here."""
        return self.draw_placed(label, rng, epoch)[0]

    def draw_placed(self, label: int, rng: np.random.Generator, epoch: int = 0) -> tuple[np.ndarray, Place]:
        """Return a patch of a class and where it lies."""
        place = self._place_clean(rng) if label == CLEAN else self._place_defect(*self._draw_defect(rng, epoch), rng)
        return cut_window(self._shown(place.image, label, epoch), place, self.config.size), place

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
            pixels, place = self.draw_placed(index % 2, rng, index // len(self))
            patches.append(to_levels(pixels, 16 if deep else 8))
            places.append(place)
        labels = np.arange(count) % 2
        files = np.array([self.files[place.image] for place in places])
        where = np.array([(place.x, place.y, place.angle) for place in places], dtype=np.float32)
        return PatchSet(stack_levels(patches), labels, files, where, np.full(count, origin), self.path)

    def _study(self, image: int, pixels: np.ndarray, full: int) -> None:
        """Look at a radiograph that was added: its gray values after the window, their full scale in whole levels."""

    def _shown(self, image: int, label: int, epoch: int) -> np.ndarray:
        """Return the gray levels that patches of a class are cut from."""
        return self._levels[image]

    def _draw_defect(self, rng: np.random.Generator, epoch: int) -> tuple[int, np.ndarray]:
        """Return a random defect: its radiograph and its box x1 y1 x2 y2."""
        image, k = self._defects[int(rng.integers(len(self._defects)))]
        return image, self._boxes[image][k]

    def _turn(self, rng: np.random.Generator) -> tuple[float, bool]:
        step = self.config.rotation_step
        angle = step * int(rng.integers(max(round(360 / step), 1))) if step else 0.0
        return angle, self.config.mirror and bool(rng.random() < 0.5)

    def _place_defect(self, image: int, box: np.ndarray, rng: np.random.Generator) -> Place:
        """Draw a window that holds enough of a defect; upright where a turned one finds no room."""
        size, share = self.config.size, self.config.share
        angle, mirrored = self._turn(rng)
        for turned in (angle, 0.0):
            least, most = self._room(image, turned)
            side = extent(size, turned)
            # No window further away holds its share, even if it filled the square around it.
            held = share * np.minimum(box[2:] - box[:2], size) * size / side
            low, high = box[:2] - side / 2 + held, box[2:] + side / 2 - held
            for _ in range(DRAWS):
                x, y = _whole(rng.uniform(low, high), size).clip(least, most).tolist()
                place = Place(image, x, y, turned, mirrored)
                if label_window(place, box[None], size, share) == DEFECT:
                    return place
        x, y = _whole(box.reshape(2, 2).mean(axis=0), size).clip(least, most).tolist()
        return Place(image, x, y, 0.0, mirrored)

    def _room(self, image: int, angle: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and greatest center of a window that shows nothing beyond the radiograph's edge."""
        height, width = self._levels[image].shape
        half = extent(self.config.size, angle) / 2
        shape = np.array([width, height], dtype=np.float64)
        least = np.where(shape >= 2 * half, half, np.floor(shape / 2))
        return least, np.where(shape >= 2 * half, shape - half, np.floor(shape / 2))

    def _place_clean(self, rng: np.random.Generator) -> Place:
        """Draw a window without annotated pixels on the test object."""
        image = self._sound[int(rng.integers(len(self._sound)))]
        angle, mirrored = self._turn(rng)
        clean = self._clean[image]
        side = extent(self.config.size, angle)
        if side not in clean or not len(clean[side]):
            angle, side = next((0.0 if s == self.config.size else angle, s) for s in clean if len(clean[s]))
        y, x = divmod(int(clean[side][int(rng.integers(len(clean[side])))]), self._levels[image].shape[1])
        return Place(image, x + side / 2, y + side / 2, angle, mirrored)


def extent(size: int, angle: float) -> int:
    """Return the side, in whole pixels, of the upright square that holds a window turned by `angle` degrees."""
    radians = math.radians(angle)
    side = size * (abs(math.cos(radians)) + abs(math.sin(radians)))
    # Even or odd as the window is, so that both have the same center.
    whole = math.ceil(side - 1e-9)
    return whole + (whole - size) % 2


def clean_starts(pixels: np.ndarray, boxes: np.ndarray, config: PatchConfig) -> dict[int, np.ndarray]:
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


def _areas_inside(place: Place, boxes: np.ndarray, size: int) -> np.ndarray:
    """Return the area of each box inside the window, float64 [N], in pixels squared."""
    if place.angle % 180 == 0:
        low = np.maximum(boxes[:, :2], np.array([place.x, place.y]) - size / 2)
        high = np.minimum(boxes[:, 2:], np.array([place.x, place.y]) + size / 2)
        return (high - low).clip(0).prod(axis=1)
    # About the window's own center, where float32 is exact enough.
    window = cv2.boxPoints(((0.0, 0.0), (float(size), float(size)), place.angle))
    moved = boxes - [place.x, place.y, place.x, place.y]
    quads = [np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], dtype=np.float32) for x1, y1, x2, y2 in moved]
    return np.array([cv2.intersectConvexConvex(window, quad)[0] for quad in quads], dtype=np.float64)


def _window_sums(table: np.ndarray, side: int) -> np.ndarray:
    """Return the sum of every window from an integral image [H + 1, W + 1]."""
    return table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side]


def _whole(center: np.ndarray, size: int) -> np.ndarray:
    """Return the nearest center of a window of `size` that starts at whole pixels."""
    return np.floor(center - size / 2) + size / 2
