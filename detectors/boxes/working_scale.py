"""The scale that a radiograph is detected at: the noisier it is, the coarser, because no small faint defect shows.

Downsampling with an antialiasing filter averages noise away. At full size a noisy radiograph gives many small false
calls and hardly a small true one; a quiet one loses its small defects at anything but full size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SATURATED = (18 / 255, 238 / 255)  # video clips at 15 and 240: what lies beyond holds no noise
STRIDE = 3  # every third pixel of every third line is enough for a median, and knows odd and even lines alike
FEWEST_PIXELS = 120  # unsaturated ones among these; of fewer nothing is concluded
STEPS = 20  # scales are multiples of one over this, so that neighbors in a series are treated alike


def noise_level(image: Tensor) -> float:
    """Return the noise of a radiograph [1, H, W] in [0, 1], in gray levels of 255; 0 where nearly all is saturated.

    It is the median distance of a pixel from the mean of its 3 x 3 neighborhood, where none of that is saturated. White
    noise of standard deviation s gives 0.64 s; a part's own structure hardly counts, because it fills few pixels.
    """
    if min(image.shape[1:]) < 3:
        return 0.0
    batch = image[None].float()
    middle = batch[:, :, 1:-1:STRIDE, 1:-1:STRIDE]
    mean = F.avg_pool2d(batch, 3, STRIDE)
    brightest, darkest = F.max_pool2d(batch, 3, STRIDE), -F.max_pool2d(-batch, 3, STRIDE)
    usable = (darkest > SATURATED[0]) & (brightest < SATURATED[1])
    distances = (middle - mean).abs()[usable]
    if distances.numel() < FEWEST_PIXELS:
        return 0.0
    return float(distances.median()) * 255


def working_scale(image: Tensor, noise_limit: float, coarsest: float, unknown: float = 1.0) -> float:
    """Return the scale in [coarsest, 1] at which a radiograph [1, H, W] has about `noise_limit` gray levels of noise.

    A `noise_limit` of 0 keeps every radiograph at its size. `unknown` is the scale where nearly all is saturated.
    """
    if noise_limit == 0 or coarsest == 1:
        return 1.0
    noise = noise_level(image)
    if noise == 0:
        return unknown
    wanted = noise_limit / noise
    return round(min(max(wanted, coarsest), 1.0) * STEPS) / STEPS


def rescaled(image: Tensor, scale: float) -> Tensor:
    """Return an image [1, H, W] at `scale`, antialiased; at 1 it is the same tensor."""
    if scale == 1:
        return image
    size = [max(round(side * scale), 1) for side in image.shape[1:]]
    return F.interpolate(image[None].float(), size=size, mode="bilinear", antialias=True)[0]


def box_scale(image: Tensor, small: Tensor) -> Tensor:
    """Return float32 [4], by which boxes x1 y1 x2 y2 in `image` are multiplied to lie in `small`, the same rescaled.

    Its sides are whole pixels, so that the two axes differ a little.
    """
    height, width = small.shape[1] / image.shape[1], small.shape[2] / image.shape[2]
    return torch.tensor([width, height, width, height], device=image.device)
