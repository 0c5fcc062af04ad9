"""One base test that every detector passes; a new detector adds a line to MODELS_UNDER_TEST."""

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from data.coco import CocoDataset
from data.errors import InputError
from detectors.backbones.networks import LocalContrast
from detectors.boxes.center_net import CenterNetConfig
from detectors.boxes.faster_rcnn import FasterRCNNConfig
from detectors.boxes.rfcn import RFCNConfig
from detectors.boxes.ssd_config import SSDConfig
from detectors.build import MODELS, build_model
from detectors.evaluation.metrics import compute_metrics
from detectors.runs.inference import coco_results
from detectors.schema import ModelSection

SMALL_ANCHORS = {"anchor_sizes": [[8, 16], [24, 32], [48, 64]], "proposals": 50, "proposals_before_nms": 200}

MODELS_UNDER_TEST: dict[str, ModelSection] = {
    "center_net": CenterNetConfig(
        input_encoding="both_contrasts", stem_channels=8, stage_channels=(16, 24, 32, 48), neck_channels=24
    ),
    "faster_rcnn_fpn": FasterRCNNConfig(
        backbone="resnet18", pyramid=True, fpn_channels=32, min_size=None, crop_size=7, head_channels=64,
        input="local_contrast", rpn=SMALL_ANCHORS,
    ),
    "faster_rcnn_c4": FasterRCNNConfig(
        backbone="resnet18", width=0.25, min_size=128, max_size=256, roi_batch_size=16,
        rpn={"anchor_sizes": [[12, 24, 48]], "proposals": 32, "batch_size": 64},
    ),
    "rfcn": RFCNConfig(
        backbone="resnet18", width=0.25, stride=8, stage=4, reduction=64, min_size=None, crop_size=6, roi_batch_size=16,
        input="local_contrast", rpn={"anchor_sizes": [[12, 24, 48]], "proposals": 50, "proposals_before_nms": 200},
    ),
    "ssd_fpn": SSDConfig(
        backbone="resnet18", width=0.25, pyramid=True, fpn_channels=32, input="local_contrast", extra_channels=[32],
        head_convs=1, boxes=[{"sizes": [10]}, {"sizes": [20]}, {"sizes": [40]}, {"sizes": [80]}], tile=128,
        tile_stride=64,
    ),
    "ssd_vgg16": SSDConfig(
        backbone="vgg16", width=0.125, input="local_contrast", extra_channels=[32], tile=128, tile_stride=64,
        boxes=[{"sizes": [20]}, {"sizes": [40]}, {"sizes": [80]}],
    ),
}  # fmt: skip


# Mean and standard deviation of the first feature map; see test_features_have_not_changed.
REFERENCE_FEATURES = {
    "center_net": (0.0623970, 0.0780523),
    "faster_rcnn_fpn": (-0.0235214, 0.1795263),
    "faster_rcnn_c4": (0.2332340, 0.3499904),
    "rfcn": (0.2313025, 0.3425308),
    "ssd_fpn": (-0.0290345, 0.1799717),
    "ssd_vgg16": (0.0125850, 0.0180020),
}


@pytest.fixture(params=MODELS_UNDER_TEST.values(), ids=MODELS_UNDER_TEST)
def section(request: pytest.FixtureRequest) -> ModelSection:
    return request.param


@pytest.fixture
def model(section: ModelSection) -> nn.Module:
    torch.manual_seed(0)
    return build_model(section, 1)


def target(*boxes: tuple[float, float, float, float]) -> dict[str, Tensor]:
    tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {"boxes": tensor, "labels": torch.ones(len(boxes), dtype=torch.int64), "image_id": torch.tensor(7)}


def total(losses: dict[str, Tensor]) -> Tensor:
    return sum(losses.values())


def classification(losses: dict[str, Tensor]) -> Tensor:
    return sum(v for k, v in losses.items() if "box" not in k)


def test_every_model_is_tested() -> None:
    assert {section.name for section in MODELS_UNDER_TEST.values()} == {
        name for name, (config, _) in MODELS.items() if config.task == "detection"
    }


def test_losses_are_finite_and_reach_every_parameter(model: nn.Module) -> None:
    losses = model([torch.rand(1, 96, 128), torch.rand(1, 96, 128)], [target((10, 10, 30, 30)), target()])
    total(losses).backward()
    assert all(v.isfinite() for v in losses.values())
    silent = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert silent == []


def test_clean_images_teach_the_classifier(model: nn.Module) -> None:
    losses = model([torch.rand(1, 96, 128)] * 2, [target(), target()])
    value = classification(losses)
    value.backward()
    assert value.isfinite()
    assert value > 0.01


@pytest.mark.parametrize("size", [(97, 131), (64, 200), (33, 40)])
def test_odd_sizes_give_boxes_inside_the_image(model: nn.Module, size: tuple[int, int]) -> None:
    model.eval()
    with torch.inference_mode():
        (output,) = model([torch.rand(1, *size)])
    assert output["boxes"].shape == (len(output["scores"]), 4)
    assert output["labels"].dtype == torch.int64
    if len(output["boxes"]):
        assert output["boxes"].min() >= 0
        assert output["boxes"][:, 2].max() <= size[1]
        assert output["boxes"][:, 3].max() <= size[0]
        assert ((output["scores"] >= 0) & (output["scores"] <= 1)).all()


def test_images_of_different_sizes_share_a_batch(model: nn.Module) -> None:
    model.eval()
    first, second = torch.rand(1, 96, 128), torch.rand(1, 64, 80)
    with torch.inference_mode():
        together = model([first, second])
    assert len(together) == 2
    assert together[1]["boxes"].numel() == 0 or together[1]["boxes"][:, 2].max() <= 80


@pytest.mark.parametrize("box", [(10, 10, 10, 30), (30, 10, 10, 30), (float("nan"), 1, 2, 3)])
def test_a_degenerate_box_is_our_error(model: nn.Module, box: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match="image 7: box 0"):
        model([torch.rand(1, 96, 128)], [target(box)])


@pytest.mark.parametrize(
    ("shape", "dtype"), [((3, 96, 128), torch.float32), ((96, 128), torch.float32), ((1, 96, 128), torch.uint8)]
)
def test_only_one_float_channel_is_taken(model: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    with pytest.raises(InputError, match=r"\[1, H, W\]"):
        model([torch.zeros(shape, dtype=dtype)], [target()])


def test_crowd_regions_are_learned_neither_as_defects_nor_as_background(model: nn.Module) -> None:
    image = torch.full((1, 96, 128), 0.5)
    crowd = target((0, 0, 128, 96)) | {"iscrowd": torch.tensor([1])}
    losses = model([image], [crowd])
    assert {name: loss.item() for name, loss in losses.items()} == dict.fromkeys(losses, 0.0)
    total(losses).backward()  # connected, as several processes need it
    assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)
    # An image beside it teaches as much as it does alone: here a clean one, which is background all over.
    assert sum(loss.item() for loss in model([image, image], [crowd, target()]).values()) > 0


def test_flags_without_a_crowd_region_change_nothing(model: nn.Module) -> None:
    image, boxes = torch.rand(1, 96, 128), target((30, 30, 50, 50), (70, 20, 90, 44))
    losses = []
    for extra in ({}, {"iscrowd": torch.zeros(2, dtype=torch.int64)}):
        torch.manual_seed(1)
        losses.append({name: loss.item() for name, loss in model([image], [boxes | extra]).items()})
    assert losses[0] == losses[1]


def test_a_defect_in_a_crowd_region_is_learned(model: nn.Module) -> None:
    both = target((0, 0, 128, 96), (40, 40, 64, 64)) | {"iscrowd": torch.tensor([1, 0])}
    assert total(model([torch.full((1, 96, 128), 0.5)], [both])).item() > 0


def test_save_and_load_give_the_same_output(model: nn.Module, section: ModelSection, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    torch.manual_seed(99)
    other = build_model(section.without_weights(), 1)
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    image = torch.rand(1, 96, 128)
    with torch.inference_mode():
        (first,), (second,) = model.eval()([image]), other.eval()([image])
    assert all(torch.equal(first[k], second[k]) for k in ("boxes", "scores", "labels"))


def test_features_have_not_changed(model: nn.Module, section: ModelSection, request: pytest.FixtureRequest) -> None:
    """Parameters set by a formula give the features that they gave when this was written."""
    with torch.no_grad():
        for p in model.backbone.parameters():
            p.copy_(0.2 * torch.cos(torch.arange(p.numel(), dtype=torch.float64)).float().view_as(p))
        y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
        features = model.eval().backbone((0.3 + 0.2 * x * y)[None, None])["0"].double()
    name = request.node.callspec.id
    assert (features.mean().item(), features.std().item()) == pytest.approx(REFERENCE_FEATURES[name], rel=1e-3)


@pytest.mark.slow
def test_four_images_are_memorized(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(3)
    images, targets = [], []
    for k in range(4):
        image = torch.full((1, 96, 96), 0.4) + 0.01 * torch.randn(1, 96, 96, generator=generator)
        x, y = 12 + 14 * k, 60 - 12 * k
        image[:, y : y + 20, x : x + 20] += 0.3
        images.append(image)
        targets.append(target((x, y, x + 20, y + 20)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    best = 0.0
    for step in range(1, 121):
        losses = model(images, targets)
        optimizer.zero_grad()
        total(losses).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        if step % 20 == 0:
            best = max(best, average_precision(copy.deepcopy(model), images, targets))
            if best == 1.0:
                break
    assert best == 1.0


def average_precision(model: nn.Module, images: list[Tensor], targets: list[dict[str, Tensor]]) -> float:
    """AP at IoU 0.5 by the toolkit's own evaluation."""

    categories = [{"id": 1, "name": "defect"}]
    records = [{"id": k, "file_name": f"{k}.png", "width": 96, "height": 96} for k in range(len(images))]
    ground_truth = [
        {"id": k + 1, "image_id": k, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1],
         "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
        for k, t in enumerate(targets)
        for x1, y1, x2, y2 in t["boxes"].tolist()
    ]  # fmt: skip
    with torch.inference_mode():
        outputs = model.eval()(images)
    results = [r for k, output in enumerate(outputs) for r in coco_results(k, output, categories)]
    return compute_metrics(CocoDataset(records, ground_truth, categories), results)["ap50"]


@settings(max_examples=20, deadline=None)
@given(gain=st.floats(0.3, 1.0))
def test_contrast_input_does_not_depend_on_exposure(gain: float) -> None:
    """A cavity over a bright part has the same relative contrast at any exposure, up to the small offset."""

    expand = LocalContrast(offset=0.0)
    image = torch.full((1, 1, 64, 64), 0.8)
    image[..., 28:36, 28:36] *= 1.05
    full, weak = expand(image), expand(gain * image)
    assert torch.allclose(full[:, 1:], weak[:, 1:], atol=1e-3)
    assert full[0, 1, 32, 32] > 0.5
