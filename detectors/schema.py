"""The base of every model's section of a configuration."""

from typing import ClassVar, Self

from pydantic import Field

from data.schema import StrictModel


class ModelSection(StrictModel):
    """The `model` section of a configuration; every detector derives its own.

    `task` names the training task in `detectors.training.loop.TASKS`.
    """

    task: ClassVar[str]

    name: str = Field(description="Which model this is: one of the names in `detectors.build.MODELS`.")
    weights: str = Field(
        "none",
        description="Starting weights: none, imagenet, coco (as far as the model has them), or the path of a run or "
        "of a checkpoint.",
    )

    def resolved(self) -> Self:
        """Return the section with every 'auto' decided, as a run keeps it."""
        return self

    def without_weights(self) -> Self:
        """Return a section that builds the same layers without loading weights."""
        return self.model_copy(update={"weights": "none"})
