"""A map of defect probabilities over a radiograph, and what every model that makes one offers."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from detectors.interface import Detections


@dataclass(frozen=True)
class HeatMap:
    """Defect probabilities at regular places of a radiograph.

    Attributes:
        values: float32 [h, w] in [0, 1].
        stride: pixels between neighboring cells.
        offset: pixel coordinate, in x and in y, of the center of cell (0, 0); cell (i, j) lies at
            (offset + j * stride, offset + i * stride). A map of one value a pixel has stride 1 and offset 0.5.

    """

    values: Tensor
    stride: float
    offset: float

    def per_pixel(self, height: int, width: int) -> Tensor:
        """Return the map at every pixel of a radiograph, float32 [height, width], interpolated between cells."""
        if self.stride == 1 and self.offset == 0.5 and self.values.shape == (height, width):
            return self.values
        rows, columns = (
            self._places(length, cells) for length, cells in zip((height, width), self.values.shape, strict=True)
        )
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)
        return F.grid_sample(self.values[None, None], grid[None], mode="bilinear", align_corners=True)[0, 0]

    def _places(self, length: int, cells: int) -> Tensor:
        """Return where the pixels along one axis lie between the first cell (-1) and the last (1)."""
        pixels = torch.arange(length, device=self.values.device) + 0.5
        cell = ((pixels - self.offset) / self.stride).clamp(0, cells - 1)
        return 2 * cell / max(cells - 1, 1) - 1


@runtime_checkable
class HeatMapModel(Protocol):
    """A model whose detections come out of a heat map.

    In evaluation its `forward` answers as every detector does, with `detections(image, heat_map(image))` for each
    image; prediction calls the two itself, so that the map can be drawn and kept.
    """

    def heat_map(self, image: Tensor) -> HeatMap:
        """Return the map of one radiograph, float32 [1, H, W] in [0, 1]."""
        ...

    def detections(self, image: Tensor, heat_map: HeatMap) -> Detections:
        """Return the boxes of a map's regions, in pixels of the radiograph, with scores and labels."""
        ...
