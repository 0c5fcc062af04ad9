"""A task small enough to train in milliseconds, whose every step can be followed by hand."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from data.epochs import EpochDataset
from detectors.config.experiment import ExperimentConfig
from detectors.config.files import check_config
from detectors.evaluation.metrics import Metrics
from detectors.schema import ModelSection
from detectors.training.task import Task

SAMPLES = 8


class LineSection(ModelSection):
    task: ClassVar[str] = "line"
    name: str = "line"
    batch_norm: bool = False


class Line(nn.Module):
    """Ten weights and their sum of products; notes whether it ran under autocast."""

    def __init__(self, batch_norm: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(10) if batch_norm else nn.Identity()
        self.weight = nn.Parameter(torch.zeros(10, 1))
        self.autocast: list[bool] = []

    def forward(self, rows: Tensor) -> Tensor:
        self.autocast.append(torch.is_autocast_enabled("cpu"))
        return self.norm(rows) @ self.weight


class Rows(EpochDataset[tuple[Tensor, int]]):
    """Random rows that change from one epoch to the next."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        rng = np.random.default_rng([self.seed, self.epoch, index])
        return torch.from_numpy(rng.normal(size=10).astype(np.float32)), index


class LineTask(Task):
    """Fits ones; validation metrics come from `script`, one entry a validation."""

    metrics = ("ap50", "ap30")
    script: ClassVar[list[dict[str, float | None] | Exception]] = []
    drawn: ClassVar[list[tuple[int, list[int], Tensor]]] = []  # epoch, indices and rows of every batch
    validated: ClassVar[list[tuple[Tensor, bool]]] = []  # weights, and whether they ran under autocast

    def __init__(self, config: ExperimentConfig) -> None:
        self.categories = [{"id": 1, "name": type(self).category}]
        self.train_set = Rows(config.seed)

    category: ClassVar[str] = "defect"

    def collate(self, samples: Sequence[Any]) -> tuple[Tensor, list[int]]:
        rows, indices = zip(*samples, strict=True)
        return torch.stack(rows), list(indices)

    def losses(self, model: nn.Module, batch: Any, device: torch.device) -> dict[str, Tensor]:
        self.drawn.append((self.train_set.epoch, batch[1], batch[0]))
        noise = torch.rand(len(batch[0]), 1)  # as a detector that samples its proposals
        return {"loss_line": ((model(batch[0]) - 10 - noise) ** 2).mean()}

    def describe_batch(self, batch: Any) -> str:
        return f"rows {batch[1]}"

    def preview(self, batch: Any) -> np.ndarray:
        return np.zeros((4, 4, 3), np.uint8)

    def validate(self, model: nn.Module, accelerator: Accelerator) -> Metrics | None:
        mode = model.training
        model.eval()
        model(torch.ones(1, 10))
        model.train(mode)
        torch.rand(3)  # as a test that trains a classifier of its own
        self.validated.append((model.weight.detach().clone(), model.autocast[-1]))
        if not self.script:
            return None
        answer = self.script.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return dict(answer)

    def finish(self, model: nn.Module, accelerator: Accelerator, folder: Path) -> Metrics | None:
        return {"weight": float(model.weight.detach().sum())}


def line_config(
    output: Path, seed: int = 3, data: dict | None = None, batch_norm: bool = False, **train: Any
) -> ExperimentConfig:
    settings = {"epochs": 3, "lr": 0.01, "device": "cpu", "clip_norm": None, "momentum": 0, "weight_decay": 0}
    settings["schedule"] = {"kind": "constant", "warmup_steps": 0}
    values = {"name": "line", "seed": seed, "output": str(output), "model": {"name": "line", "batch_norm": batch_norm}}
    # Patches have no gray window to be chosen, and nothing reads these.
    unread = {"workers": 0, "train": {"patches": "unread.npz"}}
    return check_config(values | {"data": unread | (data or {}), "train": settings | train})


def log_rows(folder: Path) -> list[dict[str, str]]:
    """Return the log without the times, which differ from run to run."""
    with (folder / "log.csv").open() as stream:
        return [{k: v for k, v in row.items() if k != "images_per_second"} for row in csv.DictReader(stream)]
