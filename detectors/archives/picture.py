"""What an archive's detections look like at a glance: how sure they are, and how many a radiograph has."""

import importlib
import importlib.util
import threading
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from data.archives.parts import flat_boxes, flat_values
from detectors.archives.folder import ArchiveFolder

PICTURE = "detections.png"
SCORES = np.linspace(0, 1, 41)  # edges of the bars
MOST_COUNTED = 10  # detections of a radiograph; more are one bar


def import_ahead() -> None:
    """Start to import Matplotlib, which takes a second, in a thread, while the model starts elsewhere."""
    if importlib.util.find_spec("matplotlib") is not None:
        plots = ("detectors.evaluation.plots",)
        threading.Thread(target=importlib.import_module, args=plots, daemon=True).start()


def draw_detections(folder: ArchiveFolder, threshold: float) -> None:
    """Write `detections.png` from the parts, one at a time.

    Left, how many detections have which score, with the threshold; right, how many radiographs have how many
    detections at or above it. Nothing is written where Matplotlib is not installed, as beside a bare runtime. Raises
    OSError where the picture cannot be written.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return
    batches = (batch for number in range(folder.parts) for batch in folder.detections(number))
    scores, counts = count_detections(batches, threshold)
    from matplotlib.figure import Figure

    from detectors.evaluation.plots import COLORS, quiet, save_figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.stairs(scores, SCORES, fill=True, color=COLORS[0])
    left.axvline(threshold, color=COLORS[1], linewidth=1.5, label=f"threshold {threshold:.3g}")
    left.set(xlim=(0, 1), yscale="symlog", ylim=(0, None), xlabel="score", ylabel="detections")
    left.set_title(f"{scores.sum():,} detections")
    left.legend(frameon=False)
    names = [*map(str, range(MOST_COUNTED)), f"{MOST_COUNTED}+"]
    right.bar(names, counts, color=COLORS[0])
    right.set(yscale="symlog", ylim=(0, None), ylabel="radiographs")
    right.set_xlabel("detections of a radiograph, from the threshold on")
    right.set_title(f"{counts.sum():,} radiographs")
    for axes in (left, right):
        quiet(axes)
    save_figure(figure, folder.out / PICTURE)


def count_detections(batches: Iterable[pa.RecordBatch], threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Count in rows of `data.archives.schema.DETECTIONS`.

    Returns:
        The number of detections in each interval between `SCORES`, int64 [40], and the number of radiographs with
        0, 1 ... 9 and more detections from `threshold` on, int64 [11].

    """
    scores = np.zeros(len(SCORES) - 1, dtype=np.int64)
    counts = np.zeros(MOST_COUNTED + 1, dtype=np.int64)
    for batch in batches:
        starts, found = flat_boxes(batch)[0], flat_values(batch, "scores")
        scores += np.histogram(found, SCORES)[0]
        above = np.concatenate([[0], np.cumsum(found >= threshold)])
        each = above[starts[1:]] - above[starts[:-1]]
        counts += np.bincount(np.minimum(each, MOST_COUNTED), minlength=len(counts))
    return scores, counts
