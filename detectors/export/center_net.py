"""The graph of CenterNet: a radiograph in, its peaks as boxes out."""

import copy
import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.boxes.center_net import MIRRORS, PRIOR_SIZE, CenterNet
from detectors.boxes.center_net_layers import COARSEST, STRIDE
from detectors.export.layers import Size, exported_encoding, length_of, pad_to_multiple, rescaled, size_of
from detectors.map_features import map_features


class CenterNetGraph(nn.Module):
    """From a radiograph and a number of candidates to boxes, scores and labels, before suppression."""

    def __init__(self, model: CenterNet) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.encode = exported_encoding(model.backbone.encode)
        self.model.backbone.encode = nn.Identity()  # type: ignore[assignment]

    def forward(self, image: Tensor, candidates: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return boxes [1, n, 4] in pixels within the radiograph, scores [1, n], labels int64 [1, n], features [2 C].

        Args:
            image: float32 [1, 1, H, W] in [0, 1].
            candidates: int64 scalar, the most peaks; n is at most this.
            scale: int64 scalar, the working scale in twentieths.

        """
        config = self.model.config
        height, width = size_of(image)
        small = rescaled(image, scale)
        # Channels of a mirror image are mirror images of the channels, which take a third of the time.
        channels = self.encode(pad_to_multiple(small, COARSEST))
        mirrors = MIRRORS[config.flip_test]
        views = [flipped(channels, axes) for axes, _ in mirrors]
        seen = self.model.backbone(torch.cat(views) if len(views) > 1 else channels)["0"]
        heat, sides = self.model.heat(seen), self.model.sides(seen)
        heat = torch.sigmoid(heat)
        if len(mirrors) > 1:
            pairs = [(k, axes, list(order)) for k, (axes, order) in enumerate(mirrors)]
            heat = sum_of([flipped(heat[k : k + 1], axes) for k, axes, _ in pairs]) / len(mirrors)
            sides = sum_of([flipped(sides[k : k + 1], axes)[:, order] for k, axes, order in pairs]) / len(mirrors)
        heat = heat * (F.max_pool2d(heat, 3, 1, 1) == heat).float()
        flat = heat.flatten(1)
        count: Size = torch.minimum(candidates, length_of(flat, 1))
        scores, places = flat.topk(count, dim=1)
        rows, columns = size_of(heat)
        cells = places % (rows * columns)
        found = sides.flatten(2)[0].index_select(1, cells[0])  # [4, n]: boxes are decoded at the peaks alone
        distance = STRIDE * torch.exp(found.clamp(max=5.5))
        x = ((cells % columns).float() + 0.5) * STRIDE
        y = (torch.div(cells, columns, rounding_mode="floor").float() + 0.5) * STRIDE
        left, top = torch.cat([x, y]) - distance[:2]
        right, bottom = torch.cat([x, y]) + distance[2:]
        low, narrow = size_of(small)
        across, down = width.float() / narrow.float(), height.float() / low.float()
        left, top, right, bottom = left * across, top * down, right * across, bottom * down
        boxes = torch.stack([clamp(left, width), clamp(top, height), clamp(right, width), clamp(bottom, height)], dim=1)
        sizes = ((boxes[:, 2] - boxes[:, 0]).clamp(min=0) * (boxes[:, 3] - boxes[:, 1]).clamp(min=0)).sqrt()
        scores = scores * (sizes / PRIOR_SIZE).clamp(max=1) ** config.size_prior
        labels = torch.div(places, rows * columns, rounding_mode="floor") + 1
        return boxes[None], scores, labels, map_features(seen)


def flipped(images: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the mirror image; without axes the same, of which ONNX has no mirror image."""
    return images.flip(axes) if axes else images


def sum_of(parts: list[Tensor]) -> Tensor:
    """Return the sum of tensors of one shape."""
    return functools.reduce(torch.add, parts)


def clamp(values: Tensor, end: Size) -> Tensor:
    """Return coordinates within 0 and `end`."""
    return torch.minimum(values.clamp(min=0), end.float())
