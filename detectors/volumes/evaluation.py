"""Pore maps against labels: voxel by voxel, pore by pore, and the probability of detection by size.

Every voxel metric says in its name what it counts: `in_part` voxels of the part alone (pores and material),
`everywhere` the air too, most of which no method takes for a pore.
"""

import csv
import io
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data.errors import InputError
from data.files import write_text
from data.volumes.components import label
from data.volumes.labels import AIR, IGNORED, MATERIAL, OPEN_PORE, OPEN_PORES, PORE
from data.volumes.volume import VoxelSize, isotropic
from detectors.evaluation.metrics import Metrics
from detectors.evaluation.pixel_scores import BINS, DEFAULT_THRESHOLD, SHARE
from detectors.evaluation.pod import fit_pod

Floats = NDArray[np.float64]

LARGE = 4.0
"""Equivalent diameter in voxels from which a pore is too large to be missed."""

SIZES = (0.0, 2.0, 3.0, 4.0, 6.0, 8.0, np.inf)
"""Bounds of the classes of equivalent diameter in voxels, for the table of pores found."""

SLAB = 32


@dataclass(frozen=True)
class PoreRow:
    """A pore of the labels: `score` is the highest threshold at which a quarter of its voxels is marked."""

    volume: str
    voxels: int
    diameter: float
    diameter_mm: float | None
    score: float
    center: tuple[float, float, float]


class VolumeCounts:
    """What is counted of maps and labels, one volume after the other.

    A pore is a 26-connected component of the labels' pore voxels; it is found where at least a quarter of its voxels
    score the threshold. A false pore is a 26-connected region of marked voxels of which less than a quarter lies on
    pores. Regions of fewer than `least_voxels` voxels find nothing and are no false pores; voxel metrics count voxels
    one by one.

    Args:
        threshold: probability from which a voxel is marked.
        open_pores: whether open pores count as "pore", as "background", or not at all ("ignore").
        least_voxels: of a marked region that counts.

    """

    def __init__(self, threshold: float = DEFAULT_THRESHOLD, open_pores: str = "ignore", least_voxels: int = 1) -> None:
        self.threshold = threshold
        self._least = least_voxels
        self._open = OPEN_PORES[open_pores]
        self._pore = np.zeros(BINS, np.int64)
        self._material = np.zeros(BINS, np.int64)
        self._air = np.zeros(BINS, np.int64)
        self.pores: list[PoreRow] = []
        self.volumes = 0
        self.voxels = 0
        self.false_pores = 0
        self.false_closed_pores = 0

    def add(
        self, values: NDArray[np.float32], labels: NDArray[np.uint8], name: str = "", voxel_mm: VoxelSize | None = None
    ) -> None:
        """Count one volume: scores float32 [Z, Y, X] in [0, 1] and labels uint8 [Z, Y, X] of `data.volumes.labels`.

        Raises ValueError for shapes that differ and for scores outside [0, 1], NaN too.
        """
        if values.shape != labels.shape:
            raise ValueError(f"a map of {values.shape} and labels of {labels.shape}")
        if not (values.min() >= 0 and values.max() <= 1):  # false for NaN, too
            raise ValueError(f"scores from {values.min()} to {values.max()} are not within 0 ... 1")
        kinds = np.array(labels)
        if self._open != IGNORED:
            kinds[kinds == OPEN_PORE] = PORE if self._open else MATERIAL
        for first in range(0, len(values), SLAB):
            some, kind = values[first : first + SLAB], kinds[first : first + SLAB]
            bins = np.minimum((some * BINS).astype(np.int64), BINS - 1)
            for value, counts in ((PORE, self._pore), (MATERIAL, self._material), (AIR, self._air)):
                counts += np.bincount(bins[kind == value], minlength=BINS)
        counted = self._without_specks(values)
        self._add_pores(counted, kinds == PORE, name, voxel_mm)
        known = (kinds != IGNORED) & (kinds != OPEN_PORE)
        every, closed = _false_pores((counted >= self.threshold) & known, kinds == PORE, kinds == AIR, self._least)
        self.false_pores += every
        self.false_closed_pores += closed
        self.volumes += 1
        self.voxels += values.size

    def _without_specks(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the scores with marked regions of fewer than the least voxels at 0."""
        if self._least == 1:
            return values
        numbers, count = label(values >= self.threshold)
        small = np.bincount(numbers.ravel(), minlength=count + 1) < self._least
        small[0] = False
        return np.where(small[numbers], np.float32(0), values)

    def _add_pores(
        self, values: NDArray[np.float32], pores: NDArray[np.bool_], name: str, voxel_mm: VoxelSize | None
    ) -> None:
        numbers, _ = label(pores)
        side = isotropic(voxel_mm)
        for number, box in enumerate(ndimage.find_objects(numbers), start=1):
            inside = numbers[box] == number
            scores = values[box][inside]
            rank = int(np.ceil(SHARE * len(scores)))
            diameter = float(np.cbrt(6 * len(scores) / np.pi))
            place = np.argwhere(inside).mean(axis=0) + [part.start for part in box]
            self.pores.append(
                PoreRow(name, len(scores), diameter, diameter * side if side else None,
                        float(np.partition(scores, len(scores) - rank)[len(scores) - rank]), tuple(place.tolist()))
            )  # fmt: skip

    def best_threshold(self) -> float | None:
        """Return the threshold of the best F1 inside of the part, None where no pore voxel is ever hit."""
        f1 = _curve(self._pore, self._material)["f1"]
        return None if not self._pore.any() or not f1.max() > 0 else int(len(f1) - 1 - np.argmax(f1[::-1])) / BINS

    def metrics(self) -> Metrics:
        """Return the metrics of `metrics.json`, None where not applicable; see `detectors.evaluation.metrics`."""
        place = int(np.clip(np.floor(self.threshold * BINS), 0, BINS - 1))
        found: Metrics = {"voxel_threshold": self.threshold, "volumes": self.volumes, "pores": len(self.pores)}
        for where, others in (("in_part", self._material), ("everywhere", self._material + self._air)):
            curve = _curve(self._pore, others)
            some = bool(self._pore.any())
            for name in ("precision", "recall", "f1", "iou"):
                found[f"voxel_{name}_{where}"] = float(curve[name][place]) if some else None
            found[f"voxel_ap_{where}"] = float(curve["ap"]) if some else None
            found[f"voxel_roc_auc_{where}"] = _roc_auc(self._pore, others) if some and others.any() else None
            found[f"voxel_f1_max_{where}"] = float(curve["f1"].max()) if some else None
        found["voxel_best_threshold"] = self.best_threshold()
        hits = np.array([pore.score >= self.threshold for pore in self.pores])
        sizes = np.array([pore.diameter for pore in self.pores])
        large = sizes >= LARGE
        part = int(self._pore.sum() + self._material.sum())
        found["pore_recall"] = float(hits.mean()) if len(hits) else None
        found["large_pore_recall"] = float(hits[large].mean()) if large.any() else None
        found["false_pores_per_volume"] = self.false_pores / self.volumes if self.volumes else None
        found["false_closed_pores_per_volume"] = self.false_closed_pores / self.volumes if self.volumes else None
        found["false_pores_per_million_voxels"] = self.false_pores / self.voxels * 1e6 if self.voxels else None
        found["false_pores_per_million_voxels_of_part"] = self.false_pores / part * 1e6 if part else None
        return found | self._pod(sizes, hits)

    def _pod(self, sizes: Floats, hits: NDArray[np.bool_]) -> Metrics:
        """Return a50, a90 and a90/95 of the equivalent diameter in voxels and in mm, None where no curve fits."""
        found: Metrics = {}
        known = [pore.diameter_mm for pore in self.pores]
        in_mm = np.array(known, dtype=float) if known and None not in known else None
        for unit, values in (("voxels", sizes), ("mm", in_mm)):
            try:
                if values is None:
                    raise InputError("the voxel size is unknown")
                fit = fit_pod(values, hits)
            except InputError:
                found |= {f"pod_a50_{unit}": None, f"pod_a90_{unit}": None, f"pod_a90_95_{unit}": None}
            else:
                found |= {f"pod_a50_{unit}": fit.a50, f"pod_a90_{unit}": fit.a90, f"pod_a90_95_{unit}": fit.a90_95}
        return found

    def precision_at(self, recalls: Floats) -> Floats:
        """Return the best precision over voxels of the part at each recall or a higher one, [N]; 0 where none is."""
        curve = _curve(self._pore, self._material)
        best = np.append(np.maximum.accumulate(curve["precision"]), 0.0)  # rows rise with the threshold
        rows = [np.flatnonzero(curve["recall"] >= recall - 1e-12) for recall in recalls]
        return np.array([best[found[-1]] if len(found) and self._pore.any() else 0.0 for found in rows])

    def by_size(self) -> list[dict[str, float | int | None]]:
        """Return pores and pores found in each class of equivalent diameter in voxels."""
        rows: list[dict[str, float | int | None]] = []
        for low, high in itertools.pairwise(SIZES):
            inside = [pore for pore in self.pores if low <= pore.diameter < high]
            hit = sum(pore.score >= self.threshold for pore in inside)
            rows.append({"from_voxels": low, "to_voxels": high if np.isfinite(high) else None, "pores": len(inside),
                         "found": hit, "recall": hit / len(inside) if inside else None})  # fmt: skip
        return rows

    def write_pores(self, path: Path) -> None:
        """Write the pores of the labels with the score at which each is found, as CSV."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["volume", "center_z", "center_y", "center_x", "voxels", "diameter_voxels", "diameter_mm",
                         "found_score", "found"])  # fmt: skip
        for pore in self.pores:
            writer.writerow([
                pore.volume, *(f"{value:.2f}" for value in pore.center), pore.voxels, f"{pore.diameter:.4f}",
                "" if pore.diameter_mm is None else f"{pore.diameter_mm:.6f}", f"{pore.score:.4f}",
                int(pore.score >= self.threshold),
            ])  # fmt: skip
        write_text(path, stream.getvalue())


def _curve(pore: NDArray[np.int64], others: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Return precision, recall, F1 and IoU at each threshold k / 1024, and the AP."""
    hits, false = (counts[::-1].cumsum()[::-1].astype(np.float64) for counts in (pore, others))
    objects = float(pore.sum())
    precision = np.divide(hits, hits + false, out=np.ones(BINS), where=hits + false > 0)
    recall = hits / max(objects, 1)
    gained = recall - np.append(recall[1:], 0.0)
    return {
        "precision": precision, "recall": recall, "f1": 2 * hits / np.maximum(objects + hits + false, 1),
        "iou": hits / np.maximum(objects + false, 1), "ap": (gained * precision).sum(),
    }  # fmt: skip


def _roc_auc(pore: NDArray[np.int64], others: NDArray[np.int64]) -> float:
    """Return the probability that a pore voxel scores above another, ties counted half."""
    below = np.concatenate([[0], others.cumsum()[:-1]])
    return float((pore * (below + others / 2)).sum() / (pore.sum() * others.sum()))


def _false_pores(
    marked: NDArray[np.bool_], pores: NDArray[np.bool_], air: NDArray[np.bool_], least: int
) -> tuple[int, int]:
    """Return how many regions of `marked` lie on pores with less than a quarter of their voxels, and the closed ones.

    Regions have `least` voxels or more: what is left of one beside an ignored pore may be smaller, and does not count.
    A region that holds or touches air around the part is open, and none of the closed ones.
    """
    numbers, count = label(marked)
    size = np.bincount(numbers[marked], minlength=count + 1)[1:]
    hit = np.bincount(numbers[marked & pores], minlength=count + 1)[1:]
    false = (hit < SHARE * size) & (size >= least)
    is_open = np.zeros(count + 1, bool)
    is_open[np.unique(numbers[marked & ndimage.binary_dilation(air)])] = True
    return int(false.sum()), int((false & ~is_open[1:]).sum())
