"""The page of a porosity analysis: totals, limits, slices, projections by pore size, histogram, largest pores."""

import base64
import html
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from data.files import write_text
from data.volumes.gray_levels import GrayLevels
from data.volumes.volume import Volume, isotropic
from detectors.evaluation.plots import save_figure
from detectors.experiments.pore_analysis import HISTOGRAM, Analysis
from detectors.volumes.figures import BRIGHTEST

SHOWN = 25
"""Pores listed on the page."""

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.2em .6em;text-align:right}
th:first-child,td:first-child{text-align:left}img{max-width:100%}.no{color:#b00020;font-weight:bold}"""


def write_page(analysis: Analysis, volume: Volume, levels: GrayLevels, labels: Any, out: Path) -> Path:
    """Write `overview.png` and the self-contained `report.html` of an analysis into `out`; return the page.

    `labels` is the label volume, array-like [Z, Y, X].
    """
    picture = out / "overview.png"
    save_figure(_overview(analysis, volume, levels, labels), picture, dpi=110)
    page = out / "report.html"
    write_text(page, _html(analysis, base64.b64encode(picture.read_bytes()).decode("ascii")))
    return page


def _overview(analysis: Analysis, volume: Volume, levels: GrayLevels, labels: Any) -> Figure:
    table, porosity = analysis.table, analysis.porosity
    center = table.center[0].round().astype(int) if len(table) else np.array(volume.shape) // 2
    side = isotropic(volume.voxel_mm) or 1.0
    unit = "mm" if volume.voxel_mm else "voxels"
    figure = Figure(figsize=(12, 8.4), layout="constrained")
    grid = figure.subplots(2, 3)
    for axis, axes in zip(range(3), grid[0], strict=True):
        key = tuple(int(center[axis]) if k == axis else slice(None) for k in range(3))
        gray = levels.normalize(np.asarray(volume.values[key]))
        pores = np.asarray(labels[key]) > 0
        axes.imshow(_painted(gray, pores), interpolation="nearest")
        axes.set_title(f"{'zyx'[axis]} = {center[axis]}, pores red", fontsize=10)
        axes.set_axis_off()
    largest = max(float(table.diameter_voxels[0]) * side, 1e-9) if len(table) else 1.0
    for axes, sizes, name in zip(grid[1], porosity.projections, ("z", "y"), strict=False):
        shown = np.ma.masked_equal(sizes * side, 0)
        drawn = axes.imshow(shown, cmap="viridis", vmin=0, vmax=largest, interpolation="nearest")
        axes.set_title(f"largest pore along {name}, {unit}", fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.colorbar(drawn, ax=list(grid[1][:2]), shrink=0.8, label=f"equivalent diameter, {unit}")
    counts = [row["pores"] for row in analysis.summary["size_histogram"]]
    last = max((k for k, count in enumerate(counts) if count), default=0)
    names = [f"{low:g}" for low in HISTOGRAM[: last + 1]]
    grid[1][2].bar(names, counts[: last + 1], color="#4477aa")
    grid[1][2].set(xlabel="equivalent diameter from, voxels", ylabel="pores")
    grid[1][2].spines[["top", "right"]].set_visible(False)
    return figure


def _painted(gray: NDArray[np.float32], pores: NDArray[np.bool_]) -> NDArray[np.float32]:
    picture = np.repeat(np.clip(gray / BRIGHTEST, 0, 1)[..., None], 3, axis=2)
    picture[pores] = 0.4 * picture[pores] + 0.6 * np.array([0.9, 0.1, 0.1], dtype=np.float32)
    return picture


def _html(analysis: Analysis, picture: str) -> str:
    summary, records = analysis.summary, analysis.table.records()
    unit = summary["unit"]
    worst = summary["worst_section"]
    totals = [
        ("volume", summary["volume"]), ("method", summary["method"]),
        ("voxels (z, y, x)", " x ".join(map(str, summary["shape"]))),
        ("porosity of the part, closed pores", f"{summary['porosity_percent']:.4f} %"),
        ("pores, of them open", f"{summary['pores']}, {summary['open_pores']}"),
        (f"largest equivalent diameter, {unit}", _number(summary["largest_diameter"])),
        ("part, mm3", _number(summary["part_mm3"])), ("closed pores, mm3", _number(summary["closed_pores_mm3"])),
        (f"worst reference area ({summary['reference_area_side']:.3g} {unit} a side)",
         f"{worst['porosity_percent']:.3f} % at z {worst['z']}, y {worst['y']}, x {worst['x']}" if worst else "none"),
        ("gray values of air and metal", "{air:.6g}, {metal:.6g}".format(**summary["gray_levels"])),
    ]  # fmt: skip
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Porosity</title>", f"<style>{STYLE}</style>",
        "<h1>Porosity</h1>", _table([("", ""), *totals]),
    ]  # fmt: skip
    if summary["limits"]:
        rows = [("limit", "allowed", "found", "kept")]
        rows += [(row["limit"], _number(row["allowed"]), _number(row["found"]), "yes" if row["kept"] else "NO")
                 for row in summary["limits"]]  # fmt: skip
        claim = "The limits are those given to the command; conformity to a norm is not claimed."
        parts += ["<h2>Your limits</h2>", _table(rows), f"<p>{claim}</p>"]
    parts += [f"<img alt='slices, projections and histogram' src='data:image/png;base64,{picture}'>"]
    names = ["id", "volume_mm3", "diameter_mm", "voxels", "diameter_voxels", "sphericity", "center_z", "center_y",
             "center_x", "surface_gap_voxels", "pore_gap_voxels", "mean_gray", "open"]  # fmt: skip
    pores = [tuple(names), *(tuple(_number(record[name]) for name in names) for record in records[:SHOWN])]
    parts += [f"<h2>Largest pores ({min(SHOWN, len(records))} of {len(records)})</h2>", _table(pores), "</html>"]
    return "\n".join(parts) + "\n"


def _number(value: Any) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(rows: list[tuple[Any, ...]]) -> str:
    lines = []
    for number, row in enumerate(rows):
        if not any(row):
            continue
        tag = "th" if number == 0 else "td"
        cells = "".join(f"<{tag}{' class=no' if cell == 'NO' else ''}>{html.escape(str(cell))}</{tag}>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"
