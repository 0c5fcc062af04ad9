"""Phantoms in shards: radiographs and their ground truth as Parquet parts, for sets of any size."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow as pa

from data.archives.parts import box_rows, flat_boxes, part_path, read_part, write_part
from data.archives.schema import GROUND_TRUTH, RADIOGRAPHS
from data.archives.truth import TRUTH_FOLDER, write_classes
from data.console import progress
from data.errors import InputError
from data.files import write_json
from data.montage import write_sheet
from data.radiograph import encode_png
from data.synthesis.output_folder import claimed
from data.synthesis.phantom import PHANTOM_KINDS, check_arguments, family_of, make_phantom, present_style
from data.tasks import ProcessTasks, Tasks

MARKER, MANIFEST, PICTURE = "phantoms.json", "shards.json", "montage.png"
SHOWN = 16  # radiographs in the picture
RADIOGRAPH_FOLDER = "radiographs"
ROW_GROUP = 100  # radiographs that a reader has in memory at once


@dataclass(frozen=True)
class Shard:
    """One shard: phantoms `first` to before `end` of a set, and the folder of the set."""

    out: Path
    number: int
    first: int
    end: int
    kind: str
    seed: int
    bits: int
    style: str
    family: str | None
    size: tuple[int, int] | None


def write_phantom_shards(kind: str, n: int, out: str | Path, seed: int, shards: int, *, bits: int = 8,
                         style: str = "realistic", family: str | None = None, size: tuple[int, int] | None = None,
                         workers: int | None = None, tasks: Tasks | None = None) -> Path:  # fmt: skip
    """Write phantoms as `OUT/radiographs/part-000000.parquet` ... and `OUT/truth/part-000000.parquet` ....

    Phantom k is that of `make_phantom(kind, seed, k)`, as PNG, and its `file` is `<kind>/<k>.png` with nine digits.
    The truth holds boxes alone, no masks. Shards are written whole, so a second start with the same arguments writes
    those that are missing; `OUT/shards.json` is written last. Memory holds one shard a worker.

    Args:
        kind: one of `PHANTOM_KINDS`.
        n: number of radiographs, 1 or more.
        out: a folder of its own.
        seed: of the set, 0 or more.
        shards: number of parts, 1 to `n`; as even as can be.
        bits: 8 or 16 per pixel.
        style: see `make_phantom`.
        family: see `make_phantom`.
        size: see `make_phantom`.
        workers: processes; by default one a core. Their number does not change a byte.
        tasks: another engine, for which `out` has to be at the same path on every machine.

    Returns:
        The path of `shards.json`.

    Raises:
        InputError: an argument is outside its range, `out` holds something else, or a worker process died.
        OSError: `out` cannot be written.

    """
    out, style = Path(out), present_style(style)
    check_arguments(kind, seed, 0, style, family, size)
    if not 1 <= shards <= n:
        raise InputError(f"--shards {shards}: must be from 1 to the number of radiographs, {n}")
    if bits not in (8, 16) or (workers is not None and workers < 1):
        raise InputError(f"bits {bits} must be 8 or 16, and workers {workers} 1 or more")
    parameters = {"kind": kind, "n": n, "seed": seed, "shards": shards, "bits": bits, "style": style,
                  "family": family, "size": None if size is None else list(size),
                  "generator": PHANTOM_KINDS[kind].generator}  # fmt: skip
    edges = [n * number // shards for number in range(shards + 1)]
    work = [
        Shard(out, number, first, end, kind, seed, bits, style, family, size)
        for number, (first, end) in enumerate(pairwise(edges))
    ]
    with claimed(out, MARKER, parameters):
        missing = [shard for shard in work if not all(path.is_file() for path in _paths(shard))]
        with progress() as bar:
            task = bar.add_task(f"shards of {kind}", total=shards, completed=shards - len(missing))
            for _ in (tasks or ProcessTasks(workers))(write_shard, missing):
                bar.advance(task)
        write_classes(out / TRUTH_FOLDER, ["defect"])
        write_sheet(out / PICTURE, _examples(work[0]))
        write_json(out / MANIFEST, {"phantoms": parameters, "families": _counts(work)}, indent=2)
    return out / MANIFEST


def _paths(shard: Shard) -> tuple[Path, Path]:
    """Return the paths of a shard's radiographs and of its truth."""
    folders = (RADIOGRAPH_FOLDER, TRUTH_FOLDER)
    radiographs, truth = (part_path(shard.out / folder, shard.number) for folder in folders)
    return radiographs, truth


def write_shard(shard: Shard) -> int:
    """Write one shard and return its number. Raises OSError as a full disk does."""
    files, images, rows = [], [], []
    for index in range(shard.first, shard.end):
        phantom = make_phantom(
            shard.kind, shard.seed, index, style=shard.style, family=shard.family, size=shard.size
        )  # fmt: skip
        height, width = phantom.pixels.shape
        files.append(f"{shard.kind}/{index:09d}.png")
        images.append(encode_png(files[-1], phantom.pixels, shard.bits))
        count = len(phantom.boxes)
        rows.append({"file": files[-1], "width": width, "height": height, "boxes": phantom.boxes,
                     "labels": np.ones(count, np.int16), "crowd": np.zeros(count, bool)})  # fmt: skip
    radiographs, truth = _paths(shard)
    write_part(truth, box_rows(GROUND_TRUTH, rows))
    write_part(radiographs, pa.table([files, images], schema=RADIOGRAPHS), ROW_GROUP)
    return shard.number


def _examples(shard: Shard) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield name, pixels and boxes of the first radiographs of a shard, as they can be read."""
    radiographs, truth = _paths(shard)
    rows = next(read_part(radiographs, RADIOGRAPHS, rows=SHOWN))
    known = next(read_part(truth, GROUND_TRUTH, rows=SHOWN))
    starts, boxes = flat_boxes(known)
    for row, (name, image) in enumerate(zip(*(column.to_pylist() for column in rows.columns), strict=True)):
        pixels = imagecodecs.png_decode(image).astype(np.float32) / (2**shard.bits - 1)
        yield name, pixels, boxes[starts[row] : starts[row + 1]]


def _counts(work: list[Shard]) -> dict[str, list[int]]:
    """Return radiographs, defects and defect-free radiographs of each family, in the order of their names."""
    counts: dict[str, list[int]] = {}
    for shard in work:
        for index, defects in zip(range(shard.first, shard.end), _defects(shard), strict=True):
            row = counts.setdefault(shard.family or family_of(shard.kind, shard.seed, index), [0, 0, 0])
            for place, count in enumerate((1, defects, defects == 0)):
                row[place] += int(count)
    return dict(sorted(counts.items()))


def _defects(shard: Shard) -> Iterator[int]:
    for batch in read_part(_paths(shard)[1], GROUND_TRUTH):
        yield from np.diff(flat_boxes(batch)[0]).tolist()


def count_shards(manifest: str | Path) -> list[tuple[str, int, int, int]]:
    """Return (family, images, defects, defect-free images) for every family of a written set, then for all."""
    families = json.loads(Path(manifest).read_text(encoding="utf-8"))["families"]
    images, defects, defect_free = (sum(column) for column in zip(*families.values(), strict=True))
    return [*((name, *row) for name, row in families.items()), ("all", images, defects, defect_free)]
