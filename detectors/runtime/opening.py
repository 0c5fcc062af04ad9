"""What detects: a run, a checkpoint, packaged weights or an exported model, by what its path holds."""

from pathlib import Path
from typing import Any

from data.gray_window import GrayWindow
from detectors.runtime.folder import is_exported


def open_predictor(
    run: Path,
    window: GrayWindow | None = None,
    bit_depth: int | None = None,
    max_detections: int | None = None,
) -> tuple[Any, float]:
    """Return what detects with a run, a checkpoint, packaged weights or an exported model, and its threshold.

    See `detectors.runs.prediction.Predictor` for the arguments. PyTorch is imported for what is not exported alone.
    Raises InputError for anything else.
    """
    if is_exported(run):
        from detectors.runtime.predictor import ExportedPredictor

        exported = ExportedPredictor(run, window, bit_depth, max_detections)
        return exported, exported.folder.threshold
    from detectors.runs.prediction import Predictor, default_threshold

    predictor = Predictor(run, window=window, bit_depth=bit_depth, max_detections=max_detections)
    return predictor, default_threshold(run)
