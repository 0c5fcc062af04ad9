"""A DCGAN through the loop: whose gradient reaches whom, what it learns, how it is evaluated, what a run leaves."""

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from data.coco import read_coco
from data.errors import InputError
from data.patch_datasets import PatchDataset, StoredPatches
from data.patch_files import PatchSet, read_patches, write_patches
from data.patch_windows import DEFECT
from data.patches import PatchConfig, RadiographPatches
from data.radiograph import read_radiograph
from data.transforms import AugmentationConfig
from detectors.build import build_model
from detectors.config.experiment import ExperimentConfig
from detectors.config.files import check_config
from detectors.evaluation import gan_scores
from detectors.gan.model import DCGAN, DCGANConfig
from detectors.gan.networks import sample_patches
from detectors.runs.checkpoint import load_model
from detectors.runs.sample_gan import sample_run
from detectors.training import gan, train

SIZE = 16
defects_alone = partial(PatchDataset, classes=(DEFECT,))


@pytest.fixture(autouse=True)
def _short_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan_scores, "STEPS", 20)


@pytest.fixture
def model() -> DCGAN:
    torch.manual_seed(0)
    return build_model(DCGANConfig(size=SIZE, latent=8, width=4), 1).train()


def gradients(network: torch.nn.Module) -> list[Tensor | None]:
    return [parameter.grad for parameter in network.parameters()]


def test_each_loss_reaches_its_own_network_alone(model: DCGAN) -> None:
    losses = model(torch.rand(6, 1, SIZE, SIZE))
    losses["loss_generator"].backward(retain_graph=True)
    assert all(grad is None for grad in gradients(model.discriminator))
    own = [grad.clone() for grad in gradients(model.generator)]
    assert all(grad.abs().sum() > 0 for grad in own)
    losses["loss_discriminator"].backward()
    assert all(grad.abs().sum() > 0 for grad in gradients(model.discriminator))
    assert all(torch.equal(a, b) for a, b in zip(own, gradients(model.generator), strict=True))


def test_losses_are_those_of_the_paper(model: DCGAN) -> None:
    patches = torch.rand(6, 1, SIZE, SIZE)
    torch.manual_seed(3)
    losses = model(patches)
    torch.manual_seed(3)
    with torch.no_grad():
        made = model.generator(model.generator.noise(6))
        real, fake = model.discriminator(patches).sigmoid(), model.discriminator(made).sigmoid()
    wanted = -(0.9 * real.log() + 0.1 * (1 - real).log()).mean() / 2 - (1 - fake).log().mean() / 2
    assert float(losses["loss_discriminator"].detach()) == pytest.approx(float(wanted), rel=1e-4)
    assert float(losses["loss_generator"].detach()) == pytest.approx(float(-fake.log().mean()), rel=1e-4)


def test_generated_patches_count_once_in_the_running_statistics(model: DCGAN) -> None:
    (norm,) = [m for m in model.discriminator.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    model(torch.rand(6, 1, SIZE, SIZE))
    assert int(norm.num_batches_tracked) == 2


def test_it_detects_nothing(model: DCGAN) -> None:
    with pytest.raises(InputError, match="detects none"):
        model.eval()([torch.rand(1, 64, 64)])
    with pytest.raises(InputError, match="power of two"):
        check_config({"model": {"name": "dcgan", "size": 24}})


def discs(count: int, seed: int) -> PatchSet:
    """A bright disc in the middle of each, its contrast at random, on mid gray, with some clean patches between."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    labels = (np.arange(count) % 4 > 0).astype(np.int64)
    contrast = labels * rng.uniform(0.2, 0.4, count)
    pixels = 0.35 + contrast[:, None, None] * (np.hypot(x, y) < 5) + rng.normal(0, 0.01, (count, SIZE, SIZE))
    places, names = np.full((count, 3), np.nan, np.float32), np.array([f"{seed}-x{k}.png" for k in range(count)])
    return PatchSet(np.rint(pixels * 255).astype(np.uint8), labels, names, places, np.full(count, "real"))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("discs") / "discs.npz"
    write_patches(path, discs(200, 1))
    return path


def gan_config(output: Path, training: dict | None = None, **data: object) -> ExperimentConfig:
    return check_config(
        {
            "name": "discs",
            "output": str(output),
            "model": {"name": "dcgan", "size": SIZE, "latent": 8, "width": 8},
            "data": {"workers": 0, "patches": {"size": SIZE}} | data,
            "train": {"epochs": 1, "batch_size": 32, "optimizer": "adamw", "lr": 1e-3, "betas": [0.5, 0.999],
                      "weight_decay": 0, "clip_norm": None, "device": "cpu", "samples_per_epoch": 64,
                      "schedule": {"kind": "constant", "warmup_steps": 0}} | (training or {}),
        }
    )  # fmt: skip


@pytest.mark.slow
def test_a_tiny_one_learns_bright_discs(stored: Path, tmp_path: Path) -> None:
    config = gan_config(
        tmp_path,
        {"epochs": 2, "samples_per_epoch": 32 * 100, "ema_decay": 0.98},
        train={"patches": str(stored)},
        patches={"size": SIZE, "validation_fold": "1/4"},
    )
    folder, metrics = train(config)
    model, _, _ = load_model(folder)
    samples = sample_patches(model.generator, 100)
    assert samples[:, 6:10, 6:10].mean() == pytest.approx(0.65, abs=0.1)
    assert samples[:, :3].mean() == pytest.approx(0.35, abs=0.08)

    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert metrics["two_sample_low"] <= metrics["two_sample_accuracy"] <= metrics["two_sample_high"]
    assert 0.2 < metrics["two_sample_reference"] < 0.8  # training patches are as the held-out ones
    assert 0 <= metrics["memorization_rate"] <= 1
    assert metrics["nearest_ratio"] > 0
    assert metrics["ap50"] is None
    names = {str(path.relative_to(folder)) for path in folder.rglob("*.png")}
    assert names == {"samples/epoch_0001.png", "samples/epoch_0002.png", "plots/samples.png", "plots/nearest.png"}
    grid = read_radiograph(folder / "samples" / "epoch_0002.png").pixels
    assert grid.shape == (3 * 4 * (SIZE + 1), 3 * 16 * (SIZE + 1))
    rows = list(csv.DictReader((folder / "log.csv").open()))
    assert all(0 <= float(row["val_two_sample_loss"]) <= 1 for row in rows)
    assert (model.generator.layers[0].weight.shape, sample_run(folder, 5).origins.tolist()) == (
        (8, 16, 4, 4), ["gan"] * 5,
    )  # fmt: skip


def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(stored: Path, tmp_path: Path) -> None:
    data = {"train": {"patches": str(stored)}, "augmentation": {"horizontal_flip": 0.5}}
    whole, _ = train(gan_config(tmp_path / "whole", {"epochs": 2, "ema_decay": 0.9}, **data))
    part, _ = train(gan_config(tmp_path / "part", {"epochs": 1, "ema_decay": 0.9}, **data))
    # As a run written before this setting was there.
    checkpoint = torch.load(part / "last.ckpt", weights_only=True)
    assert checkpoint["config"]["train"]["betas"] == [0.5, 0.999]
    train(gan_config(tmp_path / "part", {"epochs": 2, "ema_decay": 0.9}, **data), resume=part)
    one, other = (torch.load(folder / "last.ckpt", weights_only=True) for folder in (whole, part))
    for state in ("model", "averaged"):
        assert all(torch.equal(one["training"][state][k], other["training"][state][k]) for k in one["training"][state])
    with pytest.raises(InputError, match=r"train\.betas cannot change"):
        train(gan_config(tmp_path, {"epochs": 3, "ema_decay": 0.9, "betas": [0.9, 0.999]}, **data), resume=part)
    del checkpoint["config"]["train"]["betas"]
    torch.save(checkpoint, part / "last.ckpt")
    with pytest.raises(InputError, match=r"train\.betas cannot change"):  # the default is another
        train(gan_config(tmp_path, {"epochs": 3, "ema_decay": 0.9}, **data), resume=part)


def test_radiographs_are_cut_on_the_fly_and_tested_on_others(castings: Path, tmp_path: Path) -> None:
    source = {"json": str(castings)}
    data = {"train": source, "test": source, "patches": {"size": SIZE, "per_image": 4}}
    folder, metrics = train(gan_config(tmp_path, {"samples_per_epoch": None}, **data))
    assert metrics["two_sample_count"] > 0
    assert not (folder / "samples" / "epoch_0002.png").exists()
    log = list(csv.DictReader((folder / "log.csv").open()))
    assert "val_two_sample_loss" not in log[0]  # nothing to validate on


@pytest.mark.parametrize(("size", "sources", "most"), [(32, 1, 2400), (128, 1, 1250), (128, 2, 625)])
def test_copies_are_looked_for_among_as_many_pixels_whatever_the_size(size: int, sources: int, most: int) -> None:
    pixels = np.broadcast_to(np.uint8(90), (2400, size, size))
    places, names = np.zeros((2400, 3), np.float32), np.arange(2400).astype(str)
    stored = StoredPatches(PatchSet(pixels, np.ones(2400, np.int64), names, places, np.full(2400, "real")))
    known = gan._known_defects([stored] * sources, size)
    assert len(known) == sources * most
    assert len(set(known.files)) == len(known)
    assert known.files[0] == "0/0"
    assert known.files[-1] == f"{sources - 1}/2399"


def test_patches_of_defects_know_their_epoch() -> None:
    """As sources that change from one epoch to the next need."""

    class Changing(StoredPatches):
        def sample(self, label: int, rng: np.random.Generator, order: int | None = None, epoch: int = 0) -> np.ndarray:
            return np.full((SIZE, SIZE), epoch / 10, np.float32)

    source = Changing(discs(20, 0))
    for sources in ([source], [source, source]):
        drawn = defects_alone(sources, [1.0] * len(sources), PatchConfig(size=SIZE), AugmentationConfig())
        drawn.set_epoch(3)
        assert float(drawn[0][0].mean()) == pytest.approx(0.3)


def test_two_sources_are_joined_in_the_search_for_copies(castings: Path, stored: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.npz"
    write_patches(path, RadiographPatches(read_coco(castings), castings.parent, PatchConfig(size=SIZE)).sample_set(0))
    sources = [{"patches": str(stored)}, {"patches": str(path), "weight": 2}]
    metrics = train(gan_config(tmp_path, train=sources, val={"patches": str(stored)}))[1]
    # All of the first source are held out here, which they must not be: each is its own nearest patch.
    assert metrics["nearest_ratio"] is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patches": {"size": 32}}, "model.size is 16, but data.patches.size is 32"),
        ({"patches": {"size": SIZE, "validation_fold": "1/2"}, "val": {"patches": "x.npz"}}, "both name validation"),
        ({"val": {"patches": "clean.npz"}}, r"clean\.npz: no defect patch"),
        ({"train": {"patches": "clean.npz"}}, "no defect patch"),
        ({"test": {"patches": "none.npz"}}, r"none\.npz: no such patch file"),
        ({"val": {"patches": "one.npz"}}, "cannot be split into 2 folds"),
        ({"train": {"phantoms": {"n": 1}, "simulate": {}}}, "leave 'simulate' out"),
    ],
)
def test_faults_stop_before_training(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    patches = read_patches(stored)
    write_patches("clean.npz", patches.subset(patches.labels == 0))
    write_patches("one.npz", patches.subset(np.flatnonzero(patches.labels == 1)[:1]))
    with pytest.raises(InputError, match=words):
        train(gan_config(tmp_path / "runs", **({"train": {"patches": str(stored)}} | changes)))
    assert not (tmp_path / "runs").exists()
