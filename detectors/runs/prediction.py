"""A run, ready to predict on new radiographs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from data.errors import InputError
from data.gray_window import GrayWindow
from data.radiograph import Radiograph
from detectors.backbones.packaged import find_packaged, read_packaged
from detectors.caps import ask_for_detections
from detectors.config.window import gray_window
from detectors.evaluation.runs import read_object
from detectors.evaluation.threshold import load_threshold
from detectors.interface import Detections
from detectors.maps.heat_map import HeatMap
from detectors.runs.checkpoint import load_model
from detectors.runs.inference import detect_in_pixels
from detectors.runs.predict_files import Findings
from detectors.runs.predict_files import predict_files as predict_files
from detectors.runs.reading import read_sized


class Predictor:
    """A trained detector with its preprocessing.

    Args:
        run: the folder of a run, or a checkpoint.
        device: where to run; the GPU if there is one by default.
        max_detections: raises the most detections of a radiograph, see `detectors.caps`.
        window: another gray window than the run's.
        bit_depth: bits of a stored gray level, where the files do not state them rightly.

    Raises InputError for a missing or foreign checkpoint, and for a model of volumes.

    """

    def __init__(
        self,
        run: Path,
        device: torch.device | None = None,
        window: GrayWindow | None = None,
        bit_depth: int | None = None,
        max_detections: int | None = None,
    ) -> None:
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model, self.config, self.categories = load_model(run)
        if self.config.model.task == "volumes":
            raise InputError(
                f"{run}: a run of '{self.config.model.name}', a model of volumes, which finds no boxes in radiographs; "
                "analyze a volume with 'radiograph analyze-pores VOLUME --run RUN'"
            )
        self.model: nn.Module = model.to(self.device)
        ask_for_detections(self.model, max_detections)
        own = gray_window(self.config.data)
        chosen = own if window is None else replace(window, bit_depth=own.bit_depth, trained_on=own.trained_on)
        self.window: GrayWindow | None = chosen.with_bit_depth(bit_depth)

    def __call__(self, radiograph: Path | Radiograph | NDArray[np.float32]) -> Detections:
        """Return `boxes` [M, 4], `scores` [M] and `labels` [M] of one radiograph, in its own pixels.

        `radiograph` is a file; or what `read_radiograph` read through `window`; or gray values float32 [H, W] in
        [0, 1] by the full bit depth, which the window is applied to.
        """
        return self.with_map(radiograph)[0]

    def with_map(self, radiograph: Path | Radiograph | NDArray[np.float32]) -> tuple[Detections, HeatMap | None]:
        """Return the same detections and the heat map that they come from, None from a model without one."""
        if isinstance(radiograph, np.ndarray):
            pixels = self.window.of_pixels(radiograph) if self.window else radiograph
        elif isinstance(radiograph, Radiograph):
            pixels = radiograph.pixels
        else:
            pixels = read_sized(Path(radiograph), self.window).pixels
        return detect_in_pixels(self.model, pixels, self.device)

    def find(self, radiograph: Radiograph, with_map: bool = True) -> Findings:
        """Return the detections in NumPy, with the heat map at every pixel if it is wanted and the model has one."""
        detections, heat_map = self.with_map(radiograph) if with_map else (self(radiograph), None)
        found = {name: value.numpy() for name, value in detections.items()}
        if heat_map is None:
            return Findings(found)
        return Findings(found, heat_map.per_pixel(*radiograph.pixels.shape).clamp(0, 1).cpu().numpy())


def default_threshold(run: Path) -> float:
    """Return the score above which a detection is shown.

    The threshold chosen for the run if there is one, else that of the best F1 in its evaluation, else 0.5; of weights
    that come with the toolkit, the one on their card. Raises InputError for a faulty file.
    """
    packaged = find_packaged(run)
    if packaged is not None:
        return float(read_packaged(packaged)["threshold"] or 0.5)
    run = run if run.is_dir() else run.parent
    chosen = load_threshold(run)
    if chosen is None and (run / "metrics.json").is_file():
        chosen = read_object(run / "metrics.json").get("threshold")
    return 0.5 if chosen is None else float(chosen)
