"""Feature maps: the right layer, its most active channels, pictures of any model."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from data.errors import InputError
from data.radiograph import write_radiograph
from detectors.config.experiment import ExperimentConfig
from detectors.experiments.feature_maps import draw_feature_maps, layer_names, layer_responses, most_active
from detectors.runs.checkpoint import save_checkpoint
from detectors.segmentation.weld_fcn import WeldFCNConfig, build_weld_fcn
from tools.feature_maps import main

CONFIG = WeldFCNConfig(width=4, depth=2)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return build_weld_fcn(CONFIG, 1)


@pytest.fixture
def run(model: nn.Module, tmp_path: Path) -> Path:
    config = ExperimentConfig(model=CONFIG)
    save_checkpoint(tmp_path / "run" / "best.ckpt", model, config, [{"id": 1, "name": "defect"}], 1, {})
    write_radiograph(tmp_path / "weld.png", np.random.default_rng(0).random((48, 80), dtype=np.float32), 8)
    return tmp_path


def test_responses_are_what_the_layers_put_out(model: nn.Module) -> None:
    image = torch.rand(1, 48, 80)
    found = layer_responses(model, image, ["encoder.1", "encoder.0.0"])
    with torch.inference_mode():
        first = model.encoder[0][0](model.input_encoding(image[None]))[0]
    shapes = {name: tuple(maps.shape) for name, maps in found.items()}
    assert shapes == {"encoder.1": (8, 12, 20), "encoder.0.0": (4, 24, 40)}
    assert torch.allclose(found["encoder.0.0"], first)
    assert not any(module._forward_hooks for module in model.modules())


def test_an_unknown_layer_is_named_with_the_nearest(model: nn.Module) -> None:
    with pytest.raises(InputError, match=r"no layer 'encodr\.1'; the nearest is 'encoder\.1'"):
        layer_responses(model, torch.rand(1, 48, 80), ["encodr.1"])
    assert "refine.0" in layer_names(model)


def test_a_layer_without_maps_is_refused() -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.spare = nn.Linear(4, 2), nn.Conv2d(1, 1, 1)

        def forward(self, images: list[torch.Tensor]) -> torch.Tensor:
            return self.linear(images[0][0, :1, :4])

    with pytest.raises(InputError, match="'linear' does not put out maps"):
        layer_responses(Head(), torch.rand(1, 8, 8), ["linear"])
    with pytest.raises(InputError, match="'spare' took no part"):
        layer_responses(Head(), torch.rand(1, 8, 8), ["spare"])


def test_the_most_active_channels_are_those_that_vary() -> None:
    response = torch.zeros(4, 3, 3)
    response[0] += 100  # high everywhere, which shows nothing
    response[2, 1, 1] = 5
    response[3, 0, 0] = -9
    assert most_active(response, 2) == [3, 2]


def test_each_map_is_stretched_to_its_own_range_and_to_the_radiograph() -> None:
    response = torch.zeros(2, 2, 4)
    response[0, :, 2:] = 1000
    response[1, 0] = 0.001
    picture = draw_feature_maps(np.zeros((90, 180), np.float32), response, channels=2, columns=3)
    assert picture.dtype == np.uint8
    dark, bright = (cv2.applyColorMap(np.full((1, 1), v, np.uint8), cv2.COLORMAP_VIRIDIS)[0, 0, ::-1] for v in (0, 255))
    first, second = picture[28:-6, 372:732], picture[28:-6, 738:1098]
    assert (first[:, :60] == dark).all()
    assert (first[:, -60:] == bright).all()
    assert (second[:20] == bright).all()
    assert (second[-20:] == dark).all()


def test_the_command_writes_a_picture_a_layer(run: Path) -> None:
    arguments = ["--run", str(run / "run"), "--out", str(run / "out"), str(run / "weld.png")]
    result = CliRunner().invoke(main, [*arguments, "--layers", "encoder.0, refine"])
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in (run / "out").iterdir()) == ["weld_encoder.0.png", "weld_refine.png"]
    assert cv2.imread(str(run / "out" / "weld_refine.png")).ndim == 3
    listed = CliRunner().invoke(main, ["--run", str(run / "run"), "--list"])
    assert "encoder.0.2" in listed.output.split()
    assert CliRunner().invoke(main, [*arguments, "--layers", "nowhere"]).exit_code == 2
    assert CliRunner().invoke(main, ["--run", str(run / "run")]).exit_code == 2
