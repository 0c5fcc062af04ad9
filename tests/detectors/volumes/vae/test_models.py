"""The five autoencoders: published parameter counts, losses, masks that do not leak, divergences and code books."""

import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from data.errors import InputError
from detectors.build import build_model
from detectors.schema import ModelSection
from detectors.volumes.interface import VolumeModel
from detectors.volumes.vae.gm_vae import MixtureVAEConfig, component_log_shares, kl_between, kl_to_uniform
from detectors.volumes.vae.layers import kl_to_standard
from detectors.volumes.vae.rv_vae import RandomVariableVAEConfig
from detectors.volumes.vae.vae import ContextVAE, ContextVAEConfig, VAEConfig, mask_boxes
from detectors.volumes.vae.vq_vae import CodeBook, QuantizedVAEConfig

SMALL = {"widths": [4, 8], "latent": 6, "block": 16, "overlap": 8}
MODELS: dict[str, ModelSection] = {
    "vae": VAEConfig(**SMALL),
    "ce_vae": ContextVAEConfig(**SMALL),
    "gm_vae": MixtureVAEConfig(**SMALL, features=12, latent_w=5, components=3, prior_widths=[7]),
    "vq_vae": QuantizedVAEConfig(hidden=8, residual=4, codes=8, code_size=4, block=16, overlap=8),
    "rv_vae": RandomVariableVAEConfig(**SMALL),
}


@pytest.fixture(params=MODELS)
def section(request: pytest.FixtureRequest) -> ModelSection:
    return MODELS[request.param]


@pytest.fixture
def model(section: ModelSection) -> nn.Module:
    torch.manual_seed(0)
    return build_model(section, 1)


def edges() -> Tensor:
    """Return two blocks of 16 voxels with a surface of the part in each."""
    volumes = torch.zeros(2, 1, 16, 16, 16)
    volumes[0, 0, 5:] = 1
    volumes[1, 0, :, :9] = 1
    return volumes


@pytest.mark.parametrize(
    ("section", "millions"),
    [(VAEConfig(), 29.024), (ContextVAEConfig(), 140.650), (MixtureVAEConfig(), 383.650),
     (QuantizedVAEConfig(), 2.511), (RandomVariableVAEConfig(), 29.024)],
    ids=lambda value: value.name if isinstance(value, ModelSection) else "",
)  # fmt: skip
def test_parameters_are_those_of_the_published_table(section: ModelSection, millions: float) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in build_model(section, 1).parameters())
    assert round(count / 1e6, 3) == millions


def test_losses_are_finite_and_reach_every_parameter(model: nn.Module) -> None:
    losses = model.train()(edges(), None)
    assert all(math.isfinite(value.detach()) and value >= 0 for value in losses.values())
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_the_map_is_the_error_of_the_reconstruction_and_the_same_every_time(model: nn.Module) -> None:
    assert isinstance(model, VolumeModel)
    blocks = edges() * 1.4 - 0.2  # beyond 0 ... 1, as noise is
    model.eval()
    with torch.inference_mode():
        found = model(blocks)
        assert found.shape == (2, 16, 16, 16)
        assert torch.equal(found, (edges()[:, 0] - model.reconstruct(blocks)).abs())
        assert torch.equal(found, model(blocks))


def test_a_few_steps_learn_two_blocks(model: nn.Module) -> None:
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-2)
    with torch.inference_mode():
        before = model.eval()(edges()).mean()
    for _ in range(40):
        optimizer.zero_grad()
        sum(model.train()(edges(), None).values()).backward()
        optimizer.step()
    with torch.inference_mode():
        assert model.eval()(edges()).mean() < 0.8 * before


def test_blocks_of_another_side_are_refused_with_the_fix(model: nn.Module) -> None:
    with pytest.raises(InputError, match=r"16 voxels a side.*crop\.size and model\.block"):
        model(torch.zeros(1, 1, 24, 24, 24))


@pytest.mark.parametrize("wrong", [{"block": 24, "widths": [4] * 4}, {"overlap": 64}])
def test_sizes_that_cannot_be_are_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError, match=r"multiple of 16|must be under block"):
        VAEConfig(**wrong)


def test_the_context_loss_compares_both_halves_with_the_unmasked_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = build_model(MODELS["ce_vae"], 1)
    assert isinstance(model, ContextVAE)
    volumes = edges()
    kept = volumes.clone()
    seen: list[Tensor] = []
    encode = model.encode

    def watched(values: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(values.clone())
        return encode(values)

    monkeypatch.setattr(model, "encode", watched)
    losses = model.train()(volumes, None)
    plain, masked = seen
    assert torch.equal(volumes, kept)
    assert torch.equal(plain, kept)
    assert (masked < kept).any()
    assert not (masked > kept).any()
    expected = F.l1_loss(model.decode(encode(masked)[0]), kept) / 2
    assert torch.isclose(losses["context"], expected)


def test_masked_boxes_have_the_published_sizes() -> None:
    torch.manual_seed(1)
    volumes = torch.ones(40, 1, 64, 64, 64)
    zeros = (mask_boxes(volumes, 1) == 0).flatten(1).sum(1)
    assert volumes.min() == 1
    assert zeros.min() >= 4**3
    assert zeros.max() <= 16**3
    assert len(zeros.unique()) > 20


def test_divergences_agree_with_torch_and_stay_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, log_std, other, other_log = (torch.randn(3, 5, generator=generator) for _ in range(4))
    normal = torch.distributions.Normal
    one, two = normal(mean, log_std.exp()), normal(other, other_log.exp())
    divergence = torch.distributions.kl_divergence
    assert torch.allclose(kl_between(mean, log_std, other, other_log), divergence(one, two).sum(1), rtol=1e-5)
    standard = divergence(one, normal(0.0, 1.0)).sum(1).mean()
    assert torch.isclose(kl_to_standard(mean, log_std), standard)
    large = kl_to_standard(torch.zeros(1, 1, dtype=torch.float16), torch.full((1, 1), 8.0, dtype=torch.float16))
    assert large.dtype == torch.float32
    assert torch.isclose(large, torch.tensor(0.5 * (math.exp(16) - 1) - 8))  # beyond float16


def test_components_are_told_by_their_density() -> None:
    means = torch.tensor([[[0.0], [2.0]]])
    logs = component_log_shares(torch.tensor([[1.5]]), means, torch.zeros(1, 2, 1))
    ratio = math.exp(-0.5 * 0.5**2) / math.exp(-0.5 * 1.5**2)
    assert torch.allclose(logs.exp(), torch.tensor([[1 / (1 + ratio), ratio / (1 + ratio)]]))
    assert torch.isclose(kl_to_uniform(torch.tensor([[0.0, -1000.0]])), torch.tensor(math.log(2)))
    assert kl_to_uniform(torch.tensor([[0.5, 0.5]]).log()).abs() < 1e-6


def test_codes_follow_the_vectors_that_are_nearest_to_them() -> None:
    book = CodeBook(2, 1, decay=0.5)
    with torch.no_grad():
        book.codes.copy_(torch.tensor([[0.0], [10.0]]))
        book.sums.copy_(book.codes)
    vectors = torch.tensor([1.0, 3.0, 8.0]).view(1, 1, 3, 1, 1)
    assert book.eval()(vectors).flatten().tolist() == [0, 0, 10]
    assert book.codes.flatten().tolist() == [0, 10]
    book.train()(vectors)
    # Counts (1 + 2) / 2 and (1 + 1) / 2; sums (0 + 4) / 2 and (10 + 8) / 2.
    assert torch.allclose(book.codes.flatten(), torch.tensor([2 / 1.5, 9.0]), rtol=1e-4)


def test_the_gradient_passes_the_codes_by() -> None:
    torch.manual_seed(0)
    model = build_model(MODELS["vq_vae"].model_copy(update={"commitment": 0.0}), 1)
    sum(model.train()(edges(), None).values()).backward()
    assert model.encoder[0].weight.grad.abs().sum() > 0
