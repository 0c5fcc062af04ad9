"""Where a detector is good and where not: confusion of classes, and metrics a series, class and size class."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from detectors.evaluation.curves import curve_of_hits
from detectors.evaluation.intervals import clopper_pearson
from detectors.evaluation.matching import MatchTable

# Square root of the box's area, px. Half of GDXray's boxes are smaller than 22 px, so COCO's 32 and 96 px
# would put nearly everything into "small".
SIZE_EDGES = (10.0, 15.0, 20.0, 30.0, 50.0)


@dataclass(frozen=True)
class GroupRow:
    """Metrics of one group at one threshold.

    `recall` and its exact 95 % `bounds` in [0, 1] or None without objects; `false_calls` is a count,
    `images` the number of images it arose on, or None where images do not divide by this group; `ap` as
    curves' 101-point AP.
    """

    name: str
    objects: int
    found: int
    recall: float | None
    bounds: tuple[float, float] | None
    false_calls: int
    images: int | None
    ap: float | None


def confusion_matrix(table: MatchTable, threshold: float) -> NDArray[np.int64]:
    """Return counts [K + 1, K + 1]: rows are true classes, columns called ones, the last of each is background.

    Row "background" holds false calls, column "background" the missed objects. Detections of at least
    `threshold` first take objects of their own class; what is left on both sides may then meet across
    classes.
    """
    classes = len(table.classes)
    reported = table.detections.score >= threshold
    own = table.hit & reported
    taken = (table.found_score >= threshold) | table.ground_truth.crowd
    pairs = table.overlaps
    left_over = reported & table.false_call
    allowed = table.overlaps.accepted(table.iou, table.criterion) & left_over[pairs.pair_detection]
    crossed, _ = table.overlaps.greedy(allowed, taken)
    match = np.where(own, table.matched_ground_truth, crossed)
    met = np.flatnonzero(match >= 0)
    missed = ~taken
    missed[crossed[crossed >= 0]] = False
    matrix = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    np.add.at(matrix, (table.ground_truth.label[match[met]], table.detections.label[met]), 1)
    np.add.at(matrix[classes], table.detections.label[left_over & (crossed < 0)], 1)
    np.add.at(matrix[:, classes], table.ground_truth.label[missed], 1)
    return matrix


def by_class(table: MatchTable, threshold: float) -> list[GroupRow]:
    """Return one row a class, those without objects and detections included."""
    labels = range(len(table.classes))
    return _rows(table, threshold, list(table.classes), list(labels), table.ground_truth.label, table.detections.label)


def by_series(table: MatchTable, threshold: float) -> list[GroupRow]:
    """Return one row a series, in the order of names; images that name none share the row "(none)"."""
    names = sorted({str(name) for name in table.images.series})
    place = {name: row for row, name in enumerate(names)}
    group = np.array([place[str(name)] for name in table.images.series], dtype=np.int64)
    images = np.bincount(group, minlength=len(names)).tolist()
    ground_truth, detections = group[table.ground_truth.image], group[table.detections.image]
    shown = [name or "(none)" for name in names]
    return _rows(table, threshold, shown, list(range(len(names))), ground_truth, detections, images)


def by_size(table: MatchTable, threshold: float, edges: tuple[float, ...] = SIZE_EDGES) -> list[GroupRow]:
    """Return one row a size class that occurs, between `edges` in px of the square root of the box's area.

    A hit belongs to the class of its object, a false call to that of its own box.
    """
    ends = (0.0, *edges, np.inf)
    names = [f"{low:g} to {high:g} px" for low, high in pairwise(ends)]
    names[0], names[-1] = f"under {edges[0]:g} px", f"{edges[-1]:g} px and more"
    ground_truth = np.digitize(table.ground_truth.size, edges)
    box = np.maximum(table.detections.box, 0)
    detections = np.digitize(np.sqrt(box[:, 2] * box[:, 3]), edges)
    met = table.matched_ground_truth >= 0
    detections[met] = ground_truth[table.matched_ground_truth[met]]
    rows = _rows(table, threshold, names, list(range(len(names))), ground_truth, detections)
    return [row for row in rows if row.objects or row.false_calls]


def _rows(
    table: MatchTable,
    threshold: float,
    names: list[str],
    groups: list[int],
    truth_group: NDArray[np.int64],
    detection_group: NDArray[np.int64],
    images: list[int] | None = None,
) -> list[GroupRow]:
    rows = []
    false_calls = table.false_call & (table.detections.score >= threshold)
    for name, group in zip(names, groups, strict=True):
        counted = table.counted & (truth_group == group)
        objects = int(counted.sum())
        found = int((table.found_score[counted] >= threshold).sum())
        kept = (detection_group == group) & ~table.ignored
        curve = curve_of_hits(table.hit[kept], table.detections.score[kept], objects) if objects else None
        rows.append(
            GroupRow(
                name=name,
                objects=objects,
                found=found,
                recall=found / objects if objects else None,
                bounds=clopper_pearson(found, objects),
                false_calls=int((false_calls & (detection_group == group)).sum()),
                images=images[group] if images else None,
                ap=curve.ap if curve else None,
            )
        )
    return rows
