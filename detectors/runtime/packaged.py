"""Packaged weights where PyTorch is not installed: an exported model of them is part of the package."""

import importlib.util
from pathlib import Path

from detectors.runtime.folder import is_exported

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
NEEDED = ("torch", "torchvision", "safetensors")
"""What the weights themselves cannot be used without."""


def runnable(run: Path) -> Path:
    """Return what detects here for a run: itself, or without PyTorch the exported model of packaged weights."""
    exported = WEIGHTS / run.name
    named = run == Path(run.name) and not run.exists()
    missing = any(importlib.util.find_spec(name) is None for name in NEEDED)
    return exported if named and missing and is_exported(exported) else run
