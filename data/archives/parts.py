"""Parts of archives: Parquet files `part-000000.parquet`, `part-000001.parquet` ... in a folder.

Each is written whole or not at all. The bytes of a part depend on its rows alone, for one version of pyarrow.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import InputError
from data.files import atomic_path

ROWS = 500  # rows that are read at once


def part_path(folder: str | Path, number: int) -> Path:
    """Return the path of a folder's part; numbers count from 0."""
    return Path(folder) / f"part-{number:06d}.parquet"


def part_paths(folder: str | Path) -> list[Path]:
    """Return the Parquet files directly in a folder, sorted by name. Raises InputError where there are none."""
    folder = Path(folder)
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix == ".parquet" and path.name[0] != ".")
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror or error}") from error
    if not found:
        raise InputError(f"{folder}: holds no Parquet files; give the folder with the parts")
    return found


def write_part(path: str | Path, rows: pa.Table | pa.RecordBatch, row_group: int = ROWS) -> None:
    """Write a part, atomically and durably, in groups of `row_group` rows. Raises OSError as a full disk does."""
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
    try:
        with atomic_path(path, durable=True) as temporary:
            pq.write_table(table, temporary, row_group_size=row_group, compression="zstd", write_statistics=False)
    except pa.ArrowException as error:
        raise OSError(0, f"cannot be written ({error})", str(path)) from error
    except OSError as error:  # of the temporary file, in Arrow's words
        raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error


def read_part(
    path: str | Path, schema: pa.Schema, columns: Sequence[str] | None = None, rows: int = ROWS
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a part, at most `rows` at a time, with the types of `schema`.

    Args:
        path: a Parquet file.
        schema: of `data.archives.schema`.
        columns: those to read, all by default.
        rows: most rows of a batch.

    Raises InputError for a file that is not Parquet, is damaged, or lacks a column of this type.

    """
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    try:
        with pq.ParquetFile(path) as stored:
            _check_columns(path, stored.schema_arrow, wanted)
            for batch in stored.iter_batches(rows, columns=wanted.names):
                yield batch.select(wanted.names).cast(wanted)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error


def part_rows(path: str | Path, schema: pa.Schema) -> int:
    """Return the number of rows by the file's end, which a file that was cut off lacks. Raises InputError."""
    try:
        with pq.ParquetFile(path) as stored:
            _check_columns(path, stored.schema_arrow, schema)
            return int(stored.metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error


def box_rows(schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    """Return rows of detections or ground truth as a batch of this schema.

    Each of `rows` has `file`, `width` and `height`, `boxes` float [N, 4], and the other columns as arrays [N].
    """
    offsets = np.cumsum([0, *(len(row["boxes"]) for row in rows)], dtype=np.int32)
    columns: list[pa.Array] = []
    for field in schema:
        values = [row[field.name] for row in rows]
        if not pa.types.is_list(field.type):
            columns.append(pa.array(values, field.type))
            continue
        flat = np.concatenate(values) if values else np.empty(0)
        if field.name == "boxes":
            inner = pa.FixedSizeListArray.from_arrays(
                pa.array(np.asarray(flat, np.float32).reshape(-1)), type=field.type.value_type
            )
        else:
            inner = pa.array(np.asarray(flat), field.type.value_type)
        columns.append(pa.ListArray.from_arrays(pa.array(offsets), inner, type=field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def flat_boxes(batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
    """Return where the boxes of each row start, int64 [rows + 1], and all boxes of the batch, float32 [N, 4]."""
    column = batch.column("boxes")
    lengths = np.diff(column.offsets.to_numpy(zero_copy_only=False))
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return starts, column.flatten().flatten().to_numpy(zero_copy_only=False).reshape(-1, 4)


def flat_values(batch: pa.RecordBatch, name: str) -> np.ndarray:
    """Return the values of a list column of all rows, [N], in the order of `flat_boxes`."""
    return batch.column(name).flatten().to_numpy(zero_copy_only=False)


def _check_columns(path: str | Path, found: pa.Schema, wanted: pa.Schema) -> None:
    for field in wanted:
        index = found.get_field_index(field.name)
        if index < 0:
            raise InputError(
                f"{path}: has no column {field.name!r} ({', '.join(found.names[:10])}); give parts with the columns "
                f"{', '.join(wanted.names)}"
            )
        if not _alike(found.field(index).type, field.type):
            raise InputError(
                f"{path}: column {field.name!r} holds {found.field(index).type}, not {field.type}; write it anew"
            )


def _alike(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Return whether one type can stand for the other: numbers of another width, lists with other names inside."""
    if pa.types.is_fixed_size_list(wanted):
        same = pa.types.is_fixed_size_list(found) and found.list_size == wanted.list_size
        return same and _alike(found.value_type, wanted.value_type)
    if pa.types.is_list(wanted):
        return pa.types.is_list(found) and _alike(found.value_type, wanted.value_type)
    kinds = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean, pa.types.is_string, pa.types.is_binary)
    return any(kind(found) and kind(wanted) for kind in kinds)


def unreadable(path: str | Path, error: Exception) -> InputError:
    """Return the error for a Parquet file that cannot be read."""
    reason = " ".join(str(error).split())[:200]
    return InputError(f"{path}: cannot be read as Parquet, damaged or cut off ({reason}); write it anew")


def row_groups(file: Any, name: str, schema: pa.Schema) -> list[int]:
    """Return the number of rows of every row group. `file` is a path or open, and messages call it `name`."""
    try:
        with pq.ParquetFile(file) as stored:
            _check_columns(name, stored.schema_arrow, schema)
            return [stored.metadata.row_group(k).num_rows for k in range(stored.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        raise unreadable(name, error) from error


def read_group(file: Any, name: str, group: int, schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    """Yield one row group, at most `rows` rows at a time. Raises InputError as `read_part`."""
    try:
        with pq.ParquetFile(file) as stored:
            _check_columns(name, stored.schema_arrow, schema)
            for batch in stored.iter_batches(rows, [group], columns=schema.names):
                yield batch.select(schema.names).cast(schema)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(name, error) from error
