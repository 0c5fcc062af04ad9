"""The gray window of a run: its section of the configuration, and the choice that is made once, before training."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from data.gray_notes import choose_window
from data.gray_window import GrayWindow, window_problem
from data.schema import StrictModel

if TYPE_CHECKING:
    from detectors.config.experiment import DataConfig, ExperimentConfig

PERCENTILES = (0.5, 99.5)


class WindowConfig(StrictModel):
    """Which gray levels of a radiograph become black and white, in training and wherever the run is used."""

    kind: Literal["auto", "full", "fitted", "file", "percentiles", "levels"] = Field(
        "auto",
        description="'auto': the full bit depth, but 'fitted' for radiographs of more than 8 bits that use less than a "
        "16th of it; 'full': the full bit depth; 'fitted': the window that the file states if it fits the levels used, "
        "else the levels used and a margin; 'file': the window that the file states (DICOM VOI); 'percentiles': "
        "between two percentiles of each radiograph; 'levels': between two stored levels.",
    )
    low: float | None = Field(None, ge=0, description="Black: a percentile (0.5 if null), or a stored level.")
    high: float | None = Field(None, gt=0, description="White: a percentile (99.5 if null), or a stored level.")
    trained_on: tuple[float, float] | None = Field(
        None,
        description="Range of gray values seen in training, filled in by training, so that prediction can say when a "
        "radiograph lies outside of it.",
    )

    @model_validator(mode="before")
    @classmethod
    def _percentiles_before_there_were_kinds(cls, values: Any) -> Any:
        """Take `low` and `high` alone as percentiles, which is what they were, and fill in those left out."""
        if not isinstance(values, dict):
            return values
        ends = {name: values[name] for name in ("low", "high") if values.get(name) is not None}
        kind = values.get("kind", "percentiles" if ends else "auto")
        if kind == "percentiles":
            return values | {"kind": kind, "low": PERCENTILES[0], "high": PERCENTILES[1], **ends}
        return values

    @model_validator(mode="after")
    def _whole(self) -> Self:
        problem = window_problem(self.kind, self.low, self.high)
        if problem:
            raise ValueError(f"low ({self.low}) and high ({self.high}) of kind '{self.kind}': {problem}")
        return self


def gray_window(config: "DataConfig") -> GrayWindow:
    """Return the window that the configuration asks for, with the bit depth that it states."""
    window = config.window
    return GrayWindow(window.kind, window.low, window.high, config.bit_depth, window.trained_on)


def with_window_of(run: Path, config: "ExperimentConfig") -> "ExperimentConfig":
    """Return a configuration with the window that a run chose, if it would choose among the same.

    Raises InputError for a run whose configuration cannot be read.
    """
    from detectors.config.files import read_config  # which needs this module

    window, file = config.data.window, run / "config.yaml"
    if window.trained_on is not None or not file.is_file():
        return config
    chosen = read_config(file).data.window
    kinds = {"auto": ("auto", "fitted")}.get(window.kind, (window.kind,))
    if chosen.trained_on is None or chosen.kind not in kinds or (chosen.low, chosen.high) != (window.low, window.high):
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"window": chosen})})


def settle_window(config: "ExperimentConfig", files: list[Path]) -> "ExperimentConfig":
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
