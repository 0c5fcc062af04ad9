"""Augmentation of radiographs with their boxes and masks; the one place that knows albumentations.

Crops come first, so that everything after them works on few pixels. Pixels stay float32 in [0, 1] throughout:
no step goes through 8 bits. Where brightness, contrast or noise push a value outside, it is clipped there.
"""

import os
import random
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from data.boxes import MIN_BOX_SIDE, has_area
from data.crops import AugmentedSample, CropConfig, Probability, RigidMotion, crop, resize
from data.errors import InputError
from data.schema import StrictModel

if TYPE_CHECKING:
    import albumentations as A


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"the range {pair} is upside down; give (low, high)")
    return pair


NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]
NonNegativeRange = Annotated[tuple[NonNegative, NonNegative], AfterValidator(_ordered)]


class AugmentationConfig(StrictModel):
    """What to vary; everything is off by default. Steps run in the order of the fields.

    A rotated crop shows the radiograph around it, reflected at its borders, and a rotated box is the one around the
    ellipse that filled the box before, as pores do.
    """

    scale: PositiveRange | None = Field(
        None, description="Range of the isotropic factor by which the radiograph is resized before the crop."
    )
    crop: CropConfig | None = Field(None, description="A random square crop; whole radiographs without it.")
    rotate: Annotated[float, Field(ge=0, le=180)] = Field(
        0.0, description="The crop is rotated about its center by U(-rotate, rotate) degrees; needs 'crop'."
    )
    translate: NonNegative = Field(
        0.0, description="The crop is moved by U(-translate, translate) pixels along either axis; needs 'crop'."
    )
    horizontal_flip: Probability = Field(0.0, description="Probability of a mirror image, left to right.")
    vertical_flip: Probability = Field(0.0, description="Probability of a mirror image, top to bottom.")
    rotate90: Probability = Field(
        0.0, description="Probability of a rotation by a random one of 0, 90, 180, 270 degrees."
    )
    blur_sigma: NonNegativeRange | None = Field(
        None, description="Range of the standard deviation of a Gaussian blur, in pixels."
    )
    contrast: Probability = Field(
        0.0, description="Half-range c of the factor in g' = (1 + U(-c, c)) g + U(-b, b), for gray values g in [0, 1]."
    )
    brightness: Probability = Field(0.0, description="Half-range b of the offset in the same formula.")
    gamma: PositiveRange | None = Field(None, description="Range of the exponent of gray values.")
    negate: Probability = Field(
        0.0, description="Probability of g' = 1 - g, which reverses a radiograph's polarity; masks stay as they are."
    )
    noise: Probability | Annotated[tuple[Probability, Probability], AfterValidator(_ordered)] = Field(
        0.0, description="Standard deviation of Gaussian noise, full scale being 1: a number, or a range."
    )

    @model_validator(mode="after")
    def _crop_to_move(self) -> "AugmentationConfig":
        if self.crop is None and (self.rotate or self.translate):
            raise ValueError("'rotate' and 'translate' need 'crop': a whole radiograph has nothing around it")
        return self


class Transform:
    """An augmentation; see `__call__`. It holds no random state, and can be sent to worker processes."""

    def __init__(self, config: AugmentationConfig) -> None:
        self.config = config
        # No filtering by area or visibility: nothing is dropped behind our back. Clipping repairs the last
        # bit of float32 rounding, over which albumentations would otherwise stop.
        A = _albumentations()
        boxes = A.BboxParams(format="pascal_voc", clip=True, min_area=0, min_visibility=0)
        spatial, pixel = _spatial_transforms(config), _pixel_transforms(config)
        self._spatial = A.Compose(spatial, bbox_params=boxes) if spatial else None
        self._pixel = A.Compose(pixel) if pixel else None

    def __call__(
        self,
        pixels: np.ndarray,
        boxes: np.ndarray,
        labels: np.ndarray,
        rng: np.random.Generator,
        masks: np.ndarray | None = None,
    ) -> AugmentedSample:
        """Augment one radiograph, every random choice from `rng`; the arguments are left as they are.

        `pixels` is float32 `[H, W]` in [0, 1], `boxes` `[N, 4]` xyxy in pixels inside the image, `labels`
        any N integers (class labels, or positions to look other things up by), `masks` uint8: `[N, H, W]`,
        one a box, or one label map `[H, W]`. Boxes that a crop leaves outside are left out, with their labels
        and masks; boxes cut by its edge are clipped. Raises `InputError` for a box thinner than 0.01 px.
        """
        pixels = np.asarray(pixels, dtype=np.float32)
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        _check_boxes(boxes)
        sample = AugmentedSample(pixels, boxes, np.asarray(labels, dtype=np.int64).reshape(-1), masks)
        factor = rng.uniform(*self.config.scale) if self.config.scale is not None else 1.0
        if self.config.crop is not None:
            sample = crop(sample, self.config.crop, factor, self._sample_motion(rng), rng)
        elif factor != 1.0:
            height, width = pixels.shape
            sample = resize(sample, (max(round(height * factor), 1), max(round(width * factor), 1)))
        # Its set_random_seed would give every step a generator of the same seed, so that the flips always
        # coincide; here all steps draw from one.
        python_rng = random.Random(int(rng.integers(2**63)))
        if self._spatial is not None:
            self._spatial.set_random_state(rng, python_rng)
            sample = _moved(sample, self._spatial)
        pixels = sample.pixels
        if self._pixel is not None:
            self._pixel.set_random_state(rng, python_rng)
            pixels = self._pixel(image=pixels)["image"]
        return sample._replace(
            pixels=np.ascontiguousarray(pixels, dtype=np.float32), boxes=sample.boxes.astype(np.float32)
        )

    def _sample_motion(self, rng: np.random.Generator) -> RigidMotion | None:
        """Draw how a crop is turned and moved; None, and nothing is drawn, where it lies upright and in place."""
        config = self.config
        if not (config.rotate or config.translate):
            return None
        angle = rng.uniform(-config.rotate, config.rotate)
        return RigidMotion(float(np.deg2rad(angle)), rng.uniform(-config.translate, config.translate, 2))


def build_transform(config: AugmentationConfig) -> Transform:
    """Return the augmentation that `config` describes; `Transform.__call__` says how to call it."""
    return Transform(config)


def _albumentations() -> ModuleType:
    """Import albumentations when it is first used: it imports torch, which takes seconds that schemas need not."""
    # It asks a package host for its newest release at import, unless this is set.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    return albumentations


def _spatial_transforms(config: AugmentationConfig) -> "list[A.BasicTransform]":
    """Return the steps that move boxes, those that are on."""
    A = _albumentations()
    steps: list[Any] = []
    if config.horizontal_flip:
        steps.append(A.HorizontalFlip(p=config.horizontal_flip))
    if config.vertical_flip:
        steps.append(A.VerticalFlip(p=config.vertical_flip))
    if config.rotate90:
        steps.append(A.RandomRotate90(p=config.rotate90))
    return steps


def _pixel_transforms(config: AugmentationConfig) -> "list[A.BasicTransform]":
    """Return the steps that change gray values, those that are on."""
    A = _albumentations()
    steps: list[Any] = []
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


def _moved(sample: AugmentedSample, turn: "A.Compose") -> AugmentedSample:
    """Flip and rotate."""
    # A fifth column carries the position of the box; label fields would come back as floats.
    count, masks = len(sample.boxes), sample.masks
    data: dict[str, Any] = {"image": sample.pixels, "bboxes": np.column_stack([sample.boxes, np.arange(count)])}
    if masks is not None and masks.ndim == 2:
        data["mask"] = masks
    elif masks is not None:
        # With at least one mask in the list, the empty stack gets the right height and width too.
        data["masks"] = [*masks, np.zeros(sample.pixels.shape, dtype=masks.dtype)]
    out = turn(**data)
    # Without boxes the array comes back with shape (0,).
    rows = np.asarray(out["bboxes"]).reshape(-1, 5)
    if len(rows) != count:
        raise RuntimeError(f"{count} boxes went into the augmentation and {len(rows)} came out")
    if masks is not None:
        masks = out["mask"] if masks.ndim == 2 else np.stack(out["masks"])[:-1]
    height, width = out["image"].shape
    boxes = rows[:, :4].clip(0, [width, height, width, height])
    return AugmentedSample(out["image"], boxes, sample.labels[rows[:, 4].astype(np.int64)], masks)


def _check_boxes(boxes: np.ndarray) -> None:
    """Refuse boxes that show nothing, which albumentations refuses in other words or drops."""
    for position, box in enumerate(boxes):
        if not has_area(box):
            raise InputError(
                f"box {position}, {box.tolist()} (x1, y1, x2, y2), is thinner than {MIN_BOX_SIDE} pixels;"
                " correct or remove it"
            )
