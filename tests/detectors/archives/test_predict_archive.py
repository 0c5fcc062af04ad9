"""Prediction on archives: the model's own answers, once for every radiograph, whatever happens on the way."""

import csv
import errno
import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from archives import COUNT, PART, encoded, parts_of, predict, write_archive
from click.testing import CliRunner
from failures import check_one_line
from missing_packages import run_without

from data import files
from data.archives.archive import find_archive
from data.archives.parts import flat_boxes, flat_values, read_part
from data.archives.schema import DETECTIONS
from data.image_quality.limits import QualityLimits, write_limits
from data.locks import FolderLock
from data.radiograph import write_radiograph
from detectors.archives.folder import ArchiveFolder
from detectors.archives.job import Job, Unit
from detectors.archives.job import Result as UnitResult
from detectors.archives.predict import predict_archive
from detectors.archives.processes import Processes
from detectors.runtime.predictor import ExportedPredictor
from radiograph.cli import main
from tests.hostile.images import good_files
from tests.hostile.mutation import changed_bytes

ROOT = Path(__file__).parents[3]


def rows_of(out: Path) -> dict[str, tuple[int, int, np.ndarray, np.ndarray, np.ndarray]]:
    rows = {}
    for path in sorted((out / "detections").iterdir()):
        for batch in read_part(path, DETECTIONS):
            starts, boxes = flat_boxes(batch)
            values = [boxes, flat_values(batch, "scores"), flat_values(batch, "labels")]
            for k, row in enumerate(batch.select(["file", "width", "height"]).to_pylist()):
                assert row["file"] not in rows
                here = slice(starts[k], starts[k + 1])
                rows[row["file"]] = (row["width"], row["height"], *(v[here] for v in values))
    return rows


def test_rows_are_what_the_model_finds_by_descending_score(model: Path, radiographs: Path, whole: Path) -> None:
    predictor, rows = ExportedPredictor(model, threads=1), rows_of(whole)
    assert len(rows) == COUNT
    for name, (width, height, boxes, scores, labels) in rows.items():
        expected = predictor(radiographs / name)
        order = np.argsort(-expected["scores"], kind="stable")
        assert (width, height) == (48, 32)
        assert len(scores) > 0
        assert (np.diff(scores) <= 0).all()
        np.testing.assert_array_equal(boxes, expected["boxes"][order])
        np.testing.assert_array_equal(scores, expected["scores"][order])
        np.testing.assert_array_equal(labels, expected["labels"][order])


def test_the_manifest_counts_and_hashes_every_part(whole: Path) -> None:
    manifest = json.loads((whole / "manifest.json").read_text())
    assert (manifest["radiographs"], manifest["unreadable"], len(manifest["parts"])) == (COUNT, 0, 6)
    assert manifest["detections"] == sum(len(row[3]) for row in rows_of(whole).values())
    assert (whole / "detections.png").read_bytes()[:4] == b"\x89PNG"
    for part in manifest["parts"]:
        assert hashlib.sha256((whole / part["file"]).read_bytes()).hexdigest() == part["sha256"]


def test_coco_files_are_those_of_a_plain_prediction(model: Path, radiographs: Path, tmp_path: Path) -> None:
    assert predict(model, radiographs, tmp_path / "archive", "--coco", "--threshold", 0.3).exit_code == 0
    plain = ["predict", "--run", str(model), "--out", str(tmp_path / "plain"), str(radiographs), "--threshold", "0.3"]
    assert CliRunner().invoke(main, plain).exit_code == 0
    found = {}
    for kind in ("archive", "plain"):
        images = json.loads((tmp_path / kind / "images.json").read_text())
        names = {image["id"]: Path(image["file_name"]).name for image in images["images"]}
        results = json.loads((tmp_path / kind / "detections.json").read_text())
        by_name = sorted((names[r["image_id"]], -r["score"], r["bbox"], r["category_id"]) for r in results)
        found[kind] = (images["threshold"], images["categories"], sorted(names.values()), by_name)
    assert found["archive"][:3] == found["plain"][:3]
    assert [row[0] for row in found["archive"][3]] == [row[0] for row in found["plain"][3]]
    for one, other in zip(found["archive"][3], found["plain"][3], strict=True):
        np.testing.assert_allclose([one[1], *one[2]], [other[1], *other[2]], atol=2e-3)


def test_a_coco_archive_keeps_its_ids_and_refuses_other_sizes(model: Path, radiographs: Path, tmp_path: Path) -> None:
    images = [
        {"id": 40, "file_name": "b/0001.png", "width": 48, "height": 32},
        {"id": 7, "file_name": "a/0002.png", "width": 47, "height": 32},
        {"id": 9, "file_name": "a/0004.png", "width": 48, "height": 32},
    ]
    (tmp_path / "c.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    result = predict(model, tmp_path / "c.json", tmp_path / "out", "--coco", "--images", radiographs)
    assert result.exit_code == 0, result.output
    kept = json.loads((tmp_path / "out" / "images.json").read_text())["images"]
    assert [image["id"] for image in kept] == [40, 9]
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert {r["image_id"] for r in results} == {40, 9}
    assert "it is 48 x 32 pixels, but 47 x 32 by its record" in (tmp_path / "out" / "unreadable.csv").read_text()


@pytest.mark.parametrize("seed", range(4))
def test_missing_and_damaged_parts_alone_are_computed_again(
    seed: int, model: Path, radiographs: Path, whole: Path, tmp_path: Path
) -> None:
    """What kills leave: parts that are missing, half of a temporary file; and one that a disk has cut off."""
    rng, out = random.Random(seed), tmp_path / "out"
    shutil.copytree(whole, out)
    parts = sorted((out / "detections").iterdir())
    gone = rng.sample(parts, rng.randint(1, 4))
    for path in gone:
        path.unlink()
    torn = rng.choice([path for path in parts if path not in gone])
    torn.write_bytes(torn.read_bytes()[: rng.randint(0, 300)])
    gone[0].with_name(f".{gone[0].stem}-partial0.parquet").write_bytes(b"half")
    kept = {path: path.stat().st_mtime_ns for path in parts if path not in (*gone, torn)}
    if rng.random() < 0.5:
        (out / "manifest.json").unlink()
    job = Job(find_archive(str(radiographs)), model)
    with ArchiveFolder(out, job, PART) as folder:
        listed = {path.name: len(folder.unit(k).rows) for k, path in enumerate(parts)}
    summary = predict_archive(job, out, Processes(1), PART)
    assert summary.done_now == sum(listed[path.name] for path in (*gone, torn))
    assert parts_of(out) == parts_of(whole)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_interrupted_at_any_part_it_goes_on(
    model: Path, radiographs: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Processes.__call__
    left = [0]

    def interrupted(engine: Processes, job: Job, units: Iterator[Unit]) -> Iterator[UnitResult]:
        for number, result in enumerate(plain(engine, job, units)):
            if number == left[0]:
                raise KeyboardInterrupt
            yield result

    monkeypatch.setattr(Processes, "__call__", interrupted)
    said = []
    for stop in (0, 1, 3):
        left[0] = stop
        result = predict(model, radiographs, tmp_path / "out")
        assert result.exit_code == 130
        said.append(result.stderr)
        assert not (tmp_path / "out" / "manifest.json").exists()
    assert ["0 of 6 parts" in said[0], "1 of 6 parts" in said[1], "4 of 6 parts" in said[2]] == [True] * 3
    left[0] = 99
    assert predict(model, radiographs, tmp_path / "out").exit_code == 0
    assert parts_of(tmp_path / "out") == parts_of(whole)


def test_a_second_run_on_the_same_folder_is_refused(model: Path, radiographs: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    lock = FolderLock(tmp_path / "out")
    check_one_line(predict(model, radiographs, tmp_path / "out"), "another prediction is writing there")
    lock.release()
    assert [*(tmp_path / "out").iterdir()] == []


def test_other_settings_or_another_model_are_refused(
    model: Path, radiographs: Path, whole: Path, tmp_path: Path
) -> None:
    before = parts_of(whole)
    check_one_line(predict(model, radiographs, whole, "--window", "full"), "window None", "now it is full")
    check_one_line(predict(model, radiographs, whole, "--part-size", 5), "part size 4", "now it is 5")
    check_one_line(predict(model, radiographs / "a", whole), "archive", "choose another --out")
    other = tmp_path / "exported"
    other.mkdir()
    for file in model.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    sums = other / "SHA256SUMS"
    sums.write_text("".join(reversed(sums.read_text().splitlines(keepends=True))))
    check_one_line(predict(other, radiographs, whole), "model sha256")
    assert parts_of(whole) == before


def test_results_of_an_earlier_version_are_refused(model: Path, radiographs: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    settings = json.loads((out / "archive.json").read_text())
    (out / "archive.json").write_text(json.dumps(settings | {"version": 1}))
    check_one_line(predict(model, radiographs, out), "archive.json", "none of version 2", "choose another --out")
    assert parts_of(out) == parts_of(whole)


def test_broken_radiographs_are_listed_with_their_reason(model: Path, tmp_path: Path) -> None:
    """Of 300 radiographs three are hostile files; names that lead nowhere are listed, too."""
    archive, rng = tmp_path / "archive", np.random.default_rng(3)
    archive.mkdir()
    small = encoded(1, (14, 16))
    for k in range(297):
        (archive / f"good{k:03d}.png").write_bytes(small)
    for k, (suffix, content) in enumerate(good_files()[::11]):
        (archive / f"bad{k}.{suffix}").write_bytes(changed_bytes(content, rng, 12)[: len(content) // 2])
    result = predict(model, archive, tmp_path / "out", "--part-size", 50)
    assert result.exit_code == 0, result.output
    rows, lines = rows_of(tmp_path / "out"), (tmp_path / "out" / "unreadable.csv").read_text().splitlines()
    assert sorted(rows) == [f"good{k:03d}.png" for k in range(297)]
    assert len(lines) == 4
    assert all(line.startswith("bad") and len(line.split(",", 1)[1]) > 20 for line in lines[1:])


def test_warnings_are_those_of_a_plain_prediction(model: Path, tmp_path: Path) -> None:
    """Of six radiographs one uses a sliver of its 16 bits; one has more noise than the model was judged on."""
    judged, archive, rng = tmp_path / "model", tmp_path / "archive", np.random.default_rng(0)
    shutil.copytree(model, judged)
    write_limits(judged, QualityLimits(None, 0.002, 1.0, 3))
    flat = np.tile(np.linspace(0.2, 0.8, 160, dtype=np.float32), (120, 1))
    for k in range(6):
        noise = rng.normal(0, 0.02 if k == 4 else 0.0005, flat.shape).astype(np.float32)
        write_radiograph(archive / f"{k}.png", (flat + noise) * (0.01 if k == 1 else 1), 16)
    result = predict(judged, archive, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "2 warnings about gray values and image quality" in result.output
    with (tmp_path / "out" / "warnings.csv").open(newline="") as stream:
        (_, sliver), (_, noisy) = rows = [*csv.reader(stream)][1:]
    assert [name for name, _ in rows] == ["1.png", "4.png"]
    assert "% of the scale; the levels it uses counts" in sliver
    assert "noise 0.0" in noisy
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["warnings"], [part["warnings"] for part in manifest["parts"]]) == (2, [1, 1])
    plain = run_without([], "predict", "--run", str(judged), "--out", str(tmp_path / "plain"), str(archive))
    said = [line.replace(f"warning: {archive}/", "") for line in plain.stderr.splitlines()]
    assert said == [sliver, noisy]
    before = parts_of(tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()
    (tmp_path / "out" / "warnings.csv").unlink()
    assert predict(judged, archive, tmp_path / "out").exit_code == 0
    assert parts_of(tmp_path / "out") == before
    write_limits(judged, QualityLimits(None, 0.03, 1.0, 3))
    check_one_line(predict(judged, archive, tmp_path / "out"), "begun with image quality", "'noise': 0.002")


@pytest.mark.parametrize("failure", range(1, 10, 2))
def test_a_full_disk_leaves_whole_parts(
    failure: int, model: Path, radiographs: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = [0]
    flush = files._flush

    def full(path: Path) -> None:
        count[0] += 1
        if count[0] == 2 * failure:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        flush(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_flush", full)
        check_one_line(predict(model, radiographs, tmp_path / "out"), "No space left on device", "free some space")
    assert predict(model, radiographs, tmp_path / "out").exit_code == 0
    assert parts_of(tmp_path / "out") == parts_of(whole)


def test_an_archive_that_disappears_stops_the_run(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_archive(tmp_path / "archive", 9)
    plain = Processes.__call__

    def unplugged(engine: Processes, job: Job, units: Iterator[Unit]) -> Iterator[UnitResult]:
        for result in plain(engine, job, units):
            yield result
            if archive.exists():
                archive.rename(tmp_path / "away")

    monkeypatch.setattr(Processes, "__call__", unplugged)
    check_one_line(predict(model, archive, tmp_path / "out"), "archive", "no such folder; is its drive connected?")
    assert len([*(tmp_path / "out" / "detections").iterdir()]) == 1
    (tmp_path / "away").rename(archive)
    monkeypatch.undo()
    assert predict(model, archive, tmp_path / "out").exit_code == 0
    assert len(rows_of(tmp_path / "out")) == 9


def test_options_that_do_not_go_together_are_refused(model: Path, radiographs: Path, tmp_path: Path) -> None:
    check_one_line(predict(model, radiographs, tmp_path / "o", "--images", "x"), "is for a COCO file")
    check_one_line(predict(model, radiographs, tmp_path / "o", str(radiographs)), "2 were given")
    check_one_line(predict(model, radiographs, tmp_path / "o", "--normal", "n.json"), "--normal")


def test_an_archive_that_cannot_be_listed_leaves_the_folder_to_another(
    model: Path, radiographs: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    check_one_line(predict(model, tmp_path / "empty", tmp_path / "o"), "holds no radiographs")
    assert predict(model, radiographs, tmp_path / "o").exit_code == 0


@pytest.mark.parametrize(
    ("blocked", "arguments", "words"),
    [
        (["ray"], ["--cluster", "auto", "IN"], "the package ray"),
        (["ray", "pyarrow"], ["--archive", "IN"], "the package pyarrow"),
        (["ray", "fsspec"], ["s3://bucket/x"], "the package fsspec"),
        (["s3fs"], ["s3://bucket/x"], "python -m pip install s3fs"),
    ],
    ids=["ray", "pyarrow", "fsspec", "s3fs"],
)
def test_what_is_not_installed_is_named_in_one_line(
    blocked: list[str], arguments: list[str], words: str, model: Path, radiographs: Path, tmp_path: Path
) -> None:
    arguments = [argument.replace("IN", str(radiographs)) for argument in arguments]
    done = run_without(blocked, "predict", "--run", str(model), "--out", str(tmp_path / "o"), *arguments)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert words in line
    assert "pip install" in line
    assert not (tmp_path / "o").exists()


def test_small_predictions_need_none_of_it(model: Path, radiographs: Path, tmp_path: Path) -> None:
    arguments = ["predict", "--run", str(model), "--out", str(tmp_path / "o"), str(radiographs / "a")]
    done = run_without(["ray", "pyarrow", "fsspec"], *arguments)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o" / "overlays").is_dir()
