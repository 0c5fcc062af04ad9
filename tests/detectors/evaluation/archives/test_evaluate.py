"""Archives are evaluated as the same numbers in memory are, to the last digit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pyarrow")

from data.archives.parts import box_rows, part_path, write_part
from data.archives.schema import DETECTIONS
from data.archives.truth import write_classes, write_truth
from data.coco import CocoDataset, write_coco
from data.errors import InputError
from detectors.evaluation.archives import evaluate, spread
from detectors.evaluation.archives.evaluate import evaluate_archive
from detectors.evaluation.archives.match import unite
from detectors.evaluation.metrics import compute_metrics
from radiograph.cli import main


def random_archive(
    seed: int, images: int, classes: int = 2
) -> tuple[CocoDataset, list[dict[str, Any]], list[dict[str, Any]]]:
    """Return truth, COCO results and the same as rows of parts: few score levels, so ties; crowds; shifted boxes."""
    rng = np.random.default_rng(seed)
    records = [{"id": int(k), "file_name": f"{rng.integers(1000)}/{k}.png", "width": 64, "height": 64}
               for k in rng.permutation(images) + 1]  # fmt: skip
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    rows = []
    for record in records:
        corners = rng.integers(0, 40, (rng.integers(0, 4), 2)) / 2
        sides = rng.integers(2, 40, corners.shape) / 2
        for box in np.hstack([corners, sides]):
            annotations.append({"id": len(annotations) + 1, "image_id": record["id"], "bbox": box.tolist(),
                                "category_id": int(rng.integers(classes)) * 3 + 5, "area": float(box[2] * box[3]),
                                "iscrowd": int(rng.random() < 0.2)})  # fmt: skip
        near = np.hstack([corners, corners + sides]) + rng.integers(-4, 5, (len(corners), 4)) / 4
        anywhere = np.sort(rng.integers(0, 80, (rng.integers(0, 4), 2, 2)) / 2, axis=1).reshape(-1, 4)
        found = np.vstack([near, anywhere])
        found[:, 2:] = np.maximum(found[:, :2], found[:, 2:])
        scores = np.sort(np.float32(rng.integers(1, 6, len(found)) / 7))[::-1]
        labels = rng.integers(1, classes + 1, len(found))
        rows.append({"file": record["file_name"], "width": 64, "height": 64, "boxes": found, "scores": scores,
                     "labels": labels})  # fmt: skip
        results += [
            {"image_id": record["id"], "category_id": int(label) * 3 + 2, "score": float(score),
             "bbox": [float(v) for v in (*box[:2], *(box[2:] - box[:2]))]}
            for box, score, label in zip(found, scores, labels, strict=True)
        ]  # fmt: skip
    categories = [{"id": 3 * k + 5, "name": f"kind {k}"} for k in range(classes)]
    return CocoDataset(records, annotations, categories), results, rows


def write_rows(folder: Path, rows: list[dict[str, Any]], each: int = 3) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, len(rows), each)):
        write_part(part_path(folder, number), box_rows(DETECTIONS, rows[start : start + each]))
    return folder


@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 15), classes=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_metrics_are_those_of_the_evaluation_in_memory(
    tmp_path_factory: pytest.TempPathFactory, seed: int, images: int, classes: int
) -> None:
    folder = tmp_path_factory.mktemp("archive")
    dataset, results, rows = random_archive(seed, images, classes)
    # Neither side comes in the order of the other.
    np.random.default_rng(seed).shuffle(rows)
    write_truth(dataset, folder / "truth", rows=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spread, "GROUP_BYTES", 4000)
        patch.setattr(spread, "BUCKET_BYTES", 3000)
        patch.setattr(evaluate, "_draw", lambda *_: None)
        found = evaluate_archive(write_rows(folder / "found", rows), folder / "truth", folder / "out", workers=1)
    assert found == compute_metrics(dataset, results)


def test_command_evaluates_against_a_coco_file_with_two_processes_and_reads_what_is_done(tmp_path: Path) -> None:
    dataset, results, rows = random_archive(5, 12)
    write_coco(tmp_path / "truth.json", dataset)
    arguments = ["evaluate-archive", str(write_rows(tmp_path / "found", rows)), str(tmp_path / "truth.json"),
                 "--out", str(tmp_path / "out"), "--workers", "2"]  # fmt: skip
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    found = evaluate_archive(tmp_path / "found", tmp_path / "truth.json", tmp_path / "out")
    assert found == compute_metrics(dataset, results)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "archive_evaluation.json", "metrics.json", "plots"
    ]  # fmt: skip


def test_radiographs_of_one_side_are_an_error_or_left_out(tmp_path: Path) -> None:
    dataset, results, rows = random_archive(1, 10)
    write_truth(dataset.subset([image["id"] for image in dataset.images[:8]]), tmp_path / "truth")
    write_rows(tmp_path / "found", rows[2:])
    with pytest.raises(InputError) as error:
        evaluate_archive(tmp_path / "found", tmp_path / "truth", tmp_path / "out", workers=1)
    lost, extra = (min(image["file_name"] for image in part) for part in (dataset.images[:2], dataset.images[8:]))
    assert str(error.value) == (
        f"radiographs that only one side has: 2 with detections but no ground truth (the first is {extra}), 2 with "
        f"ground truth but no detections (the first is {lost}); complete the parts, or evaluate those that both have "
        "with --common"
    )
    ids = [image["id"] for image in dataset.images[2:8]]
    found = evaluate_archive(tmp_path / "found", tmp_path / "truth", tmp_path / "common", workers=1, common=True)
    assert found == compute_metrics(dataset.subset(ids), [r for r in results if r["image_id"] in ids])


def test_an_interrupted_evaluation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, results, rows = random_archive(2, 12)
    write_truth(dataset, tmp_path / "truth", rows=4)
    write_rows(tmp_path / "found", rows)
    monkeypatch.setattr(spread, "BUCKET_BYTES", 2000)
    matched = []

    def stop_at_third(bucket: evaluate.Bucket) -> Path:
        if len(matched) == 2:
            raise KeyboardInterrupt
        matched.append(bucket.number)
        return match_bucket(bucket)

    match_bucket = evaluate.match_bucket
    monkeypatch.setattr(evaluate, "match_bucket", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        evaluate_archive(tmp_path / "found", tmp_path / "truth", tmp_path / "out", workers=1)
    monkeypatch.setattr(evaluate, "match_bucket", match_bucket)
    kept = tmp_path / "out" / "work" / "matches-000001.arrow"
    before = kept.stat().st_ino
    seen = []
    monkeypatch.setattr(evaluate, "unite", lambda files: (seen.append(files[1].stat().st_ino), unite(files))[1])
    assert evaluate_archive(tmp_path / "found", tmp_path / "truth", tmp_path / "out", workers=1) == compute_metrics(
        dataset, results
    )
    assert seen == [before]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"boxes": np.array([[1, 1, 0, 4.0]])}, "box [1.0, 1.0, 0.0, 4.0], label 1, score 0.5: give finite x1 <= x2"),
        ({"scores": [np.nan]}, "score nan"),
        ({"labels": [0]}, "label 0, score 0.5"),
        ({"labels": [1, 1]}, "0.png has 1 boxes and 2 labels"),
        ({"labels": [3]}, "label 3 is none of the classes pore"),
    ],
)
def test_faulty_rows_are_named(tmp_path: Path, fault: dict[str, Any], message: str) -> None:
    image = {"id": 1, "file_name": "0.png", "width": 64, "height": 64}
    write_truth(CocoDataset([image], [], [{"id": 1, "name": "pore"}]), tmp_path / "truth")
    row = {"file": "0.png", "width": 64, "height": 64, "boxes": np.array([[1, 1, 3, 4.0]]), "scores": [0.5],
           "labels": [1]}  # fmt: skip
    if len(fault.get("labels", [])) == 2:
        import pyarrow as pa

        batch = box_rows(DETECTIONS, [row])
        longer = pa.array([[1, 1]], DETECTIONS.field("labels").type)
        write_part(part_path(tmp_path / "found", 0), batch.set_column(5, DETECTIONS.field("labels"), longer))
    else:
        write_rows(tmp_path / "found", [row | fault])
    with pytest.raises(InputError, match=r".") as error:
        evaluate_archive(tmp_path / "found", tmp_path / "truth", tmp_path / "out", workers=1)
    assert message in str(error.value)


def test_a_radiograph_twice_and_other_classes_are_refused(tmp_path: Path) -> None:
    dataset, _, rows = random_archive(3, 4)
    write_truth(dataset, tmp_path / "truth")
    write_rows(tmp_path / "found", [*rows, rows[0]])
    with pytest.raises(InputError, match=f"{rows[0]['file']}: is there twice in the parts of the detections"):
        evaluate_archive(tmp_path / "found", tmp_path / "truth", tmp_path / "out", workers=1)
    # The classes of a prediction stand in its manifest.
    write_rows(tmp_path / "run" / "detections", rows)
    categories = [{"id": 5, "name": "kind 0"}, {"id": 8, "name": "crack"}]
    (tmp_path / "run" / "manifest.json").write_text(json.dumps({"categories": categories}))
    with pytest.raises(InputError, match="the detector's classes are kind 0, crack, those of"):
        evaluate_archive(tmp_path / "run", tmp_path / "truth", tmp_path / "other", workers=1)
    write_classes(tmp_path / "found", ["kind 1", "kind 0"])
    with pytest.raises(InputError, match="the detector's classes are kind 1, kind 0"):
        evaluate_archive(tmp_path / "found", tmp_path / "truth", tmp_path / "out", workers=1)
    dataset.images[0]["file_name"] = dataset.images[1]["file_name"]
    with pytest.raises(InputError, match="detections are joined to them by name"):
        write_truth(dataset, tmp_path / "again")
