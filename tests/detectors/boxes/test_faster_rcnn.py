"""The paper's Faster R-CNN: strides, anchors, crops, proposals and parameter groups (Ferguson et al. 2017)."""

import re
import urllib.error
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import resnet18
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.ops.misc import FrozenBatchNorm2d

from data.errors import InputError
from detectors.boxes.faster_rcnn import FasterRCNN, FasterRCNNConfig, PooledHead, crop_pooling
from detectors.build import build_model
from detectors.config.files import read_config
from detectors.training.optimization import parameter_groups

R101 = read_config("faster_rcnn_r101").model
VGG16 = read_config("faster_rcnn_vgg16").model


@pytest.fixture(scope="module")
def r101() -> FasterRCNN:
    return build_model(R101.model_copy(update={"weights": "none", "norm": "frozen"}), 1)


@pytest.fixture(scope="module")
def vgg16() -> FasterRCNN:
    return build_model(VGG16.without_weights(), 1)


def test_published_settings_stand_in_the_configuration() -> None:
    config = read_config("faster_rcnn_r101")
    assert config.model.rpn.anchor_sizes == [[256 * s for s in (0.25, 0.5, 1, 2)]]
    assert config.model.rpn.aspect_ratios == [0.5, 1.0, 2.0]
    assert (config.model.min_size, config.model.max_size) == (600, 1024)
    assert (config.model.rpn.proposals, config.model.detections_per_image) == (300, 100)
    assert (config.model.rpn.nms_iou, config.model.nms_iou) == (0.7, 0.6)
    weights = config.model.loss_weights
    assert (weights.rpn_box, weights.box, weights.objectness, weights.classifier) == (2.0, 2.0, 1.0, 1.0)
    train = config.train
    assert (train.batch_size, train.lr, train.momentum, train.clip_norm) == (1, 3e-4, 0.9, 10.0)
    assert train.schedule.milestones == [900_000, 1_200_000]


@pytest.mark.parametrize(("name", "channels"), [("r101", 1024), ("vgg16", 512)])
def test_features_have_stride_16(name: str, channels: int, request: pytest.FixtureRequest) -> None:
    model: FasterRCNN = request.getfixturevalue(name)
    with torch.inference_mode():
        features = model.backbone(torch.rand(1, 1, 32, 48))
    assert {k: tuple(v.shape) for k, v in features.items()} == {"0": (1, channels, 2, 3)}


@pytest.mark.parametrize("name", ["r101", "vgg16"])
def test_twelve_anchors_a_cell_of_the_published_sizes(name: str, request: pytest.FixtureRequest) -> None:
    model: FasterRCNN = request.getfixturevalue(name)
    generator = model.rpn.anchor_generator
    assert generator.num_anchors_per_location() == [12]
    cells = generator.cell_anchors[0] if generator.cell_anchors[0].numel() else generator.cell_anchors
    width, height = (cells[:, 2] - cells[:, 0]), (cells[:, 3] - cells[:, 1])
    # Corners are rounded to whole pixels, so areas agree to a few per cent.
    sides = (width * height).sqrt().view(3, 4)
    assert torch.allclose(sides, torch.tensor([64.0, 128, 256, 512]).expand(3, 4), rtol=0.02)
    ratios = (height / width).view(3, 4)
    assert torch.allclose(ratios, torch.tensor([0.5, 1.0, 2.0])[:, None].expand(3, 4), rtol=0.05)


@pytest.mark.parametrize(("name", "channels", "out"), [("r101", 1024, 2048), ("vgg16", 512, 4096)])
def test_crops_of_14_become_7(name: str, channels: int, out: int, request: pytest.FixtureRequest) -> None:
    model: FasterRCNN = request.getfixturevalue(name)
    head = model.roi_heads.box_head
    assert isinstance(head, PooledHead)
    assert tuple(model.roi_heads.box_roi_pool.output_size) == (14, 14)
    crops = torch.rand(2, channels, 14, 14)
    assert head.pool(crops).shape == (2, channels, 7, 7)
    with torch.inference_mode():
        assert head.eval()(crops).shape == (2, out)


def test_conv5_keeps_the_crop_at_7(r101: FasterRCNN) -> None:
    conv5 = r101.roi_heads.box_head.layers[0]
    with torch.inference_mode():
        assert conv5(torch.rand(1, 1024, 7, 7)).shape == (1, 2048, 7, 7)


def test_batch_norm_is_frozen_with_published_weights(r101: FasterRCNN) -> None:
    assert R101.resolved_norm() == "frozen"
    assert any(isinstance(m, FrozenBatchNorm2d) for m in r101.modules())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in r101.modules())


@pytest.mark.parametrize("name", ["r101", "vgg16"])
def test_every_trained_parameter_is_in_one_group(name: str, request: pytest.FixtureRequest) -> None:
    model: FasterRCNN = request.getfixturevalue(name)
    weights, rest = parameter_groups(model, 1e-4)
    ids = [id(p) for group in (weights, rest) for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert (weights["weight_decay"], rest["weight_decay"]) == (1e-4, 0.0)
    assert {p.dim() for p in rest["params"]} == {1}


def test_images_are_scaled_to_600_on_the_shorter_edge(r101: FasterRCNN) -> None:
    images, _ = r101.transform.eval()([torch.rand(1, 572, 768)])
    assert images.image_sizes == [(600, 805)]
    images, _ = r101.transform([torch.rand(1, 300, 900)])
    assert images.image_sizes[0][1] == 1024


@pytest.mark.parametrize(("base", "anchors"), [(R101, [[32, 64]]), (VGG16, [[32, 64]])])
def test_the_papers_models_train_and_detect_at_a_small_size(base: FasterRCNNConfig, anchors: list) -> None:
    torch.manual_seed(0)
    small = {"min_size": 32, "max_size": 64, "roi_batch_size": 2, "rpn": {"anchor_sizes": anchors, "proposals": 2}}
    model = build_model(FasterRCNNConfig(**(base.without_weights().model_dump() | {"norm": "group"} | small)), 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    target = {"boxes": torch.tensor([[5.0, 5, 35, 35]]), "labels": torch.tensor([1])}
    for _ in range(2):
        losses = model([torch.rand(1, 48, 64)], [target])
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        assert total.isfinite()
    with torch.inference_mode():
        (output,) = model.eval()([torch.rand(1, 48, 64)])
    assert output["boxes"].shape[1] == 4


def test_no_network_for_imagenet_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"model\.weights=none") as caught:
        build_model(FasterRCNNConfig(backbone="resnet18", weights="imagenet"), 1)
    assert "\n" not in str(caught.value)


def test_imagenet_weights_are_loaded_from_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A state dict of ImageNet's form, put where torchvision looks for it, ends up in the backbone."""
    source = resnet18(weights=None).state_dict()
    monkeypatch.setattr("detectors.backbones.weights.download", lambda weights: source)
    model = build_model(FasterRCNNConfig(backbone="resnet18", weights="imagenet"), 1)
    assert torch.equal(model.backbone.body.conv1.weight, source["conv1.weight"])
    assert torch.equal(model.roi_heads.box_head.layers[0][0].conv1.weight, source["layer4.0.conv1.weight"])
    assert torch.equal(model.backbone.body.bn1.running_var, source["bn1.running_var"])


def older_name(name: str) -> str:
    return re.sub(r"(fpn\.\w+_blocks\.\d)\.0\.", r"\1.", name).replace("rpn.head.conv.0.0.", "rpn.head.conv.")


def test_published_weights_are_refused_with_another_norm() -> None:
    with pytest.raises(ValueError, match="come with batch norm"):
        FasterRCNNConfig(backbone="resnet18", weights="imagenet", norm="group")


def test_boxes_stay_float32_under_bfloat16() -> None:
    torch.manual_seed(0)
    config = read_config("faster_rcnn_r18_fpn", ["model.score_threshold=0.0"]).model
    model = build_model(config, 1).eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        (output,) = model([torch.rand(1, 64, 704)])
    assert model.rpn.anchor_generator.cell_anchors[0].dtype == torch.float32
    far = output["boxes"][output["boxes"] > 512]
    assert len(far)
    assert (far % 2 != 0).any()


def test_a_batch_is_padded_by_its_border() -> None:
    model = build_model(read_config("faster_rcnn_r18_fpn").model, 1)
    images, _ = model.transform([torch.full((1, 40, 50), 0.25), torch.full((1, 64, 33), 0.75)])
    assert images.tensors.shape == (2, 1, 64, 64)
    assert (images.tensors[0] == 0.25).all()
    assert (images.tensors[1] == 0.75).all()


def test_coco_weights_need_the_published_layers() -> None:
    with pytest.raises(ValueError, match="pyramid resnet50"):
        FasterRCNNConfig(backbone="resnet101", weights="coco")


@pytest.mark.parametrize("names", ["older", "newer"])
def test_coco_weights_fill_all_but_the_heads_that_depend_on_us(names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published file has the names of older torchvision releases; both must fill the same layers."""
    torch.manual_seed(0)
    source = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    given = {older_name(k): v for k, v in source.items()} if names == "older" else source
    monkeypatch.setattr("detectors.boxes.faster_rcnn.download", lambda weights: given)
    config = read_config("faster_rcnn_r50_fpn").model
    model = build_model(config, 1)
    state = model.state_dict()
    anew = {k for k in state if k not in source or not torch.equal(state[k], source[k])}
    assert anew
    assert all(k.startswith(("rpn.head.cls_logits", "rpn.head.bbox_pred", "roi_heads.box_predictor")) for k in anew)


TINY = {
    "backbone": "resnet18", "width": 0.125, "roi_batch_size": 4, "score_threshold": 0.0,
    "rpn": {"anchor_sizes": [[16, 32]], "proposals": 8},
}  # fmt: skip
PYRAMID = {
    "pyramid": True, "fpn_channels": 8, "head_channels": 8, "crop_size": 7, "min_size": None,
    "rpn": {"anchor_sizes": [[8], [16], [32]], "proposals": 8},
}  # fmt: skip


def fresh(**changes: object) -> FasterRCNN:
    torch.manual_seed(0)
    return build_model(FasterRCNNConfig(**{**TINY, **changes}), 1)


@pytest.mark.parametrize("first", [(33, 40), (40, 33), (45, 45), (65, 67), (67, 200), (33, 65)])
def test_the_first_image_does_not_change_later_ones(first: tuple[int, int]) -> None:
    """Padded to multiples of 32 px, these images made torchvision guess half or a quarter more than the scale."""
    model, other = fresh(**PYRAMID).eval(), fresh(**PYRAMID).eval()
    image = torch.rand(1, 96, 128, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        model([torch.full((1, *first), 0.4)])
        (after,), (alone,) = model([image]), other([image])
    assert len(alone["scores"]) > 1
    assert all(torch.equal(after[name], alone[name]) for name in alone)
    assert model.roi_heads.box_roi_pool.scales == [1 / 4, 1 / 8, 1 / 16]


def test_a_film_does_not_change_later_ones_at_the_papers_size() -> None:
    """4700 x 300 becomes 1024 x 65, padded to 96: a scale of 1/8 instead of 1/16 for all that follow."""
    model, other = fresh().eval(), fresh().eval()
    image = torch.rand(1, 60, 90, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        model([torch.full((1, 300, 4700), 0.4)])
        (after,), (alone,) = model([image]), other([image])
    assert all(torch.equal(after[name], alone[name]) for name in alone)
    assert model.roi_heads.box_roi_pool.scales == [1 / 16]


def test_crops_are_cut_from_where_the_proposal_lies() -> None:
    """A ramp over each map: the mean of a crop is the center of its proposal, whatever the level.

    In torchvision's convention, which the published weights were trained in, cell k lies at k strides.
    """
    pool = crop_pooling(7, [4, 8, 16])
    maps = {}
    for name, stride in (("0", 4), ("1", 8), ("2", 16)):
        x = torch.arange(640.0 / stride) * stride
        maps[name] = x.expand(1, 1, 640 // stride, -1).contiguous()
    boxes = torch.tensor([[100.0, 100, 120, 120], [200.0, 200, 330, 330], [100.0, 100, 500, 500]])
    crops = pool(maps, [boxes], [(640, 640)])
    assert crops.mean(dim=(1, 2, 3)).tolist() == pytest.approx([110, 265, 300], abs=0.5)


def test_proposals_come_from_the_level_of_their_size() -> None:
    """224 px belong to stride 16, half as many to stride 8, and whatever is smaller to stride 4 (Lin et al. 2017)."""
    maps = {str(k): torch.full((1, 1, 640 // s, 640 // s), float(s)) for k, s in enumerate((4, 8, 16))}
    sides = [20, 111, 113, 223, 225, 500]
    boxes = torch.tensor([[50.0, 50, 50 + side, 50 + side] for side in sides])
    crops = crop_pooling(7, [4, 8, 16])(maps, [boxes], [(640, 640)])
    assert crops.mean(dim=(1, 2, 3)).tolist() == [4, 4, 8, 8, 16, 16]


@pytest.mark.parametrize(
    ("weight", "loss"),
    [("objectness", "loss_objectness"), ("rpn_box", "loss_rpn_box_reg"), ("classifier", "loss_classifier"),
     ("box", "loss_box_reg")],
)  # fmt: skip
def test_every_loss_has_its_own_weight(weight: str, loss: str) -> None:
    names = ("objectness", "rpn_box", "classifier", "box")
    target = {"boxes": torch.tensor([[20.0, 20, 44, 44]]), "labels": torch.tensor([1])}
    image = torch.rand(1, 96, 96, generator=torch.Generator().manual_seed(1))
    found = []
    for value in (1.0, 3.0):
        model = fresh(**PYRAMID, loss_weights=dict.fromkeys(names, 1.0) | {weight: value})
        torch.manual_seed(1)  # which anchors and proposals are sampled
        found.append({name: value.item() for name, value in model([image], [target]).items()})
    plain, weighed = found
    assert all(value > 0 for value in plain.values())
    assert weighed == pytest.approx(plain | {loss: 3 * plain[loss]}, rel=1e-5)


def test_anchors_are_labeled_by_the_thresholds() -> None:
    """IoU 1, 0.5 and 0.2 with the defect: at 0.6 and 0.4 a positive, ignored, a negative; and so on."""
    anchors = [torch.tensor([[0.0, 0, 20, 20], [0, 0, 20, 10], [0, 0, 20, 4], [50, 50, 60, 60]])]
    target = [{"boxes": torch.tensor([[0.0, 0, 20, 20]])}]
    expected = {(0.6, 0.4): [1, -1, 0, 0], (0.5, 0.3): [1, 1, 0, 0], (0.6, 0.1): [1, -1, -1, 0]}
    for (positive, negative), labels in expected.items():
        rpn = PYRAMID["rpn"] | {"positive_iou": positive, "negative_iou": negative}
        found, _ = fresh(**PYRAMID | {"rpn": rpn}).rpn.assign_targets_to_anchors(anchors, target)
        assert found[0].tolist() == labels


@pytest.mark.parametrize(("nms_iou", "count"), [(0.3, 1), (0.7, 2)])
def test_detections_and_proposals_are_suppressed_by_their_own_thresholds(nms_iou: float, count: int) -> None:
    """Two boxes of IoU 0.5: the lesser goes under a threshold of 0.3 and stays under one of 0.7."""
    boxes = torch.tensor([[0.0, 0, 20, 20], [0, 0, 20, 10]])
    model = fresh(**PYRAMID, nms_iou=nms_iou).eval()
    logits = torch.tensor([[0.0, 4.0], [0.0, 3.0]])
    found, scores, _ = model.roi_heads.postprocess_detections(logits, torch.zeros(2, 8), [boxes], [(64, 64)])
    assert len(found[0]) == count
    assert scores[0][0] == pytest.approx(torch.tensor([0.0, 4.0]).softmax(0)[1].item())
    model = fresh(**PYRAMID | {"rpn": PYRAMID["rpn"] | {"nms_iou": nms_iou}}).eval()
    proposals, _ = model.rpn.filter_proposals(boxes[None], torch.tensor([[4.0], [3.0]])[None], [(64, 64)], [2, 0, 0])
    assert len(proposals[0]) == count


def test_images_of_a_batch_do_not_change_each_other() -> None:
    model = fresh(**PYRAMID).eval()
    first, second = torch.rand(1, 96, 128), torch.rand(1, 130, 70)
    with torch.inference_mode():
        together, (alone,) = model([first, second]), model([first])
    assert all(torch.equal(together[0][name], alone[name]) for name in alone)
