"""Windows that slide over a radiograph of any size."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import batched_nms

from detectors.caps import grown
from detectors.interface import Detections

CUT_MARGIN = 4
"""Pixels; a box that comes so near to a tile's inner edge counts as cut by it."""

MAX_CANDIDATES = 5000
"""Boxes of all tiles together that are merged, best first, for 768 x 572 pixels; the number grows with the area."""


def tile_starts(length: int, size: int, stride: int) -> list[int]:
    """Return where windows of `size` pixels start along an axis of `length`, the last flush with the end.

    They lie `stride` apart and cover every pixel if `stride` is at most `size`. An axis no longer than `size` has
    one window, at 0.
    """
    last = length - size
    if last <= 0:
        return [0]
    return [*range(0, last, stride), last]


def pad_to(images: Tensor, height: int, width: int) -> Tensor:
    """Continue [N, C, H, W] to the right and below to at least this size by repeating the border.

    A black strip would be an edge to detect.
    """
    below, right = max(0, height - images.shape[2]), max(0, width - images.shape[3])
    return F.pad(images, (0, right, 0, below), mode="replicate") if below or right else images


def detect_in_tiles(
    image: Tensor,
    tile: int,
    stride: int,
    batch: int,
    detect_batch: Callable[[Tensor], list[Detections]],
    nms_iou: float,
    limit: int,
) -> Detections:
    """Run a detector of fixed input over a radiograph of any size and merge what its tiles show.

    A box cut by an inner edge of its tile gives way to the whole (or a larger) one of a neighbor, whichever scores
    more; then one non-maximum suppression a label runs over the radiograph. A defect of at most `tile - stride` pixels
    is seen whole by some tile. Small radiographs are continued by their border.

    Args:
        image: float [1, H, W].
        tile: side of a tile in pixels.
        stride: pixels from tile to tile.
        batch: tiles that go through the detector together.
        detect_batch: from tiles [B, 1, tile, tile] to a dict of `boxes`, `scores`, `labels` each, in pixels of the
            tile; it need not suppress anything.
        nms_iou: IoU above which the lesser of two boxes is dropped.
        limit: most detections returned.

    Returns:
        Detections in the pixels of the radiograph, best first.

    """
    height, width = image.shape[1:]
    padded = pad_to(image[None], tile, tile)
    corners = [(x, y) for y in tile_starts(height, tile, stride) for x in tile_starts(width, tile, stride)]
    parts = []
    for first in range(0, len(corners), batch):
        group = corners[first : first + batch]
        tiles = torch.cat([padded[:, :, y : y + tile, x : x + tile] for x, y in group])
        for (x, y), found in zip(group, detect_batch(tiles), strict=True):
            inner = (x > 0, y > 0, x + tile < width, y + tile < height)
            parts.append(_place(found, x, y, inner, tile))
    merged = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    best = merged["scores"].argsort(descending=True, stable=True)
    merged = _take(merged, best[: max(grown(MAX_CANDIDATES, height, width), 4 * limit)])
    merged = _take(merged, ~_gives_way(merged))
    del merged["cut"]
    return suppress(clip(merged, height, width), nms_iou, limit)


def suppress(detections: Detections, nms_iou: float, limit: int) -> Detections:
    """Return the detections that survive one non-maximum suppression a label, best first, at most `limit`."""
    keep = batched_nms(detections["boxes"], detections["scores"], detections["labels"], nms_iou)
    return _take(detections, keep[:limit])


def clip(detections: Detections, height: int, width: int) -> Detections:
    """Return the detections cut at the border of an image; what lies outside or has no area is left out."""
    boxes = detections["boxes"]
    boxes = torch.stack(
        [boxes[:, 0].clamp(0, width), boxes[:, 1].clamp(0, height),
         boxes[:, 2].clamp(0, width), boxes[:, 3].clamp(0, height)], dim=1,
    )  # fmt: skip
    return _take(detections | {"boxes": boxes}, (boxes[:, 2:] > boxes[:, :2]).all(dim=1))


def _take(detections: Detections, rows: Tensor) -> Detections:
    return {name: value[rows] for name, value in detections.items()}


def _place(found: Detections, x: int, y: int, inner: tuple[bool, bool, bool, bool], tile: int) -> Detections:
    """Move a tile's boxes to their place in the radiograph and mark those that an inner edge cuts."""
    boxes = found["boxes"]
    near = torch.cat([boxes[:, :2] < CUT_MARGIN, boxes[:, 2:] > tile - CUT_MARGIN], dim=1)
    return {
        "boxes": boxes + boxes.new_tensor([x, y, x, y]),
        "scores": found["scores"],
        "labels": found["labels"],
        "cut": (near & near.new_tensor(inner)).any(dim=1),
    }


def _gives_way(merged: Detections) -> Tensor:
    """Return which boxes are cut and lie for the most part in a whole one of the same label, or in a larger cut one.

    The larger cut one is what is left where a box is whole but touches the margin of its only tile. The other box
    must have a quarter of the score: a box that is mere noise drives nothing away.
    """
    cut, boxes = merged["cut"], merged["boxes"]
    lost = torch.zeros_like(cut)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    for rows in _neighborhoods(boxes, cut):
        # Only what meets these boxes can cover one of them: the work grows with the radiograph and not its square.
        frame = torch.cat([boxes[rows, :2].amin(dim=0), boxes[rows, 2:].amax(dim=0)])
        others = ((boxes[:, :2] < frame[2:]) & (boxes[:, 2:] > frame[:2])).all(dim=1).nonzero()[:, 0]
        low = torch.maximum(boxes[rows, None, :2], boxes[None, others, :2])
        high = torch.minimum(boxes[rows, None, 2:], boxes[None, others, 2:])
        fraction = (high - low).clamp(min=0).prod(dim=2) / areas[rows, None]
        larger = cut[None, others] & (areas[None, others] > areas[rows, None]) & (fraction >= 0.75)
        covers = (~cut[None, others] & (fraction >= 0.5)) | larger
        alike = merged["labels"][rows, None] == merged["labels"][None, others]
        sure = merged["scores"][None, others] >= 0.25 * merged["scores"][rows, None]
        lost[rows] = (covers & alike & sure).any(dim=1)
    return lost


def _neighborhoods(boxes: Tensor, chosen: Tensor, side: int = 256, most: int = 500) -> Iterator[Tensor]:
    """Yield the numbers of the chosen boxes, those whose corners lie in one square of `side` pixels together."""
    rows = chosen.nonzero()[:, 0]
    squares = (boxes[rows, :2] / side).floor()
    for square in squares.unique(dim=0):
        yield from rows[(squares == square).all(dim=1)].split(most)
