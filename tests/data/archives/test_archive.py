"""What an archive is and what it holds: folders, lists, COCO files, stores and shards."""

import json
from pathlib import Path
from typing import Any

import fsspec
import imagecodecs
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.archives import coco_stream
from data.archives.archive import find_archive, is_archive, list_archive
from data.archives.coco_stream import stream_records
from data.archives.parts import write_part
from data.archives.schema import RADIOGRAPHS
from data.errors import InputError
from data.held_file import HeldFile
from data.radiograph import radiograph_size, read_radiograph
from tests.hostile.images import good_files
from tests.hostile.mutation import changed_bytes

PNG = bytes(imagecodecs.png_encode(np.arange(12, dtype=np.uint8).reshape(3, 4)))


def names_of(text: str | Path, images: str | None = None) -> list[str]:
    return [row["file"] for row in list_archive(find_archive(str(text), images))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/1.png", "a.png", "b/deep/2.png", "notes.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(PNG)
    return tmp_path


def test_a_folder_is_listed_in_order(folder: Path) -> None:
    assert names_of(folder) == ["a.png", "b/1.png", "b/deep/2.png"]
    assert not is_archive(str(folder))


def test_a_list_is_sorted_and_each_line_counts_once(folder: Path) -> None:
    (folder / "list.txt").write_text("b/1.png\r\n\na.png\nb/1.png\n/abs/c.png\n")
    assert names_of(folder / "list.txt") == ["/abs/c.png", "a.png", "b/1.png"]
    assert is_archive(str(folder / "list.txt"))


def test_a_name_that_is_no_unicode_is_a_fault_and_no_stop(folder: Path) -> None:
    (folder / "list.txt").write_bytes(b"a.png\nb\xff.png\n")
    rows = [*list_archive(find_archive(str(folder / "list.txt")))]
    assert [(row["file"], row.get("fault")) for row in rows] == [
        ("a.png", None),
        ("b\\xff.png", "its name is not Unicode; rename it"),
    ]


def test_a_coco_file_gives_sizes_and_ids_and_no_name_leads_out(folder: Path) -> None:
    images = [
        {"id": 7, "file_name": "b/1.png", "width": 4, "height": 3},
        {"id": 3, "file_name": "../secret.png", "width": 4, "height": 3},
    ]
    (folder / "c.json").write_text(json.dumps({"annotations": [{"id": 1}], "images": images, "categories": []}))
    rows = [*list_archive(find_archive(str(folder / "c.json")))]
    assert {k: rows[0].get(k) for k in ("file", "width", "height", "image_id", "fault")} == {
        "file": "b/1.png", "width": 4, "height": 3, "image_id": 7, "fault": None,
    }  # fmt: skip
    assert "leads out of the folder" in rows[1]["fault"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"annotations": []}', "no list 'images'"),
        ('{"images": []}', "'images' is empty"),
        ('{"images": [{"id": 1, "file_name": "a.png"}]}', "image 1"),
        ('{"images": [{"id": 1, ', "not a COCO file"),
        ("[1, 2]", "not a COCO file"),
        ('{"images": [4]}', "which is no record"),
    ],
)
def test_a_coco_file_that_is_none_is_refused(content: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(InputError, match=problem):
        names_of(tmp_path / "c.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    before=st.dictionaries(st.text(max_size=3), JSON, max_size=3),
    records=st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=3), max_size=5),
    indent=st.sampled_from([None, 2]),
    chunk=st.integers(1, 20),
)
def test_a_list_is_streamed_as_json_reads_it(
    tmp_path_factory: pytest.TempPathFactory,
    before: dict[str, Any],
    records: list[dict[str, Any]],
    indent: int | None,
    chunk: int,
) -> None:
    path = tmp_path_factory.mktemp("coco") / "c.json"
    path.write_text(json.dumps({**before, "images": records, "z": 1}, indent=indent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coco_stream, "CHUNK", chunk)
        assert [*stream_records(path, "images")] == records


@pytest.mark.parametrize("chunk", range(1, 12))
def test_a_number_is_not_cut_where_a_chunk_ends(chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.json").write_text('{"a": 12.5e-3, "b": [1.25, -3E+2], "images": [{"id": 1}]}')
    monkeypatch.setattr(coco_stream, "CHUNK", chunk)
    assert [*stream_records(tmp_path / "c.json", "images")] == [{"id": 1}]


def test_shards_are_listed_by_row_groups(tmp_path: Path) -> None:
    rows = pa.table([[f"{k}.png" for k in range(5)], [PNG] * 5], schema=RADIOGRAPHS)
    write_part(tmp_path / "part-000000.parquet", rows, row_group=2)
    (tmp_path / "part-000001.parquet").write_bytes(b"PAR1 torn")
    listed = [*list_archive(find_archive(str(tmp_path)))]
    assert [(row.get("row_group"), row["rows"]) for row in listed] == [(0, 2), (1, 2), (2, 1), (None, 1)]
    assert "cannot be read as Parquet" in listed[-1]["fault"]
    assert len([*list_archive(find_archive(str(tmp_path / "part-000000.parquet")))]) == 3


def test_an_address_is_listed_without_hidden_names() -> None:
    store = fsspec.filesystem("memory")
    for name in ("x/a.png", "x/deep/b.dcm", "x/.hidden/c.png", "x/notes.txt"):
        store.pipe(f"/listing/{name}", PNG)
    assert names_of("memory://listing/x") == ["a.png", "deep/b.dcm"]
    assert is_archive("memory://listing/x")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("none", "none: no such file or folder"),
        ("memory://nowhere/at/all", "there is no such bucket or folder"),
        ("nosuch://bucket/x", "give an address such as"),
    ],
)
def test_what_is_not_there_is_refused(text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=problem):
        find_archive(text)


def test_bytes_are_read_as_files_are(tmp_path: Path) -> None:
    """Every format, and damaged ones: the same pixels, or a refusal that names the file."""
    rng = np.random.default_rng(5)
    refused = 0
    for index, (suffix, good) in enumerate(good_files()):
        for content in (good, changed_bytes(good, rng, 60)):
            path = tmp_path / f"{index}.{suffix}"
            path.write_bytes(content)
            expected, found = answer(path), answer(HeldFile(str(path), content))
            refused += isinstance(expected, str)
            assert type(found) is type(expected)
            np.testing.assert_array_equal(found, expected)
    assert refused >= 5


def answer(file: Path | HeldFile) -> np.ndarray | str:
    """Return the pixels of a file, or how it is refused."""
    try:
        assert radiograph_size(file)
        return read_radiograph(file).pixels
    except InputError as error:
        return str(error)
