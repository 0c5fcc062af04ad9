"""Hit/miss data of a run for its probability of detection, and what the analysis writes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from data.errors import InputError
from data.files import write_json
from detectors.evaluation.intervals import clopper_pearson, poisson_rate
from detectors.evaluation.matching import MatchTable
from detectors.evaluation.metrics import display
from detectors.evaluation.plots import plot_pod
from detectors.evaluation.pod import PodFit, fit_pod

By = Literal["size", "length", "depth"]
Unit = Literal["auto", "px", "mm"]
MEASURES = {"size": "square root of the box's area", "length": "longer side of the box", "depth": "depth"}


@dataclass(frozen=True)
class HitMiss:
    """One value a defect: `size` float64 [N] in `unit` ("px" or "mm"), `hit` bool [N]; `measure` in words."""

    size: NDArray[np.float64]
    hit: NDArray[np.bool_]
    measure: str
    unit: str

    @property
    def axis(self) -> str:
        """Name of the size for an axis, unit included."""
        return f"{self.measure}, {self.unit}"


def hit_miss(table: MatchTable, threshold: float, by: By = "size", unit: Unit = "auto") -> HitMiss:
    """Return which objects were found at `threshold` or above, against their size.

    `by` "depth" is the simulated depth along the ray, mm. `unit` "auto" is mm where the pixel size of every
    image with objects is known, else px. Raises InputError where a wanted depth or pixel size is missing.
    """
    counted = table.counted
    hit = table.found_score[counted] >= threshold
    if by == "depth":
        depth = table.ground_truth.depth_mm[counted]
        if np.isnan(depth).any():
            raise InputError(
                f"POD by depth: {int(np.isnan(depth).sum())} of {len(depth)} objects have no depth_mm; use --by size"
            )
        return HitMiss(depth, hit, MEASURES[by], "mm")
    pixels = (table.ground_truth.size if by == "size" else table.ground_truth.length)[counted]
    pixel_mm = table.images.pixel_mm[table.ground_truth.image[counted]]
    unknown = int(np.isnan(pixel_mm).sum())
    if unit == "mm" and unknown:
        raise InputError(f"POD in mm: {unknown} objects lie on images without pixel_size_mm; use --unit px")
    if unit == "mm" or (unit == "auto" and not unknown and len(pixels)):
        return HitMiss(pixels * pixel_mm, hit, MEASURES[by], "mm")
    return HitMiss(pixels, hit, MEASURES[by], "px")


def false_call_rates(table: MatchTable, threshold: float) -> dict[str, Any]:
    """Return false calls at `threshold`: share of defect-free images with any, and calls an image, with 95 % bounds.

    The share has Clopper-Pearson bounds. Of calls an image, which may exceed one, they are Garwood's.
    Bounds are two-sided at 90 %, so that each alone is one-sided at 95 %. None where there is no defect-free
    image, or no image.
    """
    false = table.false_call & (table.detections.score >= threshold)
    clean = np.ones(len(table.images), dtype=bool)
    clean[table.ground_truth.image] = False
    called = np.zeros(len(table.images), dtype=bool)
    called[table.detections.image[false]] = True
    count, images = int(false.sum()), len(table.images)
    clean_count, clean_called = int(clean.sum()), int((clean & called).sum())
    return {
        "images": images,
        "false_calls": count,
        "false_calls_per_image": count / images if images else None,
        "false_calls_per_image_bounds": poisson_rate(count, images, 0.9),
        "defect_free_images": clean_count,
        "defect_free_images_called": clean_called,
        "defect_free_images_called_share": clean_called / clean_count if clean_count else None,
        "defect_free_images_called_bounds": clopper_pearson(clean_called, clean_count, 0.9),
    }


def pod_record(fit: PodFit, data: HitMiss, table: MatchTable, threshold: float) -> dict[str, Any]:
    """Return the analysis as plain JSON values; None is "not applicable"."""
    return {
        "measure": data.measure,
        "unit": data.unit,
        "threshold": threshold,
        "criterion": table.criterion,
        "iou": table.iou if table.criterion == "iou" else None,
        "link": fit.link,
        "scale": fit.scale,
        "defects": fit.defects,
        "hits": fit.hits,
        "a50": fit.a50,
        "a90": fit.a90,
        "a90_95": fit.a90_95,
        "a90_95_wald": fit.a90_95_wald,
        "intercept": fit.intercept,
        "slope": fit.slope,
        "covariance": fit.covariance.tolist(),
        "deviance": fit.deviance,
        "hosmer_lemeshow_p": fit.fit_p,
        "warnings": list(fit.warnings),
        **false_call_rates(table, threshold),
    }


def write_pod(folder: str | Path, data: HitMiss, fit: PodFit, record: dict[str, Any]) -> list[Path]:
    """Write `pod.json` and `plots/pod.png` into a run's folder; returns both paths."""
    paths = [Path(folder) / "pod.json", Path(folder) / "plots" / "pod.png"]
    plot_pod(fit, data.axis, paths[1])
    write_json(paths[0], record, indent=2)
    return paths


def compare_fits(data: HitMiss) -> dict[str, float | None]:
    """Return the deviance of each link and scale, None where it cannot be fitted; the least describes best."""
    deviances: dict[str, float | None] = {}
    for link in ("logit", "probit"):
        for scale in ("log", "linear"):
            try:
                deviances[f"{link}, {scale}"] = fit_pod(data.size, data.hit, link, scale).deviance
            except InputError:
                deviances[f"{link}, {scale}"] = None
    return deviances


def pod_table(record: dict[str, Any]) -> Table:
    """Return the analysis as a table for people."""
    table = Table("metric", "value", title=f"POD by {record['measure']}, at score {record['threshold']:.3f}")
    table.add_row("defects, found", f"{record['defects']}, {record['hits']}")
    for name in ("a50", "a90", "a90_95", "a90_95_wald"):
        unit = f" {record['unit']}" if record[name] is not None else ""
        table.add_row(name.replace("_95", "/95").replace("_", ", "), display(record[name]) + unit)
    table.add_row("Hosmer-Lemeshow p", display(record["hosmer_lemeshow_p"]))
    for name in ("false_calls_per_image", "defect_free_images_called"):
        value = record[name + "_share"] if name.startswith("defect_free") else record[name]
        low, high = record[f"{name}_bounds"] or (None, None)
        label = "share of defect-free images called" if name.startswith("defect_free") else "false calls an image"
        table.add_row(label, f"{display(value)} (95 % bounds {display(low)}, {display(high)})")
    return table
