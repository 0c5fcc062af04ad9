"""Runs with names that mean something to matplotlib, browsers and spreadsheets, and runs whose files were damaged."""

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from data.coco import CocoDataset
from data.errors import InputError
from data.radiograph import write_radiograph
from detectors.evaluation.comparison import compare_runs, markdown_table, plot_speed_accuracy, read_benchmark
from detectors.evaluation.curves import curve_of_hits, score_curve
from detectors.evaluation.pixel_plots import WorstPredictions, plot_pixel_curves
from detectors.evaluation.pixel_scores import PixelCounts
from detectors.evaluation.plots import literal, plot_froc, plot_precision_recall
from detectors.evaluation.report import write_report
from detectors.evaluation.runs import read_run, write_evaluation
from detectors.evaluation.table import csv_cell, write_csv
from detectors.evaluation.threshold import load_threshold
from detectors.experiments.learning_curve import plot_learning_curve

NAMES = (r"\frac$x_{$", "_$$\ud800")
HIT = {"image_id": 1, "category_id": 1, "bbox": [10.0, 10.0, 12.0, 12.0], "score": 0.75}


def write_run(folder: Path, name: str, file_name: str = "part.png") -> Path:
    images = folder.parent / "images"
    write_radiograph(images / file_name, np.full((64, 96), 0.5, np.float32), 8)
    annotations = [
        {"id": 5, "image_id": 1, "category_id": 1, "bbox": [10, 10, 12, 12], "area": 144, "iscrowd": 0,
         "depth_mm": 1.25}
    ]  # fmt: skip
    records = [{"id": 1, "file_name": file_name, "width": 96, "height": 64, "series": name, "pixel_size_mm": 0.5}]
    dataset = CocoDataset(records, annotations, [{"id": 1, "name": name}])
    write_evaluation(folder, dataset, [HIT, HIT | {"bbox": [60.0, 40.0, 8.0, 8.0], "score": 0.5}], images, 0.1, name)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_every_plot_takes_any_name(name: str, tmp_path: Path) -> None:
    curve = curve_of_hits(np.array([True, False]), np.array([0.9, 0.8]), 2)
    plot_precision_recall({name: curve}, tmp_path / "pr.png", title=name)
    counts = PixelCounts()
    values = np.zeros((8, 8), np.float32)
    counts.add(values, (np.eye(8) > 0).astype(np.uint8))
    plot_pixel_curves(counts.curve(), counts.defect_curve(), 0.5, tmp_path / "pixels.png", name)
    worst = WorstPredictions(0.5)
    worst.add(name, values, values, np.eye(8).astype(np.uint8))
    worst.write(tmp_path / "worst.png")
    row = {"run": name, "ap50": 0.5, "cpu_seconds": 0.1, "cuda_seconds": None, "seconds_per_image": None}
    plot_speed_accuracy([row], tmp_path / "speed.png")
    point = {"images": 3, "ap50": 0.5, "ap30": None, "ap_center": None}
    plot_learning_curve([point], tmp_path / "learning.png", name)
    assert len(list(tmp_path.glob("*.png"))) == 5


@pytest.mark.parametrize("name", ["a$b$c", "=1+1", "$x$.d"])
def test_an_evaluation_is_whole_whatever_its_names(name: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", name, f"{name}.png")
    run = read_run(folder)
    assert (run.name, run.metrics["ap50"]) == (name, 1)
    plot_froc({name: score_curve(run.overlaps.match())}, tmp_path / "froc.png", name)


def test_names_are_shown_to_the_letter() -> None:
    assert literal("a$b$") == r"a\$b\$"
    assert literal("_x") == " _x"
    assert literal("plain") == "plain"


class Scripts(HTMLParser):
    """Collects the content of each script element, as a browser finds it."""

    def __init__(self) -> None:
        super().__init__()
        self.open = False
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag == "script":
            self.open = True
            self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        self.open = self.open and tag != "script"

    def handle_data(self, data: str) -> None:
        if self.open:
            self.found[-1] += data


@pytest.mark.parametrize("name", ["<!--<script>", "</script><img src=x>", "<b>&amp;'\"`\u2028"])
def test_a_report_holds_any_name_within_its_data(name: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", name)
    (folder / "config.yaml").write_bytes(b"name: \xff" + name.encode())
    page = write_report({name: read_run(folder)}, tmp_path / "report.html", name, resamples=5)
    parser = Scripts()
    parser.feed(page.read_text(encoding="utf-8"))
    assert len(parser.found) == 2
    data = json.loads(parser.found[0])
    assert (data["title"], data["runs"][0]["name"]) == (name, name)
    # A browser leaves the data only at "</script", and is led astray by "<!--": neither stands in them.
    assert "<" not in parser.found[0]


def test_no_cell_of_a_table_is_a_formula(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "=HYPERLINK(1)")
    with (folder / "matches.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["series"] for row in rows} == {"'=HYPERLINK(1)"}
    assert {row["class"] for row in rows} == {"'=HYPERLINK(1)"}
    assert {float(row["score"]) for row in rows} == {0.75, 0.5}
    for text in ("=1", "+x", "-x", "@x", "\tx", "\rx"):
        assert csv_cell(text) == f"'{text}"
    for value in ("-1.5", "+2e-3", "x=1", "", -3, None, 0.5):
        assert csv_cell(value) == value
    write_csv(tmp_path / "t.csv", ["a"], [[None], ["-"]])
    assert (tmp_path / "t.csv").read_text() == 'a\n""\n\'-\n'


def test_a_bar_in_a_name_ends_no_cell() -> None:
    assert markdown_table(["a"], [["x|y\nz"]]).splitlines()[2] == r"| x\|y z |"


VALUES = (None, True, 0, -1, 0.5, 1e300, float("nan"), 2**63, "", "1", [], {}, [1, 2], [None] * 4, {"a": 1})


def spots(value: object, path: tuple = ()) -> list[tuple]:
    """Every place in a JSON value."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path] * bool(path) + [spot for key in keys for spot in spots(value[key], (*path, key))]


def damaged(content: object, spot: tuple, value: object, remove: bool) -> str:
    content = json.loads(json.dumps(content))
    owner = content
    for key in spot[:-1]:
        owner = owner[key]
    if remove:
        del owner[spot[-1]]
    else:
        owner[spot[-1]] = value
    return json.dumps(content)


@pytest.mark.parametrize("name", ["ground_truth.json", "detections.json", "metrics.json"])
def test_a_damaged_run_is_read_or_refused_in_words(name: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "run")
    whole = json.loads((folder / name).read_text())
    refused: list[str] = []
    some = spots(whole)[:4] if name == "metrics.json" else spots(whole)
    for spot in some:
        for value in VALUES:
            for remove in (False, True) if value is None else (False,):
                (folder / name).write_text(damaged(whole, spot, value, remove))
                try:
                    run = read_run(folder)
                    run.overlaps.match().false_call.sum()
                except InputError as error:
                    refused.append(str(error))
    assert len(refused) > 15
    assert [text for text in refused if str(folder) not in text and "detection" not in text] == []
    assert [text for text in refused if "\n" in text] == []


def test_deeply_nested_json_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "run")
    (folder / "metrics.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"metrics\.json: not readable"):
        read_run(folder)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "true", '"0.5"', "[0.5]"])
def test_a_threshold_is_a_finite_number(text: str, tmp_path: Path) -> None:
    (tmp_path / "threshold.json").write_text(f'{{"threshold": {text}}}')
    with pytest.raises(InputError, match="is not a finite number"):
        load_threshold(tmp_path)


@pytest.mark.parametrize("change", [
    {"seconds": None}, {"seconds": {}}, {"seconds": {"median": "1"}}, {"method": 5}, {"device": "tpu"}, {"run": 5},
    {"parameters": None}, {"parameters": "many"},
])  # fmt: skip
def test_a_damaged_benchmark_is_refused(change: dict, tmp_path: Path) -> None:
    record = {"method": "ssd", "run": None, "device": "cpu", "seconds": {"median": 1.0}, "parameters": 1,
              "multiply_adds": 1, "peak_memory": 1}  # fmt: skip
    (tmp_path / "b.json").write_text(json.dumps({"records": [record]}))
    assert read_benchmark(tmp_path / "b.json") == [record]
    (tmp_path / "b.json").write_text(json.dumps({"records": [record | change]}))
    with pytest.raises(InputError, match="no benchmark"):
        read_benchmark(tmp_path / "b.json")


@pytest.mark.parametrize("text", ["name: [a, b]\n", "name: ''\n", "- a\n", "name: 2024-01-01\n"])
def test_a_run_without_a_name_has_that_of_its_folder(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"ap50": 0.5}')
    (tmp_path / "config.yaml").write_text(text)
    assert compare_runs([tmp_path])[0]["run"] == tmp_path.name


@pytest.mark.parametrize("text", ["name: 2024-99-99\n", "[" * 1500, "\x00", "a: b: c\n"])
def test_an_unreadable_configuration_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"ap50": 0.5}')
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=r"config\.yaml: not readable as YAML"):
        compare_runs([tmp_path])
