"""Folders of data sets: who may write to them, and what a killed process leaves."""

import json
import multiprocessing
from pathlib import Path

import pytest

from data.errors import InputError
from data.synthesis.output_folder import claimed
from data.synthesis.phantom_set import write_phantoms


def claim(out: Path, parameters: dict, **options) -> bool:
    with claimed(out, "marker.json", parameters, **options) as begun:
        return begun


def test_a_new_folder_is_marked_and_known_again(tmp_path: Path) -> None:
    assert not claim(tmp_path / "deep/set", {"n": 1, "size": (2, 3)})
    assert json.loads((tmp_path / "deep/set/marker.json").read_text()) == {"n": 1, "size": [2, 3]}
    assert claim(tmp_path / "deep/set", {"n": 1, "size": (2, 3)})
    with pytest.raises(InputError, match="other arguments"):
        claim(tmp_path / "deep/set", {"n": 2, "size": (2, 3)})


def test_recorded_parameters_of_an_earlier_version_are_brought_up_to_date(tmp_path: Path) -> None:
    claim(tmp_path, {"style": "plain"})
    assert claim(tmp_path, {"style": "easy"}, present=lambda recorded: recorded | {"style": "easy"})


def test_a_folder_killed_at_its_first_write_can_be_claimed_and_holds_no_leftovers(tmp_path: Path) -> None:
    (tmp_path / ".marker-ab_d3fgh.json").write_text('{"n"')
    assert not claim(tmp_path, {"n": 1})
    assert [file.name for file in tmp_path.iterdir()] == ["marker.json"]


@pytest.mark.parametrize("name", ["mine.txt", ".hidden", ".other-ab_d3fgh.json", ".marker-ab.json"])
def test_files_of_others_are_never_taken_for_leftovers(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("keep me")
    with pytest.raises(InputError, match="something else"):
        claim(tmp_path, {"n": 1})
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(name, "keep me")]


def test_temporary_files_of_a_killed_process_are_removed_from_a_set_that_goes_on(tmp_path: Path) -> None:
    claim(tmp_path, {"n": 1})
    for name in ("deep/.C0101_0001-ab_d3fgh.png", ".annotations-abcdefgh.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("half")
    (tmp_path / "deep/.keep").write_text("not ours")
    assert claim(tmp_path, {"n": 1})
    assert sorted(file.name for file in tmp_path.rglob("*") if file.is_file()) == [".keep", "marker.json"]


@pytest.mark.parametrize("text", ["garbage", "", "[1]", "3", "[" * 3000, "\ufeff{}"])
def test_a_broken_marker_is_refused_in_words(tmp_path: Path, text: str) -> None:
    (tmp_path / "phantoms.json").write_text(text)
    with pytest.raises(InputError, match=r"phantoms\.json: .*delete the folder"):
        write_phantoms("castings", 1, tmp_path, 0)
    assert (tmp_path / "phantoms.json").read_text() == text


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("x")
    with pytest.raises(InputError, match="a file is in the way"):
        claim(tmp_path / "set", {})


def _hold(out: Path, held, go) -> None:
    with claimed(out, "marker.json", {"n": 1}):
        held.set()
        go.wait(20)
        (out / "whole").write_text("x")


@pytest.mark.slow
def test_a_second_process_waits_until_the_first_has_written(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, go = context.Event(), context.Event()
    first = context.Process(target=_hold, args=(tmp_path, held, go))
    first.start()
    assert held.wait(60)
    go.set()
    with claimed(tmp_path, "marker.json", {"n": 1}) as begun:
        assert begun
        assert (tmp_path / "whole").is_file()
    first.join()
