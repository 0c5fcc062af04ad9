"""Pictures of maps and pores: slices with what was found, and the probability of detection by size."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from data.errors import InputError
from data.pictures import write_picture
from detectors.evaluation.pixel_plots import draw_errors
from detectors.evaluation.plots import COLORS, save_figure
from detectors.evaluation.pod import fit_pod
from detectors.volumes.evaluation import VolumeCounts

BRIGHTEST = 1.2
"""Normalized gray value that pictures show as white."""

Panel = tuple[str, NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]


def gray_picture(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return normalized gray values as picture values in [0, 1]."""
    return np.clip(values / np.float32(BRIGHTEST), 0, 1)


def write_slices(path: Path, panels: Sequence[Panel]) -> None:
    """Write slices side by side: name, gray [Y, X], marked bool [Y, X], pores bool [Y, X].

    Hits are green, missed voxels yellow, false ones red.
    """
    if not panels:
        return
    pictures = [draw_errors(gray_picture(gray), marked, truth) for _, gray, marked, truth in panels]
    height = max(picture.shape[0] for picture in pictures)
    padded = [np.pad(p, ((0, height - p.shape[0]), (0, 4), (0, 0))) for p in pictures]
    write_picture(path, np.concatenate(padded, axis=1))


def plot_found_by_size(counts: VolumeCounts, path: Path, name: str = "") -> None:
    """Draw the share of pores found in classes of equivalent diameter, and the fitted POD where there is one."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    for row in counts.by_size():
        low, high, recall = row["from_voxels"] or 0, row["to_voxels"], row["recall"]
        if recall is None:
            continue  # no pores of this size
        middle = (low + (high or low + 4)) / 2
        axes.plot(middle, recall, "o", color=COLORS[0])
        axes.annotate(f"{row['found']} of {row['pores']}", (middle, recall), xytext=(4, -12),
                      textcoords="offset points", fontsize=8)  # fmt: skip
    sizes = np.array([pore.diameter for pore in counts.pores])
    hits = np.array([pore.score >= counts.threshold for pore in counts.pores])
    try:
        fit = fit_pod(sizes, hits)
    except InputError:
        pass  # too few pores, or all found: the classes say it
    else:
        grid = np.linspace(sizes.min(), sizes.max(), 200)
        axes.fill_between(grid, *fit.wald_band(grid), color=COLORS[0], alpha=0.15, linewidth=0)
        axes.plot(grid, fit.pod(grid), color=COLORS[0], label=f"50 % at {fit.a50:.2f} voxels")
        axes.legend(loc="lower right", frameon=False)
    axes.set(ylim=(0, 1.03), xlabel="equivalent diameter, voxels", ylabel="probability of detection")
    axes.set_title(f"{name}  pores found".strip())
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
