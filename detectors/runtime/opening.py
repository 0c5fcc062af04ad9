"""What detects: a run, a checkpoint, packaged weights or an exported model, by what its path holds."""

from pathlib import Path
from typing import Any

from data.gray_window import GrayWindow
from detectors.runtime.folder import is_exported
from detectors.runtime.packaged import runnable


def open_predictor(
    run: Path,
    window: GrayWindow | None = None,
    bit_depth: int | None = None,
    max_detections: int | None = None,
    threads: int | None = None,
) -> tuple[Any, float]:
    """Return what detects with a run, a checkpoint, packaged weights or an exported model, and its threshold.

    See `detectors.runs.prediction.Predictor` for the arguments; `threads` are those of the processor, by default all
    that the process may use, and PyTorch keeps them for the rest of the process. PyTorch is imported for what is not
    exported alone. Raises InputError for anything else.
    """
    run = runnable(run)
    if is_exported(run):
        from detectors.runtime.predictor import ExportedPredictor

        exported = ExportedPredictor(run, window, bit_depth, max_detections, threads=threads)
        return exported, exported.folder.threshold
    from detectors.runs.prediction import Predictor, default_threshold

    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    predictor = Predictor(run, window=window, bit_depth=bit_depth, max_detections=max_detections)
    return predictor, default_threshold(run)
