"""What a prediction writes is there as a whole or not at all, and never under the name of another radiograph."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data.errors import InputError
from data.locks import FolderLock
from detectors.runs.output_folder import picture_names, staged_folder


def write(out: Path, *names: str) -> None:
    with staged_folder(out, last="z.json") as staged:
        for name in names:
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).write_text(f"new {name}")


@pytest.mark.parametrize("name", ["{k}/film.png", "film_{k}.png"])
def test_names_for_many_radiographs_take_no_time(name: str) -> None:
    seconds = []
    for count in (1000, 8000):
        files = [Path("/data") / name.format(k=k) for k in range(count)]
        times = []
        for _ in range(3):  # the least: garbage of earlier tests may be collected in one of them
            start = time.process_time()
            names = picture_names(files)
            times.append(time.process_time() - start)
        seconds.append(min(times))
        assert len(set(names)) == count
    assert seconds[1] < 24 * seconds[0] + 0.5  # 64 times, were it quadratic


def test_files_come_together_and_others_stay(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    write(out, "z.json", "pictures/a.png")
    assert out.stat().st_mode & 0o777 == 0o777 & ~_umask()
    (out / "mine.txt").write_text("mine")
    write(out, "z.json", "pictures/b.png")
    assert {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()} == {
        "z.json", "pictures/a.png", "pictures/b.png", "mine.txt",
    }  # fmt: skip
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "z.json")
    with pytest.raises(IsADirectoryError):
        write(out, "z.json", "file/a", "file")
    assert (out / "z.json").read_text() == "new z.json"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_last_file_goes_first_and_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    write(out, "z.json", "a.png")
    moved: list[str] = []
    replace = os.replace

    def dies(source: Path, target: Path) -> None:
        assert not (out / "z.json").exists()
        moved.append(Path(target).name)
        if len(moved) == 2:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        write(out, "z.json", "a.png", "zz.png")
    assert moved == ["a.png", "zz.png"]
    assert not (out / "z.json").exists()


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    code = (
        "import os, pathlib; from detectors.runs.output_folder import staged_folder\n"
        f"with staged_folder(pathlib.Path({str(tmp_path / 'out')!r}), 'z.json') as staged:\n"
        "    (staged / 'a.png').write_text('torn'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    old = time.time() - 60
    held = tmp_path / ".out-radiograph-held0000"
    foreign = [tmp_path / name for name in (".out-mine", ".other-radiograph-abcdefgh", ".out-radiograph-ab")]
    for folder in (held, *foreign):
        folder.mkdir()
    for folder in (left, held, *foreign):
        os.utime(folder, (old, old))
    lock = FolderLock(held)
    write(tmp_path / "out", "z.json")
    lock.release()
    assert {path.name for path in tmp_path.iterdir()} == {"out", held.name, *(path.name for path in foreign)}


def test_an_output_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        write(tmp_path / "out", "z.json")
    assert (tmp_path / "out").read_text() == "mine"


def test_pictures_have_names_of_their_own() -> None:
    files = [
        Path(name) for name in ("in/x/a.png", "in/y/a.png", "in/y/a.tif", "in/b.png", "in/y/x_a.png", "in/x_a.png.png")
    ]
    names = picture_names(files)
    assert names[:4] == ["x_a.png.png", "y_a.png.png", "y_a.tif.png", "b.png"]
    assert len(set(names)) == len(files)
    assert all("/" not in name for name in names)
    assert picture_names([Path("a.png"), Path("a.png")]) == ["a.png.png", "a.png_2.png"]


def test_many_radiographs_are_named_at_once() -> None:
    files = [Path(f"in/{k % 2}/{k // 2}.png") for k in range(20_000)]
    start = time.process_time()
    assert len(set(picture_names(files))) == len(files)
    assert time.process_time() - start < 3  # counting each name among all took minutes


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
