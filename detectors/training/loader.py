"""From a task's training samples to batches."""

from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, DistributedSampler

from data.datasets import limit_threads
from detectors.config.experiment import ExperimentConfig
from detectors.training.task import Task


def build_loader(
    task: Task, config: ExperimentConfig, accelerator: Accelerator
) -> tuple[DistributedSampler[Any], DataLoader]:
    """Return the order of the samples and their batches, of this process's share; both depend on the seed alone."""
    workers = config.data.workers
    sampler: DistributedSampler[Any] = DistributedSampler(
        task.train_set,
        num_replicas=accelerator.num_processes,
        rank=accelerator.process_index,
        shuffle=True,
        seed=config.seed,
    )
    loader = DataLoader(
        task.train_set,
        batch_size=config.train.batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=task.collate,
        persistent_workers=workers > 0,
        worker_init_fn=limit_threads,
        pin_memory=accelerator.device.type == "cuda",
        # A generator of its own keeps the loader from drawing on the model's random numbers.
        generator=torch.Generator().manual_seed(config.seed),
    )
    return sampler, loader
