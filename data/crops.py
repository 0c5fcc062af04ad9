"""Crops of radiographs with their boxes and masks, upright or turned.

No visible defect is ever without its box. A random crop may cut a box; where less than `min_visible` of it
would remain, the crop is drawn again. Where no draw helps, the draw with the fewest such remains is taken and
they keep their (small) boxes: a sliver is hard to find, but a defect labeled as background is wrong.
"""

from typing import Annotated, NamedTuple

import cv2
import numpy as np
from pydantic import Field

from data.boxes import MIN_BOX_SIDE
from data.schema import StrictModel

DRAWS = 32
"""Crops drawn at once; the first without slivers is taken."""

Probability = Annotated[float, Field(ge=0, le=1)]


class CropConfig(StrictModel):
    """A random square crop, `size` x `size` pixels.

    `around_defect` is the share of crops placed so that a random defect lies wholly inside, at a random
    position; the rest lies anywhere. With `keep_empty` false, crops that show no defect are drawn again, as
    long as the radiograph has defects. `min_visible` is the share of a box (of as much of it as fits into the
    crop) that has to remain for a cut to be accepted. Radiographs smaller than the crop are continued by
    reflection, and the reflected defects have boxes too.
    """

    size: int = Field(gt=0)
    around_defect: Probability = 0.0
    keep_empty: bool = True
    min_visible: Probability = 0.4


class Augmented(NamedTuple):
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


class Turn(NamedTuple):
    """How a crop lies: turned about its center by `angle` in radians, moved by `shift` (x, y) in its pixels."""

    angle: float
    shift: np.ndarray


def crop(scene: Augmented, config: CropConfig, factor: float, turn: Turn | None, rng: np.random.Generator) -> Augmented:
    """Cut a window out of the radiograph and resize it to the crop's size, so that `factor` is the scale.

    The window's place is drawn from `rng` as for an upright one, and then turned and moved.
    """
    side = max(round(config.size / factor), 1)
    shape = scene.pixels.shape
    tiles = _reach(shape, side)
    boxes, _ = _reflected_boxes(scene.boxes, shape, *tiles)
    corners = _draw_corners(scene.boxes, shape, side, config, rng)
    x, y = _best_corner(corners, boxes, side, config)
    if turn is None:
        cut = _clipped(_cut(scene, x, y, side, tiles), side)
    else:
        cut = _turned_window(scene, np.array([x, y]) + side / 2 + turn.shift / factor, side, turn.angle)
    return cut if side == config.size else resize(cut, (config.size, config.size))


def _turned_window(scene: Augmented, center: np.ndarray, side: int, angle: float) -> Augmented:
    """Return the window of `side` pixels around `center` (x, y), turned by `angle` in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    # The upright window that holds the turned one, and a pixel to interpolate with.
    wide = int(np.ceil(side * (abs(cos) + abs(sin)))) + 3
    x, y = np.floor(center - wide / 2).astype(int)
    height, width = scene.pixels.shape
    columns, rows = (
        range(start // length, -(-(start + wide) // length)) for start, length in ((x, width), (y, height))
    )
    cut = _cut(scene, x, y, wide, (columns, rows))
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
    return _clipped(Augmented(pixels, boxes, cut.labels, masks), side)


def _cut(scene: Augmented, x: int, y: int, side: int, tiles: tuple[range, range]) -> Augmented:
    """Return the window at (x, y) with the boxes of `tiles` that it shows, not clipped yet."""
    boxes, origin = _reflected_boxes(scene.boxes, scene.pixels.shape, *tiles)
    seen = _overlap(np.array([[x, y]]), boxes, side)[0] > 0
    boxes, origin = boxes[seen] - [x, y, x, y], origin[seen]
    masks = scene.masks
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
    return Augmented(_window(scene.pixels, x, y, side), boxes, scene.labels[origin], masks)


def _clipped(scene: Augmented, side: int) -> Augmented:
    """Return a window with its boxes clipped to it, without those that it does not show."""
    seen = _overlap(np.zeros((1, 2)), scene.boxes, side)[0] > 0
    masks = scene.masks if scene.masks is None or scene.masks.ndim == 2 else scene.masks[seen]
    return Augmented(scene.pixels, scene.boxes[seen].clip(0, side), scene.labels[seen], masks)


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


def _draw_corners(
    boxes: np.ndarray, shape: tuple[int, int], side: int, config: CropConfig, rng: np.random.Generator
) -> np.ndarray:
    """Return upper left corners (x, y) of candidate windows, `[DRAWS or more, 2]`, first choice first."""
    # An image smaller than the window lies wholly inside it.
    last = np.array([shape[1], shape[0]]) - side
    lowest, highest = np.minimum(last, 0), np.maximum(last, 0)
    anywhere = rng.integers(lowest, highest, size=(DRAWS, 2), endpoint=True)
    if not len(boxes):
        return anywhere
    chosen = boxes[rng.integers(len(boxes))]
    # From the window that ends with the box to the one that starts with it; for a box larger than the
    # window the order turns, and the window lies inside the box.
    ends = np.stack([np.ceil(chosen[2:] - side), np.floor(chosen[:2])])
    low, high = (edge.clip(lowest, highest).astype(np.int64) for edge in (ends.min(axis=0), ends.max(axis=0)))
    around = rng.integers(low, high, size=(DRAWS, 2), endpoint=True)
    if rng.random() < config.around_defect:
        return around
    return anywhere if config.keep_empty else np.concatenate([anywhere, around])


def _best_corner(corners: np.ndarray, boxes: np.ndarray, side: int, config: CropConfig) -> tuple[int, int]:
    """Return the first corner whose window leaves no sliver (and is not empty, where that is asked for)."""
    if len(boxes):
        extent = np.minimum(boxes[:, 2:] - boxes[:, :2], side).prod(axis=1)
        visible = _overlap(corners, boxes, side) / extent
        whole = visible >= config.min_visible
        faults = ((visible > 0) & ~whole).sum(axis=1)
        if not config.keep_empty:
            faults += (len(boxes) + 1) * ~((visible > 0) & whole).any(axis=1)
        corners = corners[np.argmin(faults)][None]
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
    return image[np.ix_(_reflected_places(y, side, height), _reflected_places(x, side, width))]


def _reflected_places(start: int, count: int, length: int) -> np.ndarray:
    """Return where along an axis of `length` the places `start`, `start` + 1, ... lie, reflected at both ends."""
    places = np.arange(start, start + count) % (2 * length)
    return np.minimum(places, 2 * length - 1 - places)


def resize(scene: Augmented, shape: tuple[int, int]) -> Augmented:
    """Resize to (height, width): areas averaged on the way down, linear on the way up, masks by nearest."""
    height, width = scene.pixels.shape
    size = (shape[1], shape[0])
    shrinks = shape[0] < height
    pixels = cv2.resize(scene.pixels, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    boxes = scene.boxes * np.tile([shape[1] / width, shape[0] / height], 2)
    masks = scene.masks
    if masks is not None and masks.ndim == 2:
        masks = cv2.resize(masks, size, interpolation=cv2.INTER_NEAREST_EXACT)
    elif masks is not None:
        resized = [cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT) for mask in masks]
        masks = np.array(resized, dtype=masks.dtype).reshape(-1, *shape)
    return Augmented(pixels, boxes, scene.labels, masks)
