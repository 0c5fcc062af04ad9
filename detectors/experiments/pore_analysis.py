"""Porosity analysis of one volume: pores from a run or from thresholds, their table, sections, limits and a page."""

import csv
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from data.console import progress
from data.errors import InputError
from data.files import write_json, write_text
from data.volumes.components import SLAB, Background, PartMask
from data.volumes.gray_levels import GrayLevels, find_gray_levels
from data.volumes.otsu import OtsuPores, OtsuRule
from data.volumes.pores import PoreTable, Porosity, measure_pores
from data.volumes.slices import SliceStack
from data.volumes.transforms import VolumeDataConfig
from data.volumes.volume import Volume, isotropic
from data.volumes.writing import SlabWriter, require_space, write_volume
from detectors.backbones.weights import read_checkpoint
from detectors.evaluation.pixel_scores import DEFAULT_THRESHOLD
from detectors.runs.checkpoint import load_model
from detectors.runs.evaluate import validated_pixel_threshold
from detectors.volumes.inference import reader, stamp, write_map

WORST = 10
"""Sections that are listed."""

FILLED = 0.5
"""Share of a reference area that must be part for its porosity to count."""

HISTOGRAM = (0, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Bounds of the size histogram, equivalent diameter in voxels; the last class is open."""


@dataclass(frozen=True)
class Limits:
    """What the user allows; None allows everything. They are the user's own: no norm is claimed to be met.

    `porosity_percent` of the part, `section_percent` of the worst reference area, `diameter` the largest equivalent
    diameter, `surface_gap` and `pore_gap` the least metal between a pore and the surface or another pore, all lengths
    in mm, or in voxels where the voxel size is unknown. `count` of pores.
    """

    porosity_percent: float | None = None
    section_percent: float | None = None
    diameter: float | None = None
    count: int | None = None
    surface_gap: float | None = None
    pore_gap: float | None = None

    def check(self, values: dict[str, float | int | None]) -> list[dict[str, Any]]:
        """Return a row for each limit that is set: its name, the limit, the value, and whether it is kept."""
        rows = []
        for name, limit in asdict(self).items():
            if limit is None:
                continue
            value = values[name]
            least = name in ("surface_gap", "pore_gap")
            kept = value is None or (value >= limit if least else value <= limit)
            rows.append({"limit": name, "allowed": limit, "found": value, "kept": kept})
        return rows


@dataclass(frozen=True)
class Analysis:
    """What an analysis found, as it was written: the table, the totals, and the summary of `summary.json`."""

    table: PoreTable
    porosity: Porosity
    summary: dict[str, Any]


def gray_levels_of(volume: Volume, air: float | None, metal: float | None) -> GrayLevels:
    """Return the given gray values, or the volume's own modes. Raises InputError for one alone and for none."""
    if (air is None) != (metal is None):
        raise InputError("give both gray values, --air and --metal, or neither")
    return find_gray_levels(volume) if air is None or metal is None else GrayLevels(air, metal)


def map_with_run(
    run: Path, volume: Volume, levels: GrayLevels, out: Path, threshold: float | None
) -> tuple[Path, float, VolumeDataConfig]:
    """Write a run's probabilities as `out/scores.npy`, going on where it was stopped.

    Return it, the threshold, and what the run takes for a pore beside it (`data.volumes`). The threshold is that of the
    best F1 on the run's validation data, unless one is given. Raises InputError for a run of another
    kind.
    """
    model, config, _ = load_model(run)
    if config.model.task != "volumes":
        raise InputError(f"{run}: a run of '{config.model.name}', not of volumes; give one of ct_unet.yaml")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    checkpoint = read_checkpoint(run)
    key = {"run": str(run.resolve()), "epoch": checkpoint.get("epoch"), "model": config.as_dict()["model"],
           "files": stamp(run / "best.ckpt" if run.is_dir() else run)}  # fmt: skip
    path = write_map(model.to(device).eval(), volume, levels, out / "scores.npy", key, device)
    mark = threshold if threshold is not None else validated_pixel_threshold(run)
    return path, DEFAULT_THRESHOLD if mark is None else mark, config.data.volumes


def map_with_thresholds(volume: Volume, levels: GrayLevels, out: Path, rule: OtsuRule) -> Path:
    """Write the pores of Algorithm 1 as `out/scores.npy`, uint8 [Z, Y, X] of 0 and 1; return it."""
    found = OtsuPores(reader(volume, levels), volume.shape, rule, str(volume.path or "volume"))
    writer = SlabWriter(out / "scores.npy", volume.shape, np.uint8)
    for mask in found.slabs():
        writer.append(mask.astype(np.uint8))
    return writer.finish()


def find_part(
    volume: Volume, levels: GrayLevels, out: Path, background: Background = "border", reference: float | None = None
) -> PartMask:
    """Return the part of a volume, after all that can be said against an analysis before its long steps.

    Raises InputError for a volume without material or air, a reference area that does not fit into a slice, and a disk
    without room for the map, the labels and their copy.
    """
    _reference_voxels(volume, reference)
    voxels = int(np.prod(volume.shape, dtype=np.int64))
    there = sum(path.stat().st_size for path in out.glob("scores.npy*")) if out.is_dir() else 0
    require_space(out, max(10 * voxels - there, 6 * voxels))
    return PartMask(reader(volume, levels), volume.shape, 0.5, background, str(volume.path or "volume"))


def analyze_pores(
    volume: Volume,
    levels: GrayLevels,
    part: PartMask,
    scores: Path,
    threshold: float,
    out: Path,
    *,
    least_voxels: int = 4,
    reference: float | None = None,
    limits: Limits | None = None,
    method: str = "",
    closed_air: bool = False,
    outer_air: bool = False,
) -> Analysis:
    """Measure the pores of a map and write the results into `out`.

    `pores.csv`, `pores.json`, `summary.json`, `sections.csv`, and `labels.tif`, the pores' numbers on the grid of the
    volume. The page is `detectors.experiments.pore_analysis_page`.

    Args:
        volume: the scan.
        levels: gray values of air and metal.
        part: of `find_part`.
        scores: map of probabilities, NPY [Z, Y, X].
        threshold: score from which a voxel is a pore.
        out: folder.
        least_voxels: smaller pores are left out.
        reference: side of the square reference area, in mm or, without a voxel size, in voxels; a tenth of the wider
            side of a slice if None.
        limits: of the user.
        method: words for the page.
        closed_air: whether air that the part encloses is a pore whatever its score.
        outer_air: whether air around the part, with the voxel next to it, is none whatever its score.

    Raises InputError for NaN, a reference area that does not fit, and a disk without room.

    """
    square = _reference_voxels(volume, reference)
    out.mkdir(parents=True, exist_ok=True)
    read = reader(volume, levels)
    marked = np.load(scores, mmap_mode="r")

    def masks(first: int, last: int) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = np.asarray(marked[first:last]) >= threshold
        if outer_air:
            found = found & ~part.near_outside(first, last)
        return found | part.closed_air(first, last) if closed_air else found

    require_space(out, 6 * int(np.prod(volume.shape, dtype=np.int64)))
    with progress() as bar:
        line = bar.add_task("measuring", total=2 * volume.shape[0])
        table, porosity = measure_pores(
            masks, read, part, out / "labels.npy", volume.voxel_mm, least_voxels,
            lambda done: bar.update(line, completed=done),
        )  # fmt: skip
    side, unit = isotropic(volume.voxel_mm), "mm"
    if side is None:
        side, unit = 1.0, "voxels"
    labels = np.load(out / "labels.npy", mmap_mode="r")
    sections = worst_sections(labels, part, square)
    summary = _summary(volume, levels, threshold, table, porosity, sections, square, side, unit, method)
    summary["limits"] = (limits or Limits()).check(_limited(table, porosity, sections, side))
    _write_labels(labels, len(table), out, volume)
    (out / "labels.npy").unlink()
    records = table.records()
    write_text(out / "pores.csv", _csv(records, table))
    write_json(out / "pores.json", records, indent=1)
    write_text(out / "sections.csv", _csv(sections))
    write_json(out / "summary.json", summary, indent=1)
    return Analysis(table, porosity, summary)


def _reference_voxels(volume: Volume, reference: float | None) -> int:
    side = isotropic(volume.voxel_mm) or 1.0
    widest = max(volume.shape[1:])
    square = round(widest / 10) if reference is None else round(reference / side)
    if square < 2 or square > min(volume.shape[1:]):
        raise InputError(f"a reference area of {square} voxels a side in slices of {volume.shape[2]} x "
                         f"{volume.shape[1]}; give another --reference")  # fmt: skip
    return int(square)


def worst_sections(labels: NDArray[np.uint32], part: PartMask, square: int) -> list[dict[str, float | int]]:
    """Return the slices (z) with the most porous reference area, worst first, at most `WORST`.

    Of each slice, the square of `square` voxels a side with the largest share of closed pores in its part; squares of
    which less than half is part do not count. A row: z, the corner y and x, porosity in percent, pores in the square.
    """
    rows: list[dict[str, float | int]] = []
    for first in range(0, part.shape[0], SLAB):
        inside = part.rows(first, first + SLAB)
        for offset, mask in enumerate(inside):
            z = first + offset
            numbers = np.asarray(labels[z])
            pores = ((numbers > 0) & mask).astype(np.float32)
            if not pores.any():
                continue
            counts = [_box_sums(field, square) for field in (pores, mask.astype(np.float32))]
            share = np.where(counts[1] >= FILLED * square * square, counts[0] / np.maximum(counts[1], 1), 0)
            y, x = (int(k) for k in np.unravel_index(int(share.argmax()), share.shape))
            if share[y, x] > 0:
                window = numbers[y : y + square, x : x + square]
                rows.append({"z": z, "y": y, "x": x, "porosity_percent": 100 * float(share[y, x]),
                             "pores": len(np.unique(window[window > 0]))})  # fmt: skip
        rows = sorted(rows, key=lambda row: -row["porosity_percent"])[:WORST]
    return rows


def _box_sums(field: NDArray[np.float32], square: int) -> NDArray[np.float32]:
    """Return the sum in each square, by its upper left corner."""
    table = cv2.integral(field, sdepth=cv2.CV_64F)
    sums = table[square:, square:] - table[:-square, square:] - table[square:, :-square] + table[:-square, :-square]
    return sums.astype(np.float32)


def _limited(
    table: PoreTable, porosity: Porosity, sections: list[dict[str, float | int]], side: float
) -> dict[str, float | int | None]:
    closed = table.take(~table.is_open)

    def least(values: NDArray[np.float64]) -> float | None:
        known = values[np.isfinite(values)]
        return float(known.min()) * side if len(known) else None

    return {
        "porosity_percent": 100 * porosity.share,
        "section_percent": float(sections[0]["porosity_percent"]) if sections else 0.0,
        "diameter": float(table.diameter_voxels[0]) * side if len(table) else 0.0,
        "count": len(table),
        "surface_gap": least(closed.surface_gap),
        "pore_gap": least(table.pore_gap),
    }


def _summary(
    volume: Volume,
    levels: GrayLevels,
    threshold: float,
    table: PoreTable,
    porosity: Porosity,
    sections: list[dict[str, float | int]],
    square: int,
    side: float,
    unit: str,
    method: str,
) -> dict[str, Any]:
    counts = np.histogram(table.diameter_voxels, bins=[*HISTOGRAM, np.inf])[0]
    planes = {
        axis: _worst_plane(pores, part)
        for axis, pores, part in zip("zyx", porosity.pores_by_plane, porosity.part_by_plane, strict=True)
    }
    known = volume.voxel_mm is not None
    return {
        "volume": str(volume.path), "shape": list(volume.shape), "method": method, "threshold": threshold,
        "voxel_mm": list(volume.voxel_mm) if volume.voxel_mm else None,
        "gray_levels": {"air": levels.air, "metal": levels.metal},
        "pores": len(table), "open_pores": int(table.is_open.sum()),
        "part_voxels": porosity.part_voxels, "closed_pore_voxels": porosity.pore_voxels,
        "open_pore_voxels": int(table.voxels[table.is_open].sum()),
        "part_mm3": porosity.part_voxels * side**3 if known else None,
        "closed_pores_mm3": porosity.pore_voxels * side**3 if known else None,
        "porosity_percent": 100 * porosity.share,
        "largest_diameter": float(table.diameter_voxels[0]) * side if len(table) else None,
        "unit": unit,
        "reference_area_side": square * side,
        "worst_section": sections[0] if sections else None,
        "worst_planes": planes,
        "size_histogram": [
            {"from_voxels": low, "to_voxels": high, "pores": int(count)}
            for low, high, count in zip(HISTOGRAM, (*HISTOGRAM[1:], None), counts, strict=True)
        ],
    }  # fmt: skip


def _worst_plane(pores: NDArray[np.int64], part: NDArray[np.int64]) -> dict[str, float | int] | None:
    """Return the plane with the largest share of pores, of those with at least a tenth of the fullest one's part."""
    share = np.where(part >= 0.1 * part.max(), pores / np.maximum(part, 1), 0)
    place = int(share.argmax())
    return {"plane": place, "porosity_percent": 100 * float(share[place])} if share[place] > 0 else None


def _write_labels(labels: NDArray[np.uint32], count: int, out: Path, volume: Volume) -> None:
    """Write `labels.tif`: 16 bit, which every viewer reads, or 32 with more pores than that holds."""
    dtype = np.dtype(np.uint16 if count < 2**16 else np.uint32)
    stack = SliceStack(volume.shape, dtype, lambda z: np.asarray(labels[z]).astype(dtype), lambda z: f"slice {z}")
    write_volume(out / "labels.tif", stack, volume.voxel_mm)


def _csv(rows: list[dict[str, Any]], table: PoreTable | None = None) -> str:
    """Return rows as CSV; an empty table has its head all the same."""
    names = list(rows[0]) if rows else (["id", "voxels"] if table is not None else ["z", "y", "x", "porosity_percent"])
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    return f"{value:.6g}" if isinstance(value, float) else value
