"""What every model section of a configuration shares."""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, field_validator

from data.schema import StrictModel

PUBLISHED = ("imagenet", "coco")
"""Words that name published weights; whatever else is not 'none' is the path of a run or a checkpoint."""


class ModelSection(StrictModel):
    """The `model` section of a configuration; every detector derives its own.

    `task` names the training task in `detectors.training.tasks.TASKS`, `published_weights` which of `PUBLISHED` there
    are of the model.
    """

    task: ClassVar[str]
    published_weights: ClassVar[tuple[str, ...]] = ()

    name: str = Field(description="Which model this is: one of the names in `detectors.build.MODELS`.")
    weights: str = Field(
        "none",
        description="Starting weights: none, imagenet or coco (of models that have them), or the path of a run or of "
        "a checkpoint.",
    )

    @field_validator("weights")
    @classmethod
    def _has_published_weights(cls, value: str) -> str:
        if value in PUBLISHED and value not in cls.published_weights:
            known = ", ".join(("none", *cls.published_weights))
            raise ValueError(f"there are no '{value}' weights of this model: give {known}, or the path of a run")
        return value

    @property
    def checkpoint(self) -> Path | None:
        """The run or checkpoint to start from, None for published weights and for none."""
        return None if self.weights in ("none", *PUBLISHED) else Path(self.weights)

    def resolved(self) -> Self:
        """Return the section with every 'auto' decided, as a run keeps it."""
        return self

    def without_weights(self) -> Self:
        """Return a section that builds the same layers without loading weights."""
        return self.model_copy(update={"weights": "none"})
