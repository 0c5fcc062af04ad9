"""What an evaluation leaves on disk, read back by what comes after it."""

import csv
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from data.coco import CocoDataset
from data.errors import InputError
from data.radiograph import write_radiograph
from detectors.evaluation.runs import read_run, write_evaluation

ROOT = Path(__file__).parents[3]


def make_run(folder: Path, results: list[dict], objects: bool = True, images: int = 2) -> Path:
    """Write images and an evaluation; image 1 has one pore of known depth and pixel size, image 2 is clean."""
    rng = np.random.default_rng(0)
    for k in range(1, images + 1):
        write_radiograph(folder / "images" / f"{k}.png", rng.random((90, 120), dtype=np.float32))
    records = [
        {"id": k, "file_name": f"{k}.png", "width": 120, "height": 90, "series": "C9", "pixel_size_mm": 0.5}
        for k in range(1, images + 1)
    ]
    pore = {"id": 5, "image_id": 1, "category_id": 1, "bbox": [20, 20, 16, 9], "area": 144, "iscrowd": 0,
            "depth_mm": 1.25, "segmentation": [[0, 0, 1, 1, 2, 2]]}  # fmt: skip
    dataset = CocoDataset(records, [pore] if objects else [], [{"id": 1, "name": "pore"}])
    write_evaluation(folder / "run", dataset, results, folder / "images", 0.25, "small")
    return folder / "run"


HIT = {"image_id": 1, "category_id": 1, "bbox": [20.0, 20.0, 16.0, 9.0], "score": 0.75}
FALSE = {"image_id": 2, "category_id": 1, "bbox": [50.0, 50.0, 9.0, 4.0], "score": 0.5}


@pytest.mark.parametrize("results", [[], [FALSE], [HIT, FALSE]])
@pytest.mark.parametrize("objects", [False, True])
def test_everything_is_written_even_where_there_is_nothing(tmp_path: Path, results: list[dict], objects: bool) -> None:
    run = make_run(tmp_path, results, objects)
    for name in ("metrics.json", "detections.json", "matches.csv", "plots/pr_curve.png", "plots/examples.png"):
        assert (run / name).stat().st_size > 0
    assert not list(run.rglob(".*"))
    assert read_run(run).results == results


def test_no_images_at_all(tmp_path: Path) -> None:
    dataset = CocoDataset([], [], [{"id": 1, "name": "pore"}])
    metrics = write_evaluation(tmp_path, dataset, [], tmp_path)
    assert metrics["ap50"] is None
    assert json.loads((tmp_path / "metrics.json").read_text())["images"] == 0


def test_matches_csv_by_hand(tmp_path: Path) -> None:
    run = make_run(tmp_path, [FALSE, HIT])
    rows = list(csv.DictReader((run / "matches.csv").open()))
    assert [row["kind"] for row in rows] == ["detection", "detection", "object"]
    hit, false, pore = rows
    assert (hit["outcome"], hit["match"], hit["id"], float(hit["match_iou"])) == ("hit", "5", "1", 1.0)
    assert (false["outcome"], false["match"], false["image_id"]) == ("false call", "", "2")
    assert (float(false["size_px"]), float(false["size_mm"])) == (6.0, 3.0)
    assert (pore["outcome"], pore["match"], float(pore["depth_mm"])) == ("found", "1", 1.25)
    assert (float(pore["size_px"]), pore["series"], pore["class"]) == (12.0, "C9", "pore")


def test_a_run_is_read_from_its_folder_alone(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path, [HIT]))
    assert run.name == "small"
    assert run.image_dir == tmp_path / "images"
    assert run.metrics["ap50"] == 1
    assert run.metrics["seconds_per_image"] == 0.25
    assert "segmentation" not in run.dataset.annotations[0]
    assert run.overlaps.match().hit.tolist() == [True]


def test_faulty_results_write_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="image_id 9"):
        make_run(tmp_path, [{**HIT, "image_id": 9}])
    assert not (tmp_path / "run").exists()


def plot_pr(*arguments: object) -> Result:
    """Run the command in this process."""
    main = runpy.run_path(str(ROOT / "tools" / "plot_pr.py"))["main"]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_plot_pr_draws_runs_of_one_name_apart(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, results) for name, results in (("a", [HIT]), ("b", []))]
    out = tmp_path / "curves.svg"
    done = plot_pr(*runs, "--out", out)
    assert done.exit_code == 0, done.output
    assert "1.000" in done.output
    assert "0.000" in done.output
    assert out.read_text().startswith("<?xml")


def test_plot_pr_names_a_folder_without_evaluation(tmp_path: Path) -> None:
    done = plot_pr(tmp_path)
    assert done.exit_code == 2
    assert "detections.json" in done.output
    assert len(done.output.strip().splitlines()) == 1
