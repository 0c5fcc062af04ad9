"""From files to verdicts: the command, its table and page, and bad input."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from data.radiograph import write_radiograph
from detectors.decisions.acceptance import read_predictions
from radiograph.commands.accept import main

RULES = "name: wheel\nunit: px\nrules:\n- {name: largest, measure: length, most: 10}\n"
BOXES = [(1, [4, 4, 8, 6], 0.9), (2, [4, 4, 12, 6], 0.9), (2, [40, 4, 30, 6], 0.2), (3, [4, 4, 40, 6], 0.3)]


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """What predict writes: three radiographs; one small indication, one too long, one that scores under 0.5."""
    folder = tmp_path / "predictions"
    images = []
    for number in (1, 2, 3):
        path = tmp_path / f"r{number}.png"
        write_radiograph(path, np.full((48, 80), 0.4 + number / 10), 8)
        images.append({"id": number, "file_name": str(path), "width": 80, "height": 48})
    results = [{"image_id": i, "category_id": 1, "bbox": box, "score": score} for i, box, score in BOXES]
    folder.mkdir()
    described = {"images": images, "categories": [{"id": 1, "name": "defect"}], "threshold": 0.5}
    (folder / "images.json").write_text(json.dumps(described))
    (folder / "detections.json").write_text(json.dumps(results))
    return folder


def run(predictions: Path, rules: str, *options: str) -> tuple[int, str, Path]:
    path, out = predictions.parent / "rules.yaml", predictions.parent / "out"
    path.write_text(rules)
    done = CliRunner().invoke(main, [str(predictions), "--rules", str(path), "--out", str(out), *options])
    return done.exit_code, done.output, out


def test_every_radiograph_gets_a_verdict_with_its_reason(predictions: Path) -> None:
    code, output, out = run(predictions, RULES)
    assert code == 0, output
    assert "2 accepted, 1 rejected, 0 to look at again" in output
    with (out / "acceptance.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["verdict"] for row in rows] == ["accept", "reject", "accept"]
    assert rows[1]["rule"] == "largest"
    assert (rows[1]["value"], rows[1]["limit"], rows[1]["indications"]) == ("12.0", "10.0", "1")
    record = json.loads((out / "acceptance.json").read_text())
    (finding,) = record["radiographs"][1]["findings"]
    assert finding["indications"] == [{"detection": 1, "bbox": [4, 4, 12, 6], "score": 0.9, "class": "defect"}]
    page = (out / "acceptance.html").read_text()
    assert page.count("<figure>") == 3
    assert "length 12 px; wanted at most 10 px" in page
    assert len(list((out / "pictures").glob("*.png"))) == 3


def test_scores_of_the_rules_replace_the_threshold(predictions: Path) -> None:
    code, output, _ = run(predictions, "scores: {look_again: 0.25, certain: 0.6}\n" + RULES)
    assert code == 0
    assert "1 accepted, 1 rejected, 1 to look at again" in output


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (RULES.replace("px", "mm"), "states no pixel size"),
        (RULES.replace("10}", "10, classes: [crack]}"), "no class 'crack'"),
        (RULES.replace("10}", "10, zones: [bore]}"), "no zones are given"),
        (RULES.replace("rules:", "rule:"), "unknown field 'rule'"),
        ("- a", "rules are a mapping"),
        ("a: [", "not readable as YAML"),
    ],
)
def test_bad_rules_end_in_one_line(predictions: Path, rules: str, words: str) -> None:
    code, output, out = run(predictions, rules)
    assert code == 2
    assert words in output
    assert output.startswith("error: ")
    assert output.count("\n") == 1
    assert not out.exists()


def test_pixel_sizes_that_disagree(predictions: Path) -> None:
    described = json.loads((predictions / "images.json").read_text())
    for image in described["images"]:
        image["pixel_size_mm"] = 0.2
    (predictions / "images.json").write_text(json.dumps(described))
    millimeters = RULES.replace("px", "mm").replace("10}", "2.4}")
    assert "3 accepted" in run(predictions, millimeters)[1]
    assert "2 accepted, 1 rejected" in run(predictions, millimeters.replace("2.4}", "2.3}"))[1]
    code, output, _ = run(predictions, "pixel_size_mm: 0.1\n" + millimeters)
    assert code == 2
    assert "pixels of 0.2 mm, the rules say 0.1" in output


def test_predictions_that_are_none(predictions: Path) -> None:
    code, output, _ = run(predictions.parent, RULES)
    assert (code, "detections.json: no such file" in output) == (2, True)
    (predictions / "images.json").unlink()
    code, output, _ = run(predictions, RULES)
    assert (code, "neither images.json nor ground_truth.json" in output) == (2, True)


def test_a_result_of_an_unknown_image_is_named(predictions: Path) -> None:
    (predictions / "detections.json").write_text('[{"image_id": 9, "category_id": 1, "bbox": [0,0,1,1], "score": 1}]')
    code, output, _ = run(predictions, RULES)
    assert (code, "image_id 9" in output) == (2, True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"categories": [{"id": 1}]}, "not a category with id and name"),
        ({"categories": None}, "lacks categories"),
        ({"images": [{"id": "1", "file_name": "a.png"}]}, "not an image with id and file_name"),
        ({"images": [{"id": 1, "file_name": "a.png", "pixel_size_mm": -1}]}, "not a positive number"),
    ],
)
def test_faulty_descriptions_are_named(predictions: Path, change: dict, words: str) -> None:
    described = json.loads((predictions / "images.json").read_text())
    (predictions / "images.json").write_text(json.dumps({**described, **change}))
    code, output, _ = run(predictions, RULES)
    assert (code, words in output, output.count("\n")) == (2, True, 1)


def test_without_a_threshold_one_is_asked_for(predictions: Path) -> None:
    described = json.loads((predictions / "images.json").read_text())
    del described["threshold"]
    (predictions / "images.json").write_text(json.dumps(described))
    code, output, _ = run(predictions, RULES)
    assert (code, "give 'scores'" in output) == (2, True)
    assert read_predictions(predictions / "detections.json").threshold is None


def test_the_template_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    assert CliRunner().invoke(main, ["--template", str(path)]).exit_code == 0
    assert "unit: mm" in path.read_text()
    again = CliRunner().invoke(main, ["--template", str(path)])
    assert again.exit_code == 2
    assert "exists" in again.output
