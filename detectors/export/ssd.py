"""The graph of SSD: tiles in, the best boxes of each out, before suppression."""

import copy

import torch
from torch import Tensor, nn

from detectors.boxes.ssd import SSD
from detectors.export.center_net import clamp
from detectors.export.layers import Size, export_input, length_of, size_of
from detectors.map_features import map_features


class SSDGraph(nn.Module):
    """From tiles (or one radiograph) and a number of candidates to boxes, scores and labels."""

    def __init__(self, model: SSD) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        export_input(self.model.backbone.base)

    def forward(self, image: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return boxes [N, n, 4] in pixels within the tile, scores [N, n], labels int64 [N, n] and features [2 C].

        Args:
            image: float32 [N, 1, H, W] in [0, 1].
            candidates: int64 scalar, the most boxes of a tile; n is at most this.

        """
        maps = list(self.model.backbone(image).values())
        logits, codes = self.model.heads(maps)
        scores = logits.softmax(dim=2)[:, :, 1:]
        classes = scores.shape[2]
        flat = scores.flatten(1)
        count: Size = torch.minimum(candidates, length_of(flat, 1))
        best, places = flat.topk(count, dim=1)
        rows = torch.div(places, classes, rounding_mode="floor")
        codes = codes.gather(1, rows[:, :, None].expand(-1, -1, 4))
        boxes = self._default_boxes(maps)[rows]
        decoded = self.model.coder.decode_single(codes.reshape(-1, 4), boxes.reshape(-1, 4)).reshape(boxes.shape)
        height, width = size_of(image)
        x1, y1, x2, y2 = decoded.unbind(-1)
        edges = [clamp(x1, width), clamp(y1, height), clamp(x2, width), clamp(y2, height)]
        return torch.stack(edges, dim=-1), best, places % classes + 1, map_features(maps[0])

    def _default_boxes(self, maps: list[Tensor]) -> Tensor:
        """Return every default box, float32 [P, 4], as `detectors.boxes.default_boxes` orders them."""
        parts = []
        for shape, stride, features in zip(self.model.config.boxes, self.model.backbone.strides, maps, strict=True):
            half = shape.extents() / 2
            rows, columns = size_of(features)
            y = ((torch.arange(rows) + 0.5) * stride)[:, None].expand(rows, columns)
            x = ((torch.arange(columns) + 0.5) * stride)[None, :].expand(rows, columns)
            centers = torch.stack([x, y], dim=-1)[:, :, None]
            parts.append(torch.cat([centers - half, centers + half], dim=-1).reshape(-1, 4))
        return torch.cat(parts)
