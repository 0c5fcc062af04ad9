"""Networks over voxels: the published parameter counts, shapes, losses and what they can learn."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from data.errors import InputError
from detectors.build import build_model
from detectors.schema import ModelSection
from detectors.segmentation.losses import SegmentationLossConfig, segmentation_losses
from detectors.training.batch_norm import has_batch_norm, recalibrate_batch_norm
from detectors.volumes.acc_unet import ACCUNetConfig
from detectors.volumes.deep_defect import DeepDefectConfig
from detectors.volumes.dilated import DilatedConfig
from detectors.volumes.interface import VolumeModel, supervised_losses
from detectors.volumes.otsu import OtsuConfig
from detectors.volumes.slice_unet import SliceUNetConfig
from detectors.volumes.unet3d import UNet3DConfig

NETWORKS: dict[str, ModelSection] = {
    "unet": UNet3DConfig(widths=[4, 8, 8]),
    "mss": UNet3DConfig(widths=[4, 8, 8], variant="mss"),
    "plus_plus": UNet3DConfig(widths=[4, 8, 8], variant="plus_plus"),
    "three_plus": UNet3DConfig(widths=[4, 8, 8], variant="three_plus"),
    "unet_batch_norm": UNet3DConfig(widths=[4, 8, 8], norm="batch"),
    "acc": ACCUNetConfig(width=8),
    "dilated": DilatedConfig(width=4),
    "deep_defect": DeepDefectConfig(widths=[4, 8, 8], refine_width=4),
    "slice_unet": SliceUNetConfig(widths=[4, 8, 8]),
}


@pytest.fixture(params=NETWORKS)
def section(request: pytest.FixtureRequest) -> ModelSection:
    return NETWORKS[request.param]


@pytest.fixture
def network(section: ModelSection) -> nn.Module:
    torch.manual_seed(0)
    return build_model(section, 1)


def count(section: ModelSection) -> int:
    return sum(p.numel() for p in build_model(section, 1).parameters())


@pytest.mark.parametrize(
    ("variant", "millions"), [("unet", 1.325), ("mss", 1.328), ("plus_plus", 1.503), ("three_plus", 1.672)]
)
def test_parameters_are_those_of_the_published_table(variant: str, millions: float) -> None:
    assert round(count(UNet3DConfig(variant=variant, widths=[16, 32, 64, 128])) / 1e6, 3) == millions


def test_parameters_of_acc_unet_are_those_of_the_published_table() -> None:
    assert round(count(ACCUNetConfig()) / 1e6, 3) == 5.062
    assert len(build_model(ACCUNetConfig(width=8), 1).exits(torch.rand(2, 1, 16, 16, 16))) == 3


def test_acc_unet_refuses_widths_that_cannot_be_squeezed() -> None:
    with pytest.raises(ValidationError, match="multiple of 8"):
        ACCUNetConfig(width=12)


@pytest.mark.parametrize("name", ["unet", "mss", "plus_plus", "three_plus", "dilated", "deep_defect", "slice_unet"])
def test_batch_norm_stands_behind_each_activated_convolution(name: str) -> None:
    section = NETWORKS[name]
    plain = build_model(section, 1)
    normed = build_model(section.model_copy(update={"norm": "batch"}), 1)
    assert not has_batch_norm(plain)
    added = sum(isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d) for module in normed.modules())
    activations = sum(isinstance(module, nn.LeakyReLU) for module in normed.modules())
    # Coarse exits of mss and links of U-Net 3+ are activated without a norm; all else has one.
    assert 0 < added <= activations
    assert normed.train()(*patches(section, torch.Generator().manual_seed(1))).keys() == {"bce", "dice"}


def test_a_frozen_stem_keeps_its_batch_statistics() -> None:
    section = DeepDefectConfig(widths=[4, 8], refine_width=4, norm="batch", freeze="stem")
    network = build_model(section, 1)
    values, masks = patches(section, torch.Generator().manual_seed(1))
    before = {name: value.clone() for name, value in network.stem.state_dict().items()}
    network.train()(values, masks)
    recalibrate_batch_norm(network, lambda model, batch: model(*batch), [(values, masks)])
    assert all(torch.equal(before[name], value) for name, value in network.stem.state_dict().items())


def test_the_dilated_network_has_nine_layers_and_sees_47_voxels() -> None:
    network = build_model(DilatedConfig(width=2), 1)
    layers = [module for module in network.modules() if isinstance(module, nn.Conv3d)]
    assert len(layers) == 9
    assert 1 + sum(layer.dilation[0] * (layer.kernel_size[0] - 1) for layer in layers) == 47
    assert count(DilatedConfig(width=24)) == 109_729


def patches(section: ModelSection, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return metal with dark balls in it, as the network takes it, and their masks."""
    depth = 1 if section.name == "slice_unet" else 16
    size = (2, depth, 16, 16)
    masks = torch.zeros(size, dtype=torch.uint8)
    masks[0, depth // 2 - (depth > 1) : depth // 2 + 3, 4:8, 5:9] = 1
    masks[1, depth // 2 : depth // 2 + 4, 9:13, 3:8] = 1
    values = 1 - 0.8 * masks.float() + 0.02 * torch.randn(size, generator=generator)
    return values[:, None], masks


def test_losses_are_finite_and_reach_every_parameter(network: nn.Module, section: ModelSection) -> None:
    values, masks = patches(section, torch.Generator().manual_seed(1))
    losses = network.train()(values, masks)
    assert set(losses) == {"bce", "dice"}
    sum(losses.values()).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None]
    assert silent == []


@pytest.mark.slow
def test_four_patches_are_memorized(network: nn.Module, section: ModelSection) -> None:
    values, masks = patches(section, torch.Generator().manual_seed(1))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(100):
        loss = sum(network.train()(values, masks).values())
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
    assert min(losses) < 0.6 * losses[0]  # coarse exits cannot draw a ball exactly


@pytest.mark.parametrize("size", [(9, 10, 11), (16, 16, 16), (8, 21, 8)])
def test_blocks_of_any_size_give_probabilities(network: nn.Module, size: tuple[int, int, int]) -> None:
    assert isinstance(network, VolumeModel)
    with torch.inference_mode():
        found = network.eval().map_blocks(torch.rand(2, 1, *size))
    assert found.shape == (2, *size)
    assert found.min() >= 0
    assert found.max() <= 1


def test_the_layout_of_pictures_becomes_that_of_volumes(network: nn.Module) -> None:
    values = torch.rand(1, 1, 16, 16, 16)
    network.eval()
    with torch.inference_mode():
        before = network.map_blocks(values)
        assert network.to("cpu", memory_format=torch.channels_last) is network
        after = network.map_blocks(values)
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}
    large = [p for p in network.parameters() if p.dim() > 3]
    assert all(p.is_contiguous(memory_format=layout[p.dim()]) for p in large)
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 8, 8, 8), (2, 3, 8, 8, 8)])
def test_other_shapes_are_refused(network: nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"\[N, 1, D, H, W\]"):
        network(torch.rand(shape))
    with pytest.raises(InputError, match="masks"):
        network.train()(torch.rand(2, 1, 8, 8, 8), torch.zeros(2, 8, 8, 9))


def test_the_slice_network_sees_all_three_directions() -> None:
    """A line that only cuts across y and x show as a point must be seen along z, too: turning a block turns its map."""
    network = build_model(NETWORKS["slice_unet"], 1).eval()
    block = torch.rand(1, 1, 8, 8, 8)
    with torch.inference_mode():
        straight = network.map_blocks(block)
        turned = network.map_blocks(block.transpose(2, 4).flip(3))
    # 2D networks are not symmetric themselves; the sweep along y, whose slices are (z, x), must then be transposed.
    assert straight.shape == turned.shape
    one_axis = torch.stack([network._logits(block[:, :, k]).sigmoid() for k in range(8)], dim=1)
    assert (straight >= one_axis - 1e-6).all()


def test_slices_are_what_the_slice_network_trains_on() -> None:
    network = build_model(NETWORKS["slice_unet"], 1).train()
    with pytest.raises(InputError, match=r"crop.size to \[1, 128, 128\]"):
        network(torch.rand(1, 1, 8, 8, 8), torch.zeros(1, 8, 8, 8))


def test_refinement_starts_as_the_first_map_and_is_what_a_frozen_stem_trains() -> None:
    network = build_model(DeepDefectConfig(widths=[4, 8], refine_width=4, freeze="stem"), 1)
    assert {name.split(".")[0] for name, p in network.named_parameters() if p.requires_grad} == {"refine"}
    values = torch.rand(1, 1, 8, 8, 8)
    torch.testing.assert_close(network.exits(values)[-1], network.stem.exits(values)[-1])


def test_exits_weigh_half_of_the_next() -> None:
    config = SegmentationLossConfig(bce=1, dice=0)
    masks = torch.zeros(1, 2, 2, 2)
    exits = [torch.full((1, 2, 2, 2), value) for value in (-3.0, 0.0, 2.0)]
    single = [segmentation_losses(logits, masks, config)["bce"] for logits in exits]
    expected = (single[2] + single[1] / 2 + single[0] / 4) / 1.75
    torch.testing.assert_close(supervised_losses(exits, masks, config)["bce"], expected)


def test_focal_tversky_has_the_papers_letters_the_other_way_round() -> None:
    """The paper: FTL = (1 - TP / (TP + a FN + b FP))^g with a 0.633, b 0.1; here alpha weighs FP and beta FN."""
    logits = torch.tensor([4.0, -4.0, 4.0, -4.0]).reshape(1, 1, 1, 4) * 100
    masks = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 1, 4)  # TP 1, FN 1, FP 1
    config = SegmentationLossConfig(bce=0, dice=0, focal_tversky=1, alpha=0.1, beta=0.633, gamma=1.0)
    found = segmentation_losses(logits, masks, config)["focal_tversky"].item()
    # With one voxel added on both sides (SMOOTH): 1 - 2 / (2 + 0.633 + 0.1).
    assert found == pytest.approx(1 - 2 / 2.733, rel=1e-5)


def test_two_classes_are_refused() -> None:
    for section in (*NETWORKS.values(), OtsuConfig()):
        with pytest.raises(InputError, match="2 categories"):
            build_model(section, 2)


def test_otsu_has_nothing_to_train() -> None:
    with pytest.raises(InputError, match="nothing to train"):
        build_model(OtsuConfig(), 1)(torch.rand(1, 1, 8, 8, 8))
