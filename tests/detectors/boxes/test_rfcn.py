"""R-FCN: position-sensitive pooling, shared computation, strides, and the paper's settings."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import resnet18

from detectors.boxes.rfcn import RFCN, PositionSensitiveVotes, RFCNConfig, VotedPredictor
from detectors.boxes.two_stage import RPNConfig, TwoStageConfig
from detectors.build import build_model
from detectors.config.files import read_config

SMALL = {"backbone": "resnet18", "width": 0.125, "reduction": 8, "rpn": {"anchor_sizes": [[16, 32]], "proposals": 20}}


def small(**changes: object) -> RFCNConfig:
    return RFCNConfig(**{**SMALL, **changes})


def votes_of(config: RFCNConfig, classes: int = 1) -> PositionSensitiveVotes:
    """Votes straight from given features: no conv5, so that maps are linear in ReLU(features)."""
    torch.manual_seed(0)
    return PositionSensitiveVotes(config, nn.Identity(), 8, classes)


def bilinear(plane: Tensor, y: float, x: float) -> float:
    """The value at (y, x) in cells, clamped at the border, and 0 more than a cell outside."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
    fy, fx = y - top, x - left
    upper = plane[top, left] * (1 - fx) + plane[top, right] * fx
    lower = plane[below, left] * (1 - fx) + plane[below, right] * fx
    return float(upper * (1 - fy) + lower * fy)


def slow_align(maps: Tensor, box: Tensor, bins: int, stride: int, samples: int, out: int) -> list[float]:
    """Average votes of one region, written out as the definition says."""
    x0, y0, x1, y1 = (float(v) / stride - 0.5 for v in box)
    step_y, step_x = (y1 - y0) / bins, (x1 - x0) / bins
    votes = []
    for channel in range(out):
        total = 0.0
        for i in range(bins):
            for j in range(bins):
                plane = maps[(channel * bins + i) * bins + j]
                points = [
                    bilinear(plane, y0 + (i + (a + 0.5) / samples) * step_y, x0 + (j + (b + 0.5) / samples) * step_x)
                    for a in range(samples)
                    for b in range(samples)
                ]
                total += sum(points) / len(points)
        votes.append(total / bins**2)
    return votes


@settings(max_examples=10, deadline=None)
@given(
    corner=st.tuples(st.integers(0, 70), st.integers(0, 50)),
    size=st.tuples(st.integers(9, 60), st.integers(9, 60)),
    bins=st.sampled_from([1, 3, 7]),
    stride=st.sampled_from([8, 16]),
)
def test_pooling_agrees_with_a_slow_plain_version(
    corner: tuple[int, int], size: tuple[int, int], bins: int, stride: int
) -> None:
    config = small(bins=bins, crop_size=2 * bins, stride=stride)
    votes = votes_of(config)
    features = torch.rand(1, 8, 96 // stride, 128 // stride)
    box = torch.tensor([corner[0] + 0.3, corner[1] + 0.3, corner[0] + size[0] + 0.4, corner[1] + size[1] + 0.4])
    with torch.inference_mode():
        pooled = votes({"0": features}, [box[None]], [(96, 128)])[0]
        shared = votes.reduce(features)
        maps = torch.cat([votes.score(shared), votes.box(shared)], dim=1)[0]
    slow = slow_align(maps, box, bins, stride, 2, 6)
    assert pooled.tolist() == pytest.approx(slow, abs=1e-4)


def test_a_bin_votes_from_its_own_map_alone() -> None:
    """A defect in the top left third of a region moves the vote by the map of that bin and of no other."""
    votes = votes_of(small(bins=3, crop_size=6, stride=8))
    maps = torch.zeros(1, 6 * 9, 12, 12, requires_grad=True)
    pooled = votes.pool(maps, [torch.tensor([[16.0, 16, 64, 64]])]).mean(dim=(2, 3))
    pooled[0, 0].backward()
    reached = maps.grad[0].flatten(1).sum(dim=1)
    assert reached[:9] == pytest.approx([1 / 9] * 9)
    assert (reached[9:] == 0).all()
    first = maps.grad[0, 0].nonzero()
    assert first.max() <= 4  # cells up to pixel 32, the end of the first third, and one for interpolation


def test_all_layers_run_once_whatever_the_number_of_regions() -> None:
    """Regions share all computation: convolutions see the image, never a region."""
    torch.manual_seed(0)
    model: RFCN = build_model(small(min_size=None, score_threshold=0.0), 1).eval()
    calls: list[int] = []
    for layer in model.roi_heads.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda layer, inputs, output: calls.append(inputs[0].shape[0]))
    assert not any(isinstance(layer, nn.Linear) for layer in model.modules())
    with torch.inference_mode():
        model([torch.rand(1, 96, 128)])
    assert calls
    assert set(calls) == {1}
    assert len(calls) == sum(isinstance(layer, nn.Conv2d) for layer in model.roi_heads.modules())


def test_one_box_for_every_class() -> None:
    logits, offsets = VotedPredictor()(torch.arange(14.0).view(2, 7))
    assert logits.tolist() == [[0, 1, 2], [7, 8, 9]]
    assert offsets.view(2, 3, 4).tolist() == [[[3, 4, 5, 6]] * 3, [[10, 11, 12, 13]] * 3]


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("stage", [4, 5])
def test_maps_keep_the_configured_stride(stride: int, stage: int) -> None:
    model: RFCN = build_model(small(stride=stride, stage=stage), 1).eval()
    with torch.inference_mode():
        features = model.backbone(torch.rand(1, 1, 64, 96))["0"]
        deep = model.roi_heads.box_roi_pool.conv5(features)
    assert features.shape[2:] == deep.shape[2:] == (64 // stride, 96 // stride)


def test_the_proposals_are_those_of_faster_rcnn() -> None:
    ours, theirs = read_config("rfcn_r101").model, read_config("faster_rcnn_r101").model
    assert isinstance(ours.rpn, RPNConfig)
    assert isinstance(theirs, TwoStageConfig)
    for field in set(TwoStageConfig.model_fields) - {"name"}:
        assert getattr(ours, field) == getattr(theirs, field), field
    models = [
        build_model(section.model_copy(update={"backbone": "resnet18", "weights": "none", "width": 0.125}), 1)
        for section in (ours, theirs)
    ]
    assert str(models[0].rpn) == str(models[1].rpn)
    shapes = [{k: v.shape for k, v in model.rpn.state_dict().items()} for model in models]
    assert shapes[0] == shapes[1]


def test_published_settings_stand_in_the_configuration() -> None:
    config = read_config("rfcn_r101")
    model = config.model
    assert (model.bins, model.crop_size, model.stride, model.stage, model.reduction) == (3, 18, 16, 5, 1024)
    assert (model.rpn.proposals, model.nms_iou, model.detections_per_image, model.weights) == (
        300,
        0.6,
        100,
        "imagenet",
    )
    assert (config.train.batch_size, config.train.lr) == (1, 3e-4)
    with torch.device("meta"):
        votes = PositionSensitiveVotes(model, nn.Identity(), 2048, 1)
    assert (votes.score.out_channels, votes.box.out_channels) == (9 * 2, 9 * 4)
    assert votes.pool.sampling_ratio == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bins": 7}, "multiple of bins"),
        ({"weights": "coco"}, "no 'coco' weights"),
        ({"backbone": "vgg16"}, "resnet18"),
        ({"rpn": {"anchor_sizes": [[8], [16]]}}, "1 lists"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_imagenet_weights_fill_conv5_too(monkeypatch: pytest.MonkeyPatch) -> None:
    source = resnet18(weights=None).state_dict()
    monkeypatch.setattr("detectors.backbones.weights.download", lambda weights: source)
    model: RFCN = build_model(RFCNConfig(backbone="resnet18", weights="imagenet", reduction=8), 1)
    assert torch.equal(model.backbone.body.conv1.weight, source["conv1.weight"])
    conv5 = model.roi_heads.box_roi_pool.conv5
    assert torch.equal(conv5[1].conv2.weight, source["layer4.1.conv2.weight"])


def test_boxes_stay_float32_under_bfloat16() -> None:
    torch.manual_seed(0)
    model = build_model(small(min_size=None, score_threshold=0.0), 1).eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        (output,) = model([torch.rand(1, 64, 704)])
    assert output["boxes"].dtype == output["scores"].dtype == torch.float32
    far = output["boxes"][output["boxes"] > 512]
    assert len(far)
    assert (far % 2 != 0).any()
