"""Detection of simulated defects by size and contrast-to-noise ratio: what is found in a part, and what is not."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from data.coco import CocoDataset
from data.files import atomic_path
from detectors.evaluation.intervals import clopper_pearson
from detectors.evaluation.matching import MatchTable

SIZES = (0.0, 12.0, 20.0, 35.0, 60.0, np.inf)  # edges in pixels, of the root of the box's area
CONTRASTS = (0.0, 2.0, 4.0, 8.0, 16.0, np.inf)  # edges of peak contrast over the local noise
CONTRAST_KEY: Final = "contrast_to_noise"


@dataclass(frozen=True)
class PodSurface:
    """Defects `found` and in `all`, int64 [contrast bin, size bin]; bins are those of `CONTRASTS` and `SIZES`."""

    found: np.ndarray
    all: np.ndarray

    @property
    def rate(self) -> np.ndarray:
        """The share found, float64 of the same shape; NaN where there is no defect."""
        return np.where(self.all > 0, self.found / np.maximum(self.all, 1), np.nan)

    def rows(self) -> list[dict[str, float | int | None]]:
        """Return one record a bin that has defects: edges, counts, share and its 95 % bounds (Clopper-Pearson)."""
        records: list[dict[str, float | int | None]] = []
        for (c, s), number in np.ndenumerate(self.all):
            bounds = clopper_pearson(int(self.found[c, s]), int(number))
            if bounds is not None:
                records.append({
                    "contrast_from": CONTRASTS[c], "contrast_to": _finite(CONTRASTS[c + 1]), "size_px_from": SIZES[s],
                    "size_px_to": _finite(SIZES[s + 1]), "found": int(self.found[c, s]), "defects": int(number),
                    "share": float(self.found[c, s] / number), "lower": bounds[0], "upper": bounds[1],
                })  # fmt: skip
        return records


def _finite(value: float) -> float | None:
    return None if np.isinf(value) else value


def pod_surface(dataset: CocoDataset, matches: MatchTable, threshold: float) -> PodSurface:
    """Return what was found at scores of at least `threshold`, of the annotations that name their contrast."""
    contrast = {a["id"]: a[CONTRAST_KEY] for a in dataset.annotations if a.get(CONTRAST_KEY)}
    ground_truth = matches.ground_truth
    found, total = np.zeros((2, len(CONTRASTS) - 1, len(SIZES) - 1), np.int64)
    for row, identity in enumerate(ground_truth.ids.tolist()):
        if identity not in contrast:
            continue
        c = int(np.searchsorted(CONTRASTS, contrast[identity], side="right")) - 1
        s = int(np.searchsorted(SIZES, float(ground_truth.size[row]), side="right")) - 1
        match = int(matches.matched_detection[row])
        total[c, s] += 1
        found[c, s] += match >= 0 and float(matches.detections.score[match]) >= threshold
    return PodSurface(found, total)


def plot_pod_surface(surface: PodSurface, path: Path, title: str) -> None:
    """Write a picture of the surface: the share found in each bin, and how many defects it rests on."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(surface.rate, origin="lower", vmin=0, vmax=1, cmap="RdYlGn", aspect="auto")
    for (c, s), number in np.ndenumerate(surface.all):
        if number:
            axes.text(s, c, f"{surface.rate[c, s]:.2f}\n({number})", ha="center", va="center", fontsize=8)
    axes.set_xticks(range(len(SIZES) - 1), _labels(SIZES), fontsize=8)
    axes.set_yticks(range(len(CONTRASTS) - 1), _labels(CONTRASTS), fontsize=8)
    axes.set_xlabel("size of the simulated defect, px")
    axes.set_ylabel("peak contrast over local noise")
    axes.set_title(title, parse_math=False, fontsize=10)
    figure.colorbar(image, label="share found")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _labels(edges: tuple[float, ...]) -> list[str]:
    pairs = itertools.pairwise(edges)
    return [f"over {low:g}" if np.isinf(high) else f"{low:g} to {high:g}" for low, high in pairs]
