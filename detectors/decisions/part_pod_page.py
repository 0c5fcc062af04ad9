"""What a probing with simulated flaws writes: tables, the POD surface, the map of blind places, and a page."""

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from data.files import write_json, write_text
from detectors.decisions.part_pod import FLAW_COLUMNS, ProbedPart, ZoneFit, blind_map, fits_by_zone, flaw_rows
from detectors.evaluation.html_page import STYLE, figure_of_file
from detectors.evaluation.metrics import display
from detectors.evaluation.plots import save_figure
from detectors.evaluation.pod import PodFit
from detectors.evaluation.pod_surface import PodSurface, plot_pod_surface, pod_surface
from detectors.evaluation.table import write_csv

REACH = 0.04  # of the longer side, in which flaws speak for a place
FEWEST_NEAR = 3.0  # flaws that a place of the map rests on


def write_probe(probed: ProbedPart, out: Path, background: np.ndarray | None = None) -> list[ZoneFit]:
    """Write `pod_simulated.json`, `simulated_flaws.csv`, `plots/` and `pod_simulated.html`; return the fits.

    `background` float [H, W] in [0, 1] is drawn under the map.
    """
    fits = fits_by_zone(probed)
    surface = probed.surface
    write_csv(out / "simulated_flaws.csv", FLAW_COLUMNS, flaw_rows(probed))
    plot_pod_surface(surface, out / "plots" / "pod_surface.png", "Simulated flaws found in your own radiographs")
    plot_blind_map(probed, out / "plots" / "blind_map.png", background)
    real = real_surface(probed)
    if real is not None:
        plot_pod_surface(real, out / "plots" / "pod_surface_annotated.png", "Annotated defects found, as they are")
    record: dict[str, Any] = {
        "simulated": True, "threshold": probed.threshold, "copies": len(probed.dataset.images),
        "flaws": len(probed.dataset.annotations), "found": int(surface.found.sum()), "surface": surface.rows(),
        "by_zone": [_record(row) for row in fits], "zones_refused": probed.refused,
        "annotated": None if real is None else
        {"defects": int(real.all.sum()), "found": int(real.found.sum()), "surface": real.rows()},
    }  # fmt: skip
    write_json(out / "pod_simulated.json", record, indent=1)
    _write_page(probed, fits, out)
    return fits


def real_surface(probed: ProbedPart) -> PodSurface | None:
    """Return what is found of the annotated defects by size and measured contrast; None without annotations."""
    if probed.real is None:
        return None
    return pod_surface(probed.real.dataset, probed.real.matches, probed.threshold)


def against(row: ZoneFit) -> str:
    """Return what POD is taken against, in words."""
    return "contrast over noise" if row.grade is None else f"size in px, contrast over noise {row.grade:g}"


def reached(fit: PodFit, size: float | None) -> str:
    """Return a size of a fit in words: not beyond those that were tested, where the curve says nothing."""
    largest = float(fit.size.max())
    return f"over {largest:.0f}" if size is None or size > largest else display(size)


def _record(row: ZoneFit) -> dict[str, Any]:
    fit = row.fit
    return {
        "zone": row.zone, "contrast_to_noise": row.grade, "flaws": row.flaws, "found": row.found,
        "against": "contrast_to_noise" if row.grade is None else "size_px",
        "a50": fit and fit.a50, "a90": fit and fit.a90, "a90_95": fit and fit.a90_95,
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


def _write_page(probed: ProbedPart, fits: list[ZoneFit], out: Path) -> None:
    rows = "".join(
        f"<tr><td>{escape(row.zone)}</td><td>{against(row)}</td><td>{row.found} of {row.flaws}</td>"
        + (
            "".join(f"<td>{reached(row.fit, size)}</td>" for size in (row.fit.a50, row.fit.a90, row.fit.a90_95))
            + f"<td>{escape('; '.join(row.fit.warnings))}</td></tr>"
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
{_annotated(probed, out)}
<h2>Contrasts and sizes found nine times in ten, by zone</h2>
<p>Contrast is the peak over the local noise, of all sizes; size the root of the box's area in pixels. a90/95 is the
one-sided 95 % upper bound. Flaws count as independent.</p>
<table><tr><th>zone</th><th>POD against</th><th>found</th><th>a50</th><th>a90</th><th>a90/95</th><th></th></tr>
{rows}</table>
{f"<h2>Radiographs without zones</h2><ul>{refused}</ul>" if refused else ""}
""",
    )


def _annotated(probed: ProbedPart, out: Path) -> str:
    real = real_surface(probed)
    if real is None:
        return ""
    return f"""<h2>Annotated defects, in the radiographs as they are</h2>
<p>{int(real.found.sum())} of {int(real.all.sum())} are found. Their contrast is measured at the box, less surely than
that of simulated flaws. Where far fewer of them are found in the same cell, the simulated flaws are too easy.</p>
{figure_of_file(out / "plots" / "pod_surface_annotated.png", 760)}"""
