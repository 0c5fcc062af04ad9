"""Simulated defects for the radiographs of one training source, drawn anew for every sample."""

from typing import Any

import numpy as np

from data.synthesis.simulated_defects import DefectSimulator, Simulated, Simulator
from data.synthesis.simulation_config import SimulationConfig
from data.synthesis.visible_defects import VisibleDefectSimulator


def build_simulator(config: SimulationConfig) -> Simulator:
    """Return what puts the defects of a configuration into radiographs."""
    return VisibleDefectSimulator(config) if config.shapes == "varied" else DefectSimulator(config)


class OnTheFlyDefects:
    """Puts simulated defects into radiographs, each of which is analyzed once and goes by its number.

    `box_padding` pixels are added to each side of a simulated box, as annotators draw loose ones; masks stay tight.
    """

    def __init__(self, config: SimulationConfig, box_padding: float = 0.0) -> None:
        self.config = config
        self._simulator = build_simulator(config)
        self._box_padding = np.float32(box_padding)
        self._analyzed: dict[int, tuple[Any, int | None]] = {}

    @property
    def keeps_real(self) -> bool:
        """Whether real defects stay in the radiographs, and are targets."""
        return self.config.real_defects == "keep"

    def __contains__(self, image: int) -> bool:
        """Return whether a radiograph has been analyzed."""
        return image in self._analyzed

    def analyze(self, image: int, pixels: np.ndarray, boxes: np.ndarray, full: int) -> None:
        """Find out what radiograph number `image` offers: pixels float32 `[H, W]`, real defects `boxes` `[N, 4]` xyxy.

        `full` is its full scale in whole gray levels (255 for 8 bits), 1 where its values are not whole.
        """
        levels = full if full > 1 else None
        self._analyzed[image] = self._simulator.analyze(pixels, boxes, levels), levels

    def __call__(self, image: int, pixels: np.ndarray, rng: np.random.Generator) -> Simulated:
        """Return an analyzed radiograph with simulated defects, every random choice from `rng`."""
        background, levels = self._analyzed[image]
        simulated = self._simulator(pixels, background, rng, levels=levels)
        height, width = pixels.shape
        padded = simulated.boxes + self._box_padding * np.array([-1, -1, 1, 1], np.float32)
        boxes = padded.clip(0, [width, height, width, height]).astype(np.float32)
        return simulated._replace(boxes=boxes)
