import json
from pathlib import Path

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
