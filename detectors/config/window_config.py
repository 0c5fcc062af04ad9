"""The gray window's section of the configuration."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from data.gray_window import window_problem
from data.schema import StrictModel

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
