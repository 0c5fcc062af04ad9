"""Match the detections of one bucket to its ground truth, and unite the buckets to what the metrics are read from.

The matching is that of `detectors.evaluation.matching`. A radiograph lies in one bucket whole, so buckets are matched
apart; what remains of a detection is its score, its label, its radiograph's place and one byte that says what it is by
each criterion.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data.archives.parts import unreadable
from data.errors import InputError
from data.files import atomic_path
from detectors.evaluation.archives.spread import read_bucket
from detectors.evaluation.columns import DetectionColumns, GroundTruthColumns, ImageColumns
from detectors.evaluation.matching import PairwiseIoU
from detectors.evaluation.outcomes import Criterion, Outcomes

CRITERIA: tuple[tuple[float, Criterion], ...] = ((0.5, "iou"), (0.3, "iou"), (0.75, "iou"), (0.5, "center"))
"""What is matched by: bit k of a detection's byte is a hit by criterion k, bit k + 4 lies in a crowd region."""
MATCHES = pa.schema([("rank", pa.int64()), ("score", pa.float32()), ("label", pa.int16()), ("outcome", pa.uint8())])


@dataclass(frozen=True)
class Bucket:
    """One bucket: the Arrow files that hold it as batch `number`, and the file of its matches."""

    number: int
    detections: tuple[Path, ...]
    truth: tuple[Path, ...]
    out: Path


def match_bucket(bucket: Bucket) -> Path:
    """Write the matches of a bucket, atomically, and return their path; nothing is done where they are there.

    Radiographs that only one side has are left out and counted. Raises InputError for a radiograph that one side has
    twice.
    """
    if bucket.out.is_file():
        return bucket.out
    truth, found = read_bucket(bucket.truth, bucket.number), read_bucket(bucket.detections, bucket.number)
    for side, table in (("ground truth", truth), ("detections", found)):
        _refuse_twice(side, table.column("file"))
    place = pc.index_in(found.column("file"), value_set=truth.column("file").combine_chunks())
    strays = found.filter(place.is_null()).column("file")
    found = found.filter(place.is_valid())
    rows = place.drop_null().to_numpy().astype(np.int64)
    detected = np.zeros(len(truth), dtype=bool)
    detected[rows] = True
    missing = truth.column("file").filter(pa.array(~detected))
    row_of = np.cumsum(detected) - 1  # of the radiographs that stay
    overlaps, rank = _overlaps(truth.filter(pa.array(detected)), found, row_of[rows])
    outcome = np.zeros(len(overlaps.detections), dtype=np.uint8)
    for bit, criterion in enumerate(CRITERIA):
        table = overlaps.match(*criterion)
        outcome |= table.hit.astype(np.uint8) << bit | table.ignored.astype(np.uint8) << (bit + 4)
    labels = overlaps.ground_truth.label[~overlaps.ground_truth.crowd]
    counts = {
        "images": int(detected.sum()),
        "objects": np.bincount(labels).tolist(),
        "without truth": [len(strays), pc.min(strays).as_py()],
        "without detections": [len(missing), pc.min(missing).as_py()],
    }
    columns = (
        rank[overlaps.detections.image],
        overlaps.detections.score.astype(np.float32),
        overlaps.detections.label.astype(np.int16),
        outcome,
    )
    schema = MATCHES.with_metadata({"counts": json.dumps(counts)})
    batch = pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=schema)
    with atomic_path(bucket.out) as temporary, pa.ipc.new_file(str(temporary), schema) as writer:
        writer.write_batch(batch)
    return bucket.out


def _refuse_twice(side: str, files: pa.ChunkedArray) -> None:
    if len(pc.unique(files)) == len(files):
        return
    counted = pc.value_counts(files)
    twice = pc.min(counted.field("values").filter(pc.greater(counted.field("counts"), 1)))
    raise InputError(f"{twice}: is there twice in the parts of the {side}; give each radiograph once")


def _overlaps(truth: pa.Table, found: pa.Table, row: NDArray[np.int64]) -> tuple[PairwiseIoU, NDArray[np.int64]]:
    """Return the overlaps of radiographs, and the rank of each; `row` int64 says which one a row of `found` is of."""
    images = len(truth)
    names: NDArray[np.object_] = np.full(images, "", dtype=object)
    columns = ImageColumns(names, names, names, np.full(images, np.nan))
    starts, boxes, label = _flat(truth)
    objects = len(boxes)
    ground_truth = GroundTruthColumns(
        ids=np.full(objects, None, dtype=object),
        image=np.repeat(np.arange(images), np.diff(starts)),
        label=label,
        box=boxes,
        crowd=_values(truth, "crowd").astype(bool),
        depth_mm=np.full(objects, np.nan),
    )
    starts, boxes, label = _flat(found)
    image = np.repeat(row, np.diff(starts))
    score = _values(found, "scores").astype(float)
    order = np.lexsort((np.arange(len(score)), image, -score))
    detections = DetectionColumns(order, image[order], label[order], score[order], boxes[order])
    rank = truth.column("rank").to_numpy()
    return PairwiseIoU.of_columns(columns, (), ground_truth, detections), rank


def _flat(table: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return where the boxes of each row start, the boxes as x, y, width, height, and their labels from 0."""
    lengths = pc.list_value_length(table.column("boxes")).to_numpy()
    boxes = _values(table, "boxes").astype(float).reshape(-1, 4)
    boxes[:, 2:] -= boxes[:, :2]
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), boxes, _values(table, "labels").astype(int) - 1


def _values(table: pa.Table, name: str) -> NDArray[Any]:
    """Return the values of a list column of all rows one after the other."""
    column = table.column(name).combine_chunks()
    values = column.flatten(recursive=True)
    return np.asarray(values.to_numpy(zero_copy_only=False))


@dataclass(frozen=True)
class ArchiveMatches:
    """The matches of a whole archive in descending score, equal scores by the order of the truth's radiographs.

    `score` float32 [D]; `label` int16 [D], from 0; `outcome` uint8 [D], bits by `CRITERIA`; `objects` int64 [C].
    """

    score: NDArray[np.float32]
    label: NDArray[np.int16]
    outcome: NDArray[np.uint8]
    objects: NDArray[np.int64]
    images: int
    without_truth: tuple[int, str | None]
    without_detections: tuple[int, str | None]

    def match(self, iou: float = 0.5, criterion: Criterion = "iou") -> "ArchiveOutcomes":
        """Return what became of the detections. Raises InputError for a criterion that was not matched."""
        key = (0.5 if criterion == "center" else iou, criterion)
        if key not in CRITERIA:
            raise InputError(f"IoU {iou}: archives are matched at IoU 0.3, 0.5 and 0.75 and by center point")
        return ArchiveOutcomes(self, CRITERIA.index(key))


@dataclass(frozen=True)
class ArchiveOutcomes:
    """The matches of an archive by one criterion."""

    matches: ArchiveMatches
    bit: int

    @property
    def outcomes(self) -> Outcomes:
        """What became of the detections; made anew each time, as it takes memory."""
        found = self.matches
        kept = found.outcome & np.uint8(16 << self.bit) == 0
        chosen: Any = slice(None) if kept.all() else kept
        hit = (found.outcome & np.uint8(1 << self.bit) != 0)[chosen]
        return Outcomes(found.score[chosen], hit, found.label[chosen], found.objects, found.images)


def unite(files: Sequence[Path]) -> ArchiveMatches:
    """Return the matches of all buckets. Raises InputError for a file that cannot be read."""
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in MATCHES.names}
    counts: list[dict[str, Any]] = []
    for file in files:
        try:
            with pa.memory_map(str(file)) as stored, pa.ipc.open_file(stored) as reader:
                counts.append(json.loads(reader.schema.metadata[b"counts"]))
                batch = reader.get_batch(0)
                for name, arrays in columns.items():
                    arrays.append(np.array(batch.column(name).to_numpy()))
        except (pa.ArrowException, OSError) as error:
            raise unreadable(file, error) from error
    rank, score, label, outcome = (np.concatenate(columns.pop(name)) for name in MATCHES.names)
    order = np.lexsort((rank, -score))  # stable: those of one radiograph stay as they were matched
    del rank
    objects = np.zeros(max([len(c["objects"]) for c in counts] + [int(label.max(initial=-1)) + 1]), dtype=np.int64)
    for count in counts:
        objects[: len(count["objects"])] += np.array(count["objects"], dtype=np.int64)
    return ArchiveMatches(
        score[order], label[order], outcome[order], objects, sum(count["images"] for count in counts),
        _sum_of(counts, "without truth"), _sum_of(counts, "without detections"),
    )  # fmt: skip


def _sum_of(counts: Sequence[dict[str, Any]], name: str) -> tuple[int, str | None]:
    """Return how many radiographs one side lacks, and the first of them by name."""
    names = [count[name][1] for count in counts if count[name][1] is not None]
    return sum(count[name][0] for count in counts), min(names, default=None)
