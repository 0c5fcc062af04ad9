"""Simulated defects in shards: radiographs and their ground truth as Parquet parts, for sets of any size."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from data.archives.truth import TRUTH_FOLDER, write_classes
from data.coco import CocoDataset
from data.errors import InputError
from data.files import write_json
from data.radiograph import encode_radiograph
from data.synthesis.on_the_fly import build_simulator
from data.synthesis.output_folder import claimed
from data.synthesis.shards import MANIFEST, draw_examples, shard_counts, write_missing, write_rows
from data.synthesis.simulated_radiograph import RadiographWithDefects
from data.synthesis.simulated_set import GENERATOR, MARKER
from data.synthesis.simulation_config import SimulationConfig
from data.synthesis.simulation_inputs import check_inputs
from data.tasks import ProcessTasks, Tasks


@dataclass(frozen=True, eq=False)
class Source:
    """A radiograph that is read: its path, the name that it is written under, and its real defects.

    `boxes` float32 [N, 4] in pixels x1, y1, x2, y2; `labels` int16 [N]; `crowd` bool [N].
    """

    index: int
    path: Path
    name: str
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray


@dataclass(frozen=True, eq=False)
class Shard:
    """One shard: copies `first` to before `end` of a set, copy k being number k % `copies` of its radiograph.

    `sources` holds the radiographs of these copies alone, in their order.
    """

    out: Path
    number: int
    first: int
    end: int
    copies: int
    sources: list[Source]
    config: SimulationConfig
    per_image: int
    seed: int
    bit_depth: int | None
    label: int


def write_simulated_shards(dataset: CocoDataset, image_dir: str | Path, out: str | Path, config: SimulationConfig,
                           per_image: int, shards: int, seed: int = 0, *, copies: int = 1, bit_depth: int | None = None,
                           workers: int | None = None, tasks: Tasks | None = None) -> Path:  # fmt: skip
    """Write every radiograph `copies` times with other simulated defects, as `OUT/radiographs/part-000000.parquet` ....

    The ground truth lies in `OUT/truth/part-000000.parquet` ..., boxes alone, real ones too with `real_defects: keep`.
    The first copy of a radiograph is that of `write_simulated`, to the byte; with several copies names begin with the
    copy's number: `000001/<name>`. Shards are written whole, so a second start with the same arguments writes those
    that are missing; `OUT/shards.json` is written last. Memory holds the records, and one shard a worker.

    Args:
        dataset: records and annotations of the radiographs.
        image_dir: folder of the radiographs.
        out: a folder of its own.
        config: of the defects.
        per_image: defects of a radiograph, fewer where they have no room.
        shards: number of parts, 1 to that of all copies; as even as can be.
        seed: of the set, 0 or more.
        copies: of each radiograph, 1 or more.
        bit_depth: see `data.radiograph.read_radiograph`.
        workers: processes; by default one a core. Their number does not change a byte.
        tasks: another engine, for which `out` and the radiographs have to be at the same path on every machine.

    Returns:
        The path of `shards.json`.

    Raises:
        InputError: as `data.synthesis.simulation_inputs.check_inputs`; an argument is outside its range, the inputs
            changed since an earlier start, or a worker process died.
        OSError: `out` cannot be written.

    """
    out, image_dir = Path(out), Path(image_dir)
    inputs = check_inputs(dataset, image_dir, out, (MARKER,), config, per_image, seed, bit_depth, None, GENERATOR)
    total = len(inputs.paths) * copies
    if copies < 1:
        raise InputError(f"--copies {copies}: must be 1 or more")
    if not 1 <= shards <= total:
        raise InputError(f"--shards {shards}: must be from 1 to the number of radiographs, {total}")
    parameters = {**inputs.parameters, "shards": shards, "copies": copies, "inputs": inputs.fingerprint}
    edges = [total * number // shards for number in range(shards + 1)]
    label = inputs.dataset.label_of[inputs.category]
    sources = [
        _source(inputs.dataset, index, path, name)
        for index, (path, name) in enumerate(zip(inputs.paths, inputs.names, strict=True))
    ]
    work = [
        Shard(out.resolve(), number, first, end, copies, sources[first // copies : (end - 1) // copies + 1], config,
              per_image, seed, bit_depth, label)
        for number, (first, end) in enumerate(pairwise(edges))
    ]  # fmt: skip
    with claimed(out, MARKER, parameters):
        write_missing(write_simulated_shard, work, tasks or ProcessTasks(workers), "simulated defects")
        write_classes(out / TRUTH_FOLDER, inputs.dataset.class_names)
        draw_examples(work[0])
        real = copies * len(inputs.dataset.annotations) if config.real_defects == "keep" else 0
        counts = {
            "radiographs": total,
            "simulated": sum(sum(shard_counts(shard)) for shard in work) - real,
            "real": real,
        }
        write_json(out / MANIFEST, {**inputs.parameters, "counts": counts}, indent=2)
    return out / MANIFEST


def _source(dataset: CocoDataset, index: int, path: Path, name: str) -> Source:
    image = dataset.images[index]["id"]
    annotations = dataset.annotations_of(image)
    labels = np.array([dataset.label_of[a["category_id"]] for a in annotations], np.int16)
    crowd = np.array([bool(a.get("iscrowd", 0)) for a in annotations], bool)
    return Source(index, path.resolve(), name, dataset.boxes_xyxy(image), labels, crowd)


def write_simulated_shard(shard: Shard) -> int:
    """Write one shard and return its number. Raises InputError for a radiograph, OSError as a full disk does."""
    simulator = build_simulator(shard.config)
    images: list[bytes] = []
    rows: list[dict[str, Any]] = []
    offset = shard.first // shard.copies
    held: tuple[Source, RadiographWithDefects] | None = None
    for number in range(shard.first, shard.end):
        index, copy = divmod(number, shard.copies)
        source = shard.sources[index - offset]
        if held is None or held[0] is not source:
            held = source, RadiographWithDefects(source.path, source.boxes, simulator, shard.bit_depth, None)
        # The first copy is drawn as `write_simulated` draws it.
        key = [shard.seed, source.index, copy] if copy else [shard.seed, source.index]
        made = held[1].with_defects(np.random.default_rng(key), shard.per_image)
        name = source.name if shard.copies == 1 else f"{copy + 1:06d}/{source.name}"
        images.append(encode_radiograph(name, made.pixels, made.bits, made.window))
        rows.append({"file": name, **_truth(shard, source, made.pixels.shape, made.simulated.boxes)})
    write_rows(shard, images, rows)
    return shard.number


def _truth(shard: Shard, source: Source, shape: tuple[int, ...], simulated: np.ndarray) -> dict[str, Any]:
    kept = slice(None) if shard.config.real_defects == "keep" else slice(0)
    count = len(simulated)
    return {
        "width": shape[1], "height": shape[0], "boxes": np.concatenate([source.boxes[kept], simulated]),
        "labels": np.append(source.labels[kept], np.full(count, shard.label, np.int16)),
        "crowd": np.append(source.crowd[kept], np.zeros(count, bool)),
    }  # fmt: skip


def count_simulated(manifest: str | Path) -> dict[str, int]:
    """Return the numbers of `radiographs`, of `simulated` and of `real` defects of a written set."""
    counts: dict[str, int] = json.loads(Path(manifest).read_text(encoding="utf-8"))["counts"]
    return counts
