"""Where a run stands: what is saved with its weights, and which of them are the best."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from detectors.evaluation.metrics import Metrics
from detectors.training.logs import Row, read_rows


@dataclass
class TrainState:
    """Where a run stands; saved with every checkpoint.

    Attributes:
        epoch: epochs trained.
        step: optimizer steps taken.
        closed: epochs that are validated, where they are to be, and logged; `epoch` or one less.
        best: the validation metrics of `best.ckpt`, in the order of `Task.metrics`; empty before there are any.
        metrics: those of the last validation.
        rows: of the log, one an epoch.

    """

    epoch: int = 0
    step: int = 0
    closed: int = 0
    best: tuple[float, ...] = ()
    metrics: Metrics = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def of_checkpoint(cls, checkpoint: dict[str, Any], run: Path) -> Self:
        """Return the state that a checkpoint of `run` was saved at, of an older version of this toolkit, too.

        Raises KeyError, TypeError or ValueError for a checkpoint without one.
        """
        training, epoch = checkpoint["training"], checkpoint["epoch"]
        best, rows = training["best"], training.get("rows")
        if isinstance(best, float):  # before ties were broken
            best = [] if best == -math.inf else [best]
        if rows is None:  # before the log was saved with the weights
            rows = read_rows(run / "log.csv", epoch)
        closed = int(training.get("closed", epoch))
        return cls(epoch, int(training["step"]), closed, tuple(best), checkpoint["metrics"] or {}, list(rows))

    def as_dict(self) -> dict[str, Any]:
        """Return what `of_checkpoint` reads besides the epoch and its metrics."""
        return {"step": self.step, "closed": self.closed, "best": list(self.best), "rows": self.rows}

    def note_if_best(self, names: Sequence[str]) -> bool:
        """Return whether the latest weights are the best known by the metrics of these names, and note how good."""
        first, *others = (self.metrics.get(name) for name in names)
        if first is None:  # until there is a validation metric the latest weights are the best known
            return not self.best
        score = (first, *(-math.inf if value is None else value for value in others))
        if score < self.best:
            return False
        self.best = score
        return True
