"""What the backbone of a run's detector sees in a radiograph, noted on the way; exported models tell it themselves."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.errors import InputError
from data.radiograph import Radiograph
from data.records import Category
from detectors.decisions.familiarity import NO_BACKBONE
from detectors.map_features import map_features
from detectors.runs.predict_files import Findings
from detectors.runs.prediction import Predictor


class BackboneFeatures:
    """A predictor whose findings say what the backbone saw. Raises InputError for a model that has none."""

    def __init__(self, predictor: Predictor) -> None:
        if not isinstance(getattr(getattr(predictor, "model", None), "backbone", None), torch.nn.Module):
            raise InputError(NO_BACKBONE)
        self.predictor = predictor
        self.window = predictor.window
        self.categories: list[Category] = predictor.categories

    def find(self, radiograph: Radiograph, with_map: bool = True) -> Findings:
        """Return the findings in one radiograph; of a radiograph in tiles, features are the mean over its batches."""
        with watched(self.predictor.model) as seen:
            found = self.predictor.find(radiograph, with_map)
        return replace(found, features=np.mean(seen, axis=0))


@contextmanager
def watched(model: Any) -> Iterator[list[NDArray[np.float64]]]:
    """Collect mean and deviation of every channel of the finest map that the backbone makes, float64 [2 C]."""
    seen: list[NDArray[np.float64]] = []

    def note(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        first = next(iter(output.values())) if isinstance(output, Mapping) else output
        first = first[0] if isinstance(first, list | tuple) else first
        seen.append(map_features(first.detach().double()).cpu().numpy())

    handle = model.backbone.register_forward_hook(note)
    try:
        yield seen
    finally:
        handle.remove()
