"""The gray window of a run: the choice that is made once, before training."""

import os
from pathlib import Path

from data.gray_notes import choose_window
from data.gray_window import GrayWindow
from detectors.config.experiment import DataConfig, ExperimentConfig


def gray_window(config: DataConfig) -> GrayWindow:
    """Return the window that the configuration asks for, with the bit depth that it states."""
    window = config.window
    return GrayWindow(window.kind, window.low, window.high, config.bit_depth, window.trained_on)


def with_bit_depth(config: ExperimentConfig, bit_depth: int | None) -> ExperimentConfig:
    """Return the configuration with another bit depth of the stored levels, itself for None."""
    if bit_depth is None:
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"bit_depth": bit_depth})})


def settle_window(config: ExperimentConfig, files: list[Path]) -> ExperimentConfig:
    """Return the configuration with its window chosen for good, by a look at some of the training radiographs.

    A window that was chosen before (a resumed run) stays. Warnings go to standard error, from the first process alone.
    Raises InputError for a radiograph that cannot be read.
    """
    if config.data.window.trained_on is not None or not files:
        return config
    chosen, notes = choose_window(gray_window(config.data), files)
    if os.environ.get("RANK", "0") == "0":
        notes.warn()
    window = config.data.window.model_copy(update={"kind": chosen.kind, "trained_on": chosen.trained_on})
    return config.model_copy(update={"data": config.data.model_copy(update={"window": window})})
