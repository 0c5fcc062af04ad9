"""The benchmark of generalization: series, protocols, and the table worked out by hand."""

import csv
import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from data.coco import CocoDataset, read_coco, read_results
from data.errors import InputError
from data.radiograph import write_radiograph
from data.synthesis.phantom import make_phantom
from detectors.build import build_model
from detectors.config.files import check_config
from detectors.evaluation.metrics import compute_metrics
from detectors.evaluation.runs import read_run
from detectors.experiments import generalization
from detectors.experiments.generalization import (
    COMPARED,
    Series,
    confidence_intervals,
    evaluate_series,
    mean_over,
    parse_runs,
    parse_series,
    pool,
)
from detectors.experiments.training_data import TrainingData, training_data
from detectors.runs.checkpoint import save_checkpoint

TOOL = Path(__file__).parents[3] / "tools" / "evaluate_series.py"
MODEL = {
    "name": "faster_rcnn", "backbone": "resnet18", "width": 0.5, "pyramid": True, "fpn_channels": 16,
    "min_size": None, "crop_size": 7, "head_channels": 16,
    "rpn": {"anchor_sizes": [[8], [16], [32]], "proposals": 8, "proposals_before_nms": 16},
}  # fmt: skip


def write_series(folder: Path, count: int, seed: int) -> Path:
    """Write simulated castings in GDXray's layout; the first has no row in ground_truth.txt."""
    rows = []
    for number in range(1, count + 1):
        phantom = make_phantom("castings", seed, number, style="plain", size=(96, 80))
        write_radiograph(folder / f"{folder.name}_{number:04d}.png", phantom.pixels, 8)
        boxes = phantom.boxes.tolist() if number > 1 else []
        rows += [
            f"{number:e} {x1:e} {x2:e} {y1:e} {y2:e}" for x1, y1, x2, y2 in boxes or [(20, 20, 40, 40)] * (number > 1)
        ]
    (folder / "ground_truth.txt").write_text("\n".join(rows) + "\n")
    return folder


def write_run(folder: Path, train: list[dict], weights: str = "none") -> Path:
    """Write a checkpoint of an untrained detector whose configuration names these training sources."""
    config = check_config({
        "name": folder.name, "model": MODEL | {"weights": "none"}, "data": {"train": train, "workers": 0}
    })  # fmt: skip
    model = build_model(config.model, 1)
    if weights != "none":
        config = config.model_copy(update={"model": config.model.model_copy(update={"weights": weights})})
    folder.mkdir(parents=True)
    save_checkpoint(folder / "best.ckpt", model, config, [{"id": 1, "name": "defect"}], 1, {})
    return folder


@pytest.fixture(scope="module")
def castings_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gdxray") / "Castings"
    for name, count, seed in (("C0010", 3, 1), ("C0015", 2, 2)):
        write_series(root / name, count, seed)
    return root


def series_of(name: str, boxes: dict[int, list[list[float]]]) -> Series:
    images = [{"id": k, "file_name": f"{name}_{k:04d}.png", "width": 99, "height": 99, "number": k} for k in boxes]
    annotations = [
        {"id": k, "image_id": image, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for k, (image, box) in enumerate(((i, b) for i, found in boxes.items() for b in found), start=1)
    ]
    return Series(name, Path(f"/data/{name}"), CocoDataset(images, annotations, [{"id": 1, "name": "defect"}]))


def result(image: int, box: list[float], score: float) -> dict:
    return {"image_id": image, "category_id": 1, "bbox": box, "score": score}


def test_a_series_may_be_cut_by_numbers(castings_root: Path) -> None:
    whole, part = parse_series(str(castings_root / "C0010")), parse_series(f"{castings_root / 'C0010'}:2-3")
    assert (whole.name, len(whole.dataset.images)) == ("C0010", 3)
    assert (part.name, [image["number"] for image in part.dataset.images]) == ("C0010 2-3", [2, 3])
    assert [file.name for file in part.files] == ["C0010_0002.png", "C0010_0003.png"]
    with pytest.raises(InputError, match="no radiograph has such a number; the folder has 1 to 3"):
        parse_series(f"{castings_root / 'C0010'}:4-9")
    with pytest.raises(InputError, match="no such folder"):
        parse_series(str(castings_root / "C0099"))


def test_runs_go_to_their_series() -> None:
    series = [series_of("C0010", {1: []}), series_of("C0015", {1: []})]
    assert parse_runs(["a"], series) == {"C0010": Path("a"), "C0015": Path("a")}
    assert parse_runs(["a", "C0015=b"], series) == {"C0010": Path("a"), "C0015": Path("b")}
    for texts, words in (
        (["a", "b"], "for all series already"),
        (["C0010=a"], "series C0015: no run"),
        (["a", "C0099=b"], "no folder of the name C0099"),
        (["a", "C0010=b", "C0010=c"], "has the run b already"),
    ):
        with pytest.raises(InputError, match=words):
            parse_runs(texts, series)


BOX, OFF = [10.0, 10.0, 20.0, 20.0], [70.0, 70.0, 9.0, 9.0]


def two_series() -> tuple[list[Series], dict[str, list[dict]]]:
    """A: one object, found, one false call below it. B: three objects, the second rank finds one; one clean image."""
    one = series_of("A", {1: [BOX]})
    other = series_of("B", {1: [BOX], 2: [BOX], 3: [BOX], 4: []})
    results = {
        "A": [result(1, BOX, 0.9), result(1, OFF, 0.8)],
        "B": [result(4, OFF, 0.95), result(1, BOX, 0.7)],
    }
    return [one, other], results


def test_pooled_and_mean_by_hand() -> None:
    series, results = two_series()
    dataset, pooled, root = pool(series, results)
    assert root == Path("/data")
    assert [image["file_name"] for image in dataset.images][:2] == ["A/A_0001.png", "B/B_0001.png"]
    assert [image["id"] for image in dataset.images] == [1, 2, 3, 4, 5]
    assert [image["series"] for image in dataset.images] == ["A", "B", "B", "B", "B"]
    assert [annotation["image_id"] for annotation in dataset.annotations] == [1, 2, 3, 4]
    # Pooled ranks: false (B), hit (A), false (A), hit (B) on 5 images with 4 objects.
    metrics = compute_metrics(dataset, pooled)
    assert metrics["ap_center"] == pytest.approx(51 * 0.5 / 101)
    assert metrics["sensitivity_at_half_call"] == 2 / 4  # 2 false calls on 5 images are 0.4
    rows = [compute_metrics(part.dataset, results[part.name]) for part in series]
    assert rows[0]["sensitivity_at_half_call"] == 1
    assert rows[1]["sensitivity_at_half_call"] == pytest.approx(1 / 3)
    assert mean_over(rows)["sensitivity_at_half_call"] == pytest.approx(2 / 3)
    assert mean_over([*rows, rows[0] | {"ap50": None}])["ap50"] == pytest.approx(
        (rows[0]["ap50"] + rows[1]["ap50"]) / 2
    )


@pytest.mark.parametrize("name", ["../B/B_0001.png", "/etc/hostname", "x/../../B/B_0001.png"])
def test_names_that_lead_out_of_a_series_are_refused(tmp_path: Path, name: str) -> None:
    for series in "AB":
        write_radiograph(tmp_path / series / f"{series}_0001.png", np.full((40, 40), 0.5))
    image = {"id": 1, "file_name": name, "width": 40, "height": 40}
    one = Series("A", tmp_path / "A", CocoDataset([image], [], [{"id": 1, "name": "defect"}]))
    with pytest.raises(InputError, match=r"image 1: .* leads out"):
        _ = one.files
    with pytest.raises(InputError, match=r"image 1: .* leads out"):
        pool([one], {"A": []})


def test_training_radiographs_outside_of_their_folder_are_unknown(castings_root: Path, tmp_path: Path) -> None:
    folder = castings_root / "C0010"
    content = {
        "images": [
            {"id": 1, "file_name": "C0010_0001.png", "width": 96, "height": 80},
            {"id": 2, "file_name": "../C0011/C0011_0001.png", "width": 96, "height": 80},
        ],
        "annotations": [],
        "categories": [{"id": 1, "name": "defect"}],
    }
    (tmp_path / "data.json").write_text(json.dumps(content))
    seen = training_data(write_run(tmp_path / "run", [{"json": str(tmp_path / "data.json"), "images": str(folder)}]))
    assert all(file.parent == folder for file in seen.files)
    assert "leads out" in " ".join(seen.unknown)


def test_intervals_draw_whole_series() -> None:
    series, results = two_series()
    dataset, pooled, _ = pool(series, results)
    rows = [compute_metrics(part.dataset, results[part.name]) for part in series]
    overlaps = generalization.find_overlaps(dataset, pooled)
    intervals = confidence_intervals(overlaps, rows, 400)
    # Two series: a draw is A twice, B twice, or both; a quarter each of the first two.
    assert intervals["mean"]["sensitivity_at_half_call"] == pytest.approx((1 / 3, 1))
    assert intervals["pooled"]["sensitivity_at_half_call"] == pytest.approx((1 / 3, 1))
    assert intervals["mean"]["ap_center"] == pytest.approx((rows[1]["ap_center"], rows[0]["ap_center"]))
    assert intervals["pooled"]["ap_center"] == pytest.approx((rows[1]["ap_center"], rows[0]["ap_center"]))
    assert intervals == confidence_intervals(overlaps, rows, 400)
    alone = confidence_intervals(overlaps, rows[:1], 10)
    assert alone == {"mean": dict.fromkeys(COMPARED), "pooled": dict.fromkeys(COMPARED)}


def test_training_data_is_followed_to_the_starting_weights(castings_root: Path, tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", [{"images": str(castings_root / "C0010")}])
    second = write_run(tmp_path / "second", [{"phantoms": {"n": 3}}], weights=str(first))
    seen = training_data(second)
    assert sorted(file.name for file in seen.files) == [f"C0010_000{k}.png" for k in (1, 2, 3)]
    assert (seen.annotated, seen.unknown) == (set(), [])
    assert len(seen.of_series("C0010")) == 3
    assert seen.of_series("C001") == []
    gone = training_data(write_run(tmp_path / "gone", [{"images": str(tmp_path / "nowhere")}]))
    assert gone.files == []
    assert "nowhere" in gone.unknown[0]


@pytest.mark.parametrize("renamed", [False, True])
def test_unseen_refuses_a_series_of_the_training(castings_root: Path, tmp_path: Path, renamed: bool) -> None:
    source = castings_root / "C0010"
    if renamed:  # the same file under another name
        source = tmp_path / "shop"
        source.mkdir()
        shutil.copy(castings_root / "C0010" / "C0010_0002.png", source / "part.png")
    run = write_run(tmp_path / "run", [{"images": str(source)}])
    series = [parse_series(str(castings_root / name)) for name in ("C0015", "C0010")]
    with pytest.raises(InputError, match=r"series C0010: .* was trained on its radiographs"):
        evaluate_series(dict.fromkeys(("C0010", "C0015"), run), series, "unseen", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_onboarded_wants_radiographs_without_annotations(castings_root: Path, tmp_path: Path) -> None:
    series = parse_series(str(castings_root / "C0010"))
    labels = tmp_path / "train.json"
    records = {"images": series.dataset.images, "annotations": series.dataset.annotations,
               "categories": series.dataset.categories}  # fmt: skip
    labels.write_text(json.dumps(records))
    run = write_run(tmp_path / "run", [{"json": str(labels), "images": str(castings_root / "C0010")}])
    with pytest.raises(InputError, match="trained with annotations of it"):
        evaluate_series({"C0010": run}, [series], "onboarded", tmp_path / "out")
    other = write_run(tmp_path / "other", [{"images": str(castings_root / "C0015")}])
    with pytest.raises(InputError, match="was not trained on any radiograph of it"):
        evaluate_series({"C0010": other}, [series], "onboarded", tmp_path / "out")


def test_what_is_written_and_never_mixed(castings_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series = [parse_series(str(castings_root / name)) for name in ("C0010", "C0015")]
    # Every object found, and one false call on the defect-free radiograph of C0010.
    results = {part.name: [result(a["image_id"], a["bbox"], 0.9) for a in part.dataset.annotations] for part in series}
    results["C0010"].append(result(1, [1, 1, 5, 5], 0.5))
    monkeypatch.setattr(generalization, "_detect", lambda *_: (results, {"C0010": 0.5, "C0015": 0.25}))
    monkeypatch.setattr(generalization, "training_data", lambda run: TrainingData(unknown=["phantoms/gone.json"]))
    out = tmp_path / "out"
    outcome = evaluate_series(dict.fromkeys(("C0010", "C0015"), Path("run")), series, "unseen", out, resamples=50)
    assert outcome.pooled["seconds_per_image"] == pytest.approx((3 * 0.5 + 2 * 0.25) / 5)
    record = json.loads((out / "generalization.json").read_text())
    assert (record["protocol"], record["unchecked"]) == ("unseen", ["phantoms/gone.json"])
    assert [row["series"] for row in record["series"]] == ["C0010", "C0015"]
    assert record["series"][0]["tested_in_training"] == 0
    assert record["pooled"] == json.loads((out / "metrics.json").read_text())
    assert all(record["mean"][name] == 1 for name in COMPARED)
    with (out / "generalization.csv").open(newline="") as stream:
        table = list(csv.reader(stream))
    assert table[0] == ["protocol", "series", "images", "objects", *COMPARED]
    assert [row[1] for row in table[1:5]] == ["C0010", "C0015", "mean over series", "mean over series, 95 % low"]
    assert {len(row) for row in table} == {len(table[0])}
    assert (out / "plots" / "froc_by_series.png").stat().st_size > 1000
    # The folder reads as an evaluated run, radiographs included.
    run = read_run(out)
    assert all((run.image_dir / image["file_name"]).is_file() for image in run.dataset.images)
    with pytest.raises(InputError, match="holds results of the protocol 'unseen'"):
        evaluate_series(dict.fromkeys(("C0010", "C0015"), Path("run")), series, "onboarded", out)
    with pytest.raises(InputError, match="given twice"):
        evaluate_series({"C0010": Path("run")}, [series[0], series[0]], "unseen", out)


def test_the_command_on_phantoms(castings_root: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [{"images": str(castings_root / "C0015")}])
    main = runpy.run_path(str(TOOL))["main"]
    arguments = ["--run", str(run), "--out", str(tmp_path / "out"), "--resamples", "20", str(castings_root / "C0010")]
    done = CliRunner().invoke(main, ["--protocol", "unseen", *arguments])
    assert done.exit_code == 0, done.output
    assert "s@0.5" in done.output
    dataset, results = (
        read_coco(tmp_path / "out" / "ground_truth.json"),
        read_results(tmp_path / "out" / "detections.json"),
    )
    again = compute_metrics(dataset, results)
    pooled = json.loads((tmp_path / "out" / "generalization.json").read_text())["pooled"]
    assert {name: pooled[name] for name in COMPARED} == {name: again[name] for name in COMPARED}
    done = CliRunner().invoke(main, ["--protocol", "unseen", *arguments, str(castings_root / "C0015")])
    assert done.exit_code == 2
    assert "not unseen" in done.stderr
    assert np.isfinite(pooled["seconds_per_image"])
