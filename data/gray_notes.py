"""What a user has to know of the gray values of radiographs: one line for each kind of trouble, never in silence."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.gray_levels import SAMPLE, UsedLevels, used_levels
from data.gray_window import AUTO, GrayWindow, LevelMap, is_sliver
from data.image_paths import existing_image
from data.radiograph import Radiograph, read_radiograph

if TYPE_CHECKING:  # prediction needs no annotations
    from data.coco import CocoDataset

LOOKED_AT = 24
"""Radiographs of a data set that are read to find out about its gray values, evenly spread."""
AGREEMENT = 0.25  # least overlap (of the union) of a file's window and what it is shown by; else they contradict
AGREEMENT_OF_LEVELS = 0.5  # the same where the run's window is fixed levels
TRAINED_MARGIN = 0.05  # of the scale, beyond the gray values trained on
OUTSIDE = 0.5  # of the pixels, beyond those: the model knows nothing of such a radiograph
RANGE = (1.0, 99.0)  # percentiles of a radiograph's gray values that count as its range


class GrayNotes:
    """Collects what is noteworthy of radiographs; `lines` then says each kind once, with the first file.

    Args:
        trained_on: the range of gray values that a run was trained on, None where it is not known.

    """

    def __init__(self, trained_on: tuple[float, float] | None = None) -> None:
        self._trained_on = trained_on
        self._found: dict[str, list[str]] = {}
        self.count = 0
        """Radiographs looked at."""
        self.slivers = 0
        """Of these, how many use a sliver of their scale."""

    def add(self, path: str | Path, radiograph: Radiograph) -> None:
        """Look at a radiograph that was read through the run's window."""
        self.count += 1
        if radiograph.bit_depth > 8:
            used = used_levels(radiograph.levels)
            self._add_levels(path, radiograph, used)
            if used.caption is not None:
                becomes = float(radiograph.level_map(np.array([[used.caption]], radiograph.levels.dtype))[0, 0])
                self._note(
                    "caption",
                    f"{path}: {_percent(used.far)} of the pixels lie at level {used.caption} or near it, far from the "
                    f"levels {used.low} to {used.high} of the rest: a burnt-in caption or marker? It is saturated, and "
                    f"becomes gray value {becomes:.2f}; crop it, or mask it, if the model takes it for a defect",
                )
        self._add_file_window(path, radiograph)
        self._add_range(path, radiograph.pixels)

    def lines(self) -> list[str]:
        """Return one line for each kind of trouble."""
        return [
            found[0] + (f" (and {len(found) - 1} more such radiographs)" if len(found) > 1 else "")
            for found in self._found.values()
        ]

    def warn(self) -> None:
        """Print the lines on standard error."""
        print_notes(self.lines())

    def _note(self, kind: str, line: str) -> None:
        self._found.setdefault(kind, []).append(line)

    def _add_levels(self, path: str | Path, radiograph: Radiograph, used: UsedLevels) -> None:
        """Note levels that are a sliver of the scale, and what was done about it."""
        shown, top = radiograph.level_map, 2**radiograph.bit_depth - 1
        if not is_sliver(used, radiograph.bit_depth):
            return
        self.slivers += 1
        share = _percent((used.high - used.low) / top)
        what = f"{path}: uses levels {used.low} to {used.high} of {top}, {share} of the scale"
        if shown.source == "full":
            self._note(
                "black",
                f"{what}: it looks empty, to you and to the model; set data.window.kind to 'auto' or 'fitted', or give "
                "the right bit_depth",
            )
        elif shown.source in ("file", "used"):
            whose = f"its own window ({_name(radiograph)})" if shown.source == "file" else "the levels it uses"
            self._note("rescued", f"{what}; {whose} counts: level {shown.low:g} is black, {shown.high:g} white")
        elif not _overlap(shown.low, shown.high, used.low, used.high) > 0:
            self._note(
                "outside window",
                f"{what}, none of them in the run's window of levels {shown.low:g} to {shown.high:g}: it looks empty",
            )

    def _add_file_window(self, path: str | Path, radiograph: Radiograph) -> None:
        """Note a file's own window that shows other levels than the run's window does."""
        window, shown = radiograph.file_window, radiograph.level_map
        if window is None or shown.source == "file":
            return
        least = AGREEMENT_OF_LEVELS if shown.source == "levels" else AGREEMENT
        if _overlap(window.low, window.high, shown.low, shown.high) < least:
            self._note(
                "contradiction",
                f"{path}: its header asks for levels {window.low:g} to {window.high:g} ({_name(radiograph)}), which "
                f"contradicts the {_source(shown)} {shown.low:g} to {shown.high:g} that it is read with; "
                "data.window.kind=file takes the header's",
            )

    def _add_range(self, path: str | Path, pixels: np.ndarray) -> None:
        """Note gray values that the model was not trained on."""
        if self._trained_on is None:
            return
        low, high = self._trained_on
        some = _some(pixels)
        outside = float(((some < low - TRAINED_MARGIN) | (some > high + TRAINED_MARGIN)).mean())
        if outside > OUTSIDE:
            least, most = _range(some)
            self._note(
                "not trained on",
                f"{path}: {_percent(outside)} of its gray values ({least:.3f} to {most:.3f}) lie outside of those "
                f"trained on ({low:.3f} to {high:.3f}): do not trust the result; check data.window and the bit depth",
            )


class RangeNotes(GrayNotes):
    """The same, with the range of the gray values."""

    def __init__(self, trained_on: tuple[float, float] | None = None) -> None:
        super().__init__(trained_on)
        self._ranges: list[tuple[float, float]] = []

    def add(self, path: str | Path, radiograph: Radiograph) -> None:
        """Look at a radiograph that was read through the run's window."""
        super().add(path, radiograph)
        self._ranges.append(_range(_some(radiograph.pixels)))

    def gray_range(self) -> tuple[float, float]:
        """Return the least and greatest gray value of all radiographs looked at, extremes left out."""
        return round(min(low for low, _ in self._ranges), 4), round(max(high for _, high in self._ranges), 4)


def look_at(files: Sequence[Path], window: GrayWindow | None, count: int = LOOKED_AT) -> RangeNotes:
    """Read up to `count` radiographs, evenly spread, and return the notes on them. Raises InputError."""
    notes = RangeNotes(window.trained_on if window else None)
    for k in np.unique(np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int)):
        notes.add(files[k], read_radiograph(files[k], window=window))
    return notes


def data_set_notes(dataset: "CocoDataset", image_dir: str | Path, bit_depth: int | None = None) -> list[str]:
    """Return the notes on some radiographs of a data set, read as a run does by default.

    `bit_depth` is that of the radiographs, where their files state it wrongly. Raises InputError.
    """
    return look_at(
        [existing_image(image_dir, image) for image in dataset.images], AUTO.with_bit_depth(bit_depth)
    ).lines()


def print_notes(lines: Iterable[str]) -> None:
    """Print lines as warnings on standard error."""
    for line in lines:
        print(f"warning: {' '.join(line.split())}", file=sys.stderr, flush=True)


def choose_window(window: GrayWindow, files: Sequence[Path]) -> tuple[GrayWindow, RangeNotes]:
    """Return the window that a run is to keep, and notes on its radiographs, of which there is at least one.

    `auto` becomes `fitted` where all radiographs looked at use a sliver of their scale, so that later ones are read
    the same way; otherwise the kind stays. `trained_on` is the range of gray values that is seen through it.
    """
    notes = look_at(files, window)
    kind = "fitted" if window.kind == "auto" and notes.slivers == notes.count else window.kind
    return replace(window, kind=kind, trained_on=notes.gray_range()), notes


def _some(pixels: np.ndarray) -> np.ndarray:
    """Return about `SAMPLE` of the pixels, evenly spread."""
    step = max(1, int(np.sqrt(pixels.size / SAMPLE)))
    return pixels[::step, ::step]


def _range(some: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(some, RANGE)
    return float(low), float(high)


def _overlap(low: float, high: float, other_low: float, other_high: float) -> float:
    """Return how much two ranges agree: their intersection over their union."""
    union = max(high, other_high) - min(low, other_low)
    return max(min(high, other_high) - max(low, other_low), 0) / union if union > 0 else 1.0


def _name(radiograph: Radiograph) -> str:
    return radiograph.file_window.name if radiograph.file_window else ""


def _source(shown: LevelMap) -> str:
    names = {
        "full": "full depth",
        "levels": "run's window of levels",
        "percentiles": "percentiles",
        "used": "levels used",
    }
    return names.get(shown.source, "window")


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
