"""Folder trees of any size: in order, each file once."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from data.file_tree import files_in, sorted_strings


@given(strings=st.lists(st.text(max_size=4), max_size=30), held=st.integers(1, 8))
def test_strings_are_sorted_through_files_as_in_memory(strings: list[str], held: int) -> None:
    assert [*sorted_strings(strings, held)] == sorted(strings)


def test_names_of_any_bytes_survive_the_files(tmp_path: Path) -> None:
    odd = ["b\udcff", "a\nb", "\\", "é"]
    assert [*sorted_strings(odd, 2)] == sorted(odd)


def test_files_come_folder_by_folder_and_behind_links_last(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.png", "a/3.png", "z.png", ".hidden/x.png", "b/.y.png"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "o.png").touch()
    tree = tmp_path / "tree"
    (tree / "a" / "elsewhere").symlink_to(tmp_path / "other")
    (tree / "again").symlink_to(tree / "b")
    (tree / "circle").symlink_to(tree)
    (tree / "nowhere").symlink_to(tmp_path / "none")
    (tree / "loop").symlink_to(tree / "loop")
    found = [file.relative_to(tree).as_posix() for file in files_in(tree)]
    assert found == ["z.png", "a/3.png", "b/1.png", "b/2.png", "a/elsewhere/o.png"]
