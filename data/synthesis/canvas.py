"""The coordinates that random castings are drawn in, and what all their walls and details are drawn with."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

Shape = tuple[int, int]


@dataclass(frozen=True)
class Canvas:
    """A window into a larger frame: `x` float32 [1, W] and `y` float32 [H, 1] are pixel coordinates in the frame.

    Parts are laid out in the `frame` (height, width), so that a small window shows what a close-up of a large
    radiograph shows: few, wide structures.
    """

    x: np.ndarray
    y: np.ndarray
    frame: Shape

    @classmethod
    def of(cls, shape: Shape, frame: Shape | None = None, origin: Shape = (0, 0)) -> "Canvas":
        """Return the window of `shape` (height, width) at `origin` (y, x) of a frame; by default the window alone."""
        height, width = shape
        x = np.arange(width, dtype=np.float32)[None] + np.float32(origin[1])
        y = np.arange(height, dtype=np.float32)[:, None] + np.float32(origin[0])
        return cls(x, y, frame or shape)

    @property
    def shape(self) -> Shape:
        """Height and width of the window in pixels."""
        return self.y.shape[0], self.x.shape[1]

    @property
    def origin(self) -> tuple[float, float]:
        """Where the window's first pixel lies in the frame, x and y."""
        return float(self.x[0, 0]), float(self.y[0, 0])

    @property
    def side(self) -> float:
        """The geometric mean of the frame's height and width in pixels."""
        return float(np.sqrt(self.frame[0] * self.frame[1]))

    def turned(self, center: Sequence[float], angle: float) -> tuple[np.ndarray, np.ndarray]:
        """Return coordinates float32 [H, W] about `center` (x, y), turned by `angle` in radians."""
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        x, y = self.x - np.float32(center[0]), self.y - np.float32(center[1])
        return cos * x + sin * y, cos * y - sin * x


def step(distance: np.ndarray, width: float) -> np.ndarray:
    """Return 1 inside (distance < 0), 0 outside, a ramp of `width` pixels between them; float32."""
    return np.clip(np.float32(0.5) - distance / np.float32(max(width, 0.3)), 0, 1)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a number between `low` and `high` whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def smooth_noise(rng: np.random.Generator, shape: Shape, reach: float) -> np.ndarray:
    """Return smooth Gaussian noise float32 [H, W] of unit variance; `reach` is its correlation length in pixels."""
    height, width = (max(int(np.ceil(side / max(reach, 1.0))) + 3, 2) for side in shape)
    coarse = rng.standard_normal((height, width), dtype=np.float32)
    scale = max(reach, 1.0)
    matrix = np.array([[1 / scale, 0, rng.uniform(0, 1)], [0, 1 / scale, rng.uniform(0, 1)]], np.float32)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(coarse, matrix, (shape[1], shape[0]), flags=flags, borderMode=cv2.BORDER_REFLECT)


def edge_width(rng: np.random.Generator) -> float:
    """Return the width in pixels of an edge: half of them machined, half cast or seen obliquely."""
    return log_uniform(rng, 0.5, 4.0) if rng.random() < 0.5 else log_uniform(rng, 3.0, 40.0)


def random_point(rng: np.random.Generator, canvas: Canvas, beyond: float = 0.0) -> tuple[float, float]:
    """Return a point x, y in the frame, or up to `beyond` of a side outside."""
    height, width = canvas.frame
    return (float(rng.uniform(-beyond, 1 + beyond) * width), float(rng.uniform(-beyond, 1 + beyond) * height))
