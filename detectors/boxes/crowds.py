"""Crowd regions while a detector learns: what lies there is not known, so it is neither defect nor background."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.detection.transform import resize_boxes
from torchvision.ops import box_area, box_iou, clip_boxes_to_image

from detectors.interface import Target

COVERED = 0.5
"""Share of a box that a crowd region covers from which the box teaches nothing."""


class CrowdRegions(NamedTuple):
    """The crowd regions of one image: `boxes` float [C, 4] x1 y1 x2 y2 in pixels, `size` its height and width."""

    boxes: Tensor
    size: tuple[int, int]

    def scaled(self, size: tuple[int, int]) -> "CrowdRegions":
        """Return the regions of the image scaled to a height and width."""
        return CrowdRegions(resize_boxes(self.boxes, list(self.size), list(size)), size)

    def hold(self, boxes: Tensor, iou: float = 1.0) -> Tensor:
        """Return which boxes [P, 4] are no background because of a region, bool [P].

        Those are boxes of which one region covers half or more (of the area inside the image), and boxes that overlap
        a region by `iou` or more: these would not be background, were the region a defect.
        """
        if not len(self.boxes) or not len(boxes):
            return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
        crowds, inside = self.boxes, clip_boxes_to_image(boxes, self.size)
        low, high = torch.maximum(crowds[:, None, :2], inside[:, :2]), torch.minimum(crowds[:, None, 2:], inside[:, 2:])
        # A box beyond the border, in the padding that repeats it, becomes a line on the border.
        touching = (high >= low).all(dim=2)
        covered = touching & ((high - low).clamp(min=0).prod(dim=2) >= COVERED * box_area(inside))
        return (covered | (box_iou(crowds, boxes) >= iou)).any(dim=0)


def crowd_regions(images: list[Tensor], targets: list[Target]) -> list[CrowdRegions]:
    """Return the crowd regions of images [1, H, W] with their training targets."""
    return [
        CrowdRegions(
            t["boxes"][t["iscrowd"] != 0] if "iscrowd" in t else t["boxes"][:0], (image.shape[1], image.shape[2])
        )
        for image, t in zip(images, targets, strict=True)
    ]


class CrowdAwareRPN(RegionProposalNetwork):
    """Region proposals whose anchors learn nothing in the crowd regions that a target names under `crowds`."""

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict[str, Any]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return labels [P] (1 defect, 0 background, -1 ignored) and matched boxes [P, 4] of each image."""
        labels, matched = super().assign_targets_to_anchors(anchors, targets)
        for label, boxes, target in zip(labels, anchors, targets, strict=True):
            if "crowds" in target:
                label[(label == 0) & target["crowds"].hold(boxes, self.proposal_matcher.low_threshold)] = -1
        return labels, matched

    def compute_loss(
        self, objectness: Tensor, pred_bbox_deltas: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the losses of objectness and boxes, 0 where crowd regions leave no anchor to learn from."""
        losses = super().compute_loss(objectness, pred_bbox_deltas, labels, regression_targets)
        if any(bool((label >= 0).any()) for label in labels):
            return losses
        return _of_nothing(losses[0]), _of_nothing(losses[1])


class CrowdAwareRoIHeads(RoIHeads):
    """A second stage that learns nothing from proposals in the crowd regions that a target names under `crowds`."""

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Any]] | None = None,
    ) -> tuple[list[Target], dict[str, Tensor]]:
        """Return detections and losses as torchvision's, losses of 0 where no proposal is left to learn from."""
        if self.training and targets is not None and any("crowds" in target for target in targets):
            proposals = [self._known(boxes, target) for boxes, target in zip(proposals, targets, strict=True)]
            detections, losses = super().forward(features, proposals, image_shapes, targets)
            if not any(len(boxes) or len(t["boxes"]) for boxes, t in zip(proposals, targets, strict=True)):
                losses = {name: _of_nothing(loss) for name, loss in losses.items()}
            return detections, losses
        return super().forward(features, proposals, image_shapes, targets)

    def _known(self, proposals: Tensor, target: dict[str, Any]) -> Tensor:
        """Return the proposals that would not be background in a crowd region."""
        if "crowds" not in target:
            return proposals
        ignored = target["crowds"].hold(proposals)
        if len(target["boxes"]) and len(proposals):
            best = box_iou(target["boxes"], proposals).amax(dim=0)
            ignored &= best < self.proposal_matcher.low_threshold
        return proposals[~ignored]


def _of_nothing(loss: Tensor) -> Tensor:
    """Return 0 for a mean over no sample at all, which is not a number, still connected to the network."""
    return loss.nan_to_num()
