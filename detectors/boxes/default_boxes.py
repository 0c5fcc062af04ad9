"""Default boxes of a one-stage detector, how boxes are encoded against them, and which of them match a defect."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_iou

from data.schema import StrictModel

Encoding = Literal["ssd", "center", "corners"]

BACKGROUND = -1
IGNORED = -2


class DefaultBoxShapes(StrictModel):
    """The default boxes at every cell of one map.

    `sizes` are square roots of areas in pixels of the tile; `ratios` are height over width.
    """

    sizes: list[float] = Field(min_length=1)
    ratios: list[float] = Field([0.5, 1.0, 2.0], min_length=1)

    @property
    def count(self) -> int:
        """Boxes a cell."""
        return len(self.sizes) * len(self.ratios)

    def extents(self) -> Tensor:
        """Return width and height of the boxes of a cell, [count, 2], sizes first, then ratios."""
        return torch.tensor([(s / math.sqrt(r), s * math.sqrt(r)) for s in self.sizes for r in self.ratios])


def default_boxes(
    shapes: Sequence[DefaultBoxShapes],
    strides: Sequence[int],
    grids: Sequence[tuple[int, int]],
    device: torch.device | None = None,
) -> Tensor:
    """Return every default box, xyxy float32 [P, 4] in pixels: maps in order, then rows, columns, boxes of a cell.

    Boxes are centered on their cells and may reach over the border of the image.

    Args:
        shapes: one entry a map.
        strides: pixels from cell to cell, one a map.
        grids: height and width of the maps in cells.
        device: where the boxes shall lie.

    """
    maps = []
    for shape, stride, (rows, columns) in zip(shapes, strides, grids, strict=True):
        half = shape.extents().to(device) / 2
        y = (torch.arange(rows, device=device) + 0.5) * stride
        x = (torch.arange(columns, device=device) + 0.5) * stride
        centers = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flip(-1)[:, :, None]
        maps.append(torch.cat([centers - half, centers + half], dim=-1).view(-1, 4))
    return torch.cat(maps)


class CornerCoder:
    """Corners against the default box's corners, in tenths of its width and height (Table I: x0, y0, x1, y1)."""

    variance = 0.1

    def encode_single(self, boxes: Tensor, defaults: Tensor) -> Tensor:
        """Return the codes [N, 4] of boxes xyxy [N, 4]."""
        return (boxes - defaults) / (self.variance * _extent(defaults))

    def decode_single(self, codes: Tensor, defaults: Tensor) -> Tensor:
        """Return the boxes [N, 4]; corners may come in the wrong order."""
        return defaults + codes * (self.variance * _extent(defaults))


def _extent(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)


CODERS: dict[Encoding, BoxCoder | CornerCoder] = {
    # Liu et al. 2016: center and log extent with variances of 0.1 and 0.2.
    "ssd": BoxCoder((10.0, 10.0, 5.0, 5.0)),
    # As Faster R-CNN's proposals, without variances.
    "center": BoxCoder((1.0, 1.0, 1.0, 1.0)),
    "corners": CornerCoder(),
}


def match_boxes(defaults: Tensor, boxes: Tensor, positive_iou: float, negative_iou: float) -> Tensor:
    """Return for each of P default boxes the defect that it has to find, int64 [P].

    That is the defect of the largest IoU if it is at least `positive_iou`, `BACKGROUND` under `negative_iou`, and
    `IGNORED` between. Every defect has its best default box, however small their IoU.
    """
    if not len(boxes):
        return torch.full((len(defaults),), BACKGROUND, device=defaults.device)
    iou = box_iou(boxes, defaults)
    best, owner = iou.max(dim=0)
    owner[best < positive_iou] = IGNORED
    owner[best < negative_iou] = BACKGROUND
    owner[iou.argmax(dim=1)] = torch.arange(len(boxes), device=owner.device)
    return owner
