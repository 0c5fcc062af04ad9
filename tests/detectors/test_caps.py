"""The most detections of a radiograph: they grow with its area, can be raised, and are said when reached."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from data.errors import InputError
from detectors.boxes.faster_rcnn import FasterRCNN, FasterRCNNConfig
from detectors.boxes.ssd_config import SSDConfig
from detectors.build import build_model
from detectors.caps import CappedModel, ask_for_detections, cap_notice, capped_images, grown
from detectors.interface import Detections
from detectors.maps.regions import BoxExtractionConfig, find_regions
from detectors.patches.xnet import XnetConfig
from detectors.segmentation.weld_fcn import WeldFCNConfig
from detectors.tiles import detect_in_tiles

WIDTH, HEIGHT = 768, 572


def test_a_cap_grows_in_proportion_to_the_area_beyond_768_x_572() -> None:
    assert grown(100, HEIGHT, WIDTH) == grown(100, 10, 10) == 100
    assert grown(100, 8 * HEIGHT, 8 * WIDTH) == 6400
    assert grown(100, HEIGHT, WIDTH + 1) == 101


def spots(copies: int, per_copy: int) -> np.ndarray:
    """Phantoms of 96 x 128 with a few small hot spots each, `copies` x `copies` of them side by side."""
    phantom = np.zeros((96, 128), dtype=np.float32)
    for k in range(per_copy):
        y, x = divmod(k, 4)
        phantom[12 + 24 * y : 20 + 24 * y, 8 + 32 * x : 16 + 32 * x] = 0.9
    return np.tile(phantom, (copies, copies))


@pytest.mark.parametrize("method", ["morphology", "selective_search"])
def test_copies_of_a_phantom_keep_all_regions_of_a_map(method: str) -> None:
    """10 spots in 96 x 128, 8 x 8 times: 640 regions, where 768 x 572 pixels may have 400."""
    config = BoxExtractionConfig(method=method, max_regions=400, levels=3)
    one, many = find_regions(spots(1, 10), config)[0], find_regions(spots(8, 10), config)[0]
    assert len(one) == 10
    assert len(many) == 640 > config.max_regions


def find_spots(tiles: Tensor) -> list[Detections]:
    found = []
    for tile in tiles[:, 0].numpy():
        boxes = [[x.start, y.start, x.stop, y.stop] for y, x in ndimage.find_objects(ndimage.label(tile > 0.5)[0])]
        tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        found.append({"boxes": tensor, "scores": torch.full((len(boxes),), 0.9),
                      "labels": torch.ones(len(boxes), dtype=torch.int64)})  # fmt: skip
    return found


def test_copies_of_a_phantom_keep_all_boxes_of_tiles() -> None:
    """12 spots in 96 x 128, 14 x 14 times: over 5,000 candidates, which were the most that were merged."""
    image = torch.from_numpy(spots(14, 12))[None]
    found = detect_in_tiles(image, 64, 32, 64, find_spots, nms_iou=0.4, limit=grown(700, *image.shape[1:]))
    assert len(found["boxes"]) == 14 * 14 * 12
    assert len(found["boxes"].unique(dim=0)) == 14 * 14 * 12


SECTIONS = {
    "faster_rcnn": FasterRCNNConfig(
        backbone="resnet18", width=0.125, pyramid=True, fpn_channels=8, head_channels=8, min_size=None,
        rpn={"anchor_sizes": [[8], [16], [32]], "proposals": 10, "proposals_before_nms": 40},
        detections_per_image=5, score_threshold=0.0, nms_iou=1.0,
    ),
    "ssd": SSDConfig(
        backbone="resnet18", width=0.125, extra_channels=[8], boxes=[{"sizes": [16]}, {"sizes": [32]}], tile=None,
        detections_per_image=5, topk_candidates=20, score_threshold=0.0, nms_iou=1.0,
    ),
    "xnet": XnetConfig(
        variant=None, layers={"p": [3, 3], "d": [2, 2], "f": [2]}, heat_stride=32, regions={"max_regions": 5}
    ),
    "weld_fcn": WeldFCNConfig(width=4, depth=1, regions={"max_regions": 5}),
}  # fmt: skip


@pytest.mark.parametrize("name", SECTIONS)
def test_every_detector_has_a_cap_that_grows_and_can_be_raised(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(SECTIONS[name], 1).eval()
    assert isinstance(model, CappedModel)
    assert model.detection_cap(HEIGHT, WIDTH) == 5
    assert model.detection_cap(2 * HEIGHT, WIDTH) == 10
    ask_for_detections(model, 8)
    assert (model.detection_cap(100, 100), model.detection_cap(2 * HEIGHT, WIDTH)) == (8, 10)


@pytest.mark.parametrize("name", ["faster_rcnn", "ssd"])
def test_as_many_boxes_come_out_as_the_cap_allows(name: str) -> None:
    """With every threshold at nothing, a network without training fills whatever it may."""
    torch.manual_seed(0)
    model = build_model(SECTIONS[name], 1).eval()
    with torch.inference_mode():
        small, large = (model([torch.rand(1, height, 256)])[0] for height in (128, 2 * 1716))
        ask_for_detections(model, 20)
        raised = model([torch.rand(1, 128, 256)])[0]
    assert (len(small["scores"]), len(large["scores"])) == (5, 10)
    assert len(raised["scores"]) == 20


def test_a_scaled_image_shows_no_more_than_others() -> None:
    """The paper's form sees every radiograph at one size: its numbers of proposals stay."""
    scaled = SECTIONS["faster_rcnn"].model_copy(update={"min_size": 64, "max_size": 128})
    model = build_model(scaled, 1).eval()
    assert isinstance(model, FasterRCNN)
    assert model.detection_cap(8 * HEIGHT, 8 * WIDTH) == 5


def test_a_reached_cap_is_told_from_a_tail_that_is_cut() -> None:
    model = build_model(SECTIONS["weld_fcn"], 1)
    images = [{"id": k, "file_name": f"{k}.png", "width": 90, "height": 80} for k in (1, 2, 3)]
    scores = {1: [0.9] * 5, 2: [0.9] * 4 + [0.1], 3: [0.9]}
    results = [{"image_id": k, "score": score} for k, values in scores.items() for score in values]
    assert capped_images(model, images, results, 0.5) == ["1.png"]
    assert capped_images(model, images, results, 0.05) == ["1.png", "2.png"]
    assert capped_images(nn.Identity(), images, results, 0.5) == []
    line = cap_notice(["1.png", "2.png"], "raise it with --max-detections")
    assert line.startswith("1.png and 1 more: ")
    assert "--max-detections" in line


@pytest.mark.parametrize("count", [0, -1, 10**7])
def test_a_count_that_cannot_be_is_refused(count: int) -> None:
    with pytest.raises(InputError, match="give 1 to 1000000"):
        ask_for_detections(build_model(SECTIONS["weld_fcn"], 1), count)
    with pytest.raises(InputError, match="detects nothing"):
        ask_for_detections(nn.Identity(), 5)
