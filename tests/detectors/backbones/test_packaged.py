import json
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import InputError
from detectors.backbones import packaged
from detectors.backbones.packaged import find_packaged, packaged_names, read_packaged, write_packaged
from detectors.backbones.weights import read_checkpoint
from detectors.boxes.center_net import CenterNetConfig
from detectors.build import build_model
from detectors.config.files import read_config
from detectors.runs.checkpoint import load_model
from detectors.runs.prediction import Predictor, default_threshold

SMALL = {"stem_channels": 4, "stage_channels": [8, 8, 8, 8], "neck_channels": 8}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = read_config("center_net", [f"model.{name}={value}" for name, value in SMALL.items()])
    model = build_model(config.model, 1)
    card = {"config": config.as_dict(), "categories": [{"id": 1, "name": "defect"}], "metrics": {}, "threshold": 0.25}
    write_packaged(tmp_path / "tiny.safetensors", model.state_dict(), card)
    return tmp_path / "tiny.safetensors"


def test_weights_are_read_as_they_were_written(weights: Path) -> None:
    model, config, categories = load_model(weights)
    assert config.model.name == "center_net"
    assert categories == [{"id": 1, "name": "defect"}]
    torch.manual_seed(0)
    expected = build_model(config.model, 1).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert read_checkpoint(weights)["threshold"] == 0.25


def test_packaged_weights_go_by_their_name(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged, "WEIGHTS", weights.parent)
    assert packaged_names() == ["tiny"]
    assert find_packaged("tiny") == weights
    assert find_packaged("other") is None
    model = build_model(CenterNetConfig(**SMALL, weights="tiny"), 1)
    expected = read_packaged(weights)["model"]
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_other_classes_start_with_a_random_heat_map(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged, "WEIGHTS", weights.parent)
    model = build_model(CenterNetConfig(**SMALL, weights="tiny"), 3)
    assert model.heat.weight.shape[0] == 3
    assert torch.equal(model.sides.weight, read_packaged(weights)["model"]["sides.weight"])


@pytest.mark.parametrize("damage", ["no card", "torn card", "card without config", "torn weights", "card is a list"])
def test_damaged_weights_are_named(weights: Path, damage: str) -> None:
    card = weights.with_suffix(".json")
    content = json.loads(card.read_text())
    if damage == "no card":
        card.unlink()
    elif damage == "torn card":
        card.write_text("{")
    elif damage == "card without config":
        card.write_text(json.dumps({k: v for k, v in content.items() if k != "config"}))
    elif damage == "card is a list":
        card.write_text("[1]")
    else:
        weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="tiny"):
        read_packaged(weights)


def test_the_weights_that_come_with_the_toolkit_are_small_and_find_a_plain_defect(tmp_path: Path) -> None:
    file = find_packaged("casting")
    assert file is not None
    assert file.stat().st_size < 10_000_000
    card = json.loads(file.with_suffix(".json").read_text())
    assert 0 < card["threshold"] < 1
    assert card["license"] == "Apache-2.0"
    y, x = np.mgrid[:256, :320]
    wall = 0.35 + 0.0004 * x + np.random.default_rng(0).normal(0, 0.01, x.shape)
    wall += 0.15 * np.exp(-0.5 * (((x - 200) / 9) ** 2 + ((y - 100) / 9) ** 2))
    predictor = Predictor(Path("casting"))
    found = predictor(np.clip(wall, 0, 1).astype(np.float32))
    best = found["boxes"][found["scores"].argmax()].tolist()
    assert best[0] < 200 < best[2]
    assert best[1] < 100 < best[3]
    assert float(found["scores"].max()) > card["threshold"]
    assert default_threshold(Path("casting")) == card["threshold"]
