"""Default boxes of a one-stage detector, how boxes are encoded against them, and which of them match a defect."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_iou

from data.schema import StrictModel
from detectors.boxes.crowds import CrowdRegions

Encoding = Literal["ssd", "center", "corners"]

BACKGROUND = -1
IGNORED = -2


class DefaultBoxShapes(StrictModel):
    """The default boxes at every cell of one map: one of each size and ratio."""

    sizes: list[Annotated[float, Field(ge=1, le=16384)]] = Field(
        min_length=1, max_length=32, description="Square roots of their areas in pixels of the tile."
    )
    ratios: list[Annotated[float, Field(ge=0.01, le=100)]] = Field(
        [0.5, 1.0, 2.0], min_length=1, max_length=32, description="Their heights over their widths."
    )

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


def match_boxes(
    defaults: Tensor, boxes: Tensor, positive_iou: float, negative_iou: float, crowds: CrowdRegions | None = None
) -> Tensor:
    """Return for each of P default boxes the defect that it has to find, int64 [P].

    That is the defect of the largest IoU if it is at least `positive_iou`, `BACKGROUND` under `negative_iou`, and
    `IGNORED` between. Every defect has a default box of its own, however small their IoU: the best one, or where
    several defects want the same, the best that is left, the pair of the largest IoU choosing first. What would be
    background in one of the regions `crowds` is `IGNORED`.
    """
    owner = _owners(defaults, boxes, positive_iou, negative_iou)
    if crowds is not None:
        owner[(owner == BACKGROUND) & crowds.hold(defaults, negative_iou)] = IGNORED
    return owner


def _owners(defaults: Tensor, boxes: Tensor, positive_iou: float, negative_iou: float) -> Tensor:
    if not len(boxes):
        return torch.full((len(defaults),), BACKGROUND, device=defaults.device)
    iou = box_iou(boxes, defaults)
    best, owner = iou.max(dim=0)
    owner[best < positive_iou] = IGNORED
    owner[best < negative_iou] = BACKGROUND
    defects, own = _own_defaults(iou)
    owner[own] = defects
    return owner


def _own_defaults(iou: Tensor) -> tuple[Tensor, Tensor]:
    """Return pairs (defect, default box), int64 [M] each, in which neither comes twice, from the IoU [N, P]."""
    best = iou.argmax(dim=1)
    defects = torch.arange(len(iou), device=iou.device)
    if len(best.unique()) == len(best):
        return defects, best
    left, value, pairs = iou.clone(), iou.amax(dim=1), []
    for _ in range(min(iou.shape)):
        defect = int(value.argmax())
        default = int(best[defect])
        pairs.append((defect, default))
        left[:, default], value[defect] = -1.0, -2.0
        again = (best == default) & (value > -2.0)
        best[again], value[again] = left[again].argmax(dim=1), left[again].amax(dim=1)
    found = torch.tensor(pairs, device=iou.device)
    return found[:, 0], found[:, 1]
