"""Speed and size: positive times, counts worked by hand, and a file that CPU and GPU share."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from data.errors import InputError
from data.radiograph import write_radiograph
from detectors.boxes.faster_rcnn import FasterRCNNConfig
from detectors.build import build_model
from detectors.config.files import CONFIGS, read_config
from detectors.experiments.benchmark import (
    PAPER,
    Conditions,
    benchmark,
    benchmark_table,
    fit_frozen_norms,
    write_benchmark,
)
from detectors.runs.inference import detect

ROOT = Path(__file__).parents[3]
TINY = """
model:
  name: rfcn
  backbone: resnet18
  width: 0.125
  weights: {weights}
  min_size: null
  reduction: 8
  rpn: {{anchor_sizes: [[16, 32]], proposals: 5}}
"""


def tiny(folder: Path, weights: str = "none") -> str:
    (folder / "tiny.yaml").write_text(TINY.format(weights=weights))
    return str(folder / "tiny.yaml")


def run_tool(*arguments: object) -> Result:
    main = runpy.run_path(str(ROOT / "tools" / "benchmark.py"))["main"]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def record(method: str = "rfcn_r101", device: str = "cpu", **changes: object) -> dict:
    return {
        "method": method, "run": None, "device": device, "device_name": device.upper(), "threads": 2,
        "image_size": [768, 572], "repeats": 3, "seconds": {"median": 2.0, "low": 1.5, "high": 2.5},
        "peak_memory": 1_250_000_000, "parameters": 50_250_000, "multiply_adds": 10**11, "detections": 100,
        "ap50": None, **changes,
    }  # fmt: skip


@pytest.mark.slow
def test_a_tiny_detector_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    configuration = tiny(tmp_path)
    (found,) = benchmark([configuration], [], Conditions(size=(96, 64), repeats=2, threads=1))
    seconds = found["seconds"]
    assert 0 < seconds["low"] <= seconds["median"] <= seconds["high"] < 30
    assert (found["method"], found["threads"], found["image_size"]) == ("tiny", 1, [96, 64])
    model = build_model(read_config(configuration).model, 1)
    assert found["parameters"] == sum(p.numel() for p in model.parameters())
    # The stem alone: 64 filters of 7 x 7 x 3 at every second pixel of 96 x 64.
    assert found["multiply_adds"] > 48 * 32 * 64 * 7 * 7 * 3
    assert found["multiply_adds"] < 20 * 48 * 32 * 64 * 7 * 7 * 3
    assert 50e6 < found["peak_memory"] < 8e9


def test_paper_and_times_stand_side_by_side() -> None:
    table = benchmark_table([record(), record(device="cuda", seconds={"median": 0.25, "low": 0.2, "high": 0.3})])
    row = [cell.strip() for cell in table.splitlines()[2].strip("|").split("|")]
    assert row == [
        "rfcn_r101", "2.000 (1.500 to 2.500)", "0.250 (0.200 to 0.300)", "n/a", "3.721", "0.375", "0.875", "50.25",
        "100.00", "1250", "1250",
    ]  # fmt: skip
    assert "768 x 572" in table


def test_every_method_of_the_paper_has_a_configuration() -> None:
    assert len(PAPER) == 6
    assert [name for name in PAPER if not (CONFIGS / f"{name}.yaml").is_file()] == []


def test_the_other_device_is_kept_and_the_same_one_replaced(tmp_path: Path) -> None:
    write_benchmark([record()], tmp_path)
    write_benchmark([record(device="cuda")], tmp_path)
    write_benchmark([record(parameters=7)], tmp_path)
    records = json.loads((tmp_path / "benchmark.json").read_text())["records"]
    assert sorted((r["device"], r["parameters"]) for r in records) == [("cpu", 7), ("cuda", 50_250_000)]
    with pytest.raises(InputError, match="768x572"):
        write_benchmark([record(image_size=[96, 64])], tmp_path)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "--cfg"),
        (("--cfg", "nonsense"), "nonsense"),
        (("--run", "nowhere"), "nowhere"),
        (("--cfg", "rfcn_r18", "--image-size", "9"), "768x572"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], word: str, tmp_path: Path) -> None:
    done = run_tool(*arguments, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert word in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_frozen_norms_of_random_weights_keep_the_signal_in_bounds(tmp_path: Path) -> None:
    """Without statistics of their own, 33 residual blocks let it grow a thousandfold and no proposal survives."""
    torch.manual_seed(0)
    config = FasterRCNNConfig(
        backbone="resnet101", width=0.25, norm="frozen", min_size=64, max_size=96,
        rpn={"anchor_sizes": [[12, 24, 48]], "proposals": 16},
    )  # fmt: skip
    model = build_model(config, 1).eval()
    largest = []
    model.backbone.register_forward_hook(lambda module, inputs, maps: largest.append(float(maps["0"].abs().max())))
    path = tmp_path / "radiograph.png"
    write_radiograph(path, np.random.default_rng(0).random((64, 96), dtype=np.float32))
    detect(model, path, None, torch.device("cpu"))
    fit_frozen_norms(model, path, None, torch.device("cpu"))
    detect(model, path, None, torch.device("cpu"))
    assert largest[0] > 1000
    assert largest[-1] < 100
