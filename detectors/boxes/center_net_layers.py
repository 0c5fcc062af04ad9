"""The parts of CenterNet: what the first layer sees, a small network with one dense map at stride 4, loss, peaks.

After Zhou et al. 2019 (Objects as Points: a heat map with penalty-reduced focal loss, a peak is a detection) and
Liu et al. 2020 (Training-Time-Friendly Network: cells around the center learn the distances to the four sides).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss

from detectors.backbones.networks import blur, gaussian_kernel

STRIDE = 4
COARSEST = 32  # images are continued by their border to multiples of it
LEAST_SIGMA = 0.8  # of a heat map's Gaussian, in cells
SIGMA_SHARE = 0.14  # of a box's side
CORE = 0.3  # cells whose target exceeds it learn the box

COARSE = 4  # the blurs of `DefectChannels` are taken at this fraction of the size
INPUT_CHANNELS = {"gray": 1, "local_contrast": 3, "noise_contrast": 3, "both_contrasts": 5, "line_blind": 6}
GROUPS = 8  # of group normalization


class DefectChannels(nn.Module):
    """Turn [N, 1, H, W] in [0, 1] into the channels [N, C, H, W] of the first layer.

    `gray` is the gray value. `local_contrast` adds (I - G I) / (G I + 0.15) at two scales: a cavity multiplies the
    transmitted intensity, so a faint defect has the same value whatever the exposure, but so has noise in the dark.
    `noise_contrast` adds (I - G I) / (n + 1 level) instead, n the local noise: the mean absolute difference from a
    narrow blur, over a wide window. `both_contrasts` has all five, `line_blind` adds a sixth: the contrast over the
    noise of the lines' mean with their neighbors, in which odd and even lines of video that lie apart do not show.
    asinh compresses the part's own edges.
    """

    def __init__(self, kind: str, scales: tuple[float, float] = (4.0, 12.0)) -> None:
        super().__init__()
        self.kind = kind
        self.channels = INPUT_CHANNELS[kind]
        for name, scale in zip(("near", "far"), scales, strict=True):
            self.register_buffer(name, gaussian_kernel(scale / COARSE), persistent=False)

    near: Tensor
    far: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Return [N, C, H, W], float32 under any precision: contrasts of 1 % are lost in bfloat16.

        Height and width are multiples of 4: the blurs are taken at a quarter of the size, which costs a tenth.
        """
        with torch.autocast(images.device.type, enabled=False):
            images = images.float()
            channels = [(images - 0.4) / 0.25]
            if self.kind == "gray":
                return channels[0]
            small = F.avg_pool2d(images, COARSE)
            smooth = [enlarge(blur(small, kernel)) for kernel in (self.near, self.far)]
            if self.kind in ("local_contrast", "both_contrasts", "line_blind"):
                channels += [compressed((images - s) / (s + 0.15) / 0.02) for s in smooth]
            if self.kind in ("noise_contrast", "both_contrasts", "line_blind"):
                fine = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
                rough = F.avg_pool2d((images - fine).abs().clamp(max=0.05), COARSE)
                noise = enlarge(blur(rough, self.far))
                channels += [compressed((images - s) / (1.5 * noise + 1 / 255) / 1.5) for s in smooth]
            if self.kind == "line_blind":
                above, below = images[:, :, :1], images[:, :, -1:]
                padded = torch.cat([above, images, below], dim=2)
                lines = (padded[:, :, :-2] + 2 * images + padded[:, :, 2:]) / 4
                channels.append(compressed((lines - smooth[0]) / (1.5 * noise + 1 / 255) / 1.5))
            return torch.cat(channels, dim=1)


def compressed(values: Tensor) -> Tensor:
    """Return the inverse hyperbolic sine; by logarithm and root, which a CPU computes three times as fast."""
    return torch.copysign(torch.log(values.abs() + torch.sqrt(values * values + 1)), values)


def enlarge(images: Tensor) -> Tensor:
    """Return [N, C, H * 4, W * 4], interpolated."""
    return F.interpolate(images, scale_factor=float(COARSE), mode="bilinear", align_corners=False)


def norm_layer(norm: str, channels: int) -> nn.Module:
    """Return batch normalization ("batch") or group normalization ("group")."""
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(GROUPS, channels)


def conv(inputs: int, outputs: int, norm: str, stride: int = 1) -> nn.Sequential:
    """Return 3 x 3 convolution, normalization, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), norm_layer(norm, outputs), nn.ReLU(inplace=True)
    )


class Residual(nn.Module):
    """Two 3 x 3 convolutions and their input."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.first = conv(channels, channels, norm)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), norm_layer(norm, channels))

    def forward(self, features: Tensor) -> Tensor:
        """Return [N, C, H, W]."""
        return F.relu(features + self.second(self.first(features)), inplace=True)


class CenterBackbone(nn.Module):
    """Return {"0": features [N, C, H / 4, W / 4]} of radiographs [N, 1, H, W] in [0, 1].

    A stem to stride 4, residual stages at strides 4 to 32 (receptive field about 400 px), a top-down neck and two more
    convolutions at stride 4. `widths` are the channels of stem, of the four stages and of the neck; height and width
    are multiples of 32. `norm` is "batch" or "group".
    """

    def __init__(self, input_encoding: str, widths: Sequence[int], blocks: Sequence[int], norm: str = "batch") -> None:
        super().__init__()
        stem, first, *deeper, neck = widths
        self.encode = DefectChannels(input_encoding)
        self.stem = nn.Sequential(conv(self.encode.channels, stem, norm, 2), conv(stem, first, norm, 2))
        stages, channels = [nn.Sequential(*(Residual(first, norm) for _ in range(blocks[0])))], first
        for width, count in zip(deeper, blocks[1:], strict=True):
            stages.append(nn.Sequential(conv(channels, width, norm, 2), *(Residual(width, norm) for _ in range(count))))
            channels = width
        self.stages = nn.ModuleList(stages)
        self.lateral = nn.ModuleList(nn.Conv2d(c, neck, 1) for c in (first, *deeper))
        self.smooth = nn.ModuleList(conv(neck, neck, norm) for _ in deeper)
        self.head = nn.Sequential(conv(neck, neck, norm), conv(neck, neck, norm))
        self.out_channels = neck

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the one map."""
        # Channels last: on a CPU the convolutions of a narrow net are about 1.5 times as fast.
        features = self.stem(self.encode(images).contiguous(memory_format=torch.channels_last))
        maps = []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        merged = self.lateral[-1](maps[-1])
        for level in range(len(maps) - 2, -1, -1):
            merged = F.interpolate(merged, scale_factor=2.0, mode="nearest")
            merged = self.smooth[level](merged + self.lateral[level](maps[level]))
        return {"0": self.head(merged)}


def decode_sides(sides: Tensor) -> Tensor:
    """Return boxes [N, 4, h, w] x1 y1 x2 y2 in pixels of the box logits [N, 4, h, w] (log distances to the sides)."""
    distance = STRIDE * torch.exp(sides.float().clamp(max=5.5))
    height, width = sides.shape[2:]
    x = (torch.arange(width, device=sides.device, dtype=torch.float32) + 0.5) * STRIDE
    y = ((torch.arange(height, device=sides.device, dtype=torch.float32) + 0.5) * STRIDE)[:, None]
    left, top, right, bottom = distance.unbind(1)
    return torch.stack([x - left, y - top, x + right, y + bottom], dim=1)


def heat_targets(boxes: Sequence[Tensor], labels: Sequence[Tensor], classes: int, shape: tuple[int, int]
                 ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the target heat maps of a batch, and which box each cell learns.

    Args:
        boxes: float [B, 4] x1 y1 x2 y2 in pixels, one tensor an image.
        labels: int64 [B] in 1..K, likewise.
        classes: K.
        shape: height and width of the map in cells.

    Returns:
        heat float32 [N, K, h, w], exactly 1 at the cell of each center; the sides of the box that each cell learns,
        float32 [N, 4, h, w], and the weight float32 [N, h, w] with which it learns it, 0 off all boxes; a box's
        weights sum to 1 unless a smaller one lies in it, which then wins its cells.

    """
    height, width = shape
    device = boxes[0].device
    most = max(max(len(b) for b in boxes), 1)
    padded = torch.zeros(len(boxes), most, 4, device=device)
    kind = torch.zeros(len(boxes), most, dtype=torch.int64, device=device)
    for index, (own, label) in enumerate(zip(boxes, labels, strict=True)):
        padded[index, : len(own)] = own.float()
        kind[index, : len(own)] = label
    extent = padded[..., 2:] - padded[..., :2]
    last = torch.tensor([width - 1, height - 1], device=device, dtype=torch.float32)
    cell = torch.minimum(((padded[..., :2] + padded[..., 2:]) / 2 / STRIDE).floor().clamp(min=0), last)
    sigma = (extent / STRIDE * SIGMA_SHARE).clamp(min=LEAST_SIGMA)[..., None, None]
    x = torch.arange(width, device=device)
    y = torch.arange(height, device=device)[:, None]
    dx, dy = x - cell[:, :, 0, None, None], y - cell[:, :, 1, None, None]
    bumps = torch.exp(-0.5 * ((dx / sigma[:, :, 0]) ** 2 + (dy / sigma[:, :, 1]) ** 2))
    bumps = bumps * (kind > 0)[..., None, None]
    heat = torch.stack([(bumps * (kind == k + 1)[..., None, None]).amax(1) for k in range(classes)], dim=1)
    area = torch.where(bumps > CORE, extent.prod(-1)[..., None, None], torch.inf)
    smallest = area.argmin(1, keepdim=True)
    weights = bumps * (bumps > CORE)
    weights = weights / weights.sum((2, 3), keepdim=True).clamp(min=1e-6)
    weight = weights.gather(1, smallest)[:, 0]
    sides = padded.permute(0, 2, 1)[..., None, None].expand(-1, -1, -1, height, width)
    return heat, sides.gather(2, smallest[:, None].expand(-1, 4, -1, -1, -1))[:, :, 0], weight


def center_losses(
    heat: Tensor,
    sides: Tensor,
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    ignored: Sequence[Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return `loss_heat` (penalty-reduced focal loss) and `loss_box` (GIoU), both per object.

    Args:
        heat: logits [N, K, h, w].
        sides: box logits [N, 4, h, w].
        boxes: float [B, 4] in pixels, one tensor an image.
        labels: int64 [B] in 1..K, likewise.
        ignored: float [I, 4], boxes whose cells are no background to learn, one tensor an image.

    """
    heat = heat.float()
    target, wanted, weight = heat_targets(boxes, labels, heat.shape[1], (heat.shape[2], heat.shape[3]))
    objects = max(sum(len(b) for b in boxes), 1)
    p = torch.sigmoid(heat)
    positive = (1 - p) ** 2 * F.logsigmoid(heat)
    negative = (1 - target) ** 4 * p**2 * F.logsigmoid(-heat)
    if ignored is not None:
        negative = negative * _outside(ignored, (heat.shape[2], heat.shape[3]))[:, None]
    loss_heat = -torch.where(target >= 1 - 1e-6, positive, negative).sum()
    # Cells off all boxes get a box of one pixel, whose loss has no weight: no data-dependent shapes.
    off = (weight == 0)[:, None]
    wanted = torch.where(off, wanted.new_tensor([0.0, 0.0, 1.0, 1.0]).view(1, 4, 1, 1), wanted)
    loss = generalized_box_iou_loss(decode_sides(sides).movedim(1, -1), wanted.movedim(1, -1))
    return {"loss_heat": loss_heat / objects, "loss_box": (loss * weight).sum() / objects}


def _outside(boxes: Sequence[Tensor], shape: tuple[int, int]) -> Tensor:
    """Return float32 [N, h, w], 0 at the cells whose middle lies in one of an image's boxes [I, 4], else 1."""
    device = boxes[0].device
    x = (torch.arange(shape[1], device=device) + 0.5) * STRIDE
    y = ((torch.arange(shape[0], device=device) + 0.5) * STRIDE)[:, None]
    outside = torch.ones(len(boxes), *shape, device=device)
    for index, own in enumerate(boxes):
        for x1, y1, x2, y2 in own.tolist():
            outside[index, (x >= x1) & (x < x2) & (y >= y1) & (y < y2)] = 0
    return outside


def find_peaks(heat: Tensor, sides: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes [N, count, 4], scores [N, count] and labels [N, count] (1..K) of the highest peaks.

    A peak is a cell that no neighbor exceeds (3 x 3 max pooling); fewer peaks are filled up with score 0.
    """
    score = torch.sigmoid(heat.float())
    score = score * (F.max_pool2d(score, 3, 1, 1) == score)
    classes, height, width = score.shape[1:]
    values, places = score.flatten(1).topk(min(count, classes * height * width), dim=1)
    cells = places % (height * width)
    boxes = decode_sides(sides).flatten(2).transpose(1, 2)
    boxes = boxes.gather(1, cells[..., None].expand(-1, -1, 4))
    return boxes, values, torch.div(places, height * width, rounding_mode="floor") + 1
