"""Where simulated defects lie, and the distributions that their sizes and strengths are sampled from."""

from typing import Literal

import cv2
import numpy as np
from pydantic import Field, model_validator

from data.coco import CocoDataset
from data.errors import InputError
from data.part_mask import segment_test_object
from data.schema import StrictModel
from data.synthesis.gradient import gradient_magnitude

CELL = 4  # pixels; clearance is kept on this grid, for a sixteenth of the memory
WALL_BLUR = 4.0  # pixels; walls are wider, noise and defects are not
MAX_ATTEMPTS = 64  # positions drawn at once before the whole map is searched
_NORMAL_95 = 1.6449  # 90 % of a normal distribution lie within so many standard deviations


class Distribution(StrictModel):
    """A distribution of positive numbers, named by the range from `low` to `high`.

    `lognormal` has 90 % of its mass in the range and is cut at half of `low` and twice `high`; `uniform` and
    `loguniform` stay inside it. All values have the unit of the field that they stand for.
    """

    kind: Literal["lognormal", "uniform", "loguniform"] = Field("lognormal", description="The shape.")
    low: float = Field(gt=0, allow_inf_nan=False, description="Lower end of the range.")
    high: float = Field(gt=0, allow_inf_nan=False, description="Upper end of the range.")

    @model_validator(mode="after")
    def _ordered(self) -> "Distribution":
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) must not be above high ({self.high})")
        return self

    def sample(self, rng: np.random.Generator) -> float:
        """Return one number."""
        if self.kind == "uniform":
            return float(rng.uniform(self.low, self.high))
        low, high = np.log(self.low), np.log(self.high)
        if self.kind == "loguniform":
            return float(np.exp(rng.uniform(low, high)))
        value = np.exp(rng.normal((low + high) / 2, (high - low) / 2 / _NORMAL_95))
        return float(np.clip(value, self.low / 2, 2 * self.high))


def clearance_map(pixels: np.ndarray, boxes: np.ndarray, clearance: float) -> np.ndarray:
    """Return how much clearance there is for a defect, uint8 `[ceil(H/4), ceil(W/4)]`, every fourth pixel of each axis.

    The value is the distance in pixels (at most 255) from the pixel to the nearest place where no defect may lie:
    off the test object, beyond the image, or less than `clearance` pixels from one of the `boxes` `[N, 4]` xyxy.
    """
    free = segment_test_object(pixels).astype(np.uint8)
    for x1, y1, x2, y2 in np.asarray(boxes, dtype=np.float64).reshape(-1, 4):
        top, left = max(int(np.floor(y1 - clearance)), 0), max(int(np.floor(x1 - clearance)), 0)
        free[top : int(np.ceil(y2 + clearance)), left : int(np.ceil(x2 + clearance))] = 0
    distance = cv2.distanceTransform(np.pad(free, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    return np.minimum(distance[::CELL, ::CELL], 255).astype(np.uint8)


def edge_strength(pixels: np.ndarray, one_level: float = 1 / 255) -> np.ndarray:
    """Return the gradient relative to the gray value, per pixel, float32 on the grid of `clearance_map`.

    It is largest along walls and at junctions, where castings solidify last and most defects are. No gray value counts
    as darker than `one_level`, the step from one value to the next.
    """
    calm = cv2.GaussianBlur(np.asarray(pixels, dtype=np.float32), (0, 0), WALL_BLUR)
    # A copy, because a view would keep the whole of it in memory.
    return (gradient_magnitude(calm) / np.maximum(calm, one_level))[::CELL, ::CELL].copy()


def sample_position(
    clearance: np.ndarray, reach: float, taken: np.ndarray, rng: np.random.Generator, weight: np.ndarray | None = None
) -> tuple[float, float] | None:
    """Return a random position (x, y) in pixels for a defect that reaches `reach` pixels, None where there is none.

    `clearance` is as `clearance_map` gives it; the defect stays clear of the `taken` boxes `[N, 4]` xyxy too. With
    `weight`, of the shape of `clearance`, a position is the likelier the larger its weight.
    """
    rows, columns = rng.integers(0, clearance.shape, (MAX_ATTEMPTS, 2)).T
    fits = clearance[rows, columns] >= reach + CELL
    if not fits.any():
        rows, columns = np.nonzero(clearance >= reach + CELL)
        order = rng.permutation(len(rows))[:MAX_ATTEMPTS]
        rows, columns = rows[order], columns[order]
    else:
        rows, columns = rows[fits], columns[fits]
    if weight is not None:
        # The order in which positions would be drawn without replacement (Efraimidis and Spirakis 2006).
        order = np.argsort(rng.exponential(size=len(rows)) / np.maximum(weight[rows, columns], 1e-9))
        rows, columns = rows[order], columns[order]
    x, y = columns * CELL + rng.uniform(0, CELL, len(columns)), rows * CELL + rng.uniform(0, CELL, len(rows))
    for position in zip(x, y, strict=True):
        if not len(taken) or not _within(taken, position, reach):
            return float(position[0]), float(position[1])
    return None


def _within(boxes: np.ndarray, position: tuple[float, float], reach: float) -> bool:
    """Return whether a square of half side `reach` around a position meets one of the boxes."""
    return bool((np.abs(boxes[:, :2] + boxes[:, 2:] - 2 * np.array(position)) / 2
                 < (boxes[:, 2:] - boxes[:, :2]) / 2 + reach).all(axis=1).any())  # fmt: skip


def box_sizes(dataset: CocoDataset, padding: float) -> np.ndarray:
    """Return the sizes sqrt(w h) float64 [N] in pixels of a data set's boxes, less their padding on each side.

    Crowds do not count. Raises InputError where no box is left.
    """
    sides = np.array([a["bbox"][2:] for a in dataset.annotations if not a.get("iscrowd", 0)], dtype=np.float64)
    if not len(sides):
        raise InputError(f"{dataset.path}: no boxes to take the sizes of defects from; give a file with annotations")
    return np.sqrt(np.maximum(sides - 2 * padding, 2.0).prod(axis=1))
