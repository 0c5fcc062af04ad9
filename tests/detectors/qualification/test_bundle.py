"""A frozen run holds as long as nothing changes, and whatever changes is named."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import detectors.qualification.verify as verification
from data.errors import InputError
from data.radiograph import read_radiograph, write_radiograph
from data.synthesis.phantom import make_phantom
from detectors.qualification.bundle import freeze, hashes, read_bundle
from detectors.qualification.overrides import append_override, check_log, override_rows
from detectors.qualification.verify import compare, verify
from radiograph.cli import main

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frozen")
    for index in range(2):
        phantom = make_phantom("castings", 3, index, style="easy", size=(192, 160))
        write_radiograph(folder / "in" / f"{index}.png", phantom.pixels)
    freeze(Path("casting"), folder / "bundle", [folder / "in"])
    return folder / "bundle"


@pytest.fixture
def bundle(frozen: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(frozen, tmp_path / "bundle"))


def test_a_bundle_holds(bundle: Path) -> None:
    found = verify(bundle, seal=read_bundle(bundle).seal)
    assert found.holds, found.differences
    assert found.references == 2
    assert sum(len(one["detections"]) for one in read_bundle(bundle).record["references"]) > 0


@pytest.mark.parametrize("name", ["casting.safetensors", "casting.json", "image_quality.json", "bundle.json"])
def test_a_changed_file_is_named(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[-3] ^= 1
    (bundle / name).write_bytes(bytes(content))
    if name == "bundle.json":
        with pytest.raises(InputError, match=r"bundle\.json"):
            verify(bundle)
    else:
        assert any(line.startswith(f"{name}: is not the file") for line in verify(bundle).differences)


def test_one_flipped_pixel_of_a_reference_is_named(bundle: Path) -> None:
    file = bundle / "references" / "001_0.png"
    pixels = read_radiograph(file).pixels.copy()
    pixels[5, 5] = 1 - pixels[5, 5]
    write_radiograph(file, pixels)
    assert verify(bundle).differences == ["references/001_0.png: is not the file that was frozen (its SHA-256 differs)"]


def test_a_threshold_changed_with_all_hashes_is_named(bundle: Path) -> None:
    """Somebody who makes the hashes fit again still has another threshold than the one qualified."""
    card = json.loads((bundle / "casting.json").read_text())
    card["threshold"] = 0.9
    (bundle / "casting.json").write_text(json.dumps(card))
    record = json.loads((bundle / "bundle.json").read_text())
    record["files"] = {name: digest for name, digest in hashes(bundle).items() if name != "bundle.json"}
    (bundle / "bundle.json").write_text(json.dumps(record))
    seal = read_bundle(bundle).seal
    (bundle / "SHA256SUMS.bundle").write_text("".join(f"{d}  {n}\n" for n, d in hashes(bundle).items()))
    assert any(line.startswith("threshold: the model reports from 0.9") for line in verify(bundle).differences)
    other = "0" * 64
    assert any(other in line for line in verify(bundle, seal=other).differences)
    assert seal != other


def test_a_library_counts_only_where_it_changes_an_answer(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = verification.library_versions()
    monkeypatch.setattr(verification, "library_versions", lambda: {**versions, "numpy": "0.1"})
    found = verify(bundle)
    assert found.holds
    assert found.notes == [f"numpy is 0.1, and was {versions['numpy']}"]
    monkeypatch.setattr(verification, "answer", lambda *_: [])
    lines = verify(bundle).differences
    assert any("is not found any more" in line for line in lines)
    assert f"perhaps because numpy is 0.1, and was {versions['numpy']}" in lines


def test_answers_are_compared_by_place_label_and_score() -> None:
    one = {"box": [10.0, 10, 40, 40], "score": 0.8, "label": 1}
    assert compare([one], [{**one, "score": 0.8005}], 0.5) == []
    assert compare([one], [{**one, "score": 0.9}], 0.5) == [
        "the detection at 10, 10, 40, 40 has score 0.9000, not 0.8000"
    ]
    assert len(compare([one], [{**one, "label": 2}], 0.5)) == 2
    assert len(compare([one], [{**one, "box": [12.0, 10, 42, 40]}], 0.5)) == 2
    assert compare([], [{**one, "score": 0.4}], 0.5) == []


def test_missing_files_and_other_folders_are_bad_input(bundle: Path, tmp_path: Path) -> None:
    (bundle / "casting.json").unlink()
    result = CliRunner().invoke(main, ["verify", str(bundle)])
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "casting.json: is missing from the bundle" in result.stderr
    with pytest.raises(InputError, match="give a folder that radiograph freeze wrote"):
        verify(tmp_path)
    with pytest.raises(InputError, match="holds something already"):
        freeze(Path("casting"), bundle, [tmp_path])
    with pytest.raises(InputError, match="give --reference"):
        freeze(Path("casting"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_command_says_one_line_and_an_exit_code(bundle: Path) -> None:
    result = CliRunner().invoke(main, ["verify", str(bundle)])
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 1)
    (bundle / "extra.txt").write_text("x")
    result = CliRunner().invoke(main, ["verify", str(bundle)])
    assert (result.exit_code, len(result.stdout.splitlines())) == (1, 1)
    assert "DIFFERS: extra.txt: was not there" in result.stdout


def log_of(bundle: Path, lines: int) -> Path:
    for number in range(lines):
        append_override(bundle, Path(f"{number}.png"), "accept", "reject", "A. B.", "a crack", WHEN)
    return bundle / "overrides" / "log.jsonl"


@pytest.mark.parametrize("removed", range(4))
def test_no_line_of_the_log_can_be_removed_unseen(bundle: Path, removed: int) -> None:
    log = log_of(bundle, 4)
    seal = read_bundle(bundle).seal
    assert check_log(bundle, seal).issues == []
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(line for number, line in enumerate(lines) if number != removed))
    assert check_log(bundle, seal).issues


def test_tails_heads_and_words_cannot_be_changed_unseen(bundle: Path) -> None:
    log = log_of(bundle, 3)
    seal, text, head = read_bundle(bundle).seal, log.read_text(), log.with_name("head.json")
    log.write_text("".join(text.splitlines(keepends=True)[:1]))
    assert "lines were removed" in check_log(bundle, seal).issues[0]
    log.write_text(text.replace("a crack", "a scale", 1))
    assert check_log(bundle, seal).issues == ["overrides: line 1 was changed: its hash differs"]
    log.write_text(text)
    kept = head.read_text()
    head.unlink()
    assert "head.json is missing" in check_log(bundle, seal).issues[0]
    log.unlink()
    head.write_text(kept)
    assert check_log(bundle, seal).issues
    log.write_text(text)
    assert check_log(bundle, "another bundle").issues


def test_both_files_rewritten_are_seen_by_a_head_that_was_noted(bundle: Path) -> None:
    log = log_of(bundle, 3)
    noted = check_log(bundle, read_bundle(bundle).seal).head
    lines = log.read_text().splitlines(keepends=True)[:2]
    log.write_text("".join(lines))
    last = json.loads(lines[-1])
    log.with_name("head.json").write_text(json.dumps({"lines": 2, "hash": last["hash"]}))
    seal = read_bundle(bundle).seal
    assert check_log(bundle, seal).issues == []  # the bundle alone cannot see it
    assert noted not in check_log(bundle, seal).hashes


def test_an_interrupted_append_is_healed_by_the_next(bundle: Path) -> None:
    log = log_of(bundle, 1)
    head = log.with_name("head.json").read_text()
    log_of(bundle, 1)
    log.with_name("head.json").write_text(head)  # as if killed between the two files
    log_of(bundle, 1)
    found = check_log(bundle, read_bundle(bundle).seal)
    assert (len(found.entries), found.issues) == (3, [])


def test_nothing_is_appended_to_a_log_that_is_not_whole(bundle: Path) -> None:
    log = log_of(bundle, 2)
    log.write_text(log.read_text().splitlines(keepends=True)[1])
    before = log.read_bytes()
    with pytest.raises(InputError, match="not whole"):
        log_of(bundle, 1)
    assert log.read_bytes() == before
    with pytest.raises(InputError, match="--reason must have"):
        append_override(bundle, Path("x.png"), "accept", "reject", "A. B.", " ", WHEN)


def test_answers_do_not_depend_on_faint_detections() -> None:
    rng = np.random.default_rng(0)
    faint = [{"box": rng.uniform(0, 9, 4).tolist(), "score": 0.3, "label": 1} for _ in range(5)]
    assert compare(faint, [], 0.5) == []


def test_a_report_reads_the_log(bundle: Path) -> None:
    log_of(bundle, 2)
    rows = list(override_rows(bundle))
    assert [row["number"] for row in rows] == ["1", "2"]
    assert rows[0]["reason"] == "a crack"
    assert list(override_rows(bundle.parent)) == []


def test_rules_that_cannot_be_applied_are_not_frozen(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("unit: px\nrules: [{name: one, measure: length, least: 3}]\n")
    with pytest.raises(InputError, match=r"rules\.yaml.*takes 'most' and not 'least'"):
        freeze(Path("casting"), tmp_path / "bundle", [tmp_path], rules=tmp_path / "rules.yaml")
    assert not (tmp_path / "bundle").exists()
