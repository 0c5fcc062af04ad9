"""Figures of a run: precision-recall curves of one or several, and radiographs with truth and detections."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from data.files import atomic_path
from data.gray_window import AUTO
from data.image_paths import confined_path
from data.radiograph import read_radiograph
from detectors.evaluation.curves import PrecisionRecall, ScoreCurve
from detectors.evaluation.matching import MatchTable
from detectors.evaluation.metrics import display
from detectors.evaluation.pod import PodFit

# Okabe and Ito's colors, which the color-blind can tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
TRUTH, MISS, HIT, FALSE_CALL = "#56B4E9", "#F0E442", "#00C08A", "#FF5A3C"


def save_figure(figure: Figure, path: str | Path, dpi: int = 130) -> None:
    """Write a figure as PNG, SVG or PDF by its suffix, atomically, without pyplot's global state."""
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi)


def plot_precision_recall(
    curves: Mapping[str, PrecisionRecall], path: str | Path, title: str = "Precision and recall at IoU 0.5"
) -> None:
    """Draw the curves of several runs, by name, in one figure with their AP ("n/a" without objects)."""
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, curve) in enumerate(curves.items()):
        # The envelope is a staircase that ends where recall ends.
        recall = np.concatenate([[0.0], curve.recall, curve.recall[-1:]])
        precision = np.concatenate([curve.precision[:1], curve.precision, [0.0] * min(1, len(curve.recall))])
        axes.step(
            recall[: len(precision)],
            precision,
            where="pre",
            label=literal(f"{name}   AP {display(curve.ap)}"),
            color=COLORS[number % len(COLORS)],
            linestyle=("-", "--", ":")[number // len(COLORS) % 3],
            linewidth=2,
        )
    axes.set(xlim=(0, 1.005), ylim=(0, 1.01), xlabel="recall", ylabel="precision", title=literal(title))
    quiet(axes)
    if curves:
        axes.legend(loc="lower left", frameon=True, framealpha=0.9, edgecolor="none")
    save_figure(figure, path)


def literal(text: object) -> str:
    """Return a name as matplotlib shows it to the letter: no `$` starts a formula, no `_` hides it from a legend."""
    shown = str(text).encode("utf-8", "replace").decode("utf-8").replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def quiet(axes: Axes) -> None:
    """Give axes a faint grid behind the data, and no box around them."""
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def plot_froc(curves: Mapping[str, ScoreCurve], path: str | Path, title: str = "FROC by center point") -> None:
    """Draw sensitivity against false calls an image, logarithmic, of several runs or groups by name.

    The last one is drawn thick. Rates under a hundredth of a false call an image are not shown.
    """
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    axes = figure.add_subplot()
    least, most = 0.01, 1.0
    for number, (name, curve) in enumerate(curves.items()):
        shown = curve.objects > 0 and curve.images > 0
        rates = np.maximum(curve.false_calls, least) if shown else np.zeros(0)
        recall = curve.recall if shown else np.zeros(0)
        most = max(most, float(rates.max(initial=most)))
        last = number == len(curves) - 1
        axes.step(
            rates,
            recall,
            where="post",
            label=literal(name) if shown else literal(f"{name} (no objects)"),
            color="#000000" if last else COLORS[number % (len(COLORS) - 1)],
            linestyle="-" if last else ("-", "--", ":")[number // (len(COLORS) - 1) % 3],
            linewidth=2.6 if last else 1.4,
        )
    for rate in (0.5, 1, 2):
        axes.axvline(rate, color="#bbbbbb", linewidth=0.8, linestyle="--", zorder=0)
    axes.set_xscale("log")
    axes.set(xlim=(least, most * 1.1), ylim=(0, 1.01), xlabel="false calls an image", ylabel="sensitivity")
    axes.set_title(literal(title))
    quiet(axes)
    if curves:
        axes.legend(loc="upper left", fontsize=8, frameon=True, framealpha=0.9, edgecolor="none")
    save_figure(figure, path)


def plot_examples(
    table: MatchTable,
    image_dir: str | Path,
    path: str | Path,
    threshold: float | None,
    count: int = 12,
) -> None:
    """Draw up to `count` radiographs of a table of matches: the worst, then an even choice of the others.

    `image_dir` is the folder that the file names of the table start from. Objects are dashed (yellow where missed),
    hits green, false calls red with their scores; detections under `threshold` are not drawn (None: every one is). A
    radiograph with small boxes is cropped around them.
    """
    chosen = choose_examples(table, threshold, count)
    columns = min(4, max(1, len(chosen)))
    rows = max(1, -(-len(chosen) // columns))
    figure = Figure(figsize=(4 * columns, 3.4 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, image in zip(grid, chosen, strict=False):
        _draw_example(axes, table, image, Path(image_dir), threshold)
    if not chosen:
        grid[0].text(0.5, 0.5, "no images", ha="center")
    handles = [
        Rectangle((0, 0), 1, 1, fill=False, edgecolor=color, linestyle=style, linewidth=2)
        for color, style in ((TRUTH, "--"), (MISS, "--"), (HIT, "-"), (FALSE_CALL, "-"))
    ]
    at = "" if threshold is None else f" at score {threshold:.2f}"
    labels = ["object, found", "object, missed", f"hit{at}", f"false call{at}"]
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    save_figure(figure, path, dpi=80)


def choose_examples(table: MatchTable, threshold: float | None, count: int) -> list[int]:
    """Return rows of images to show: half the worst by misses and false calls, half evenly from the rest."""
    least = -np.inf if threshold is None else threshold
    misses = ((table.matched_detection < 0) | (table.found_score < least)) & table.counted
    false = table.false_call & (table.detections.score >= least)
    images = len(table.images)
    errors = np.bincount(table.ground_truth.image[misses], minlength=images) + np.bincount(
        table.detections.image[false], minlength=images
    )
    order = np.argsort(-errors, kind="stable")
    worst = order[errors[order] > 0][: count // 2].tolist()
    rest = np.array([image for image in range(images) if image not in set(worst)])
    if len(rest):
        objects = np.bincount(table.ground_truth.image, minlength=images)[rest]
        # Images with defects tell more than clean ones; of the clean ones one or two suffice.
        rest = np.concatenate([rest[objects > 0], rest[objects == 0][: max(1, count // 6)]])
        places = np.linspace(0, len(rest) - 1, min(len(rest), count - len(worst))).round().astype(int)
        rest = rest[np.unique(places)]
    return worst + [int(image) for image in rest]


def _draw_example(axes: Any, table: MatchTable, image: int, image_dir: Path, threshold: float | None) -> None:
    file = confined_path(image_dir, table.images.names[image], table.images.ids[image])
    pixels = read_radiograph(file, window=AUTO).pixels
    ground_truth = np.flatnonzero(table.ground_truth.image == image)
    least = -np.inf if threshold is None else threshold
    detections = np.flatnonzero((table.detections.image == image) & (table.detections.score >= least))
    boxes = np.concatenate([table.ground_truth.box[ground_truth], table.detections.box[detections]])
    x0, y0, x1, y1 = crop_around(boxes, pixels.shape)
    window = pixels[y0:y1, x0:x1]
    low, high = np.percentile(window, [0.5, 99.5]) if window.size else (0.0, 1.0)
    axes.imshow(window, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), extent=(x0, x1, y1, y0))
    for row in ground_truth:
        missed = table.counted[row] and (table.matched_detection[row] < 0 or table.found_score[row] < least)
        _rectangle(axes, table.ground_truth.box[row], MISS if missed else TRUTH, "--", grow=3)
    for row in detections:
        color = FALSE_CALL if table.false_call[row] else HIT
        _rectangle(axes, table.detections.box[row], color, "-")
        if table.false_call[row]:
            x, y = table.detections.box[row, :2]
            score = f"{table.detections.score[row]:.2f}"
            axes.text(x, y - 3, score, color=color, fontsize=7, clip_on=True)
    axes.set(xlim=(x0, x1), ylim=(y1, y0))
    axes.set_title(literal(Path(table.images.names[image]).name), fontsize=9)


def crop_around(boxes: np.ndarray, shape: tuple[int, int], least: int = 256) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 (px, whole) of a 4:3 window around `boxes` [N, 4] xywh, all of it without boxes.

    The window leaves a margin, is at least `least` px wide where the radiograph is, and stays inside it.
    """
    height, width = shape
    if not len(boxes):
        return 0, 0, width, height
    x0, y0 = boxes[:, :2].min(axis=0)
    x1, y1 = (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    wide = max(x1 - x0 + 60, (y1 - y0 + 60) * 4 / 3, least)
    wide, high = min(wide, width), min(wide * 3 / 4, height)
    left = float(np.clip((x0 + x1 - wide) / 2, 0, width - wide))
    top = float(np.clip((y0 + y1 - high) / 2, 0, height - high))
    return int(left), int(top), int(np.ceil(left + wide)), int(np.ceil(top + high))


def _rectangle(axes: Any, box: np.ndarray, color: str, style: str, grow: float = 0) -> None:
    x, y, width, height = box
    corner = (x - grow, y - grow)
    axes.add_patch(
        Rectangle(
            corner, width + 2 * grow, height + 2 * grow, fill=False, edgecolor=color, linestyle=style, linewidth=1.3
        )
    )


def plot_pod(fit: PodFit, axis: str, path: str | Path) -> None:
    """Draw POD against size with its 90 % band (two-sided, so each side is 95 %), the data, a50, a90 and a90/95."""
    figure = Figure(figsize=(6.8, 5), layout="constrained")
    axes = figure.add_subplot()
    top = max(float(fit.size.max()), min(2 * float(fit.size.max()), fit.a90_95 or fit.a90)) * 1.05
    sizes = np.geomspace(float(fit.size.min()) * 0.8, top, 60)
    low, high = fit.likelihood_band(sizes)
    axes.fill_between(sizes, low, high, color=COLORS[0], alpha=0.18, linewidth=0, label="90 % band, likelihood ratio")
    axes.plot(sizes, fit.wald_band(sizes)[0], color=COLORS[0], linestyle=":", linewidth=1, label="Wald bounds")
    axes.plot(sizes, fit.wald_band(sizes)[1], color=COLORS[0], linestyle=":", linewidth=1)
    axes.plot(sizes, fit.pod(sizes), color=COLORS[0], linewidth=2, label=f"POD, {fit.link} on {fit.scale} size")
    for hit, where in ((True, 1.03), (False, -0.03)):
        axes.plot(fit.size[fit.hit == hit], np.full((fit.hit == hit).sum(), where), "|", color="#444444", alpha=0.5)
    marks = {"a50": (fit.a50, 0.5), "a90": (fit.a90, 0.9), "a90/95": (fit.a90_95, 0.9)}
    for number, (name, (size, probability)) in enumerate(marks.items()):
        shown = f"{name} = {'n/a' if size is None else f'{size:.4g}'}"
        if size is not None and size <= top:
            axes.plot([size, size, sizes[0]], [-0.06, probability, probability], color="#999999", linewidth=0.8)
            axes.plot(size, probability, "o", color=COLORS[1], markersize=5)
        axes.text(0.98, 0.30 - 0.06 * number, shown, transform=axes.transAxes, ha="right")
    axes.set(xlim=(sizes[0], top), ylim=(-0.06, 1.06), xlabel=literal(axis), ylabel="probability of detection")
    axes.set_title(f"{fit.hits} of {fit.defects} defects found")
    quiet(axes)
    axes.legend(loc="center right", frameon=True, framealpha=0.9, edgecolor="none")
    save_figure(figure, path)
