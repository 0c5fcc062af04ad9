"""The base of every configuration class: unknown fields are errors, values do not change after reading."""

from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A configuration section that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ModelSection(Strict):
    """The `model` section of a configuration; every detector derives its own.

    `task` names the training task in `detectors.training.loop.TASKS`. `weights` is none, imagenet, coco or the path
    of a checkpoint, as far as the detector has them.
    """

    task: ClassVar[str]

    name: str
    weights: str = "none"

    def pinned(self) -> Self:
        """Return the section with every 'auto' decided, as a run keeps it."""
        return self

    def blank(self) -> Self:
        """Return a section that builds the same layers without loading weights."""
        return self.model_copy(update={"weights": "none"})
