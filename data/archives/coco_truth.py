"""Ground truth of a COCO file of any size as Parquet parts: its records are spread over shares that fit in memory."""

import json
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.annotation_check import is_integer
from data.archives.coco_stream import stream_records, stream_sections
from data.archives.parts import part_path, write_part
from data.archives.truth import truth_rows, write_classes
from data.coco import coco_of
from data.coco_check import SECTIONS
from data.console import progress
from data.errors import InputError
from data.tasks import Tasks

SHARE_BYTES = 32 * 2**20  # of a COCO file; its records take ten times as much in memory
MOST_SHARES = 400  # files that are open at once


@dataclass(frozen=True)
class Share:
    """A range of image ids of a COCO file: the file of its records, and the part that they become."""

    source: Path
    categories: tuple[dict[str, Any], ...]
    records: Path
    part: Path


def write_coco_truth(source: Path, out: Path, work: Path, tasks: Tasks, share_bytes: int = SHARE_BYTES) -> list[Path]:
    """Write the ground truth of a COCO file as parts into `out`, in the order of the image ids, and return the parts.

    The parts hold what `data.archives.truth.write_truth` writes of the whole file, but for where one ends. Memory holds
    eight bytes an image, and one share a worker.

    Args:
        source: the COCO file.
        out: folder of the parts.
        work: a folder of its own for the shares; it is empty afterwards.
        tasks: what works on the shares.
        share_bytes: of the file that become one part.

    Raises:
        InputError: as `data.coco.read_coco`, where the fault is seen within a share.
        OSError: the folders cannot be written.

    """
    ids = np.unique(_ids(source))
    if not len(ids):
        raise InputError(f"{source}: the list 'images' is empty")
    count = min(max(-(-source.stat().st_size // share_bytes), 1), MOST_SHARES, len(ids))
    first_ids = [int(ids[len(ids) * k // count]) for k in range(1, count)]  # of all shares but the first
    work.mkdir(parents=True, exist_ok=True)
    names = [work / f"records-{k:06d}.jsonl" for k in range(count)]
    categories = tuple(_spread(source, names, first_ids))
    shares = [Share(source, categories, name, part_path(out, k)) for k, name in enumerate(names)]
    with progress() as bar:
        task = bar.add_task("checking the ground truth", total=count)
        for _ in tasks(write_share, shares):
            bar.advance(task)
    label_names = sorted(categories, key=lambda category: category["id"])
    write_classes(out, [category["name"] for category in label_names])
    return [share.part for share in shares]


def _ids(source: Path) -> NDArray[np.int64]:
    ids = array("q")
    for record in stream_records(source, "images"):
        identity: Any = record.get("id")
        if not is_integer(identity) or not -(2**63) <= identity < 2**63:
            raise InputError(f"{source}: image id {identity!r} is not an integer")
        ids.append(identity)
    return np.frombuffer(ids, np.int64)


def _spread(source: Path, names: list[Path], first_ids: list[int]) -> Iterator[dict[str, Any]]:
    """Write images and annotations to the files of their shares, a line each; yield the categories."""
    with ExitStack() as stack, progress() as bar:
        files = [stack.enter_context(name.open("w", encoding="utf-8")) for name in names]
        task = bar.add_task("reading the ground truth", total=None)
        for number, (section, record) in enumerate(stream_sections(source, SECTIONS)):
            if section == "categories":
                yield record
                continue
            identity: Any = record.get("id" if section == "images" else "image_id")
            if not is_integer(identity):
                raise InputError(f"{source}: annotation {record.get('id')}: no image has id {identity!r}")
            # What is no part of the ground truth, such as outlines, stays behind.
            kept = {key: record[key] for key in (*SECTIONS[section], "iscrowd") if key in record}
            files[bisect_right(first_ids, identity)].write(json.dumps([section, kept]) + "\n")
            if number % 10_000 == 0:
                bar.update(task, completed=number)


def write_share(share: Share) -> Path:
    """Write the part of a share and return its path. Raises InputError for faulty records, OSError as a full disk."""
    content: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": [*share.categories]}
    with share.records.open(encoding="utf-8") as lines:
        for section, record in map(json.loads, lines):
            content[section].append(record)
    write_part(share.part, truth_rows(coco_of(content, share.source)))
    share.records.unlink()
    return share.part
