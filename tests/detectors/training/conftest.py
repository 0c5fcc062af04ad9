"""A task of a few weights, for tests of the loop."""

import pytest

from detectors.build import MODELS
from detectors.training import loop
from tests.detectors.training.line_task import Line, LineSection, LineTask


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> type[LineTask]:
    """Return the task, registered as a model and a task are, with nothing scripted."""
    monkeypatch.setitem(MODELS, "line", (LineSection, lambda config, classes: Line(config.batch_norm)))
    monkeypatch.setitem(loop.TASKS, "line", LineTask)
    for name in ("script", "drawn", "validated"):
        monkeypatch.setattr(LineTask, name, [])
    return LineTask
