"""Atomic writes: the old file or the whole new one, and nothing left over."""

import fcntl
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from data.files import atomic_path, write_json, write_text


def in_child(work: object) -> int:
    """Start `work` in a child process and return its id."""
    child = os.fork()
    if not child:
        try:
            work()  # type: ignore[operator]
        finally:
            os._exit(0)
    return child


def half_written(path: Path) -> int:
    """Start a child that writes half a file and then waits; return its id."""

    def work() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            time.sleep(60)

    child = in_child(work)
    while not any(file.name.startswith(".") and file.stat().st_size for file in path.parent.iterdir()):
        time.sleep(0.001)
    return child


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_what_a_killed_process_left_goes_when_the_file_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    kill(half_written(path))
    assert len(os.listdir(tmp_path)) == 1  # the temporary file
    write_text(path, "whole")
    assert os.listdir(tmp_path) == ["a.png"]
    assert path.read_text() == "whole"


def test_two_who_write_one_file_do_not_take_each_others_half(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    first = half_written(path)
    with atomic_path(path) as temporary:
        temporary.write_text("mine")
        assert len(os.listdir(tmp_path)) == 2
        kill(first)
    assert path.read_text() == "mine"
    write_text(path, "again")
    assert os.listdir(tmp_path) == ["a.png"]


def test_the_second_of_two_killed_is_cleaned_up_as_well(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    first = half_written(path)
    second = half_written(path)
    while len(os.listdir(tmp_path)) < 2:
        time.sleep(0.001)
    kill(second)
    kill(first)
    write_text(path, "whole")
    assert os.listdir(tmp_path) == ["a.png"]


def test_many_threads_write_one_file(tmp_path: Path) -> None:
    path, texts = tmp_path / "a.txt", [str(n) * 5000 for n in range(8)]

    def work(text: str) -> None:
        for _ in range(40):
            write_text(path, text)

    threads = [threading.Thread(target=work, args=[text]) for text in texts]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if path.exists():
            assert path.read_text() in texts
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_link_under_the_name_of_the_temporary_file_is_not_written_through(tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "out"
    victim.write_text("precious")
    folder.mkdir()
    with atomic_path(folder / "a.txt") as temporary:
        name = temporary.name
    (folder / name).symlink_to(victim)
    write_text(folder / "a.txt", "x")
    assert victim.read_text() == "precious"
    assert not (folder / "a.txt").is_symlink()
    assert os.listdir(folder) == ["a.txt"]


def test_without_locks_files_are_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(fcntl, "flock", none)
    mask = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(mask)
    assert os.listdir(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_a_file_is_replaced_whole_and_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "old")
    os.link(path, tmp_path / "who reads it meanwhile")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent  # one file system, or the move would not be atomic
        assert temporary.suffix == ".txt"
        assert temporary.name.startswith(".")
    assert path.read_text() == "new"
    assert (tmp_path / "who reads it meanwhile").read_text() == "old"  # moved over the old one, not written into it
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("durable", [False, True])
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": [1.0] * 1000 + [float("nan")]})

    def interrupted() -> None:
        with atomic_path(path, durable) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_what_cannot_be_moved_into_place_is_removed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OSError, match=r"a\.txt"):
        write_text(tmp_path / "a.txt", "x")
    assert os.listdir(tmp_path) == ["a.txt"]


def test_files_have_the_usual_permissions(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(mask)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["x" * 251 + ".txt", "é" * 125 + ".txt", "ab" * 100 + "." + "s" * 54])
def test_the_longest_names_can_be_written(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "x")
    assert [file.name for file in tmp_path.iterdir()] == [name]
