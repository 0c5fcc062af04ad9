"""Phantoms in shards: radiographs and their ground truth as Parquet parts, for sets of any size."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from data.archives.truth import TRUTH_FOLDER, write_classes
from data.errors import InputError
from data.files import write_json
from data.radiograph import encode_radiograph
from data.synthesis.output_folder import claimed
from data.synthesis.phantom import PHANTOM_KINDS, check_arguments, family_of, make_phantom, present_style
from data.synthesis.shards import MANIFEST, draw_examples, shard_counts, write_missing, write_rows
from data.tasks import ProcessTasks, Tasks

MARKER = "phantoms.json"


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
        write_missing(write_shard, work, tasks or ProcessTasks(workers), kind)
        write_classes(out / TRUTH_FOLDER, ["defect"])
        draw_examples(work[0])
        write_json(out / MANIFEST, {"phantoms": parameters, "families": _counts(work)}, indent=2)
    return out / MANIFEST


def write_shard(shard: Shard) -> int:
    """Write one shard and return its number. Raises OSError as a full disk does."""
    images, rows = [], []
    for index in range(shard.first, shard.end):
        phantom = make_phantom(
            shard.kind, shard.seed, index, style=shard.style, family=shard.family, size=shard.size
        )  # fmt: skip
        height, width = phantom.pixels.shape
        name = f"{shard.kind}/{index:09d}.png"
        images.append(encode_radiograph(name, phantom.pixels, shard.bits))
        count = len(phantom.boxes)
        rows.append({"file": name, "width": width, "height": height, "boxes": phantom.boxes,
                     "labels": np.ones(count, np.int16), "crowd": np.zeros(count, bool)})  # fmt: skip
    write_rows(shard, images, rows)
    return shard.number


def _counts(work: list[Shard]) -> dict[str, list[int]]:
    """Return radiographs, defects and defect-free radiographs of each family, in the order of their names."""
    counts: dict[str, list[int]] = {}
    for shard in work:
        for index, defects in zip(range(shard.first, shard.end), shard_counts(shard), strict=True):
            row = counts.setdefault(shard.family or family_of(shard.kind, shard.seed, index), [0, 0, 0])
            for place, count in enumerate((1, defects, defects == 0)):
                row[place] += int(count)
    return dict(sorted(counts.items()))


def count_shards(manifest: str | Path) -> list[tuple[str, int, int, int]]:
    """Return (family, images, defects, defect-free images) for every family of a written set, then for all."""
    families = json.loads(Path(manifest).read_text(encoding="utf-8"))["families"]
    images, defects, defect_free = (sum(column) for column in zip(*families.values(), strict=True))
    return [*((name, *row) for name, row in families.items()), ("all", images, defects, defect_free)]
