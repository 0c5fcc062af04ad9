"""Sets in shards: radiographs and their ground truth as Parquet parts, each written whole, by any number of workers."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from data.archives.parts import box_rows, flat_boxes, part_path, read_part, write_part
from data.archives.schema import GROUND_TRUTH, RADIOGRAPHS
from data.archives.truth import TRUTH_FOLDER
from data.console import progress
from data.held_file import HeldFile
from data.montage import write_sheet
from data.radiograph import read_radiograph
from data.tasks import Tasks

MANIFEST, PICTURE = "shards.json", "montage.png"
SHOWN = 16  # radiographs in the picture
RADIOGRAPH_FOLDER = "radiographs"
ROW_GROUP = 100  # radiographs that a reader has in memory at once


class Shard(Protocol):
    """What is to be written as one shard: the folder of the set, and the number of the shard in it."""

    @property
    def out(self) -> Path:
        """Folder of the set."""

    @property
    def number(self) -> int:
        """Number of the shard, from 0."""


def write_missing(function: Callable[[Any], int], work: Sequence[Shard], tasks: Tasks, what: str) -> None:
    """Have the shards written that are not there yet, by `function` of each; `what` they are is for the eye."""
    missing = [shard for shard in work if not all(path.is_file() for path in _paths(shard))]
    with progress() as bar:
        task = bar.add_task(f"shards of {what}", total=len(work), completed=len(work) - len(missing))
        for _ in tasks(function, missing):
            bar.advance(task)


def write_rows(shard: Shard, images: Sequence[bytes], rows: Sequence[dict[str, Any]]) -> None:
    """Write a shard: the bytes of its radiographs, and for each a row of `GROUND_TRUTH`. Raises OSError."""
    radiographs, truth = _paths(shard)
    write_part(truth, box_rows(GROUND_TRUTH, rows))
    write_part(radiographs, pa.table([[row["file"] for row in rows], images], schema=RADIOGRAPHS), ROW_GROUP)


def shard_counts(shard: Shard) -> Iterator[int]:
    """Yield the number of boxes of each radiograph of a shard."""
    for batch in read_part(_paths(shard)[1], GROUND_TRUTH):
        yield from np.diff(flat_boxes(batch)[0]).tolist()


def draw_examples(shard: Shard) -> None:
    """Draw the first radiographs of a shard with their boxes, as they can be read, as the picture of the set."""
    write_sheet(shard.out / PICTURE, _examples(shard))


def _examples(shard: Shard) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    radiographs, truth = _paths(shard)
    rows = next(read_part(radiographs, RADIOGRAPHS, rows=SHOWN))
    starts, boxes = flat_boxes(next(read_part(truth, GROUND_TRUTH, rows=SHOWN)))
    for row, (name, image) in enumerate(zip(*(column.to_pylist() for column in rows.columns), strict=True)):
        radiograph = read_radiograph(HeldFile(name, image))
        yield name, radiograph.display_map()(radiograph.levels), boxes[starts[row] : starts[row + 1]]


def _paths(shard: Shard) -> tuple[Path, Path]:
    """Return the paths of a shard's radiographs and of its truth."""
    folders = (RADIOGRAPH_FOLDER, TRUTH_FOLDER)
    radiographs, truth = (part_path(shard.out / folder, shard.number) for folder in folders)
    return radiographs, truth
