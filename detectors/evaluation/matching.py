"""Match detections to ground-truth boxes once; every metric is derived from the resulting table.

The matching is COCO's: detections are taken in descending score, each takes the free object of its class
with the largest IoU at or above the threshold, and a crowd region swallows any number of detections, which
then count neither as hits nor as false calls. Detections on clean images stay in the table and count as
false calls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.coco import CocoDataset
from data.errors import InputError
from detectors.evaluation.columns import (
    DetectionColumns,
    GroundTruthColumns,
    ImageColumns,
    detection_columns,
    ground_truth_columns,
    image_columns,
)
from detectors.evaluation.outcomes import Criterion, Outcomes

PAIRS_AT_ONCE = 4_000_000  # bounds the memory of one block of IoU computations to about 0.3 GB


@dataclass(frozen=True)
class PairwiseIoU:
    """Images, objects, detections, and every pair of the last two that touch on one image, of any class.

    `pair_detection`, `pair_ground_truth` int64 [P]; `pair_iou` float64 [P] in [0, 1], for a crowd region the share
    of the detection inside it; `pair_center` bool [P], the detection's center lies in the object's box.
    Pairs stand in the order in which matching wants them: by detection, plain objects before crowds,
    largest IoU first.
    """

    images: ImageColumns
    classes: tuple[str, ...]
    ground_truth: GroundTruthColumns
    detections: DetectionColumns
    pair_detection: NDArray[np.int64]
    pair_ground_truth: NDArray[np.int64]
    pair_iou: NDArray[np.float64]
    pair_center: NDArray[np.bool_]

    @classmethod
    def of_columns(
        cls,
        images: ImageColumns,
        classes: tuple[str, ...],
        ground_truth: GroundTruthColumns,
        detections: DetectionColumns,
    ) -> "PairwiseIoU":
        """Return the overlaps of columns in their order: objects by image, detections by falling score."""
        return cls(images, classes, ground_truth, detections, *_pairs(ground_truth, detections, len(images)))

    @cached_property
    def pair_same_class(self) -> NDArray[np.bool_]:
        """Whether both sides of a pair have one class, bool [P]."""
        return self.detections.label[self.pair_detection] == self.ground_truth.label[self.pair_ground_truth]

    def accepted(self, iou: float, criterion: Criterion) -> NDArray[np.bool_]:
        """Return which pairs are close enough to match, whatever their classes, bool [P]."""
        if criterion == "center":
            return self.pair_center
        if not 0 < iou <= 1:
            raise InputError(f"IoU threshold {iou}: must be above 0 and at most 1, such as 0.5")
        # COCO's own guard, so that a threshold of 1 can be met in floating point.
        return self.pair_iou >= min(iou, 1 - 1e-10)

    def match(self, iou: float = 0.5, criterion: Criterion = "iou") -> "MatchTable":
        """Match greedily as pycocotools does at one threshold; the pairs are shared by all thresholds.

        Each threshold is matched once: asked again, the same table is returned.
        """
        key = (0.5 if criterion == "center" else iou, criterion)
        if key not in self._tables:
            matched_ground_truth, matched_detection = self.greedy(self.accepted(*key) & self.pair_same_class)
            self._tables[key] = MatchTable(self, *key, matched_ground_truth, matched_detection)
        return self._tables[key]

    @cached_property
    def _tables(self) -> "dict[tuple[float, Criterion], MatchTable]":
        return {}

    def greedy(
        self, allowed: NDArray[np.bool_], taken: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give each detection its first free object among the `allowed` pairs (bool [P]).

        `taken` bool [G] marks objects that are no longer free. Returns the object of each detection and the
        first detection of each object, int64 [D] and [G], -1 for none.
        """
        of_detection = [-1] * len(self.detections)
        of_ground_truth = [-1] * len(self.ground_truth)
        crowd = self.ground_truth.crowd.tolist()
        free = [True] * len(self.ground_truth) if taken is None else (~taken).tolist()
        chosen = np.flatnonzero(allowed)
        pairs = zip(self.pair_detection[chosen].tolist(), self.pair_ground_truth[chosen].tolist(), strict=True)
        for detection, truth in pairs:
            if of_detection[detection] < 0 and free[truth]:
                of_detection[detection] = truth
                if not crowd[truth]:
                    free[truth] = False
                if of_ground_truth[truth] < 0:
                    of_ground_truth[truth] = detection
        return np.array(of_detection, dtype=np.int64), np.array(of_ground_truth, dtype=np.int64)


@dataclass(frozen=True)
class MatchTable:
    """The table from which every metric comes: who matched whom at one threshold or by center hit.

    `matched_ground_truth` int64 [D]: row of the object a detection matched, or -1. `matched_detection` int64 [G]:
    row of the detection that found an object, or -1. The other columns are in `overlaps`.
    """

    overlaps: PairwiseIoU
    iou: float
    criterion: Criterion
    matched_ground_truth: NDArray[np.int64]
    matched_detection: NDArray[np.int64]

    @property
    def images(self) -> ImageColumns:
        """All images, clean ones included."""
        return self.overlaps.images

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of category ids; labels are places in it."""
        return self.overlaps.classes

    @property
    def ground_truth(self) -> GroundTruthColumns:
        """All ground-truth boxes."""
        return self.overlaps.ground_truth

    @property
    def detections(self) -> DetectionColumns:
        """All detections in descending score."""
        return self.overlaps.detections

    @cached_property
    def ignored(self) -> NDArray[np.bool_]:
        """Detections that fell in a crowd region and count for nothing, bool [D]."""
        return (self.matched_ground_truth >= 0) & np.append(self.ground_truth.crowd, False)[self.matched_ground_truth]

    @cached_property
    def hit(self) -> NDArray[np.bool_]:
        """Detections that found an object, bool [D]."""
        return (self.matched_ground_truth >= 0) & ~self.ignored

    @cached_property
    def false_call(self) -> NDArray[np.bool_]:
        """Detections that found nothing, or an object already found, bool [D]."""
        return self.matched_ground_truth < 0

    @cached_property
    def counted(self) -> NDArray[np.bool_]:
        """Objects that count, which is all but crowd regions, bool [G]."""
        return ~self.ground_truth.crowd

    @cached_property
    def outcomes(self) -> Outcomes:
        """What the curves need of the table."""
        kept = ~self.ignored
        return Outcomes(
            score=self.detections.score[kept],
            hit=self.hit[kept],
            label=self.detections.label[kept],
            objects=np.bincount(self.ground_truth.label[self.counted], minlength=len(self.classes)),
            images=len(self.images),
        )

    @cached_property
    def found_score(self) -> NDArray[np.float64]:
        """Score of the detection that found each object, -inf for a missed one, float64 [G]."""
        return np.append(self.detections.score, -np.inf)[self.matched_detection]

    @cached_property
    def match_iou(self) -> NDArray[np.float64]:
        """IoU of each detection with the object it matched, 0 without one, float64 [D]."""
        pairs = self.overlaps
        value = np.zeros(len(self.detections))
        own = self.matched_ground_truth[pairs.pair_detection] == pairs.pair_ground_truth
        value[pairs.pair_detection[own]] = pairs.pair_iou[own]
        return value

    @cached_property
    def best_iou(self) -> NDArray[np.float64]:
        """Largest IoU of any detection of its class with each object, matched or not, float64 [G]."""
        return self._largest_iou(self.overlaps.pair_ground_truth, len(self.ground_truth))

    @cached_property
    def nearest_iou(self) -> NDArray[np.float64]:
        """Largest IoU of each detection with any object of its class, matched or not, float64 [D]."""
        return self._largest_iou(self.overlaps.pair_detection, len(self.detections))

    def _largest_iou(self, rows: NDArray[np.int64], count: int) -> NDArray[np.float64]:
        """Return the largest IoU of each of `count` rows among the pairs of one class, 0 without a pair."""
        largest = np.zeros(count)
        same = self.overlaps.pair_same_class
        np.maximum.at(largest, rows[same], self.overlaps.pair_iou[same])
        return largest

    @cached_property
    def center_hit(self) -> NDArray[np.bool_]:
        """Whether the center of a detection lies in a box of its class, taken or not, bool [D]."""
        hit = np.zeros(len(self.detections), dtype=bool)
        hit[self.overlaps.pair_detection[self.overlaps.pair_same_class & self.overlaps.pair_center]] = True
        return hit


def match_detections(
    dataset: CocoDataset, results: Sequence[Mapping[str, Any]], iou: float = 0.5, criterion: Criterion = "iou"
) -> MatchTable:
    """Match COCO `results` (image_id, category_id, bbox xywh in px, score) to the boxes of `dataset`.

    `criterion` "iou" wants at least `iou` of overlap; "center" wants the detection's center inside the box,
    whatever the overlap. Raises InputError for an unknown image or category id or a value that is not finite.
    For several thresholds call `find_overlaps` once and `match` on what it returns.
    """
    return find_overlaps(dataset, results).match(iou, criterion)


def find_overlaps(dataset: CocoDataset, results: Sequence[Mapping[str, Any]]) -> PairwiseIoU:
    """Bring both sides into columns and compute the IoU of every pair on one image, for all thresholds."""
    images = image_columns(dataset)
    image_row = {image_id: row for row, image_id in enumerate(images.ids.tolist())}
    categories = sorted(dataset.categories, key=lambda category: category["id"])
    label_row = {category["id"]: row for row, category in enumerate(categories)}
    ground_truth = ground_truth_columns(dataset, image_row, label_row)
    detections = detection_columns(dataset, results, image_row, label_row)
    classes = tuple(str(category.get("name", category["id"])) for category in categories)
    return PairwiseIoU.of_columns(images, classes, ground_truth, detections)


def _pairs(ground_truth: GroundTruthColumns, detections: DetectionColumns, images: int) -> tuple[NDArray[Any], ...]:
    """Return detection, truth, IoU and center hit of every pair that touches, in the order of matching."""
    first = np.searchsorted(ground_truth.image, np.arange(images))
    count = np.bincount(ground_truth.image, minlength=images)
    objects = count[detections.image] if images else np.zeros(0, dtype=np.int64)
    ends = np.cumsum(objects)
    blocks = []
    start = 0
    while start < len(detections):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + PAIRS_AT_ONCE, side="right")))
        chosen = np.arange(start, stop)
        detection = np.repeat(chosen, objects[chosen])
        begins = ends[chosen] - objects[chosen] - done
        within = np.arange(len(detection)) - np.repeat(begins, objects[chosen])
        truth = first[detections.image[detection]] + within
        blocks.append(_overlapping(ground_truth, detections, detection, truth))
        start = stop
    if not blocks:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, bool)
    return tuple(np.concatenate(column) for column in zip(*blocks, strict=True))


def _overlapping(
    ground_truth: GroundTruthColumns,
    detections: DetectionColumns,
    detection: NDArray[np.int64],
    truth: NDArray[np.int64],
) -> tuple[NDArray[Any], ...]:
    """Keep the touching pairs of one block, and sort them by detection, crowd and falling IoU."""
    one, two = detections.box.T[:, detection], ground_truth.box.T[:, truth]
    # The order of the operations is pycocotools', so that both agree to the last bit at the threshold.
    width = np.minimum(one[2] + one[0], two[2] + two[0]) - np.maximum(one[0], two[0])
    height = np.minimum(one[3] + one[1], two[3] + two[1]) - np.maximum(one[1], two[1])
    x, y = one[0] + one[2] / 2, one[1] + one[3] / 2
    center = (x >= two[0]) & (x <= two[0] + two[2]) & (y >= two[1]) & (y <= two[1] + two[3])
    touching = np.flatnonzero(((width > 0) & (height > 0)) | center)
    detection, truth, center = detection[touching], truth[touching], center[touching]
    intersection = np.maximum(width[touching], 0) * np.maximum(height[touching], 0)
    area = one[2, touching] * one[3, touching]
    crowd = ground_truth.crowd[truth]
    union = np.where(crowd, area, area + two[2, touching] * two[3, touching] - intersection)
    iou = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    # Equal IoU goes to the later object, as in pycocotools.
    order = np.lexsort((-truth, -iou, crowd, detection))
    return detection[order], truth[order], iou[order], center[order]
