"""Parts of archives: what was written comes back, and what is damaged or of another kind is refused."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.archives.parts import (
    box_rows,
    flat_boxes,
    flat_values,
    part_path,
    part_paths,
    part_rows,
    read_part,
    write_part,
)
from data.archives.schema import DETECTIONS, GROUND_TRUTH, RADIOGRAPHS
from data.errors import InputError


def rows_of(counts: list[int]) -> list[dict]:
    rng = np.random.default_rng(len(counts))
    return [
        {
            "file": f"a/{index}.png",
            "width": 64 + index,
            "height": 48,
            "boxes": rng.random((n, 4)).astype(np.float32),
            "scores": np.sort(rng.random(n).astype(np.float32))[::-1],
            "labels": rng.integers(1, 4, n),
            "crowd": rng.random(n) < 0.5,
        }
        for index, n in enumerate(counts)
    ]


@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(0, 4), max_size=7), batch=st.integers(1, 8), truth=st.booleans())
def test_what_was_written_comes_back(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], batch: int, truth: bool
) -> None:
    schema = GROUND_TRUTH if truth else DETECTIONS
    path, rows = tmp_path_factory.mktemp("parts") / "part.parquet", rows_of(counts)
    write_part(path, box_rows(schema, rows), row_group=3)
    assert part_rows(path, schema) == len(counts)
    read = [*read_part(path, schema, rows=batch)]
    assert [name for part in read for name in part.column("file").to_pylist()] == [row["file"] for row in rows]
    index = 0
    for part in read:
        assert part.schema == schema
        starts, boxes = flat_boxes(part)
        for k in range(part.num_rows):
            here = slice(starts[k], starts[k + 1])
            np.testing.assert_array_equal(boxes[here], rows[index]["boxes"])
            for name in ("labels", "crowd" if truth else "scores"):
                np.testing.assert_array_equal(flat_values(part, name)[here], rows[index][name])
            index += 1


def test_the_same_rows_make_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_part(tmp_path / name, box_rows(DETECTIONS, rows_of([2, 0, 3])))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_columns_of_other_widths_are_read(tmp_path: Path) -> None:
    stored = pa.table({"file": ["x.png"], "width": pa.array([5], pa.int64()), "extra": [1]})
    pq.write_table(stored, tmp_path / "part.parquet")
    (batch,) = read_part(tmp_path / "part.parquet", DETECTIONS, ["file", "width"])
    assert batch.to_pylist() == [{"file": "x.png", "width": 5}]
    assert batch.schema.field("width").type == pa.int32()


def test_a_part_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    write_part(path, box_rows(DETECTIONS, rows_of([2, 1])))
    path.write_bytes(path.read_bytes()[:-7])
    for read in (lambda: part_rows(path, DETECTIONS), lambda: [*read_part(path, DETECTIONS)]):
        with pytest.raises(InputError, match=r"part\.parquet: cannot be read as Parquet"):
            read()


def test_other_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    pq.write_table(pa.table({"file": ["x.png"], "image": ["text"]}), path)
    with pytest.raises(InputError, match="column 'image' holds string, not binary"):
        part_rows(path, RADIOGRAPHS)
    with pytest.raises(InputError, match="has no column 'width'"):
        part_rows(path, DETECTIONS)


def test_parts_are_listed_in_order_without_unfinished_ones(tmp_path: Path) -> None:
    for number in (10, 2):
        write_part(part_path(tmp_path, number), box_rows(DETECTIONS, []))
    (tmp_path / ".part-000003-partial0.parquet").touch()
    assert [path.name for path in part_paths(tmp_path)] == ["part-000002.parquet", "part-000010.parquet"]
    with pytest.raises(InputError, match="holds no Parquet files"):
        part_paths(tmp_path / "..")
