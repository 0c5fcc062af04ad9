"""What every model section of a configuration shares."""

from typing import ClassVar, Self

from data.schema import StrictModel


class ModelSection(StrictModel):
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
