"""The whole way through the commands: train, evaluate, predict, plot; and every fault in one line."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from failures import check_one_line

from data.coco import read_coco
from detectors.evaluation.runs import write_evaluation
from detectors.runs.prediction import default_threshold
from radiograph.cli import main

TINY = {
    "name": "tiny",
    "model": {
        "name": "faster_rcnn", "backbone": "resnet18", "width": 0.5, "pyramid": True, "fpn_channels": 16,
        "min_size": None, "crop_size": 7, "head_channels": 16, "input": "local_contrast",
        "rpn": {"anchor_sizes": [[8], [16], [32]], "proposals": 8, "proposals_before_nms": 16},
    },
    "data": {"workers": 0, "window": {"low": 1, "high": 99}},
    "train": {"epochs": 1, "batch_size": 2, "device": "cpu"},
}  # fmt: skip


def run(*arguments: object) -> Result:
    """Run `radiograph` in this process; a traceback fails the test."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def config(castings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    source = {"json": str(castings)}
    values = TINY | {"output": str(folder / "runs"), "data": TINY["data"] | {"train": source, "val": source}}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def trained(config: Path) -> Path:
    result = run("train", "--cfg", config)
    assert result.exit_code == 0, result.output
    (folder,) = (config.parent / "runs" / "tiny").iterdir()
    return folder


def test_evaluating_a_run_again_gives_the_same_figures(trained: Path, castings: Path, tmp_path: Path) -> None:
    first = json.loads((trained / "metrics.json").read_text())
    result = run("evaluate", "--run", trained, "--data", castings, "--out", tmp_path / "again")
    assert result.exit_code == 0, result.output
    second = json.loads((tmp_path / "again" / "metrics.json").read_text())
    assert {k: v for k, v in first.items() if k != "seconds_per_image"} == {
        k: v for k, v in second.items() if k != "seconds_per_image"
    }


def test_a_configuration_with_weights_is_evaluated_too(trained: Path, config: Path, tmp_path: Path) -> None:
    result = run("evaluate", "--cfg", config, "--weights", trained / "best.ckpt", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "plots" / "pr_curve.png").stat().st_size > 1000


def test_predictions_and_overlays(trained: Path, castings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("predict", "--run", trained, "--out", out, "--threshold", 0, castings.parent)
    assert result.exit_code == 0, result.output
    images = json.loads((out / "images.json").read_text())["images"]
    results = json.loads((out / "detections.json").read_text())
    assert [Path(i["file_name"]).name for i in images] == [f"C0001_{k:04d}.png" for k in range(1, 7)]
    assert {r["image_id"] for r in results} <= {i["id"] for i in images}
    overlay = cv2.imread(str(out / "overlays" / "C0001_0001.png"))
    assert overlay.shape == (96, 128, 3)


def test_prediction_equals_evaluation(trained: Path, castings: Path, tmp_path: Path) -> None:
    """The window saved with the run is applied in both."""
    run("predict", "--run", trained, "--out", tmp_path, "--no-overlays", castings.parent)
    predicted = json.loads((tmp_path / "detections.json").read_text())
    evaluated = json.loads((trained / "detections.json").read_text())
    assert [r["bbox"] for r in predicted] == [r["bbox"] for r in evaluated]
    assert not (tmp_path / "overlays").exists()


def test_the_chosen_threshold_goes_before_that_of_the_best_f1(trained: Path, tmp_path: Path) -> None:
    assert default_threshold(tmp_path) == 0.5
    (tmp_path / "metrics.json").write_text('{"threshold": 0.25}')
    assert default_threshold(tmp_path) == 0.25
    (tmp_path / "threshold.json").write_text('{"threshold": 0.75}')
    assert default_threshold(tmp_path) == 0.75
    assert default_threshold(trained / "best.ckpt") == default_threshold(trained)


def test_curves_of_several_runs(trained: Path, tmp_path: Path) -> None:
    result = run("plot-pr", "--run", trained, "--run", trained, "--out", tmp_path / "curves.png")
    assert result.exit_code == 0, result.output
    assert cv2.imread(str(tmp_path / "curves.png")) is not None


def test_the_annotators_margin_is_told_from_an_evaluation(castings: Path, tmp_path: Path) -> None:
    dataset = read_coco(castings)
    inside = [{"image_id": a["image_id"], "category_id": a["category_id"], "score": 0.9,
               "bbox": np.add(a["bbox"], [1.5, 1.5, -3, -3]).tolist()} for a in dataset.annotations]  # fmt: skip
    write_evaluation(tmp_path / "e", dataset, inside, castings.parent)
    result = run("estimate-box-padding", "--run", tmp_path / "e", "--boxes", 2)
    assert (result.exit_code, "+1.5 px a side" in result.output, "2 boxes" in result.output) == (0, True, True)
    write_evaluation(tmp_path / "none", dataset, [], castings.parent)
    check_one_line(run("estimate-box-padding", "--run", tmp_path / "none"), "no detection lies in a true box")


def test_a_corrupt_radiograph_stops_prediction_before_anything_is_written(trained: Path, tmp_path: Path) -> None:
    good = tmp_path / "in" / "good.png"
    good.parent.mkdir()
    cv2.imwrite(str(good), np.zeros((40, 40), np.uint8))
    content = good.read_bytes()
    (tmp_path / "in" / "torn.png").write_bytes(content[: len(content) // 2])
    check_one_line(run("predict", "--run", trained, "--out", tmp_path / "out", tmp_path / "in"), "torn.png")
    assert not (tmp_path / "out").exists()


def test_a_truncated_tiff_is_named(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.tif"
    cv2.imwrite(str(path), np.full((64, 64), 1000, np.uint16))
    path.write_bytes(path.read_bytes()[:-600])
    check_one_line(run("predict", "--run", trained, "--out", tmp_path / "out", path), "cut.tif")
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_is_named(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check_one_line(run("predict", "--run", trained, "--out", tmp_path / "out", tmp_path / "empty"), "empty")
    assert not (tmp_path / "out").exists()


def test_missing_weights_are_named(tmp_path: Path) -> None:
    check_one_line(run("predict", "--run", tmp_path / "nothing", tmp_path), "nothing", "best.ckpt")


def test_missing_starting_weights_are_named(config: Path, tmp_path: Path) -> None:
    out = f"output={tmp_path / 'runs'}"
    check_one_line(run("train", "--cfg", config, "--set", "model.weights=absent.ckpt", "--set", out), "absent.ckpt")
    assert not (tmp_path / "runs").exists()


def test_a_json_that_is_not_coco_is_named(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text("[1, 2, 3]")
    out = f"output={tmp_path / 'runs'}"
    check_one_line(run("train", "--cfg", config, "--set", f"data.train.json={path}", "--set", out), "list.json")
    assert not (tmp_path / "runs").exists()


def test_nan_coordinates_are_named(config: Path, castings: Path, tmp_path: Path) -> None:
    content = json.loads(castings.read_text())
    content["annotations"][0]["bbox"][0] = float("nan")
    path = tmp_path / "nan.json"
    path.write_text(json.dumps(content))
    check_one_line(run("train", "--cfg", config, "--set", f"data.train.json={path}"), "nan.json", "annotation 1")


def test_a_torn_radiograph_in_training_is_named_without_the_workers_traceback(
    config: Path, castings: Path, tmp_path: Path
) -> None:
    for path in castings.parent.iterdir():
        content = path.read_bytes()
        (tmp_path / path.name).write_bytes(content if path.suffix == ".json" else content[: len(content) // 2])
    json_file = tmp_path / castings.name
    arguments = ["--set", f"data.train.json={json_file}", "--set", "data.workers=1", "--set", f"output={tmp_path}/runs"]
    check_one_line(run("train", "--cfg", config, *arguments), "C0001_000", ".png")


def test_an_unknown_key_is_named(config: Path) -> None:
    check_one_line(run("train", "--cfg", config, "--set", "train.epoch=3"), "did you mean 'train.epochs'?")


def test_no_network_for_imagenet_is_one_line(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    arguments = ["--set", "model.width=1", "--set", "model.weights=imagenet", "--set", f"output={tmp_path / 'runs'}"]
    check_one_line(run("train", "--cfg", config, *arguments), "network is unreachable", "model.weights=none")
    assert not (tmp_path / "runs").exists()


def test_other_categories_are_refused(trained: Path, castings: Path, tmp_path: Path) -> None:
    content = json.loads(castings.read_text())
    content["categories"][0]["name"] = "screw"
    path = tmp_path / "screws.json"
    path.write_text(json.dumps(content))
    check_one_line(run("evaluate", "--run", trained, "--data", path, "--images", castings.parent), "screw")
