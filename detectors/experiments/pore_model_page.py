"""The page of a comparison of pore models: what holds, tables, curves, cost, and a picture of each step."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from data.files import write_text
from data.volumes.annotation import labels_of_map
from data.volumes.labels import PORE
from detectors.config.volume_sources import labeled_volumes
from detectors.evaluation.html_page import STYLE, figure_of_file
from detectors.evaluation.plots import COLORS, quiet, save_figure
from detectors.evaluation.table import markdown_table
from detectors.experiments.pore_model_cost import Cost, Size, published_hours
from detectors.experiments.pore_model_plan import Plan
from detectors.experiments.pore_model_tables import TITLES, Table, claims, label_free_share, spread, tables
from detectors.experiments.pore_models import RECALLS
from detectors.experiments.self_labels import load_autoencoder
from detectors.runs.checkpoint import load_model
from detectors.runs.evaluate_volumes import whole_map

Records = Sequence[dict[str, Any]]
MEGABYTE = 2**20


def write_comparison(
    plan: Plan, records: Records, costs: list[Cost], extremes: Records, out: Path
) -> tuple[Path, list[Table]]:
    """Write `report.html`, `report.md` and `plots/` into `out`; return the page and its tables.

    Args:
        plan: what was compared.
        records: of `compare_pore_models`.
        costs: of `costs`, in the same plan.
        extremes: of `extreme_test`; may be empty.
        out: a folder.

    """
    shown = [*tables(records), *cost_tables(costs, plan, records)]
    if extremes:
        shown.append(extreme_table(extremes))
    plot_curves(records, out / "plots" / "precision_recall.png")
    write_example(plan, records, out / "plots" / "maps.png")
    notes = _notes(plan, records)
    write_text(out / "report.md", "".join(
        ["# Pore models\n\n", *(f"{line}\n" for line in notes), "\n",
         *(f"## {table.title}\n\n{markdown_table(table.header, table.rows)}\n" for table in shown)]
    ))  # fmt: skip
    pictures = "".join(figure_of_file(out / "plots" / name, 1100) for name in ("maps.png", "precision_recall.png"))
    body = "".join(f"<h2>{escape(table.title)}</h2>{_html(table)}" for table in shown)
    listed = "".join(f"<li>{escape(line.removeprefix('- '))}</li>" for line in notes)
    page = (f'<!doctype html><meta charset="utf-8"><title>Pore models</title><style>{STYLE}</style><h1>Pore models</h1>'
            f"<ul>{listed}</ul>{pictures}{body}\n")  # fmt: skip
    write_text(out / "report.html", page)
    return out / "report.html", shown


def _notes(plan: Plan, records: Records) -> list[str]:
    trainings = len({(record["fold"], record["seed"]) for record in records})
    lines = [
        f"- {trainings} folds, each trained on all parts but one and with a seed of its own; mean and half of the 95 % "
        "interval (Student's t). Scores count voxels of the part, against the truth."
    ]
    words = {True: "holds", False: "does not hold", None: "open"}
    lines += [f"- {claim.claim}: {claim.found}: {words[claim.holds]}" for claim in claims(records)
              if claim.found != "not measured"]  # fmt: skip
    share = label_free_share(records)
    if share:
        lines.append(f"- best without labels: {share[0]}, {share[1]:.2f} of the UNet's AP that learned from the truth")
    return lines


def _html(table: Table) -> str:
    rows = [f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in table.header)}</tr>"]
    rows += [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows]
    return f"<table>{''.join(rows)}</table>"


def cost_tables(costs: list[Cost], plan: Plan, records: Records = ()) -> list[Table]:
    """Return Table 8, of one patch here and as published; memory is what is kept for the backward pass.

    Of trainings with a record, the processor's seconds that they took, evaluation on the way included.
    """
    hours = published_hours(costs, plan)

    def size(of: Size) -> list[str]:
        counts = (f"{of.parameters / 1e6:.3f}", f"{of.multiply_adds / 1e9:.3f}", f"{of.kept / MEGABYTE:.0f}")
        return [str(of.block), *counts]

    header = ["model", "side", "parameters, M", "multiply-adds, G", "kept, MB"]
    whole = {c.model: [r["seconds"]["processor"] for r in records if r["model"] == c.model] for c in costs}
    here = [[TITLES[c.model], *size(c.here), f"{c.step:.3f}", f"{c.forward:.3f}", spread(whole[c.model], 0)]
            for c in costs]  # fmt: skip
    published = [[TITLES[c.model], *size(c.published), f"{hours[c.model]:.0f}"] for c in costs]
    return [
        Table("Table 8. Cost of one patch", [*header, "step, s", "mapping, s", "whole training, s"], here),
        Table("Table 8 at the published size, and five folds of it on this machine", [*header, "hours"], published),
    ]


def extreme_table(extremes: Records) -> Table:
    """Return the AP of the hard part, scanned anew with fewer projections (columns) and less exposure (rows)."""
    projections = sorted({record["projections"] for record in extremes}, reverse=True)
    exposures = sorted({record["exposure"] for record in extremes}, reverse=True)
    found = {(record["exposure"], record["projections"]): record["ap"] for record in extremes}
    rows = [[f"{exposure:g}", *(f"{found[exposure, count]:.3f}" for count in projections)] for exposure in exposures]
    header = ["exposure", *(f"{count} projections" for count in projections)]
    return Table("Extreme test: AP of the post-processed map, trained on the first fold", header, rows)


def plot_curves(records: Records, path: Path) -> None:
    """Draw precision and recall on the hard part, means over folds: maps, post-processed maps, networks by labels."""
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    unlabeled = [record for record in records if record["labels"] is None]
    for axes, which, title in zip(panels, ("raw", "post_processed"), ("autoencoders", "post-processed"), strict=False):
        for color, model in zip(COLORS, dict.fromkeys(record["model"] for record in unlabeled), strict=False):
            curves = [record["hard"][which]["precision"] for record in unlabeled if record["model"] == model]
            axes.plot(RECALLS, np.mean(curves, axis=0), color=color, label=TITLES[model])
        axes.set_title(title, fontsize=10)
    names = dict.fromkeys((record["model"], record["labels"]) for record in records if record["labels"] is not None)
    for number, (model, labels) in enumerate(names):
        curves = [record["hard"]["raw"]["precision"] for record in records
                  if (record["model"], record["labels"]) == (model, labels)]  # fmt: skip
        style = "-" if number < len(COLORS) else "--"
        panels[2].plot(RECALLS, np.mean(curves, axis=0), style, color=COLORS[number % len(COLORS)],
                       label=f"{TITLES[model]}, {labels.replace('_', ' ')}")  # fmt: skip
    panels[2].set_title("networks by labels", fontsize=10)
    for axes in panels:
        axes.set(xlabel="recall, voxels", xlim=(0, 1), ylim=(0, 1.02))
        quiet(axes)
        if axes.lines:
            axes.legend(fontsize=7, frameon=False, loc="lower left")
    panels[0].set_ylabel("precision, hard part")
    save_figure(figure, path)


def write_example(plan: Plan, records: Records, path: Path) -> None:
    """Draw a slice of the hard part: gray values, map, post-processed map, self-labels, network, truth."""
    first = [record for record in records if (record["fold"], record["seed"]) == (1, 0)]
    labeler = next((record for record in first if (record["model"], record["labels"]) == (plan.labeler, None)), None)
    if labeler is None or plan.net.data.test is None:
        return
    labeled = next(iter(labeled_volumes(plan.net.data.test, plan.net.data.volumes)))
    z = int((labeled.labels == PORE).sum(axis=(1, 2)).argmax())
    pictures: list[tuple[str, NDArray[Any], float]] = [
        ("hard part", labeled.levels.normalize(labeled.volume.slab(z, z + 1))[0], 1.2)
    ]
    device = torch.device("cpu")
    for processed, title in ((False, "|x - reconstruction|"), (True, "post-processed")):
        values = whole_map(load_autoencoder(Path(labeler["run"]), processed)[0], labeled, device)
        pictures.append((title, values[z], 1.0))
    made = labels_of_map(labeled.volume, labeled.levels, values, plan.threshold)
    pictures.append(("self-labels", made[z] == PORE, 1.0))
    own = next((record for record in first if record["labels"] == "self"), None)
    if own is not None:
        net, config, _ = load_model(Path(own["run"]))
        scores = whole_map(net, labeled, device, config.data.volumes.closed_air, config.data.volumes.drops_outer_air)
        pictures.append((f"{TITLES[own['model']]} on self-labels", scores[z], 1.0))
    pictures.append(("truth", labeled.labels[z] == PORE, 1.0))
    figure = Figure(figsize=(2.6 * len(pictures), 2.9), layout="constrained")
    for axes, (title, values, highest) in zip(figure.subplots(1, len(pictures)), pictures, strict=True):
        axes.imshow(np.asarray(values, dtype=np.float32), cmap="gray", vmin=0, vmax=highest, interpolation="nearest")
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
    save_figure(figure, path)
