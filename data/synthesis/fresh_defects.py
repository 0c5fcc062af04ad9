"""Fresh simulated defects for the radiographs of one training source."""

from typing import Any

import numpy as np

from data.synthesis.simulated_defects import DefectSimulator, Simulated
from data.synthesis.simulation_config import SimulationConfig
from data.synthesis.visible_defects import VisibleDefectSimulator


def build_simulator(config: SimulationConfig) -> DefectSimulator | VisibleDefectSimulator:
    """Return what puts the defects of a configuration into radiographs."""
    return VisibleDefectSimulator(config) if config.shapes == "varied" else DefectSimulator(config)


class FreshDefects:
    """Puts fresh simulated defects into radiographs, each of which is studied once and goes by its number.

    `margin` pixels are added to each side of a simulated box, as annotators draw loose ones; masks stay tight.
    """

    def __init__(self, config: SimulationConfig, margin: float = 0.0) -> None:
        self.config = config
        self._simulator: Any = build_simulator(config)  # one of two, each with its own idea of a background
        self._margin = np.float32(margin)
        self._studied: dict[int, tuple[Any, int | None]] = {}

    @property
    def keeps_real(self) -> bool:
        """Whether real defects stay in the radiographs, and are targets."""
        return self.config.real_defects == "keep"

    def __contains__(self, image: int) -> bool:
        """Return whether a radiograph has been studied."""
        return image in self._studied

    def study(self, image: int, pixels: np.ndarray, boxes: np.ndarray, full: int) -> None:
        """Learn what radiograph number `image` offers: pixels float32 `[H, W]`, real defects `boxes` `[N, 4]` xyxy.

        `full` is its full scale in whole gray levels (255 for 8 bits), 1 where its values are none.
        """
        self._studied[image] = self._simulator.study(pixels, boxes), full if full > 1 else None

    def __call__(self, image: int, pixels: np.ndarray, rng: np.random.Generator) -> Simulated:
        """Return a studied radiograph with fresh defects, every random choice from `rng`."""
        background, levels = self._studied[image]
        simulated = self._simulator(pixels, background, rng, levels=levels)
        height, width = pixels.shape
        grown = simulated.boxes + self._margin * np.array([-1, -1, 1, 1], np.float32)
        boxes = grown.clip(0, [width, height, width, height]).astype(np.float32)
        return simulated._replace(boxes=boxes)
