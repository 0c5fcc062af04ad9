"""Trainings that do not depend on one another, at the same time: each is the plain loop, in a process of its own."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from data.console import console
from data.tasks import Tasks
from detectors.config.experiment import ExperimentConfig

Train = Callable[[ExperimentConfig], Any]


@dataclass(frozen=True)
class Training:
    """One training: a name, its configuration, the function of a module that trains, and a file for what it prints."""

    name: str
    config: ExperimentConfig
    train: Train
    log: Path


def train_all(
    configs: Mapping[str, ExperimentConfig], train: Train, tasks: Tasks, logs: Path
) -> Iterator[tuple[str, Any]]:
    """Train all configurations through an engine; yield the name of each with what `train` returned, when it is done.

    What a training prints goes to `logs/<name>.log`. Results are those of one training after the other with the same
    number of threads.
    """
    console.print(f"{len(configs)} trainings; what each prints is in {logs}")
    work = [Training(name, config, train, logs / f"{name}.log") for name, config in configs.items()]
    for name, result in tasks(_train_one, work):
        console.print(f"{name}: done")
        yield name, result


def _train_one(training: Training) -> tuple[str, Any]:
    """Return the name of a training and what it returned."""
    training.log.parent.mkdir(parents=True, exist_ok=True)
    # Not by console.file: set once, it no longer follows sys.stdout.
    with training.log.open("a", encoding="utf-8") as stream, redirect_stdout(stream):
        return training.name, training.train(training.config)


def share_threads(trainings: int) -> None:
    """Give each of some trainings at once its share of this machine's cores, unless OMP_NUM_THREADS says otherwise.

    Sets that variable for the processes that are started from here on.
    """
    if trainings > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(torch.get_num_threads() // trainings, 1)))
