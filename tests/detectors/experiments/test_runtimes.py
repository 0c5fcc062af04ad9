"""Exported models beside their runs: one table, ratios and rates worked by hand."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from exported_models import TINY_CENTER_NET, export_model

from data.errors import InputError
from detectors.boxes.center_net import CenterNetConfig
from detectors.experiments import runtimes
from detectors.experiments.runtimes import Subject, measure_runtimes, runtimes_table, told_apart
from radiograph.commands.benchmark import main


def record(runtime: str = "PyTorch", median: float = 0.2, **changes: object) -> dict:
    return {
        "name": "net", "runtime": runtime, "precision": "float32", "threads": 2, "image_size": [768, 572], "repeats": 3,
        "seconds": {"median": median, "low": 0.1, "high": 0.3}, "model_seconds": {"median": 0.05},
        "throughput": 12.5, "multiply_adds": 2e9, "peak": 160e9, **changes,
    }  # fmt: skip


def test_ratios_and_rates_are_those_of_the_records() -> None:
    text = runtimes_table([record(), record("ONNX Runtime", 0.05, precision="int8"), record(threads=1, peak=80e9)])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:5]]
    assert rows[1] == [
        "net", "ONNX Runtime", "int8", "2", "0.0500 (0.1000 to 0.3000)", "0.25", "0.0500", "12.5", "2.00", "40.0",
        "0.25",
    ]  # fmt: skip
    assert (rows[0][5], rows[2][10]) == ("1.00", "0.50")
    assert "2 threads 160; 1 thread 80" in text


def test_runs_of_one_name_are_told_apart_by_their_folders() -> None:
    def subject(name: str, runtime: str, origin: str) -> Subject:
        return Subject(name, runtime, "float32", lambda path: {}, 1e9, origin)

    one, two = subject("casting", "PyTorch", "first"), subject("casting", "ONNX Runtime", "second")
    other = subject("quickstart", "PyTorch", "third")
    exported = subject("casting", "ONNX Runtime", "first")
    names = [found.name for found in told_apart([one, exported, two, other])]
    assert names == ["casting (first)", "casting (first)", "casting (second)", "quickstart"]
    assert [found.name for found in told_apart([one, exported])] == ["casting", "casting"]


@pytest.mark.slow
def test_a_run_and_its_exported_model_are_measured_in_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "MATRIX", 64)
    export_model(tmp_path, CenterNetConfig(**TINY_CENTER_NET))
    runs = [argument for name in ("run", "exported") for argument in ("--run", str(tmp_path / name))]
    done = CliRunner().invoke(main, [*runs, "--repeats", "1", "--image-size", "128x96", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "out" / "benchmark.json").exists()
    records = json.loads((tmp_path / "out" / "runtimes.json").read_text())["records"]
    assert [(r["runtime"], r["threads"]) for r in records] == [
        (runtime, threads) for threads in (1, 2) for runtime in ("PyTorch", "ONNX Runtime", "OpenVINO")
    ]
    works = [r["multiply_adds"] for r in records[:3]]
    assert works[0] > 1e6
    assert works[0] == works[1] == works[2]
    assert all(0 < r["model_seconds"]["median"] < r["throughput"] ** -1 * 50 for r in records)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        measure_runtimes([tmp_path / "nowhere"], (128, 96), 1)
