"""Packaged weights where PyTorch is not installed: an exported model of them comes along."""

import importlib.util
from pathlib import Path

from detectors.runtime.folder import is_exported

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


def runnable(run: Path) -> Path:
    """Return what detects here for a run: itself, or without PyTorch the exported model of packaged weights."""
    exported = WEIGHTS / run.name
    named = run == Path(run.name) and not run.exists()
    if named and importlib.util.find_spec("torch") is None and is_exported(exported):
        return exported
    return run
