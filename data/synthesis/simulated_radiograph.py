"""Simulated defects in one radiograph, in the levels of its file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.gray_levels import FileWindow
from data.gray_window import GrayWindow
from data.radiograph import Radiograph, read_radiograph
from data.synthesis.simulated_defects import Simulated, Simulator


@dataclass(frozen=True, eq=False)
class SimulatedRadiograph:
    """A radiograph with simulated defects.

    Attributes:
        original: as it was read.
        simulated: the defects that were put in.
        pixels: float32 [H, W] in [0, 1] with the defects, on the scale of the full depth.
        bits: that the pixels are written with.
        window: that a DICOM header states for these levels.

    """

    original: Radiograph
    simulated: Simulated
    pixels: np.ndarray
    bits: int
    window: FileWindow | None


class RadiographWithDefects:
    """One radiograph, read and analyzed once, that defects can be put into again and again.

    Args:
        path: of the radiograph.
        boxes: float32 [N, 4], x1, y1, x2, y2 in pixels, of its real defects.
        simulator: what draws the defects.
        bit_depth: see `read_radiograph`.
        window: see `read_radiograph`; defects are drawn in the gray values behind it.

    Raises InputError for a file that cannot be read.

    """

    def __init__(
        self, path: Path, boxes: np.ndarray, simulator: Simulator, bit_depth: int | None, window: GrayWindow | None
    ) -> None:
        self.radiograph, self.simulator = read_radiograph(path, bit_depth, window), simulator
        self.levels = self.radiograph.full_scale
        self.background = simulator.analyze(self.radiograph.pixels, boxes, self.levels)

    def with_defects(self, rng: np.random.Generator, count: int) -> SimulatedRadiograph:
        """Return the radiograph with `count` defects, fewer where they have no room; every choice is from `rng`."""
        radiograph = self.radiograph
        simulated = self.simulator(radiograph.pixels, self.background, rng, count, self.levels)
        # With fewer bits than 8 the levels are not the file's own any more.
        stated = radiograph.file_window if radiograph.bit_depth >= 8 else None
        pixels = _full_depth(radiograph, simulated.pixels)
        return SimulatedRadiograph(radiograph, simulated, pixels, max(radiograph.bit_depth, 8), stated)


def _full_depth(radiograph: Radiograph, pixels: np.ndarray) -> np.ndarray:
    """Return changed gray values of a radiograph, float32 [H, W], on the scale of the full depth.

    What the window saturates, such as a burnt-in caption, keeps its level where nothing was changed.
    """
    if radiograph.level_map.source == "full":
        return pixels
    levels = radiograph.levels.astype(np.int64)
    changed = pixels != radiograph.pixels
    levels[changed] = radiograph.level_map.levels_of(pixels[changed])
    return (levels / (2**radiograph.bit_depth - 1)).astype(np.float32)
