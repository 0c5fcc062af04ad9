"""Figures of maps against masks: pixel curves, defects against false-positive regions, and the worst radiographs."""

from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from data.masks import IGNORED
from detectors.evaluation.metrics import display
from detectors.evaluation.pixel_scores import DefectCurve, PixelCurve
from detectors.evaluation.plots import COLORS, FALSE_CALL, HIT, MISS, literal, quiet, save_figure

SHOWN, COLUMNS = 8, 2
WIDEST = 1000  # pixels of a picture on the sheet
STRENGTH = 0.5  # of the colors over the gray values


class WorstPredictions:
    """Pictures of the radiographs whose maps are most wrong; no more than `SHOWN` are held at a time."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._held: list[tuple[int, str, NDArray[np.uint8]]] = []

    def add(self, name: str, pixels: NDArray[np.float32], values: NDArray[np.float32], labels: NDArray[np.uint8]
            ) -> None:  # fmt: skip
        """Take a radiograph, float32 [H, W] in [0, 1], with its map [H, W] and label map uint8 [H, W]."""
        marked, defect, known = values >= self.threshold, (labels > 0) & (labels != IGNORED), labels != IGNORED
        wrong = int(((marked != defect) & known).sum())
        if len(self._held) == SHOWN and wrong <= self._held[-1][0]:
            return
        hits = int((marked & defect).sum())
        total = 2 * hits + wrong
        caption = f"{name}: {f'F1 {2 * hits / total:.2f}, ' if total else ''}{wrong} wrong pixels"
        self._held.append((wrong, caption, draw_errors(pixels, marked & known, defect)))
        self._held = sorted(self._held, key=lambda held: -held[0])[:SHOWN]

    def write(self, path: str | Path) -> None:
        """Write the sheet, the worst first."""
        columns = min(COLUMNS, max(1, len(self._held)))
        rows = max(1, -(-len(self._held) // columns))
        shapes = [picture.shape for _, _, picture in self._held]
        # As high as the pictures are: welds are several times wider than high.
        highest = max((shape[0] / shape[1] for shape in shapes), default=0.5)
        figure = Figure(figsize=(6.4 * columns, (6.4 * highest + 0.3) * rows + 0.5), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
        for axes, (_, caption, picture) in zip(grid, self._held, strict=False):
            axes.imshow(picture)
            axes.set_title(literal(caption), fontsize=9)
        if not self._held:
            grid[0].text(0.5, 0.5, "no images", ha="center")
        handles = [Patch(color=color) for color in (HIT, MISS, FALSE_CALL)]
        labels = [f"marked at {self.threshold:.2f}, defect", "defect, not marked", "marked, no defect"]
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        save_figure(figure, path, dpi=100)


def draw_errors(pixels: NDArray[np.float32], marked: NDArray[np.bool_], defect: NDArray[np.bool_]
                ) -> NDArray[np.uint8]:  # fmt: skip
    """Return a radiograph as RGB uint8 [h, w, 3], at most `WIDEST` wide: hits green, misses yellow, the rest red."""
    picture = np.repeat(pixels[..., None] * np.float32(255), 3, axis=2)
    for where, color in ((marked & defect, HIT), (defect & ~marked, MISS), (marked & ~defect, FALSE_CALL)):
        tint = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)], dtype=np.float32)
        picture[where] = (1 - STRENGTH) * picture[where] + STRENGTH * tint
    height, width = pixels.shape
    if width > WIDEST:
        size = (WIDEST, max(1, round(height * WIDEST / width)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.rint(picture.clip(0, 255)).astype(np.uint8)


def plot_pixel_curves(
    pixels: PixelCurve, defects: DefectCurve, threshold: float, path: str | Path, name: str = ""
) -> None:
    """Draw pixel precision over recall beside the share of defects found over false-positive regions an image."""
    figure = Figure(figsize=(10.4, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(pixels.recall, pixels.precision, color=COLORS[0], linewidth=2, label=f"AP {display(pixels.ap)}")
    place = pixels.at(threshold)
    left.plot(pixels.recall[place], pixels.precision[place], "o", color=COLORS[1],
              label=f"F1 {pixels.f1[place]:.3f} at {threshold:.2f}")  # fmt: skip
    left.set(xlim=(0, 1.005), ylim=(0, 1.01), xlabel="recall of pixels", ylabel="precision of pixels")
    left.set_title(literal(f"{name}  pixels".strip()))
    left.legend(loc="lower left", frameon=False)
    right.plot(defects.false_regions, defects.rate, "o-", color=COLORS[0], linewidth=2, markersize=4)
    for step, x, y in zip(defects.threshold, defects.false_regions, defects.rate, strict=True):
        if step in (0.1, 0.5, 0.9) and np.isfinite([x, y]).all():
            right.annotate(f"{step:.1f}", (x, y), textcoords="offset points", xytext=(6, -10), fontsize=8)
    right.set(xlim=(0, None), ylim=(0, 1.01), xlabel="false-positive regions an image", ylabel="share of defects found")
    right.set_title(literal(f"{name}  defects, by threshold".strip()))
    for axes in (left, right):
        quiet(axes)
    save_figure(figure, path)
