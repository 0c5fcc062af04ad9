#!/usr/bin/env python3
"""Evaluate runs of volumes on parts of one family under several qualities and numbers of projections.

python benchmarks/volume_conditions.py --run RUN [--run RUN] [--otsu] [--seed 9] [--n 6] [--quality good ...]
    [--projections 360 ...] --out DIR

`DIR/conditions.json` has one record a method and condition, written after each, and a second call goes on after them.
With several numbers of projections, `DIR/projections.png` draws F1 and IoU against them.
"""

import json
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from matplotlib.figure import Figure
from rich.table import Table
from torch import nn

from data.console import console
from data.files import write_json
from data.volumes.otsu import FIXED
from detectors.build import build_model
from detectors.config.experiment import ExperimentConfig, SourceConfig
from detectors.config.files import read_config
from detectors.evaluation.pixel_scores import DEFAULT_THRESHOLD
from detectors.evaluation.plots import COLORS, save_figure
from detectors.runs.checkpoint import load_model
from detectors.runs.evaluate import validated_pixel_threshold
from detectors.runs.evaluate_volumes import count_volumes
from radiograph.command import PATH, Command

SHOWN = {
    "voxel_precision_in_part": "precision", "voxel_recall_in_part": "recall", "voxel_f1_in_part": "F1",
    "voxel_iou_in_part": "IoU", "large_pore_recall": "large found", "false_pores_per_million_voxels": "false a 100^3",
    "pod_a50_voxels": "a50", "pod_a90_voxels": "a90",
}  # fmt: skip
Method = tuple[str, nn.Module, ExperimentConfig, float]


def methods(runs: tuple[Path, ...], otsu: bool) -> list[Method]:
    """Return name, model, configuration and threshold of each run, and of the two thresholds without their traps."""
    found: list[Method] = []
    for run in runs:
        model, config, _ = load_model(run)
        mark = validated_pixel_threshold(run)
        found.append((str(run), model.eval(), config, DEFAULT_THRESHOLD if mark is None else mark))
    if otsu:
        config = read_config("ct_otsu", [f"model.rule={json.dumps(FIXED.model_dump())}"])
        found.append(("thresholds (fixed)", build_model(config.model, 1), config, DEFAULT_THRESHOLD))
    return found


def measure(method: Method, source: SourceConfig) -> dict[str, Any]:
    """Return the metrics of a method on the volumes of a source, pores by size and processor seconds."""
    _, model, config, threshold = method
    begin = time.process_time()
    counts = count_volumes(model, source, config, torch.device("cpu"), threshold)
    by_size = [[row["from_voxels"], row["found"], row["pores"]] for row in counts.by_size()]
    return counts.metrics() | {
        "by_size": by_size, "false_pores": counts.false_pores, "voxels": counts.voxels,
        "cpu_seconds": time.process_time() - begin,
    }  # fmt: skip


def draw(records: list[dict[str, Any]], path: Path) -> None:
    """Draw F1 and IoU against the number of projections: runs by their mean, one line a quality."""
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    qualities = list(dict.fromkeys(record["quality"] for record in records))
    for axes, (metric, label) in zip(
        panels, (("voxel_f1_in_part", "voxel F1 in the part"), ("voxel_iou_in_part", "voxel IoU in the part")),
        strict=True,
    ):  # fmt: skip
        for networks, style in ((True, "o-"), (False, "s--")):
            for quality, color in zip(qualities, COLORS, strict=False):
                points: dict[int, list[float]] = {}
                for record in records:
                    is_network = not record["method"].startswith("thresholds")
                    if is_network == networks and record["quality"] == quality and record[metric] is not None:
                        points.setdefault(record["projections"], []).append(record[metric])
                if points:
                    places = sorted(points)
                    label_of = f"{'network' if networks else 'thresholds'}, {quality} quality"
                    axes.plot(places, [np.mean(points[k]) for k in places], style, color=color, label=label_of)
        axes.set(ylim=(0, 1), xlabel="projections over half a turn", ylabel=label)
        axes.grid(color="#dddddd", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(loc="lower right", frameon=False, fontsize=8)
    save_figure(figure, path)


@click.command(cls=Command)
@click.option("--run", "runs", type=PATH, multiple=True, help="Folder of a run; may be repeated.")
@click.option("--otsu", is_flag=True, help="Two thresholds without their traps, too.")
@click.option("--family", default="housing", show_default=True, help="Family of the parts.")
@click.option("--seed", default=9, show_default=True, help="Seed of the parts.")
@click.option("--n", default=6, show_default=True, help="Number of parts.")
@click.option("--quality", "qualities", multiple=True, default=("good", "normal", "poor"), show_default=True)
@click.option("--projections", type=int, multiple=True, default=(200,), show_default=True)
@click.option("--out", type=PATH, required=True, help="Folder for the results.")
def main(
    runs: tuple[Path, ...],
    otsu: bool,
    family: str,
    seed: int,
    n: int,
    qualities: tuple[str, ...],
    projections: tuple[int, ...],
    out: Path,
) -> None:
    """Evaluate runs of volumes under several qualities and numbers of projections."""
    torch.set_num_threads(1)
    path = out / "conditions.json"
    records: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
    table = Table("method", "quality", "projections", *SHOWN.values())
    for method in methods(runs, otsu):
        for quality in qualities:
            for count in projections:
                key = {"method": method[0], "quality": quality, "projections": count, "family": family, "seed": seed,
                       "n": n}  # fmt: skip
                record = next((row for row in records if all(row[name] == key[name] for name in key)), None)
                if record is None:
                    source = SourceConfig.model_validate({
                        "ct_phantoms": {"kind": "ct_castings", "n": n, "seed": seed, "families": [family],
                                        "quality": quality, "projections": count}
                    })  # fmt: skip
                    record = key | measure(method, source)
                    records.append(record)
                    write_json(path, records, indent=1)
                values = ("-" if record[name] is None else f"{record[name]:.3f}" for name in SHOWN)
                table.add_row(Path(method[0]).parent.name or method[0], quality, str(count), *values)
    console.print(table)
    if len(projections) > 1:
        draw(records, out / "projections.png")


if __name__ == "__main__":
    main()
