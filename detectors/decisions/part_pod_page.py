"""What a probing with simulated flaws writes: tables, the POD surface, the map of blind places, and a page."""

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from data.files import write_json, write_text
from detectors.decisions.part_pod import FLAW_COLUMNS, GradeFit, ProbedPart, blind_map, fits_by_zone, flaw_rows
from detectors.evaluation.html_page import STYLE, figure_of_file
from detectors.evaluation.metrics import display
from detectors.evaluation.plots import save_figure
from detectors.evaluation.pod_surface import plot_pod_surface
from detectors.evaluation.table import write_csv

REACH = 0.04  # of the longer side, in which flaws speak for a place
FEWEST_NEAR = 3.0  # flaws that a place of the map rests on


def write_probe(probed: ProbedPart, out: Path, background: np.ndarray | None = None) -> list[GradeFit]:
    """Write `pod_simulated.json`, `simulated_flaws.csv`, `plots/` and `pod_simulated.html`; return the fits.

    `background` float [H, W] in [0, 1] is drawn under the map.
    """
    fits = fits_by_zone(probed)
    surface = probed.surface
    write_csv(out / "simulated_flaws.csv", FLAW_COLUMNS, flaw_rows(probed))
    plot_pod_surface(surface, out / "plots" / "pod_surface.png", "Simulated flaws found in your own radiographs")
    plot_blind_map(probed, out / "plots" / "blind_map.png", background)
    record: dict[str, Any] = {
        "simulated": True, "threshold": probed.threshold, "copies": len(probed.dataset.images),
        "flaws": len(probed.dataset.annotations), "found": int(surface.found.sum()), "surface": surface.rows(),
        "by_zone": [_record(row) for row in fits], "zones_refused": probed.refused,
    }  # fmt: skip
    write_json(out / "pod_simulated.json", record, indent=1)
    _write_page(probed, fits, out)
    return fits


def _record(row: GradeFit) -> dict[str, Any]:
    fit = row.fit
    return {
        "zone": row.zone, "contrast_to_noise": row.grade, "flaws": row.flaws, "found": row.found,
        "a50_px": fit and fit.a50, "a90_px": fit and fit.a90, "a90_95_px": fit and fit.a90_95,
        "refused": row.refused or None, "warnings": list(fit.warnings) if fit else [],
    }  # fmt: skip


def plot_blind_map(probed: ProbedPart, path: Path, background: np.ndarray | None = None) -> None:
    """Draw the share of simulated flaws found around every place; places with fewer than 3 flaws near stay open."""
    share, number = blind_map(probed, REACH * max(probed.shape))
    shown = np.ma.masked_where(number < FEWEST_NEAR, share)
    figure = Figure(figsize=(6.4, 5.0), layout="constrained")
    axes = figure.add_subplot()
    if background is not None:
        axes.imshow(background, cmap="gray", vmin=0, vmax=1)
    picture = axes.imshow(shown, cmap="RdYlGn", vmin=0, vmax=1, alpha=0.55 if background is not None else 1)
    axes.set(title="Simulated flaws found, by place", xlabel="x, px", ylabel="y, px")
    figure.colorbar(picture, label="share found, all sizes and contrasts")
    save_figure(figure, path)


def _write_page(probed: ProbedPart, fits: list[GradeFit], out: Path) -> None:
    rows = "".join(
        f"<tr><td>{escape(row.zone)}</td><td>{row.grade:g}</td><td>{row.found} of {row.flaws}</td>"
        + (
            f"<td>{display(row.fit.a50)}</td><td>{display(row.fit.a90)}</td><td>{display(row.fit.a90_95)}</td>"
            f"<td>{escape('; '.join(row.fit.warnings))}</td></tr>"
            if row.fit
            else f"<td></td><td></td><td></td><td>{escape(row.refused)}</td></tr>"
        )
        for row in fits
    )
    refused = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in probed.refused.items())
    write_text(
        out / "pod_simulated.html",
        f"""<!doctype html><meta charset="utf-8"><title>Simulated flaws</title><style>{STYLE}</style>
<h1>Probability of detection of simulated flaws</h1>
<p>{len(probed.dataset.annotations)} <b>simulated</b> pores in {len(probed.dataset.images)} copies of your radiographs,
found at a score of {probed.threshold:.3f} and above. They lie clear of annotated defects and of places where the
detector calls anyway. Real flaws have other shapes and edges: only annotated radiographs of this part tell how often
they are found.</p>
{figure_of_file(out / "plots" / "pod_surface.png", 760)}
{figure_of_file(out / "plots" / "blind_map.png", 760)}
<h2>Sizes found nine times in ten, by zone and contrast-to-noise ratio</h2>
<p>In pixels, the root of the box's area; a90/95 is the one-sided 95 % upper bound. Flaws count as independent.</p>
<table><tr><th>zone</th><th>contrast over noise</th><th>found</th><th>a50</th><th>a90</th><th>a90/95</th><th></th></tr>
{rows}</table>
{f"<h2>Radiographs without zones</h2><ul>{refused}</ul>" if refused else ""}
""",
    )
