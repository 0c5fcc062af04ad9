"""Crowd regions: which boxes they take out of the background, worked out by hand."""

from typing import cast

import torch
from torch import Tensor, nn

from detectors.boxes.crowds import CrowdAwareRPN, CrowdRegions
from detectors.boxes.default_boxes import BACKGROUND, IGNORED, match_boxes
from detectors.boxes.faster_rcnn import FasterRCNN, FasterRCNNConfig
from detectors.build import build_model

CROWD = CrowdRegions(torch.tensor([[100.0, 100, 140, 120]]), (200, 300))


def boxes(*rows: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def test_a_box_covered_by_half_is_in_the_crowd() -> None:
    found = CROWD.hold(
        boxes(
            (110, 105, 120, 115),  # inside
            (95, 100, 105, 110),  # half of it
            (94, 100, 104, 110),  # 40 % of it
            (60, 60, 180, 160),  # holds the region, which covers 800 of 12,000 px
            (0, 0, 20, 20),
        )
    )
    assert found.tolist() == [True, True, False, False, False]


def test_so_is_a_box_that_overlaps_a_region_like_a_defect() -> None:
    around = boxes((90, 95, 150, 125))  # 800 of 1,800 px: IoU 0.444
    assert CROWD.hold(around, 0.44).tolist() == [True]
    assert CROWD.hold(around, 0.45).tolist() == [False]


def test_two_regions_do_not_add_up() -> None:
    parts = CrowdRegions(boxes((20, 0, 24, 10), (26, 0, 30, 10)), (50, 50))
    assert parts.hold(boxes((20, 0, 30, 10))).tolist() == [False]


def test_of_a_box_at_the_border_the_part_inside_counts() -> None:
    corner = CrowdRegions(boxes((280, 180, 300, 200)), (200, 300))
    # All of the 5 x 5 and of the 8 x 8 px inside the image; 4 x 4 of 8 x 8 px; beyond the corner.
    beyond = boxes((295, 195, 340, 240), (292, 192, 310, 210), (276, 176, 284, 184), (320, 220, 340, 240))
    assert corner.hold(beyond).tolist() == [True, True, False, True]


def test_without_regions_or_boxes_nothing_is_in_a_crowd() -> None:
    assert CrowdRegions(boxes(), (9, 9)).hold(boxes((0, 0, 1, 1))).tolist() == [False]
    assert CROWD.hold(boxes()).shape == (0,)


def test_default_boxes_in_a_crowd_are_ignored_and_those_of_a_defect_are_not() -> None:
    defaults = boxes((100, 100, 120, 120), (120, 100, 140, 120), (0, 0, 20, 20))
    defect = boxes((100, 100, 120, 118))
    assert match_boxes(defaults, defect, 0.5, 0.4).tolist() == [0, BACKGROUND, BACKGROUND]
    assert match_boxes(defaults, defect, 0.5, 0.4, CROWD).tolist() == [0, IGNORED, BACKGROUND]
    assert match_boxes(defaults, boxes(), 0.5, 0.4, CROWD).tolist() == [IGNORED, IGNORED, BACKGROUND]


def model(**settings: object) -> FasterRCNN:
    torch.manual_seed(0)
    rpn = {"anchor_sizes": [[8], [16], [32]], "proposals": 20, "proposals_before_nms": 60}
    config = FasterRCNNConfig(
        backbone="resnet18", width=0.25, pyramid=True, fpn_channels=8, crop_size=7, head_channels=8,
        min_size=None, rpn=rpn,
    ).model_copy(update=settings)  # fmt: skip
    return cast(FasterRCNN, build_model(config, 1))


def test_anchors_in_a_crowd_are_ignored_and_those_of_a_defect_are_not() -> None:
    rpn = cast(CrowdAwareRPN, model().rpn)
    anchors = boxes((100, 100, 120, 120), (120, 100, 140, 120), (0, 0, 20, 20))
    targets = [{"boxes": boxes((100, 100, 120, 118)), "crowds": CROWD}, {"boxes": boxes(), "crowds": CROWD}]
    labels, _ = rpn.assign_targets_to_anchors([anchors, anchors], targets)
    assert [label.tolist() for label in labels] == [[1, -1, 0], [-1, -1, 0]]
    labels, _ = rpn.assign_targets_to_anchors([anchors], [{"boxes": boxes((100, 100, 120, 118))}])
    assert labels[0].tolist() == [1, 0, 0]


class Seen(nn.Module):
    """Keeps the regions that the second stage looks at."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool
        self.regions: list[Tensor] = []

    def forward(self, features: dict[str, Tensor], regions: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        self.regions = regions
        return cast(Tensor, self.pool(features, regions, sizes))


def test_the_second_stage_looks_at_no_proposal_in_a_crowd() -> None:
    network = model()
    seen = Seen(network.roi_heads.box_roi_pool)
    network.roi_heads.box_roi_pool = seen
    defect = boxes((20, 20, 40, 36))
    crowd = boxes((64, 0, 128, 96))
    region = CrowdRegions(crowd, (96, 128))
    target = {"boxes": torch.cat([defect, crowd]), "labels": torch.tensor([1, 1]), "iscrowd": torch.tensor([0, 1])}
    network([torch.rand(1, 96, 128)], [target])
    assert len(seen.regions[0]) >= 2
    assert not region.hold(seen.regions[0]).any()
    assert (seen.regions[0] == defect).all(dim=1).any()  # torchvision adds the defects to the proposals
    network([torch.rand(1, 96, 128)], [target | {"iscrowd": torch.tensor([0, 0])}])
    assert region.hold(seen.regions[0]).any()  # so the test can fail


def test_crowd_regions_are_scaled_with_their_image() -> None:
    network = model(min_size=192, max_size=256)
    region = CrowdRegions(boxes((64, 0, 128, 96)), (96, 128))
    _, (target,) = network.transform(
        [torch.rand(1, 96, 128)],
        [{"boxes": boxes((10, 10, 20, 20)), "labels": torch.tensor([1]), "crowds": region}],
    )
    assert target["crowds"].boxes.tolist() == [[128, 0, 256, 192]]
    assert target["crowds"].size == (192, 256)
    assert target["boxes"].tolist() == [[20, 20, 40, 40]]
