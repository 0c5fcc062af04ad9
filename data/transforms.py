"""Augmentation of radiographs with their boxes and masks; the one place that knows albumentations.

Crops come first, so that everything after them works on few pixels. Pixels stay float32 in [0, 1] throughout:
no step goes through 8 bits. Where brightness, contrast or noise push a value outside, it is clipped there.

No visible defect is ever without its box. A random crop may cut a box; where less than `min_visible` of it
would remain, the crop is drawn again. Where no draw helps, the draw with the fewest such remains is taken and
they keep their (small) boxes: a sliver is hard to find, but a defect labelled as background is wrong.
"""

import os
import random
from collections.abc import Callable
from typing import Annotated, NamedTuple

import cv2
import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from data.errors import InputError

# albumentations asks a package host for its newest release at import, unless this is set.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A

DRAWS = 32
"""Crops drawn at once; the first without slivers is taken."""

THINNEST = 0.01
"""Pixels; what is thinner counts as not visible. (albumentations rounds to float32 shares of the image.)"""


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"the range {pair} is upside down; give (low, high)")
    return pair


Probability = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]
NonNegativeRange = Annotated[tuple[NonNegative, NonNegative], AfterValidator(_ordered)]


class CropConfig(BaseModel):
    """A random square crop, `size` x `size` pixels.

    `around_defect` is the share of crops placed so that a random defect lies wholly inside, at a random
    position; the rest lies anywhere. With `keep_empty` false, crops that show no defect are drawn again, as
    long as the radiograph has defects. `min_visible` is the share of a box (of as much of it as fits into the
    crop) that has to remain for a cut to be accepted. Radiographs smaller than the crop are continued by
    reflection, and the reflected defects have boxes too.
    """

    model_config = ConfigDict(extra="forbid")

    size: int = Field(gt=0)
    around_defect: Probability = 0.0
    keep_empty: bool = True
    min_visible: Probability = 0.4


class AugmentationConfig(BaseModel):
    """What to vary; everything is off by default. Steps run in the order of the fields.

    `scale` is a range of the isotropic factor by which the radiograph is resized before the crop.
    `horizontal_flip` and `vertical_flip` are probabilities; `rotate90` is the probability of turning by a
    random one of 0, 90, 180 and 270 degrees. `blur_sigma` is a range in pixels. `contrast` and `brightness`
    are half-ranges: g' = (1 + U(-contrast, contrast)) g + U(-brightness, brightness). `gamma` is a range of
    the exponent. `negate` is the probability of g' = 1 - g, which turns a radiograph's polarity and leaves
    masks alone. `noise` is the standard deviation of Gaussian noise, full scale being 1, fixed or a range.
    """

    model_config = ConfigDict(extra="forbid")

    scale: PositiveRange | None = None
    crop: CropConfig | None = None
    horizontal_flip: Probability = 0.0
    vertical_flip: Probability = 0.0
    rotate90: Probability = 0.0
    blur_sigma: NonNegativeRange | None = None
    contrast: Probability = 0.0
    brightness: Probability = 0.0
    gamma: PositiveRange | None = None
    negate: Probability = 0.0
    noise: Probability | Annotated[tuple[Probability, Probability], AfterValidator(_ordered)] = 0.0


class Augmented(NamedTuple):
    """Pixels float32 `[H, W]` in [0, 1], boxes float32 `[N, 4]` xyxy, labels int64 `[N]`, masks as given."""

    pixels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None


class Transform:
    """An augmentation; see `__call__`. It holds no random state, and can be sent to worker processes."""

    def __init__(self, config: AugmentationConfig) -> None:
        self.config = config
        # No filtering by area or visibility: nothing is dropped behind our back. Clipping repairs the last
        # bit of float32 rounding, over which albumentations would otherwise stop.
        boxes = A.BboxParams(format="pascal_voc", clip=True, min_area=0, min_visibility=0)
        turns, shades = _turns(config), _shades(config)
        self._turn = A.Compose(turns, bbox_params=boxes) if turns else None
        self._shade = A.Compose(shades) if shades else None

    def __call__(
        self,
        pixels: np.ndarray,
        boxes: np.ndarray,
        labels: np.ndarray,
        rng: np.random.Generator,
        masks: np.ndarray | None = None,
    ) -> Augmented:
        """Augment one radiograph, every random choice from `rng`; the arguments are left as they are.

        `pixels` is float32 `[H, W]` in [0, 1], `boxes` `[N, 4]` xyxy in pixels inside the image, `labels`
        any N integers (class labels, or positions to look other things up by), `masks` uint8: `[N, H, W]`,
        one a box, or one label map `[H, W]`. Boxes that a crop leaves outside are left out, with their labels
        and masks; boxes cut by its edge are clipped. Raises `InputError` for a box thinner than 0.01 px.
        """
        pixels = np.asarray(pixels, dtype=np.float32)
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        _check_boxes(boxes)
        scene = Augmented(pixels, boxes, np.asarray(labels, dtype=np.int64).reshape(-1), masks)
        factor = rng.uniform(*self.config.scale) if self.config.scale is not None else 1.0
        if self.config.crop is not None:
            scene = _crop(scene, self.config.crop, factor, rng)
        elif factor != 1.0:
            height, width = pixels.shape
            scene = _resize(scene, (max(round(height * factor), 1), max(round(width * factor), 1)))
        # Its set_random_seed would give every step a generator of the same seed, so that the flips always
        # coincide; here all steps draw from one.
        python_rng = random.Random(int(rng.integers(2**63)))
        if self._turn is not None:
            self._turn.set_random_state(rng, python_rng)
            scene = _turned(scene, self._turn)
        pixels = scene.pixels
        if self._shade is not None:
            self._shade.set_random_state(rng, python_rng)
            pixels = self._shade(image=pixels)["image"]
        return scene._replace(
            pixels=np.ascontiguousarray(pixels, dtype=np.float32), boxes=scene.boxes.astype(np.float32)
        )


def build_transform(config: AugmentationConfig) -> Callable[..., Augmented]:
    """Return the augmentation that `config` describes; `Transform.__call__` says how to call it."""
    return Transform(config)


def _turns(config: AugmentationConfig) -> list[A.BasicTransform]:
    """Return the steps that move boxes, those that are on."""
    steps: list[A.BasicTransform] = []
    if config.horizontal_flip:
        steps.append(A.HorizontalFlip(p=config.horizontal_flip))
    if config.vertical_flip:
        steps.append(A.VerticalFlip(p=config.vertical_flip))
    if config.rotate90:
        steps.append(A.RandomRotate90(p=config.rotate90))
    return steps


def _shades(config: AugmentationConfig) -> list[A.BasicTransform]:
    """Return the steps that change grey values, those that are on."""
    steps: list[A.BasicTransform] = []
    if config.blur_sigma is not None:
        steps.append(A.GaussianBlur(blur_limit=0, sigma_limit=config.blur_sigma, p=1))
    if config.contrast or config.brightness:
        steps.append(A.RandomBrightnessContrast(config.brightness, config.contrast, p=1))
    if config.gamma is not None:
        low, high = config.gamma
        steps.append(A.RandomGamma(gamma_limit=(100 * low, 100 * high), p=1))  # in per cent
    if config.negate:
        steps.append(A.InvertImg(p=config.negate))
    noise = config.noise if isinstance(config.noise, tuple) else (config.noise, config.noise)
    if noise[1] > 0:
        steps.append(A.GaussNoise(std_range=noise, p=1))
    return steps


def _turned(scene: Augmented, turn: A.Compose) -> Augmented:
    """Flip and rotate."""
    # A fifth column carries the position of the box; label fields would come back as floats.
    count, masks = len(scene.boxes), scene.masks
    data = {"image": scene.pixels, "bboxes": np.column_stack([scene.boxes, np.arange(count)])}
    if masks is not None and masks.ndim == 2:
        data["mask"] = masks
    elif masks is not None:
        # With at least one mask in the list, the empty stack gets the right height and width too.
        data["masks"] = [*masks, np.zeros(scene.pixels.shape, dtype=masks.dtype)]
    out = turn(**data)
    # Without boxes the array comes back with shape (0,).
    rows = np.asarray(out["bboxes"]).reshape(-1, 5)
    if len(rows) != count:
        raise RuntimeError(f"{count} boxes went into the augmentation and {len(rows)} came out")
    if masks is not None:
        masks = out["mask"] if masks.ndim == 2 else np.stack(out["masks"])[:-1]
    height, width = out["image"].shape
    boxes = rows[:, :4].clip(0, [width, height, width, height])
    return Augmented(out["image"], boxes, scene.labels[rows[:, 4].astype(np.int64)], masks)


def _check_boxes(boxes: np.ndarray) -> None:
    """Refuse boxes that show nothing, which albumentations refuses in other words or drops."""
    for position, box in enumerate(boxes):
        if not (box[2] - box[0] >= THINNEST and box[3] - box[1] >= THINNEST):
            raise InputError(
                f"box {position}, {box.tolist()} (x1, y1, x2, y2), is thinner than {THINNEST} pixels;"
                " correct or remove it"
            )


def _crop(scene: Augmented, config: CropConfig, factor: float, rng: np.random.Generator) -> Augmented:
    """Cut a window out of the radiograph and resize it to the crop's size, so that `factor` is the scale."""
    side = max(round(config.size / factor), 1)
    height, width = scene.pixels.shape
    boxes, origin = _reflected_boxes(scene.boxes, (height, width), side)
    corners = _draw_corners(scene.boxes, (height, width), side, config, rng)
    x, y = _best_corner(corners, boxes, side, config)

    seen = _overlap(np.array([[x, y]]), boxes, side)[0] > 0
    boxes = (boxes[seen] - [x, y, x, y]).clip(0, side)
    origin = origin[seen]
    masks = scene.masks
    if masks is not None and masks.ndim == 2:
        masks = _window(masks, x, y, side)
    elif masks is not None:
        masks = np.array([_window(mask, x, y, side) for mask in masks[origin]], dtype=masks.dtype)
        masks = masks.reshape(-1, side, side)
        # A mask continued by reflection shows every image of its defect; each box keeps its own.
        for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
            outside = np.ones(mask.shape, dtype=bool)
            outside[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = False
            mask[outside] = 0
    cut = Augmented(_window(scene.pixels, x, y, side), boxes, scene.labels[origin], masks)
    return cut if side == config.size else _resize(cut, (config.size, config.size))


def _reflected_boxes(boxes: np.ndarray, shape: tuple[int, int], side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes of everything that a window can show, and the position of the box each comes from.

    Along an axis shorter than `side` the image is continued by reflection: tile 0 is the image, and tile k to
    its right (left, where negative) is turned over when k is odd.
    """
    origin = np.arange(len(boxes))
    for axis, length in ((1, shape[0]), (0, shape[1])):
        if length >= side:
            continue
        reach = -(-side // length) - 1  # tiles beyond the image on either side
        images = []
        for k in range(-reach, reach + 1):
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
    """Return the area of each box inside each window, `[windows, boxes]`, 0 where thinner than `THINNEST`."""
    start = np.maximum(corners[:, None], boxes[None, :, :2])
    end = np.minimum(corners[:, None] + side, boxes[None, :, 2:])
    extent = end - start
    return np.where((extent >= THINNEST).all(axis=2), extent.prod(axis=2), 0.0)


def _window(image: np.ndarray, x: int, y: int, side: int) -> np.ndarray:
    """Return the window at (x, y); outside `image` it shows the reflection, edge pixel included."""
    height, width = image.shape
    left, top = max(-x, 0), max(-y, 0)
    right, bottom = max(x + side - width, 0), max(y + side - height, 0)
    part = image[max(y, 0) : y + side, max(x, 0) : x + side]
    if left or top or right or bottom:
        return np.pad(part, ((top, bottom), (left, right)), mode="symmetric")
    return part


def _resize(scene: Augmented, shape: tuple[int, int]) -> Augmented:
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
