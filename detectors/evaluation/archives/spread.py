"""Spread the rows of Parquet parts over buckets by file name, so that both sides of a radiograph meet in one bucket.

Neither side has to be in any order, and neither is ever held whole. A group of parts becomes one Arrow file with one
batch a bucket: bucket b of an archive is batch b of all its files.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.archives.parts import flat_boxes, flat_values, part_rows, read_part, unreadable
from data.archives.schema import DETECTIONS, GROUND_TRUTH
from data.errors import InputError
from data.files import atomic_path

GROUP_BYTES = 32 * 2**20  # on disk; what one process holds of the parts while it spreads them
BUCKET_BYTES = 8 * 2**20  # on disk, both sides; some 300,000 detections, whose matching takes a few hundred MB
_ROWS = 20_000
_KEPT = {
    "detections": ("file", "boxes", "scores", "labels"),
    "truth": ("file", "boxes", "labels", "crowd"),
}


@dataclass(frozen=True)
class Group:
    """Parts of one side that are spread together, and the Arrow file that they become.

    `first_row` counts the rows of the side's earlier parts; with it the rows of the truth are numbered.
    """

    side: str  # detections, truth
    parts: tuple[Path, ...]
    first_row: int
    buckets: int
    out: Path


def bucket_count(parts: Sequence[Path]) -> int:
    """Return over how many buckets the rows of all these parts are to be spread."""
    return max(1, -(-sum(part.stat().st_size for part in parts) // BUCKET_BYTES))


def groups_of(side: str, parts: Sequence[Path], buckets: int, out: Path) -> list[Group]:
    """Return the groups of one side, in the order of its parts. Raises InputError for a part that is damaged."""
    schema = GROUND_TRUTH if side == "truth" else DETECTIONS
    groups: list[Group] = []
    members: list[Path] = []
    row = first = size = 0
    for part in parts:
        if members and size + part.stat().st_size > GROUP_BYTES:
            groups.append(Group(side, tuple(members), first, buckets, out / f"{side}-{len(groups):06d}.arrow"))
            members, first, size = [], row, 0
        members.append(part)
        row, size = row + part_rows(part, schema), size + part.stat().st_size
    return [*groups, Group(side, tuple(members), first, buckets, out / f"{side}-{len(groups):06d}.arrow")]


def spread(group: Group) -> Path:
    """Write the Arrow file of a group, atomically, and return its path; nothing is done where it is there.

    Raises InputError that names the first radiograph with a faulty row, and for parts that cannot be read.
    """
    if group.out.is_file():
        return group.out
    schema = GROUND_TRUTH if group.side == "truth" else DETECTIONS
    batches: list[pa.RecordBatch] = []
    for part in group.parts:
        for batch in read_part(part, schema, _KEPT[group.side], _ROWS):
            _check(part, batch)
            batches.append(batch)
    columns = pa.schema([schema.field(name) for name in _KEPT[group.side]])
    table = pa.Table.from_batches(batches, columns)
    if group.side == "truth":
        table = table.append_column("rank", pa.array(np.arange(len(table), dtype=np.int64) + group.first_row))
    bucket = np.fromiter(
        (zlib.crc32(name.encode()) % group.buckets for name in table.column("file").to_pylist()), np.int64, len(table)
    )
    table = table.combine_chunks().take(pa.array(np.argsort(bucket, kind="stable"))).combine_chunks()
    ends = np.cumsum(np.bincount(bucket, minlength=group.buckets)).tolist()
    with atomic_path(group.out) as temporary, pa.ipc.new_file(str(temporary), table.schema) as writer:
        for start, end in zip([0, *ends], ends, strict=False):
            rows = table.slice(start, end - start).combine_chunks().to_batches()
            writer.write_batch(rows[0] if rows else pa.RecordBatch.from_pylist([], table.schema))
    return group.out


def read_bucket(files: Sequence[Path], bucket: int) -> pa.Table:
    """Return the rows of a bucket out of all files of one side, in the order of the files. Raises InputError."""
    batches = []
    for file in files:
        try:
            with pa.memory_map(str(file)) as stored, pa.ipc.open_file(stored) as reader:
                batches.append(reader.get_batch(bucket))
        except (pa.ArrowException, OSError) as error:
            raise unreadable(file, error) from error
    return pa.Table.from_batches(batches).combine_chunks()


def _check(part: Path, batch: pa.RecordBatch) -> None:
    """Raise InputError for the first row that cannot be evaluated, by the radiograph's name."""
    if any(column.null_count for column in batch.columns):
        row = next(k for k in range(len(batch)) if any(not column[k].is_valid for column in batch.columns))
        raise InputError(f"{part}: row {row} ({batch.column('file')[row]}) has an empty field; write the part again")
    starts, boxes = flat_boxes(batch)
    counts = np.diff(starts)
    scored = "scores" in batch.schema.names
    for name in ("labels", "scores" if scored else "crowd"):
        lengths = np.diff(batch.column(name).offsets.to_numpy())
        if (lengths != counts).any():
            row = int(np.flatnonzero(lengths != counts)[0])
            raise InputError(
                f"{part}: {batch.column('file')[row]} has {counts[row]} boxes and {lengths[row]} {name}; "
                "write the part again"
            )
    good: NDArray[np.bool_] = np.isfinite(boxes).all(axis=1)
    good &= (boxes[:, 2] >= boxes[:, 0]) & (boxes[:, 3] >= boxes[:, 1])
    good &= flat_values(batch, "labels") >= 1
    if scored:
        good &= np.isfinite(flat_values(batch, "scores"))
    if not good.all():
        place = int(np.flatnonzero(~good)[0])
        row = int(np.searchsorted(starts, place, side="right")) - 1
        score = f", score {flat_values(batch, 'scores')[place]:g}" if scored else ""
        raise InputError(
            f"{part}: {batch.column('file')[row]}: box {boxes[place].tolist()}, label "
            f"{flat_values(batch, 'labels')[place]}{score}: give finite x1 <= x2, y1 <= y2 and a label from 1"
        )
