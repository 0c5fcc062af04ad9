"""The graph of Faster R-CNN and R-FCN: proposals, crops and their boxes, before the last suppression."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import MultiScaleRoIAlign, nms, roi_align

from detectors.boxes.rfcn import PositionSensitiveVotes, RFCNConfig
from detectors.boxes.two_stage import TwoStageDetector
from detectors.export.center_net import clamp
from detectors.export.layers import Size, export_input, length_of, pad_to_multiple, size_of
from detectors.map_features import map_features

LARGEST_LOG = math.log(1000 / 16)  # torchvision's bound of a box's growth
LEAST_PROPOSAL = 1e-3  # pixels, as torchvision has it
DIVISIBLE = 32


class TwoStageGraph(nn.Module):
    """From a radiograph and two numbers of proposals to the boxes of every proposal and class."""

    def __init__(self, model: TwoStageDetector) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        export_input(self.model.backbone)
        # R-FCN's one map can be finer than that of the network that it is made of.
        self.strides: list[int] = (
            [model.config.stride] if isinstance(model.config, RFCNConfig) else model.backbone.strides
        )
        pool = self.model.roi_heads.box_roi_pool
        self.dilation = undilate(pool.conv5) if isinstance(pool, PositionSensitiveVotes) else 1

    def forward(
        self,
        image: Tensor,
        proposals: Tensor,
        proposals_before_nms: Tensor,
        scaled_height: Size = None,
        scaled_width: Size = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return boxes [1, n, 4] in pixels within the radiograph, scores [1, n], labels int64 [1, n], features [2 C].

        Args:
            image: float32 [1, 1, H, W] in [0, 1].
            proposals: int64 scalar, the most of them.
            proposals_before_nms: int64 scalar, the most of a feature map before suppression.
            scaled_height: int64 scalar, the height that the configuration asks for, if it does.
            scaled_width: likewise.

        """
        height, width = size_of(image)
        scaled = image
        if self.model.config.min_size is not None:
            size: Size = [scaled_height, scaled_width]
            scaled = F.interpolate(image, size=size, mode="bilinear", align_corners=False)
        rows, columns = size_of(scaled)
        maps = list(self.model.backbone(pad_to_multiple(scaled, DIVISIBLE)).values())
        regions = self._propose(maps, rows, columns, proposals, proposals_before_nms)
        features, regions = self._crop(maps, regions)
        logits, codes = self.model.roi_heads.box_predictor(self.model.roi_heads.box_head(features))
        scores = F.softmax(logits, -1)[:, 1:]
        classes = scores.shape[1]
        boxes = decode(codes.reshape(-1, classes + 1, 4)[:, 1:], regions[:, None], (10.0, 10.0, 5.0, 5.0))
        across, down = width / columns.float(), height / rows.float()
        x1, y1, x2, y2 = boxes.unbind(-1)
        x1, x2 = clamp(x1, columns) * across, clamp(x2, columns) * across
        y1, y2 = clamp(y1, rows) * down, clamp(y2, rows) * down
        labels = torch.arange(1, classes + 1).expand(length_of(scores, 0), classes)
        boxes = torch.stack([x1, y1, x2, y2], dim=-1).reshape(1, -1, 4)
        return boxes, scores.reshape(1, -1), labels.reshape(1, -1), map_features(maps[0])

    def _propose(self, maps: list[Tensor], rows: Size, columns: Size, most: Tensor, before: Tensor) -> Tensor:
        """Return the proposals, float32 [R, 4] in pixels of the scaled image."""
        rpn = self.model.rpn
        objectness, deltas = rpn.head(maps)
        boxes, scores = [], []
        for level, stride in enumerate(self.strides):
            base = rpn.anchor_generator.cell_anchors[level]
            count = len(base)
            flat = objectness[level].permute(0, 2, 3, 1).reshape(-1)
            best: Size = torch.minimum(before, length_of(flat, 0))
            values, places = flat.topk(best)
            codes = deltas[level].reshape(count, 4, -1).permute(2, 0, 1).reshape(-1, 4).index_select(0, places)
            cells = torch.div(places, count, rounding_mode="floor")
            wide = length_of(maps[level], 3)
            x = (cells % wide).float() * stride
            y = torch.div(cells, wide, rounding_mode="floor").float() * stride
            anchors = base.index_select(0, places % count) + torch.stack([x, y, x, y], dim=1)
            found = decode(codes, anchors, (1.0, 1.0, 1.0, 1.0))
            x1, y1, x2, y2 = found.unbind(-1)
            found = torch.stack([clamp(x1, columns), clamp(y1, rows), clamp(x2, columns), clamp(y2, rows)], dim=1)
            large = ((found[:, 2:] - found[:, :2]) >= LEAST_PROPOSAL).all(dim=1)
            found, values = found[large], values[large]
            keep = nms(found, torch.sigmoid(values), rpn.nms_thresh)
            boxes.append(found[keep])
            scores.append(values[keep])
        every = torch.cat(scores)
        number: Size = torch.minimum(most, length_of(every, 0))
        return torch.cat(boxes).index_select(0, every.topk(number)[1])

    def _crop(self, maps: list[Tensor], regions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of the proposals, and the proposals in their order."""
        pool = self.model.roi_heads.box_roi_pool
        if isinstance(pool, PositionSensitiveVotes):
            return votes(pool, maps[0], regions, self.dilation), regions
        assert isinstance(pool, MultiScaleRoIAlign)
        assert pool.scales is not None
        size = pool.output_size[0]
        if len(maps) == 1:
            return align(maps[0], regions, size, pool.scales[0], pool.sampling_ratio), regions
        assert pool.map_levels is not None
        levels = pool.map_levels([regions])
        crops, order = [], []
        for level, scale in enumerate(pool.scales):
            rows = torch.nonzero(levels == level)[:, 0]
            order.append(rows)
            crops.append(align(maps[level], regions.index_select(0, rows), size, scale, pool.sampling_ratio))
        return torch.cat(crops), regions.index_select(0, torch.cat(order))


def align(features: Tensor, regions: Tensor, size: int, scale: float, sampling: int, aligned: bool = False) -> Tensor:
    """Return the crops [R, C, size, size] of regions [R, 4] from one map [1, C, h, w]."""
    batched = torch.cat([torch.zeros_like(regions[:, :1]), regions], dim=1)
    return roi_align(features, batched, (size, size), scale, sampling, aligned)


def undilate(stage: nn.Module) -> int:
    """Make the 3 x 3 convolutions of a stage plain ones, in place, and return by how much they were dilated.

    A stage with group norm stays as it is, and 1 is returned: of every other row and column the statistics are others.
    """
    dilation = 1
    if any(isinstance(layer, nn.GroupNorm) for layer in stage.modules()):
        return dilation
    for layer in stage.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            dilation = layer.dilation[0]
            layer.dilation = layer.padding = (1, 1)
    return dilation


def votes(pool: PositionSensitiveVotes, features: Tensor, regions: Tensor, dilation: int) -> Tensor:
    """Return the average votes [R, K + 1 + 4]: ordinary crops of all maps, of which each bin reads its own.

    `features` is float32 [1, C, H, W], `regions` are boxes [R, 4] in pixels, `dilation` is what `undilate` returned.
    A stage that was dilated sees every so many rows and columns as an image of its own, which makes its convolutions
    plain ones, and those can be filtered. `pad_to_multiple` has made height and width multiples of the dilation.
    """
    shared = pool.reduce(pool.conv5(phases(features, dilation)))
    maps = torch.cat([pool.score(shared), pool.box(shared)], dim=1)
    maps = joined(maps, dilation)
    bins = pool.pool.output_size
    assert isinstance(bins, int)
    crops = align(maps, regions, bins, pool.pool.spatial_scale, pool.pool.sampling_ratio, aligned=True)
    channels = (pool.score.out_channels + pool.box.out_channels) // bins**2  # not -1: there may be no regions
    crops = crops.reshape(length_of(crops, 0), channels, bins * bins, bins * bins)  # [R, channels, own bin, bin]
    own = torch.eye(bins * bins)
    return (crops * own).sum(dim=(2, 3)) / bins**2


def phases(features: Tensor, every: int) -> Tensor:
    """Return the images of every so many rows and columns, [n n, C, H / n, W / n], of one map [1, C, H, W]."""
    rows = [features[:, :, first::every] for first in range(every)]
    return torch.cat([part[:, :, :, first::every] for part in rows for first in range(every)])


def joined(parts: Tensor, every: int) -> Tensor:
    """Return the map [1, C, H, W] that `phases` took apart, of [n n, C, H / n, W / n]."""
    height, width = size_of(parts)
    cells = parts.reshape(every, every, -1, height, width).permute(2, 3, 0, 4, 1)
    return cells.reshape(1, -1, height * every, width * every)


def decode(codes: Tensor, boxes: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """Return boxes [..., 4] of codes [..., 4] against others, as torchvision's `BoxCoder` does."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    dx, dy, dw, dh = (code / weight for code, weight in zip(codes.unbind(-1), weights, strict=True))
    width, height = x2 - x1, y2 - y1
    x, y = x1 + 0.5 * width + dx * width, y1 + 0.5 * height + dy * height
    wide = torch.exp(dw.clamp(max=LARGEST_LOG)) * width / 2
    high = torch.exp(dh.clamp(max=LARGEST_LOG)) * height / 2
    return torch.stack([x - wide, y - high, x + wide, y + high], dim=-1)
