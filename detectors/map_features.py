"""What a detector saw in a radiograph, in a few numbers: for the alarm that a radiograph is not like others."""

import torch
from torch import Tensor


def map_features(maps: Tensor) -> Tensor:
    """Return mean and deviation of every channel of maps [N, C, h, w], [2 C].

    The maps are of mirror images of a radiograph, or of its tiles; they are averaged first.
    """
    values = maps.squeeze(0) if len(maps) == 1 else maps.mean(dim=0)
    return torch.cat([values.mean(dim=(1, 2)), values.std(dim=(1, 2))])
