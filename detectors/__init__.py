"""Detectors, and what trains, runs and evaluates them.

The public face is `from detectors import Predictor, read_config, train`; each is imported when it is first asked for,
so that `import detectors` takes no time.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detectors.config.files import read_config
    from detectors.runs.prediction import Predictor
    from detectors.training import train

__all__ = ["Predictor", "read_config", "train"]

_MODULES = {
    "Predictor": "detectors.runs.prediction",
    "read_config": "detectors.config.files",
    "train": "detectors.training",
}


def __getattr__(name: str) -> Any:
    """Import what the public face names."""
    if name not in _MODULES:
        raise AttributeError(f"module 'detectors' has no attribute '{name}'")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """Return the names of the module, those of the public face among them."""
    return sorted({*globals(), *__all__})
