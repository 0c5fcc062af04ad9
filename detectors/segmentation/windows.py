"""A prediction a pixel over a radiograph of any size, in overlapping windows that are blended without seams."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from data.errors import InputError
from detectors.tiles import tile_starts


def predict_in_windows(
    predict: Callable[[Tensor], Tensor], image: Tensor, size: int = 256, overlap: int = 64, batch: int = 4
) -> Tensor:
    """Return what `predict` says of every pixel, float32 [H, W], blended where windows overlap.

    A window's weight falls to its edge as a raised cosine over `overlap` pixels, and the weights at every pixel
    sum to 1. One row of windows is held at a time, so that memory beside the image and its map grows with the
    width alone. A radiograph smaller than a window is continued by reflection, or by its edge pixels where it
    is too thin to reflect.

    Args:
        predict: windows [N, 1, size, size] to values [N, size, size]; N is at most `batch`.
        image: float32 [1, H, W].
        size: side of a window in pixels.
        overlap: pixels that neighboring windows share at least, 0 to size - 1.
        batch: windows predicted at once.

    Raises InputError for an overlap that is not under the size.

    """
    if not 0 <= overlap < size:
        raise InputError(f"windows of {size} px cannot overlap by {overlap} px; give 0 to {size - 1}")
    height, width = image.shape[-2:]
    image = _at_least(image, size)
    tops, lefts = (tile_starts(length, size, size - overlap) for length in image.shape[-2:])
    sums_on = double_precision_device(image.device)
    across = axis_weights(image.shape[-1], lefts, size, overlap).to(sums_on)
    down = axis_weights(image.shape[-2], tops, size, overlap).to(sums_on)
    blended = image.new_empty(image.shape[-2:])
    # Sums in double precision return a constant map as it was, to the last bit of float32.
    band = torch.zeros(size, image.shape[-1], dtype=torch.float64, device=sums_on)
    for top, following, weights in zip(tops, [*tops[1:], image.shape[-2]], down, strict=True):
        row = image[:, top : top + size]
        for first in range(0, len(lefts), batch):
            some = lefts[first : first + batch]
            values = predict(torch.stack([row[:, :, left : left + size] for left in some])).to(sums_on).double()
            for left, value, share in zip(some, values, across[first : first + batch], strict=True):
                band[:, left : left + size] += value * weights[:, None] * share
        done = following - top
        blended[top:following] = band[:done]
        # The rows that the next windows add to move up.
        band = torch.cat([band[done:], torch.zeros_like(band[:done])])
    return blended[:height, :width]


def double_precision_device(device: torch.device) -> torch.device:
    """Return a device for sums in float64: the same, or the CPU where it has none, as Apple's (mps) have not."""
    return torch.device("cpu") if device.type == "mps" else device


def axis_weights(length: int, starts: list[int], size: int, overlap: int) -> Tensor:
    """Return the weights of windows along one axis, float64 [windows, size]; they sum to 1 at every pixel."""
    inside = torch.arange(size, dtype=torch.float64) + 0.5
    distance = torch.minimum(inside, size - inside)
    ramp = torch.sin(math.pi / 2 * (distance / overlap).clamp(max=1)) ** 2 if overlap else torch.ones_like(distance)
    total = torch.zeros(length, dtype=torch.float64)
    for start in starts:
        total[start : start + size] += ramp
    return torch.stack([ramp / total[start : start + size] for start in starts])


def _at_least(image: Tensor, size: int) -> Tensor:
    """Return the image continued to the right and downwards to `size` pixels a side."""
    for axis, length in ((2, image.shape[2]), (1, image.shape[1])):
        missing = size - length
        if missing > 0:
            pad = (0, missing, 0, 0) if axis == 2 else (0, 0, 0, missing)
            image = F.pad(image[None], pad, mode="reflect" if missing < length else "replicate")[0]
    return image
