"""Accuracy and speed of runs side by side, from hand-made folders."""

import json
import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from matplotlib.image import imread

from data.errors import InputError
from detectors.evaluation.comparison import compare_runs, comparison_table, plot_speed_accuracy, read_benchmark

ROOT = Path(__file__).parents[3]


def make_run(folder: Path, name: str, **metrics: float | int | None) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"name: {name}\n")
    given = {"ap50": None, "ap30": None, "pixel_f1": None, "images": 14, "objects": 35, "seconds_per_image": 0.5}
    (folder / "metrics.json").write_text(json.dumps(given | metrics))
    return folder


def record(method: str, device: str, seconds: float, run: str | None = None) -> dict:
    return {
        "method": method, "run": run, "device": device, "seconds": {"median": seconds, "low": seconds, "high": seconds},
        "parameters": 1_500_000, "multiply_adds": 2_250_000_000, "peak_memory": 10**9, "image_size": [768, 572],
    }  # fmt: skip


def compare(*arguments: object) -> Result:
    main = runpy.run_path(str(ROOT / "tools" / "compare.py"))["main"]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_table_joins_accuracy_and_speed(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "a", "small_rcnn", ap50=0.75, ap30=0.8),
        make_run(tmp_path / "b", "weld", pixel_f1=0.7, seconds_per_image=None),
    ]
    speeds = [record("small_rcnn", "cpu", 0.25), record("small_rcnn", "cuda", 0.125), record("other", "cpu", 9)]
    (tmp_path / "speeds.json").write_text(json.dumps({"records": speeds}))
    out = tmp_path / "out"
    done = compare(*runs, "--benchmark", tmp_path / "speeds.json", "--out", out)
    assert done.exit_code == 0, done.output
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in
             (out / "comparison.md").read_text().splitlines()]  # fmt: skip
    assert lines == [
        ["method", "CPU s/image", "GPU s/image", "s/image when evaluated", "AP at IoU 0.5", "AP at IoU 0.3", "pixel F1",
         "million parameters", "billion multiply-adds", "evaluated on"],
        ["---"] * 10,
        ["small_rcnn", "0.250", "0.125", "0.500", "0.750", "0.800", "n/a", "1.50", "2.25", "14 images, 35 objects"],
        ["weld", "n/a", "n/a", "n/a", "n/a", "n/a", "0.700", "n/a", "n/a", "14 images, 35 objects"],
    ]  # fmt: skip
    (first, second) = json.loads((out / "comparison.json").read_text())["runs"]
    assert (first["ap50"], first["cpu_seconds"], second["cpu_seconds"]) == (0.75, 0.25, None)
    assert imread(out / "speed_accuracy.png").shape[2] in (3, 4)


def test_a_run_prefers_times_of_its_own_weights(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, "rcnn", ap50=0.5) for name in ("first", "second")]
    speeds = [record("rcnn", "cpu", 1.0), record("rcnn", "cpu", 0.5, str(runs[1]))]
    rows = compare_runs(runs, speeds)
    assert [row["run"] for row in rows] == ["rcnn first", "rcnn second"]
    assert [row["cpu_seconds"] for row in rows] == [1.0, 0.5]


def test_runs_evaluated_on_different_radiographs_are_said_to_be(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a", "a", ap50=0.5), make_run(tmp_path / "b", "b", ap50=0.9, images=100)]
    assert "different radiographs" in compare(*runs, "--out", tmp_path / "out").output
    assert "different radiographs" not in compare(runs[0], "--out", tmp_path / "out").output


def test_nothing_to_plot_is_a_picture_all_the_same(tmp_path: Path) -> None:
    rows = compare_runs([make_run(tmp_path / "a", "a")])
    plot_speed_accuracy(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 0
    assert comparison_table(rows).count("\n") == 3


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    done = compare(tmp_path / "nowhere")
    assert done.exit_code == 2
    assert "metrics.json" in done.output
    assert len(done.output.strip().splitlines()) == 1
    (tmp_path / "speeds.json").write_text('{"records": [{"method": "x"}]}')
    with pytest.raises(InputError, match=r"radiograph benchmark"):
        read_benchmark(tmp_path / "speeds.json")
    with pytest.raises(InputError, match=r"missing\.json"):
        read_benchmark(tmp_path / "missing.json")
