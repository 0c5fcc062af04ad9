"""Crops of radiographs with their boxes and masks, upright or rotated.

No visible defect is ever without its box. A random crop may cut a box; where less than `min_visibility` of it
would remain, the crop is drawn again. Where no draw helps, the draw with the fewest such remains is taken and
they keep their (small) boxes: a truncated box is hard to find, but a defect labeled as background is wrong.
"""

from typing import Annotated, ClassVar, NamedTuple

import cv2
import numpy as np
from pydantic import Field

from data.boxes import MIN_BOX_SIDE
from data.schema import StrictModel

MAX_ATTEMPTS = 32
"""Crops drawn at once; the first without truncated boxes is taken."""

Probability = Annotated[float, Field(ge=0, le=1)]


class CropConfig(StrictModel):
    """A random square crop. A radiograph smaller than it is continued by reflection, its defects' boxes too."""

    former_names: ClassVar = {
        "around_defect": "defect_crop_fraction",
        "keep_empty": "allow_empty",
        "min_visible": "min_visibility",
    }

    size: int = Field(gt=0, description="Side of the crop in pixels.")
    defect_crop_fraction: Probability = Field(
        0.0, description="Share of crops that hold a random defect wholly, at a random position; the rest lie anywhere."
    )
    allow_empty: bool = Field(
        True, description="Whether a crop may show no defect; if not, it is drawn again where the radiograph has any."
    )
    min_visibility: Probability = Field(
        0.4, description="Least share of a box (of as much of it as fits into the crop) that a cut may leave of it."
    )


class AugmentedSample(NamedTuple):
    """Pixels float32 `[H, W]` in [0, 1], boxes float32 `[N, 4]` xyxy, labels int64 `[N]`, masks as given."""

    pixels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None

    @property
    def label_map(self) -> np.ndarray:
        """The masks, where a label map was given."""
        if self.masks is None:
            raise ValueError("no masks were given")
        return self.masks


class RigidMotion(NamedTuple):
    """How a crop lies: rotated about its center by `angle` in radians, moved by `shift` (x, y) in its pixels."""

    angle: float
    shift: np.ndarray


def crop(
    sample: AugmentedSample, config: CropConfig, factor: float, motion: RigidMotion | None, rng: np.random.Generator
) -> AugmentedSample:
    """Cut a window out of the radiograph and resize it to the crop's size, so that `factor` is the scale.

    The window's place is drawn from `rng` as for an upright one, and then turned and moved.
    """
    side = max(round(config.size / factor), 1)
    shape = sample.pixels.shape
    tiles = _reach(shape, side)
    boxes, _ = _reflected_boxes(sample.boxes, shape, *tiles)
    corners = _sample_corners(sample.boxes, shape, side, config, rng)
    x, y = _best_corner(corners, boxes, side, config)
    if motion is None:
        cut = _clipped(_cut(sample, x, y, side, tiles), side)
    else:
        cut = _rotated_window(sample, np.array([x, y]) + side / 2 + motion.shift / factor, side, motion.angle)
    return cut if side == config.size else resize(cut, (config.size, config.size))


def _rotated_window(sample: AugmentedSample, center: np.ndarray, side: int, angle: float) -> AugmentedSample:
    """Return the window of `side` pixels around `center` (x, y), turned by `angle` in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    # The upright window that holds the turned one, and a pixel to interpolate with.
    wide = int(np.ceil(side * (abs(cos) + abs(sin)))) + 3
    x, y = np.floor(center - wide / 2).astype(int)
    height, width = sample.pixels.shape
    columns, rows = (
        range(start // length, -(-(start + wide) // length)) for start, length in ((x, width), (y, height))
    )
    cut = _cut(sample, x, y, wide, (columns, rows))
    turn = np.array([[cos, -sin], [sin, cos]])
    offset = side / 2 - turn @ (center - [x, y])
    # Boxes are measured from the corner of the first pixel, images from its middle.
    matrix = np.column_stack([turn, offset + turn @ [0.5, 0.5] - 0.5])

    def turned(image: np.ndarray, interpolation: int) -> np.ndarray:
        return cv2.warpAffine(image, matrix, (side, side), flags=interpolation, borderMode=cv2.BORDER_REFLECT)

    masks = cut.masks
    if masks is not None and masks.ndim == 2:
        masks = turned(masks, cv2.INTER_NEAREST)
    elif masks is not None:
        masks = np.array([turned(mask, cv2.INTER_NEAREST) for mask in masks], masks.dtype).reshape(-1, side, side)
    half = (cut.boxes[:, 2:] - cut.boxes[:, :2]) / 2
    middle = (cut.boxes[:, :2] + half) @ turn.T + offset
    reach = np.sqrt(half**2 @ (turn.T**2))
    # Linear interpolation would take a good part of the noise away, and test images keep theirs.
    pixels = turned(cut.pixels, cv2.INTER_CUBIC).clip(0, 1)
    boxes = np.concatenate([middle - reach, middle + reach], axis=1)
    return _clipped(AugmentedSample(pixels, boxes, cut.labels, masks), side)


def _cut(sample: AugmentedSample, x: int, y: int, side: int, tiles: tuple[range, range]) -> AugmentedSample:
    """Return the window at (x, y) with the boxes of `tiles` that it shows, not clipped yet."""
    boxes, origin = _reflected_boxes(sample.boxes, sample.pixels.shape, *tiles)
    seen = _overlap(np.array([[x, y]]), boxes, side)[0] > 0
    boxes, origin = boxes[seen] - [x, y, x, y], origin[seen]
    masks = sample.masks
    if masks is not None and masks.ndim == 2:
        masks = _window(masks, x, y, side)
    elif masks is not None:
        masks = np.array([_window(mask, x, y, side) for mask in masks[origin]], dtype=masks.dtype)
        masks = masks.reshape(-1, side, side)
        # A mask continued by reflection shows every image of its defect; each box keeps its own.
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.clip(0, side), strict=True):
            outside = np.ones(mask.shape, dtype=bool)
            outside[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = False
            mask[outside] = 0
    return AugmentedSample(_window(sample.pixels, x, y, side), boxes, sample.labels[origin], masks)


def _clipped(sample: AugmentedSample, side: int) -> AugmentedSample:
    """Return a window with its boxes clipped to it, without those that it does not show."""
    seen = _overlap(np.zeros((1, 2)), sample.boxes, side)[0] > 0
    masks = sample.masks if sample.masks is None or sample.masks.ndim == 2 else sample.masks[seen]
    return AugmentedSample(sample.pixels, sample.boxes[seen].clip(0, side), sample.labels[seen], masks)


def _reach(shape: tuple[int, int], side: int) -> tuple[range, range]:
    """Return the tiles, in x and in y, that a window of `side` that holds (or lies in) the image can show."""
    # So many tiles beyond the image on either side; none where it is as long as the window.
    reach = [-(-side // length) - 1 for length in (shape[1], shape[0])]
    return range(-reach[0], reach[0] + 1), range(-reach[1], reach[1] + 1)


def _reflected_boxes(
    boxes: np.ndarray, shape: tuple[int, int], columns: range, rows: range
) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes on the tiles that continue an image by reflection, and the position of the box each is of.

    Tile 0 is the image, and tile k to its right or below it is turned over when k is odd.
    """
    origin = np.arange(len(boxes))
    for axis, length, tiles in ((1, shape[0], rows), (0, shape[1], columns)):
        images = []
        for k in tiles:
            image = boxes.copy()
            low, high = boxes[:, axis], boxes[:, axis + 2]
            image[:, axis] = (k + 1) * length - high if k % 2 else k * length + low
            image[:, axis + 2] = (k + 1) * length - low if k % 2 else k * length + high
            images.append(image)
        boxes, origin = np.concatenate(images), np.tile(origin, len(images))
    return boxes, origin


def _sample_corners(
    boxes: np.ndarray, shape: tuple[int, int], side: int, config: CropConfig, rng: np.random.Generator
) -> np.ndarray:
    """Return upper left corners (x, y) of candidate windows, `[MAX_ATTEMPTS or more, 2]`, first choice first."""
    # An image smaller than the window lies wholly inside it.
    last = np.array([shape[1], shape[0]]) - side
    lowest, highest = np.minimum(last, 0), np.maximum(last, 0)
    anywhere = rng.integers(lowest, highest, size=(MAX_ATTEMPTS, 2), endpoint=True)
    if not len(boxes):
        return anywhere
    chosen = boxes[rng.integers(len(boxes))]
    # From the window that ends with the box to the one that starts with it; for a box larger than the
    # window the order turns, and the window lies inside the box.
    ends = np.stack([np.ceil(chosen[2:] - side), np.floor(chosen[:2])])
    low, high = (edge.clip(lowest, highest).astype(np.int64) for edge in (ends.min(axis=0), ends.max(axis=0)))
    around = rng.integers(low, high, size=(MAX_ATTEMPTS, 2), endpoint=True)
    if rng.random() < config.defect_crop_fraction:
        return around
    return anywhere if config.allow_empty else np.concatenate([anywhere, around])


def _best_corner(corners: np.ndarray, boxes: np.ndarray, side: int, config: CropConfig) -> tuple[int, int]:
    """Return the first corner whose window leaves no truncated box (and is not empty, where that is asked for)."""
    if len(boxes):
        extent = np.minimum(boxes[:, 2:] - boxes[:, :2], side).prod(axis=1)
        visible = _overlap(corners, boxes, side) / extent
        whole = visible >= config.min_visibility
        truncated = ((visible > 0) & ~whole).sum(axis=1)
        if not config.allow_empty:
            truncated += (len(boxes) + 1) * ~((visible > 0) & whole).any(axis=1)
        corners = corners[np.argmin(truncated)][None]
    return int(corners[0, 0]), int(corners[0, 1])


def _overlap(corners: np.ndarray, boxes: np.ndarray, side: int) -> np.ndarray:
    """Return the area of each box inside each window, `[windows, boxes]`, 0 where thinner than `MIN_BOX_SIDE`."""
    start = np.maximum(corners[:, None], boxes[None, :, :2])
    end = np.minimum(corners[:, None] + side, boxes[None, :, 2:])
    extent = end - start
    return np.where((extent >= MIN_BOX_SIDE).all(axis=2), extent.prod(axis=2), 0.0)


def _window(image: np.ndarray, x: int, y: int, side: int) -> np.ndarray:
    """Return the window at (x, y); outside `image` it shows the reflection, edge pixel included."""
    height, width = image.shape
    if x >= 0 and y >= 0 and x + side <= width and y + side <= height:
        return image[y : y + side, x : x + side]
    return image[np.ix_(_reflected_indices(y, side, height), _reflected_indices(x, side, width))]


def _reflected_indices(start: int, count: int, length: int) -> np.ndarray:
    """Return where along an axis of `length` the places `start`, `start` + 1, ... lie, reflected at both ends."""
    places = np.arange(start, start + count) % (2 * length)
    return np.minimum(places, 2 * length - 1 - places)


def resize(sample: AugmentedSample, shape: tuple[int, int]) -> AugmentedSample:
    """Resize to (height, width): areas averaged on the way down, linear on the way up, masks by nearest."""
    height, width = sample.pixels.shape
    size = (shape[1], shape[0])
    shrinks = shape[0] < height
    pixels = cv2.resize(sample.pixels, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    boxes = sample.boxes * np.tile([shape[1] / width, shape[0] / height], 2)
    masks = sample.masks
    if masks is not None and masks.ndim == 2:
        masks = cv2.resize(masks, size, interpolation=cv2.INTER_NEAREST_EXACT)
    elif masks is not None:
        resized = [cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT) for mask in masks]
        masks = np.array(resized, dtype=masks.dtype).reshape(-1, *shape)
    return AugmentedSample(pixels, boxes, sample.labels, masks)
