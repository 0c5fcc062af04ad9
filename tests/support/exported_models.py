"""Small models with random weights, saved as runs and exported."""

from pathlib import Path

import torch
from torch import nn

from detectors.build import build_model
from detectors.config.experiment import ExperimentConfig
from detectors.config.files import read_config
from detectors.export.write import export_run
from detectors.runs.checkpoint import save_checkpoint
from detectors.schema import ModelSection

TINY_CENTER_NET = {
    "name": "center_net", "stem_channels": 8, "stage_channels": [8, 8, 8, 8], "stage_blocks": [1, 1, 1, 1],
    "neck_channels": 8,
}  # fmt: skip


def run_config(section: ModelSection, base: str = "center_net", **data: object) -> ExperimentConfig:
    """Return a configuration with another model and fields of its data."""
    config = read_config(base)
    return config.model_copy(update={"model": section, "data": config.data.model_copy(update=data)})


def save_run(folder: Path, section: ModelSection, classes: int = 1, base: str = "center_net") -> nn.Module:
    """Save a model with random weights as the best checkpoint of a run, and return it in evaluation."""
    torch.manual_seed(0)
    model = build_model(section, classes).eval()
    categories = [{"id": k + 1, "name": f"defect {k + 1}"} for k in range(classes)]
    save_checkpoint(folder / "best.ckpt", model, run_config(section, base), categories, 1, {})
    return model


def export_model(folder: Path, section: ModelSection, classes: int = 1, base: str = "center_net") -> nn.Module:
    """Save and export a model to `folder / "exported"`, and return it."""
    model = save_run(folder / "run", section, classes, base)
    export_run(folder / "run", folder / "exported")
    return model
