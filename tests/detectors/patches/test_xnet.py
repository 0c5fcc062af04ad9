"""XnetV2 and the Xnet family: layers as published, maps that agree with windows, and what training reaches."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from data.errors import InputError
from detectors.build import build_model
from detectors.config.experiment import ExperimentConfig
from detectors.maps.heat_map import HeatMapModel
from detectors.patches import patch_classifier
from detectors.patches.dense import cells_per_window, floats_per_pixel
from detectors.patches.patch_classifier import PatchClassifier
from detectors.patches.xnet import VARIANTS, SmallMapConv2d, XnetConfig, XnetV2Config
from detectors.runs.checkpoint import load_model, save_checkpoint

TINY = {"variant": None, "layers": {"p": [5, 3, 3], "d": [4, 6, 8], "f": [6, 2]}}


def tiny(window_cells: int = 2, **settings: object) -> PatchClassifier:
    torch.manual_seed(0)
    model = build_model(XnetConfig(window_cells=window_cells, **TINY, **settings), 1)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as after training: folding it must not go unnoticed
            layer.running_mean.normal_(0, 0.3)
            layer.running_var.uniform_(0.5, 2)
            nn.init.normal_(layer.bias, 0, 0.3)
    return model.eval()


def v2(**settings: object) -> PatchClassifier:
    torch.manual_seed(0)
    return build_model(XnetV2Config(**settings), 1).eval()


def parameters(model: nn.Module, kind: type[nn.Module] | tuple[type[nn.Module], ...]) -> list[int]:
    return [sum(p.numel() for p in layer.parameters()) for layer in model.modules() if isinstance(layer, kind)]


def heat(model: PatchClassifier, image: Tensor, **settings: object) -> Tensor:
    model.config = model.config.model_copy(update=settings)
    with torch.inference_mode():
        return model.heat_map(image).values


def test_xnet_v2_has_the_parameters_of_table_2() -> None:
    model = v2()
    assert parameters(model, nn.Conv2d) == [1600, 9248, 18496, 36928, 73856, 147584, 32832, 130]
    assert sum(p.numel() for p in model.parameters()) == 320_674


def test_xnet_v2_has_the_maps_of_table_2() -> None:
    maps, sizes = torch.rand(2, 1, 32, 32), []
    for layer in v2().layers:
        maps = layer(maps)
        if isinstance(layer, nn.Conv2d):
            sizes.append(tuple(maps.shape[1:]))
    assert sizes == [(32, 32, 32), (32, 16, 16), (64, 16, 16), (64, 8, 8), (128, 6, 6), (128, 2, 2), (64, 1, 1),
                     (2, 1, 1)]  # fmt: skip


def test_xnet_ii_has_the_published_parameters() -> None:
    model = build_model(XnetConfig(variant=6), 1)
    assert parameters(model, nn.Conv2d) == [1000, 20_040, 28_880, 115_360, 922_240]
    assert parameters(model, nn.Linear) == [204_800, 51_200, 322]


@pytest.mark.parametrize("variant", range(8))
def test_every_variant_of_table_3_classifies_patches(variant: int) -> None:
    model = build_model(XnetConfig(variant=variant), 1).eval()
    with torch.inference_mode():
        probability = model.classify(torch.rand(2, 1, 32, 32))
    assert probability.shape == (2,)
    assert ((probability > 0) & (probability < 1)).all()
    assert [layer.kernel_size[0] for layer in model.modules() if isinstance(layer, nn.Conv2d)] == VARIANTS[variant].p


def test_l2_acts_on_the_last_four_convolutions_only() -> None:
    model = v2(l2=0.5).train()
    losses = model(torch.rand(2, 1, 32, 32), torch.tensor([0, 1]))
    losses["loss_l2"].backward()
    with_l2 = [layer.weight.grad is not None for layer in model.layers if isinstance(layer, nn.Conv2d)]
    assert with_l2 == [False] * 4 + [True] * 4
    last = model.layers[-1]
    torch.testing.assert_close(last.weight.grad, last.weight.detach())  # the derivative of 0.5 w^2
    assert last.bias.grad is None


@pytest.mark.parametrize("section", [XnetV2Config(), XnetConfig(variant=1), XnetConfig(variant=6)])
def test_losses_are_finite_and_reach_every_parameter(section: XnetConfig | XnetV2Config) -> None:
    model = build_model(section, 1).train()
    losses = model(torch.rand(4, 1, 32, 32), torch.tensor([0, 1, 1, 0]))
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("cells", [1, 2, 3])
def test_a_matrix_product_is_the_convolution_of_small_maps(cells: int) -> None:
    layer = SmallMapConv2d(3, 5, 3, padding=1)
    maps = torch.rand(4, 3, cells, cells)
    torch.testing.assert_close(layer(maps), nn.Conv2d.forward(layer, maps))


@pytest.mark.parametrize("stride", [8, 5])
def test_sliding_is_the_classifier_on_cut_windows(stride: int) -> None:
    model, image = tiny(), torch.rand(1, 50, 60)
    values = heat(model, image, mode="sliding", heat_stride=stride)
    center = stride // 2 + 4 * stride, stride // 2 + 3 * stride  # x, y of row 3, column 4
    left, top = center[0] - 16, center[1] - 16
    assert 0 <= left <= 28
    assert 0 <= top <= 18
    window = image[None, :, top : top + 32, left : left + 32]
    with torch.inference_mode():
        torch.testing.assert_close(values[3, 4], model.classify(window)[0])


@pytest.mark.parametrize("stride", [1, 3, 8, 12, 32])
def test_dense_equals_windows_without_padding(stride: int) -> None:
    """Without zeros around a patch a window has nothing to say of its place: both maps are the same everywhere."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(1, 4, 5), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, stride=2), nn.ReLU(),
        nn.Conv2d(6, 5, 3), nn.MaxPool2d(2),
    )  # fmt: skip
    layers[1].running_mean.normal_()
    head = nn.Sequential(nn.Flatten(), nn.Linear(5 * cells_per_window(layers, 32) ** 2, 2))
    model = PatchClassifier(layers, head, XnetV2Config(), len(layers)).eval()
    image = torch.rand(1, 41, 50)
    dense = heat(model, image, mode="dense", heat_stride=stride)
    torch.testing.assert_close(dense, heat(model, image, mode="sliding", heat_stride=stride))
    assert dense.std() > 0 or dense.numel() == 1


@pytest.mark.parametrize("stride", [2, 7, 8, 16])
@pytest.mark.parametrize("make", [tiny, v2])
def test_dense_is_the_network_on_a_window_with_its_surroundings(make: type, stride: int) -> None:
    """Each cell is what the layers give without padding on the window and the margin that the paddings add up to."""
    model, image = (make(window_cells=0) if make is tiny else make()), torch.rand(1, 150, 140)
    values = heat(model, image, mode="dense", heat_stride=stride)
    row, column = 75 // stride, 66 // stride
    top, left = (stride // 2 + index * stride - 16 for index in (row, column))
    expected = windows_with_surroundings(model, image, top, left)
    torch.testing.assert_close(values[row, column], expected, rtol=1e-4, atol=1e-5)


def windows_with_surroundings(model: PatchClassifier, image: Tensor, top: int, left: int) -> Tensor:
    """The plain layers on 32 x 32 pixels and more around; paddings off, and steps counted from the window."""
    native = 1
    paddings = []
    for layer in model.layers:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            paddings.append(layer.padding[0] * native if isinstance(layer, nn.Conv2d) else 0)
            native *= layer.stride[0] if isinstance(layer, nn.Conv2d) else layer.stride
    border = sum(paddings)
    maps = image[None, :, top - border : top + 32 + border, left - border : left + 32 + border]
    native = 1
    with torch.inference_mode():
        for layer in model.layers:
            if isinstance(layer, nn.Conv2d):
                border -= layer.padding[0] * native
                maps = nn.functional.conv2d(maps, layer.weight, layer.bias)  # at every cell, then thinned below
                step = layer.stride[0]
            elif isinstance(layer, nn.MaxPool2d):
                maps = nn.functional.max_pool2d(maps, 2, 1)
                step = layer.stride
            else:
                maps = layer(maps)
                continue
            first = border // native % step  # so that the window's own cells are among those kept
            maps = maps[..., first::step, first::step]
            native *= step
        return model.head(maps).softmax(dim=1)[0, 1]


def test_windows_from_the_first_layer_on_are_the_sliding_map() -> None:
    model, image = tiny(window_cells=32), torch.rand(1, 64, 48)
    assert model.window_from == 0
    torch.testing.assert_close(heat(model, image, mode="dense"), heat(model, image, mode="sliding"))


@pytest.mark.parametrize("mode", ["dense", "sliding"])
@pytest.mark.parametrize("stride", [1, 4, 8])
def test_the_offset_names_the_spot(mode: str, stride: int) -> None:
    """A classifier that sees only the middle of its window is brightest at the spot, to half a stride."""
    layers = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False))
    nn.init.constant_(layers[0].weight, 1.0)
    head = nn.Sequential(nn.Flatten(), nn.Linear(2 * 32 * 32, 2))
    weight = torch.zeros(2, 2, 32, 32)
    weight[1, :, 12:20, 12:20] = 1.0
    head[1].weight.data = weight.flatten(1)
    model = PatchClassifier(layers, head, XnetV2Config(mode=mode, heat_stride=stride), 1).eval()
    image = torch.zeros(1, 70, 90)
    image[0, 36:40, 57:61] = 0.1  # center (59, 38)
    with torch.inference_mode():
        heat_map = model.heat_map(image)
    assert isinstance(model, HeatMapModel)
    values = heat_map.values
    rows, columns = (values == values.max()).nonzero().float().mean(dim=0) * stride + heat_map.offset
    assert abs(rows - 38) <= stride / 2
    assert abs(columns - 59) <= stride / 2
    assert values.shape == tuple(-(-(length - stride // 2) // stride) for length in (70, 90))


def test_strips_of_a_large_radiograph_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model, image = tiny(), torch.rand(1, 200, 40)
    whole = heat(model, image)
    monkeypatch.setattr(patch_classifier, "STRIP_FLOATS", 20_000)
    assert 200 * 40 * floats_per_pixel(model.layers, 8) > 20_000
    torch.testing.assert_close(heat(model, image), whole)


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (31, 33)])
def test_radiographs_smaller_than_a_window_have_a_map_and_boxes_inside(size: tuple[int, int]) -> None:
    with torch.inference_mode():
        (output,) = v2()([torch.rand(1, *size)])
    assert output["boxes"].shape == (len(output["scores"]), 4)
    assert output["labels"].dtype == torch.int64


def test_patches_of_another_size_are_our_error() -> None:
    with pytest.raises(InputError, match="32"):
        v2().classify(torch.rand(2, 1, 48, 48))
    with pytest.raises(InputError, match="2 categories"):
        build_model(XnetConfig(), 2)


@pytest.mark.parametrize(
    "settings",
    [
        {"variant": 8},
        {"variant": None},
        {**TINY, "variant": 0},
        {"variant": None, "layers": {"p": [4], "d": [8], "f": [2]}},
        {"variant": None, "layers": {"p": [3, 3], "d": [8], "f": [2]}},
        {"variant": None, "layers": {"p": [3], "d": [8], "f": [2, 3]}},
        {"weights": "imagenet"},
    ],
)
def test_impossible_members_of_the_family_are_refused(settings: dict) -> None:
    with pytest.raises(ValidationError):
        XnetConfig(**settings)


def test_a_checkpoint_gives_the_same_map_and_starts_a_run(tmp_path: Path) -> None:
    model, image = tiny(), torch.rand(1, 48, 64)
    config = ExperimentConfig(model=model.config)
    save_checkpoint(tmp_path / "best.ckpt", model, config, [{"id": 1, "name": "defect"}], 1, {})
    loaded, _, _ = load_model(tmp_path)
    torch.testing.assert_close(heat(loaded, image), heat(model, image))
    again = build_model(model.config.model_copy(update={"weights": str(tmp_path)}), 1).eval()
    torch.testing.assert_close(heat(again, image), heat(model, image))


def test_sixteen_patches_are_memorized() -> None:
    generator = torch.Generator().manual_seed(1)
    patches = 0.5 + 0.05 * torch.randn(16, 1, 32, 32, generator=generator)
    labels = torch.arange(16) % 2
    patches[labels == 1, :, 12:20, 12:20] += 0.15
    model = tiny(dropout=0.0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        sum(model(patches, labels).values()).backward()
        optimizer.step()
    with torch.inference_mode():
        assert ((model.eval().classify(patches) > 0.5).long() == labels).all()


def test_weights_that_do_not_fit_their_configuration_are_one_line(tmp_path: Path) -> None:
    """A run made before the layers changed is refused by name, without a traceback."""
    config = ExperimentConfig(model=XnetConfig(variant=1))
    save_checkpoint(tmp_path / "best.ckpt", nn.Linear(2, 2), config, [{"id": 1, "name": "defect"}], 1, {})
    with pytest.raises(InputError, match="do not fit the xnet"):
        load_model(tmp_path)


def test_contrast_input_is_blind_to_exposure_and_keeps_the_published_parameters() -> None:
    """A flat patch gives 0 whatever its gray value, a pore gives more than its surroundings, and nothing is added."""
    contrast = v2(input="local_contrast")
    assert sum(p.numel() for p in contrast.parameters()) == 320_674
    flat = contrast.input_encoding(torch.tensor([0.1, 0.9]).view(2, 1, 1, 1).expand(2, 1, 32, 32))
    assert flat.abs().max() < 1e-4
    pore = torch.full((1, 1, 32, 32), 0.3)
    pore[..., 14:18, 14:18] += 0.015
    assert contrast.input_encoding(pore)[0, 0, 15, 15] > 0.5 > contrast.input_encoding(pore)[0, 0, 3, 3].abs()


def test_contrast_input_reaches_dense_maps_and_windows_alike() -> None:
    """Away from the edges of a bright square, dense and cut windows see the same contrast of a flat radiograph."""
    model = v2(input="local_contrast")
    image = torch.full((1, 64, 64), 0.4)
    torch.testing.assert_close(
        heat(model, image, mode="dense"), heat(model, image, mode="sliding"), atol=1e-4, rtol=1e-3
    )


@pytest.mark.parametrize("section", [XnetConfig(**TINY), XnetConfig(variant=6), XnetV2Config()])
def test_a_last_batch_of_one_patch_is_learned(section: XnetConfig | XnetV2Config) -> None:
    """Dense layers with batch norm have one value a channel then, which has no deviation."""
    torch.manual_seed(0)
    model = build_model(section, 1)
    before = {name: value.clone() for name, value in model.named_buffers() if "running" in name}
    losses = model(torch.rand(1, 1, 32, 32), torch.tensor([1]))
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    dense = [name for name in before if name.startswith("head.")]
    assert all(torch.equal(before[name], dict(model.named_buffers())[name]) for name in dense)
