import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from detectors.boxes.center_net import CenterNet, CenterNetConfig, build_center_net
from detectors.boxes.center_net_layers import (
    CORE,
    DefectChannels,
    center_losses,
    decode_sides,
    find_peaks,
    heat_targets,
)

SMALL = CenterNetConfig(stem_channels=4, stage_channels=(8, 8, 8, 8), neck_channels=8, noise_limit=0)


def plain_targets(boxes: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The heat map and, a cell, the index of the smallest box that owns it (-1 for none), cell by cell."""
    heat, owner = np.zeros((height, width)), np.full((height, width), -1)
    for y in range(height):
        for x in range(width):
            best = np.inf
            for k, (x1, y1, x2, y2) in enumerate(boxes):
                cx, cy = int((x1 + x2) / 8), int((y1 + y2) / 8)
                sx, sy = max(0.14 * (x2 - x1) / 4, 0.8), max(0.14 * (y2 - y1) / 4, 0.8)
                bump = np.exp(-0.5 * (((x - cx) / sx) ** 2 + ((y - cy) / sy) ** 2))
                heat[y, x] = max(heat[y, x], bump)
                area = (x2 - x1) * (y2 - y1)
                if bump > CORE and area < best:
                    best, owner[y, x] = area, k
    return heat, owner


def test_targets_agree_with_a_plain_version() -> None:
    boxes = np.array([[4, 8, 40, 30], [20, 12, 34, 28], [70, 40, 90, 90]], np.float32)
    heat, sides, weight = heat_targets([torch.from_numpy(boxes)], [torch.tensor([1, 1, 1])], 1, (24, 26))
    expected, owner = plain_targets(boxes, 24, 26)
    assert heat[0, 0].numpy() == pytest.approx(expected, abs=1e-5)
    assert np.array_equal(weight[0].numpy() > 0, owner >= 0)
    for k, box in enumerate(boxes):
        assert sides[0].permute(1, 2, 0).numpy()[owner == k] == pytest.approx(np.tile(box, ((owner == k).sum(), 1)))


def test_a_box_alone_has_weights_that_sum_to_one_whatever_its_size() -> None:
    for box in ([10.0, 10, 18, 18], [10.0, 10, 90, 70]):
        _, _, weight = heat_targets([torch.tensor([box])], [torch.tensor([1])], 1, (24, 24))
        assert float(weight.sum()) == pytest.approx(1.0, abs=1e-5)


def test_each_class_has_its_own_map() -> None:
    boxes = torch.tensor([[8.0, 8, 24, 24], [60, 60, 80, 80]])
    heat, _, _ = heat_targets([boxes], [torch.tensor([2, 1])], 2, (24, 24))
    assert heat[0, 1, 4, 4] == 1
    assert heat[0, 0, 17, 17] == 1
    assert heat[0, 0, 4, 4] < 1e-6


def test_sides_decode_to_boxes_around_the_middle_of_a_cell() -> None:
    sides = torch.log(torch.tensor([1.0, 2.0, 3.0, 0.5])).view(1, 4, 1, 1).expand(1, 4, 3, 5)
    assert decode_sides(sides)[0, :, 2, 1].tolist() == pytest.approx([6 - 4, 10 - 8, 6 + 12, 10 + 2])


def logits_of(heat: Tensor) -> Tensor:
    return torch.logit(heat.clamp(1e-4, 1 - 1e-4))


def test_the_loss_of_the_truth_is_near_zero_and_of_a_false_call_is_not() -> None:
    boxes, labels = [torch.tensor([[8.0, 8, 40, 40]])], [torch.tensor([1])]
    heat, wanted, _ = heat_targets(boxes, labels, 1, (16, 16))
    perfect = torch.where(heat == 1, 1.0, 0.0)
    x = (torch.arange(16) + 0.5) * 4
    distances = torch.stack(
        [x - wanted[:, 0], x[:, None] - wanted[:, 1], wanted[:, 2] - x, wanted[:, 3] - x[:, None]], dim=1
    )
    sides = torch.log((distances / 4).clamp(min=0.01))
    losses = center_losses(logits_of(perfect), sides, boxes, labels)
    assert float(losses["loss_heat"]) < 0.01
    assert float(losses["loss_box"]) < 0.01
    called = perfect.clone()
    called[0, 0, 14, 2] = 0.9
    assert float(center_losses(logits_of(called), sides, boxes, labels)["loss_heat"]) > 1.5


def test_the_focal_loss_by_hand() -> None:
    """One cell with p = 0.5 far from all boxes: 0.5^2 * -log(0.5)."""
    heat = torch.full((1, 1, 8, 8), -30.0)
    heat[0, 0, 3, 3] = 0.0
    losses = center_losses(heat, torch.zeros(1, 4, 8, 8), [torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.int64)])
    assert float(losses["loss_heat"]) == pytest.approx(0.25 * np.log(2), rel=1e-5)
    assert float(losses["loss_box"]) == 0


def test_peaks_are_local_maxima_highest_first() -> None:
    heat = torch.full((1, 2, 8, 8), -9.0)
    heat[0, 0, 2, 2], heat[0, 0, 2, 3], heat[0, 1, 6, 6] = 2.0, 1.5, 3.0
    _, scores, labels = find_peaks(heat, torch.zeros(1, 4, 8, 8), 3)
    assert scores[0, :2].tolist() == pytest.approx([1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-2))])
    assert labels[0, :2].tolist() == [2, 1]
    assert scores[0, 2] < 0.01


@settings(max_examples=25, deadline=None)
@given(gain=st.floats(0.3, 1.0), noise=st.floats(0.005, 0.03))
def test_contrast_over_noise_does_not_depend_on_the_exposure(gain: float, noise: float) -> None:
    """A defect of five times the noise has the same channels however bright and noisy the radiograph is."""
    grain = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    image = 0.5 + noise * grain
    image[..., 28:36, 28:36] += 5 * noise
    encode = DefectChannels("noise_contrast")
    full, weak = encode(image)[:, 1:], encode(image * gain)[:, 1:]
    close = 1 + (1 / 255) / (0.5 * noise * gain)  # one gray level is added to the noise
    assert (full[0, :, 32, 32] / weak[0, :, 32, 32]).max() < close
    assert (full[0, :, 32, 32] / weak[0, :, 32, 32]).min() > 0.99


def test_a_flat_radiograph_has_no_contrast() -> None:
    channels = DefectChannels("both_contrasts")(torch.full((1, 1, 64, 64), 0.7))
    assert channels.shape == (1, 5, 64, 64)
    assert channels[:, 1:].abs().max() < 1e-4


def test_large_radiographs_may_have_more_detections() -> None:
    torch.manual_seed(0)
    model = CenterNet(SMALL.model_copy(update={"score_threshold": 0.0, "nms_iou": 1.0, "detections_per_image": 5}), 1)
    with torch.no_grad():
        model.sides.weight.zero_()
    model.eval()
    with torch.inference_mode():
        small, large = model([torch.rand(1, 64, 64), torch.rand(1, 1144, 1536)])
    assert len(small["boxes"]) == 5
    assert len(large["boxes"]) == 20


def test_the_size_prior_takes_from_small_boxes_alone() -> None:
    torch.manual_seed(0)
    outputs = []
    for prior in (0.0, 0.5):
        torch.manual_seed(0)
        model = CenterNet(SMALL.model_copy(update={"size_prior": prior, "score_threshold": 0.0, "nms_iou": 1.0}), 1)
        with torch.no_grad():
            model.sides.weight.zero_()
            model.sides.bias.copy_(torch.log(torch.tensor([7.5 / 4, 7.5 / 4, 7.5 / 4, 7.5 / 4])))  # 15 px wide
        with torch.inference_mode():
            outputs.append(model.eval()([torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(1))])[0])
    inside = (outputs[0]["boxes"][:, 0] > 0) & (outputs[0]["boxes"][:, 3] < 64) & (outputs[0]["boxes"][:, 1] > 0)
    inside &= outputs[0]["boxes"][:, 2] < 64
    assert inside.any()
    before, after = outputs[0]["scores"][inside].max(), outputs[1]["scores"].max()
    assert float(after) == pytest.approx(float(before) * (15 / 60) ** 0.5, rel=0.05)


@pytest.mark.parametrize(("flips", "axis"), [("horizontal", 2), ("both", 2), ("both", 1)])
def test_with_flips_a_radiograph_and_its_mirror_image_have_mirrored_detections(flips: str, axis: int) -> None:
    torch.manual_seed(2)
    section = SMALL.model_copy(update={"flip_test": flips, "score_threshold": 0.0, "nms_iou": 1.0})
    model = CenterNet(section, 1).eval()
    image = torch.rand(1, 64, 96, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        (straight,), (mirrored,) = model([image]), model([image.flip(axis)])
    order, sign, shift = (
        ([2, 1, 0, 3], [-1, 1, -1, 1], [96, 0, 96, 0]) if axis == 2 else ([0, 3, 2, 1], [1, -1, 1, -1], [0, 64, 0, 64])
    )
    back = mirrored["boxes"][:, order] * torch.tensor(sign) + torch.tensor(shift)
    assert torch.allclose(straight["scores"][:10], mirrored["scores"][:10], atol=1e-5)
    best = straight["boxes"][straight["scores"].argmax()]
    assert (back - best).abs().max(dim=1).values.min() < 0.01
    plain = CenterNet(section.model_copy(update={"flip_test": "none"}), 1).eval()
    plain.load_state_dict(model.state_dict())
    with torch.inference_mode():
        (one_sided,) = plain([image])
    assert not torch.allclose(one_sided["scores"].max(), straight["scores"].max(), atol=1e-6)


def test_a_flag_for_flips_is_still_read() -> None:
    assert CenterNetConfig.model_validate({"flip_test": True}).flip_test == "horizontal"
    assert CenterNetConfig.model_validate({"flip_test": False}).flip_test == "none"


def noisy(sigma: float, shape: tuple[int, int] = (128, 128)) -> Tensor:
    """A flat radiograph [1, H, W] with white noise of `sigma` gray levels."""
    noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(4))
    return (0.5 + noise * sigma / 255).clamp(0, 1)


def test_a_noisy_radiograph_is_detected_at_a_coarser_scale_and_boxes_come_back_in_its_pixels() -> None:
    section = SMALL.model_copy(update={"noise_limit": 1.5, "coarsest_scale": 0.5, "score_threshold": 0.0})
    model = CenterNet(section, 1).eval()
    seen: list[tuple[int, ...]] = []
    model.backbone.register_forward_hook(lambda _, images, __: seen.append(tuple(images[0].shape)))
    with torch.no_grad():
        model.sides.weight.zero_()
        model.sides.bias.copy_(torch.log(torch.tensor([2.5, 2.5, 2.5, 2.5])))  # 20 px wide where it is detected
    with torch.inference_mode():
        quiet, loud = model([noisy(1.0), noisy(10.0)])
    assert seen == [(1, 1, 128, 128), (1, 1, 64, 64)]
    for found, side in ((quiet, 20), (loud, 40)):
        boxes = found["boxes"]
        whole = (boxes[:, :2] > 0).all(dim=1) & (boxes[:, 2:] < 128).all(dim=1)
        assert whole.any()
        assert torch.allclose(boxes[whole][:, 2:] - boxes[whole][:, :2], torch.tensor(float(side)), atol=1e-3)


def test_training_samples_are_rescaled_with_their_boxes_and_what_gets_too_small_is_ignored() -> None:
    section = SMALL.model_copy(update={"noise_limit": 1.5, "coarsest_scale": 0.5})
    model = CenterNet(section, 1)
    target = {"boxes": torch.tensor([[20.0, 20, 60, 50], [80, 80, 86, 86]]), "labels": torch.tensor([1, 1]),
              "iscrowd": torch.tensor([0, 0])}  # fmt: skip
    images, targets = model._rescaled([noisy(10.0), noisy(0.5)], [target, target])
    assert [image.shape[-1] for image in images] == [64, 128]
    assert torch.equal(targets[0]["boxes"], target["boxes"] / 2)
    assert targets[0]["iscrowd"].tolist() == [0, 1]
    assert targets[1]["iscrowd"].tolist() == [0, 0]
    # A box at the border of a side that does not scale to whole pixels stays a box.
    at_border = {**target, "boxes": torch.tensor([[20.0, 20, 60, 50], [100, 126.9, 110, 127]])}
    model([noisy(10.0, (127, 127))], [at_border])
    whole = CenterNet(section.model_copy(update={"rescale_in_training": False}), 1)
    whole.load_state_dict(model.state_dict())
    losses = [sum(net([noisy(10.0)], [target]).values()).item() for net in (model, whole)]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_the_line_blind_channel_does_not_see_an_alternation_of_lines_and_sees_a_defect() -> None:
    noise = 0.004 * torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(6))
    calm = 0.5 + noise
    video = calm.clone()
    video[:, :, ::2] += 0.02
    encode = DefectChannels("line_blind")
    both = DefectChannels("both_contrasts")
    assert torch.equal(encode(calm)[:, :5], both(calm))
    inside = slice(8, -8)
    change = (encode(video) - encode(calm))[:, :, inside, inside].abs().mean(dim=(0, 2, 3))
    assert change[5] < 0.35 * change[3]
    spot = calm.clone()
    spot[:, :, 28:36, 28:36] += 0.05
    assert float((encode(spot) - encode(calm))[0, 5, 31, 31]) > 1


def test_group_normalization_needs_channels_that_divide() -> None:
    net = CenterNet(SMALL.model_copy(update={"norm": "group", "stem_channels": 8}), 1)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())
    with pytest.raises(ValidationError, match=r"multiples of 8, not .4, 8, 8, 8, 8, 8"):
        CenterNetConfig(norm="group", stem_channels=4, stage_channels=(8, 8, 8, 8), neck_channels=8)


def test_the_small_net_is_small() -> None:
    model = build_center_net(CenterNetConfig(), 1)
    assert sum(p.numel() for p in model.parameters()) < 0.65e6


def test_published_weights_are_refused() -> None:
    with pytest.raises(ValidationError, match="no 'imagenet' weights"):
        CenterNetConfig(weights="imagenet")
