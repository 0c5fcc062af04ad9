"""The weld FCN: shapes, polarity of its losses, whole against windows, activations and their initialization."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from data.errors import InputError
from detectors.backbones.batch_norm import BatchNorm2d
from detectors.backbones.networks import LocalContrast
from detectors.build import build_model
from detectors.maps.heat_map import HeatMap, HeatMapModel
from detectors.segmentation.weld_fcn import WeldFCN, WeldFCNConfig, build_weld_fcn

TINY = WeldFCNConfig(width=4, depth=2, tile_size=64, tile_overlap=16)


def tiny(**settings: object) -> WeldFCN:
    torch.manual_seed(0)
    model = build_model(WeldFCNConfig(**TINY.model_dump() | settings), 1)
    assert isinstance(model, WeldFCN)
    return model


def weld(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Four noisy crops [4, 1, 64, 64] with a dark square each, and their masks."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.6 + 0.01 * torch.randn(4, 1, 64, 64, generator=generator)
    masks = torch.zeros(4, 64, 64, dtype=torch.uint8)
    for k in range(4):
        masks[k, 10 + 8 * k : 22 + 8 * k, 40 - 7 * k : 52 - 7 * k] = 1
    return images - 0.1 * masks[:, None], masks


def test_losses_are_finite_and_reach_every_parameter() -> None:
    model = tiny(loss={"focal_tversky": 1})
    losses = model(*weld())
    assert losses.keys() == {"bce", "dice", "focal_tversky"}
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("activation", ["selu", "elu", "relu"])
def test_four_crops_are_memorized(activation: str) -> None:
    model = tiny(width=8, activation=activation)
    images, masks = weld()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        sum(model(images, masks).values()).backward()
        optimizer.step()
    found = (model.eval().logits(images) > 0).to(torch.uint8)
    assert 2 * (found & masks).sum() / (found.sum() + masks.sum()) > 0.95
    with torch.inference_mode():
        (output,) = model([images[0]])
    assert output["boxes"].shape == (1, 4)
    assert output["boxes"][0].tolist() == pytest.approx([40, 10, 52, 22], abs=2)
    assert output["labels"].tolist() == [1]


@pytest.mark.parametrize("size", [(64, 64), (65, 33), (1, 1), (7, 200), (31, 50)])
def test_one_logit_a_pixel_of_any_size(size: tuple[int, int]) -> None:
    model = tiny(depth=3).eval()
    with torch.inference_mode():
        assert model.logits(torch.rand(2, 1, *size)).shape == (2, *size)
        heat = model.heat_map(torch.rand(1, *size))
    assert heat.values.shape == size
    assert (heat.stride, heat.offset) == (1, 0.5)
    assert ((heat.values >= 0) & (heat.values <= 1)).all()


def test_windowed_equals_whole_on_an_image_that_fits() -> None:
    image = torch.rand(1, 64, 64)
    whole, windowed = tiny().eval(), tiny(max_full_image_pixels=0).eval()
    with torch.inference_mode():
        assert torch.equal(whole.heat_map(image).values, windowed.heat_map(image).values)


def test_windows_agree_with_the_whole_away_from_their_edges() -> None:
    """Every window's middle has seen what the whole image shows; here 200 x 120 pixels in windows of 64."""
    torch.manual_seed(3)
    image = torch.rand(1, 120, 200)
    whole, windowed = (
        tiny(input="rgb_repeat").eval(),
        tiny(input="rgb_repeat", max_full_image_pixels=0, tile_overlap=48).eval(),
    )
    with torch.inference_mode():
        difference = whole.heat_map(image).values - windowed.heat_map(image).values
    assert difference.abs().mean() < 0.01


def test_large_radiographs_go_in_windows_of_the_configured_size(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = tiny(max_full_image_pixels=64 * 64, tile_batch=3).eval(), []
    plain = model.logits
    monkeypatch.setattr(model, "logits", lambda images: seen.append(images.shape) or plain(images))
    with torch.inference_mode():
        assert model.heat_map(torch.rand(1, 65, 400)).values.shape == (65, 400)
    assert {shape[1:] for shape in seen} == {(1, 64, 64)}
    assert max(shape[0] for shape in seen) == 3


def test_it_is_a_heat_map_model_whose_boxes_are_its_regions() -> None:
    model = tiny().eval()
    assert isinstance(model, HeatMapModel)
    values = torch.zeros(64, 80)
    values[20:32, 30:50] = 0.9
    found = model.detections(torch.rand(1, 64, 80), HeatMap(values, 1, 0.5))
    assert found["boxes"].tolist() == [[30, 20, 50, 32]]
    assert found["scores"][0] == pytest.approx(0.9, abs=0.1)
    clean = model.detections(torch.rand(1, 64, 80), HeatMap(torch.zeros(64, 80), 1, 0.5))
    assert clean["boxes"].shape == (0, 4)
    assert clean["labels"].dtype == torch.int64


def test_selu_follows_batch_norm_with_the_published_constants_and_elu_the_rest() -> None:
    model = tiny()
    for step in model.encoder:
        kinds = [type(layer) for layer in step]
        assert kinds == [nn.Conv2d, BatchNorm2d, nn.SELU] * 2
    assert all(isinstance(step[1], nn.ELU) for step in [*model.decoder, model.refine])
    assert nn.SELU()(torch.tensor([2.0]))[0] == pytest.approx(2 * 1.0507, rel=1e-5)
    assert nn.SELU()(torch.tensor([-40.0]))[0] == pytest.approx(-1.67326 * 1.0507, rel=1e-5)


@pytest.mark.parametrize("activation", ["elu", "relu"])
def test_the_others_stand_in_all_places_with_equal_parameters(activation: str) -> None:
    model, paper = tiny(activation=activation), tiny()
    kind = {"elu": nn.ELU, "relu": nn.ReLU}[activation]
    used = [type(m) for m in model.modules() if isinstance(m, nn.SELU | nn.ELU | nn.ReLU)]
    assert set(used) == {kind}
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in paper.state_dict().items()}


@pytest.mark.parametrize(("activation", "factor"), [("selu", 1.0), ("elu", 1.0), ("relu", 2.0)])
def test_initial_weights_have_the_variance_that_suits(activation: str, factor: float) -> None:
    weight = tiny(width=16, activation=activation).encoder[-1][3].weight
    assert weight.var().item() == pytest.approx(factor / (64 * 9), rel=0.05)


def test_a_new_network_says_that_defects_are_rare() -> None:
    model = tiny().eval()
    with torch.inference_mode():
        assert model.heat_map(torch.full((1, 64, 64), 0.5)).values.mean() < 0.1


def test_the_input_is_chosen() -> None:
    assert isinstance(tiny().input_encoding, LocalContrast)
    assert not isinstance(tiny(input="rgb_repeat").input_encoding, LocalContrast)


def test_shapes_that_do_not_fit_are_our_error() -> None:
    model = tiny()
    with pytest.raises(InputError, match=r"\(4, 1, 64, 64\) and \(4, 64, 32\)"):
        model(weld()[0], weld()[1][..., :32])
    with pytest.raises(InputError, match="masks"):
        model(weld()[0])
    with pytest.raises(InputError, match=r"\[1, H, W\]"):
        model.eval()([torch.rand(3, 64, 64)])


def test_weights_of_a_run_start_a_new_one(tmp_path: Path) -> None:
    trained = tiny()
    torch.save(
        {
            "model": trained.state_dict(),
            "config": {"model": {"name": "weld_fcn"}},
            "categories": [{"id": 1, "name": "defect"}],
        },
        tmp_path / "best.ckpt",
    )
    torch.manual_seed(9)
    again = build_model(TINY.model_copy(update={"weights": str(tmp_path)}), 1)
    assert all(torch.equal(v, trained.state_dict()[k]) for k, v in again.state_dict().items())
    with pytest.raises(InputError, match="do not fit"):
        build_model(TINY.model_copy(update={"weights": str(tmp_path), "width": 8}), 1)
    with pytest.raises(ValidationError, match="no 'imagenet' weights"):
        WeldFCNConfig(weights="imagenet")


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="2 categories"):
        build_weld_fcn(TINY, 2)
    with pytest.raises(ValidationError, match="must be under tile_size"):
        WeldFCNConfig(tile_size=64, tile_overlap=64)


def test_a_step_down_and_up_moves_nothing() -> None:
    """Kernels that are their own mirror images give a mirrored radiograph a mirrored map."""
    torch.manual_seed(0)
    model = WeldFCN(WeldFCNConfig(width=4, depth=2)).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.copy_((module.weight + module.weight.flip(3)) / 2)
        image = torch.rand(1, 1, 32, 48)
        torch.testing.assert_close(model.logits(image.flip(3)), model.logits(image).flip(2), atol=1e-4, rtol=1e-4)
