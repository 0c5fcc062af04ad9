"""The training loop: plain enough to read in one sitting, the same for every task."""

import math
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list, set_seed
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, DistributedSampler

from data.console import console, progress
from data.datasets import limit_threads
from data.errors import InputError
from detectors.backbones.weights import read_checkpoint
from detectors.build import build_model
from detectors.config.experiment import ExperimentConfig
from detectors.config.files import check_config, write_config
from detectors.evaluation.metrics import Metrics
from detectors.runs.checkpoint import (
    load_model,
    random_states,
    restore_random_states,
    save_checkpoint,
)
from detectors.training.batch_norm import BATCHES, has_batch_norm, settle_batch_norm
from detectors.training.detection import DetectionTask
from detectors.training.gan import GANTask
from detectors.training.logs import RunLog
from detectors.training.optimization import averaged_model, build_optimizer, build_schedule
from detectors.training.patches import PatchTask
from detectors.training.segmentation import SegmentationTask

TASKS = {"detection": DetectionTask, "patches": PatchTask, "segmentation": SegmentationTask, "gan": GANTask}


@runtime_checkable
class Showing(Protocol):
    """A task whose model has something to show before each validation."""

    def show(self, model: nn.Module, folder: Path, epoch: int) -> np.ndarray:
        """Return a picture uint8 [H, W, 3] of what the model makes after an epoch; files go into the run's folder."""
        ...


@dataclass
class Progress:
    """Where a run stands; saved with every checkpoint."""

    epoch: int = 0
    step: int = 0
    best: float = -math.inf
    metrics: Metrics = field(default_factory=dict)


class Trainer:
    """One run: model, optimizer, schedule and averaged weights over one task's samples.

    Args:
        config: the resolved configuration.
        resume: the folder of a run to go on with, or None for a new one.

    Raises InputError for everything that the configuration or the data have wrong, before any training.

    """

    def __init__(self, config: ExperimentConfig, resume: Path | None = None) -> None:
        config = config.model_copy(update={"model": config.model.resolved()})
        self.config = config
        train = config.train
        self.accelerator = Accelerator(
            mixed_precision=train.precision,
            cpu=train.device == "cpu",
            # The other processes wait while the first makes phantoms, which can take longer than ten minutes.
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=6))],
        )
        set_seed(config.seed)
        # The first process makes phantoms that are not there yet; the others then find them.
        with self.accelerator.main_process_first():
            self.task = TASKS[config.model.task](config)
        self.loader = self._build_loader()
        checkpoint = _read_resumable(resume, config) if resume else None
        section = config.model.without_weights() if checkpoint else config.model
        model = build_model(section, len(self.task.categories))
        if self.accelerator.device.type == "cpu":
            # Convolutions in this layout are about a fifth faster on a CPU.
            model = model.to(memory_format=torch.channels_last)
        optimizer = build_optimizer(model, train)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.schedule = build_schedule(optimizer, train.schedule, train.epochs * len(self.loader))
        self.averaged = averaged_model(self._plain_model(), train.ema_decay) if train.ema_decay else None
        self.state = Progress()
        if checkpoint:
            self._restore(checkpoint)
        self.folder = resume or self._new_folder()
        if self.accelerator.is_main_process:
            write_config(self.folder / "config.yaml", config)
        self.log = RunLog(self.folder, self.state.epoch) if self.accelerator.is_main_process else None

    def fit(self) -> None:
        """Train to the last epoch, writing `last.ckpt` after each and `best.ckpt` at each best validation."""
        while self.state.epoch < self.config.train.epochs:
            row: dict[str, Any] = {"epoch": self.state.epoch + 1, **self._run_epoch(self.state.epoch)}
            self.state.epoch += 1
            metrics = self._validate() if self._is_due() else None
            row.update({f"val_{name}": value for name, value in (metrics or {}).items() if value is not None})
            self._save(metrics)
            if self.log:
                self.log.add(row)
                self._print_row(row)

    def finish(self) -> Metrics | None:
        """Evaluate the best weights and write figures and plots into the run's folder."""
        self.accelerator.wait_for_everyone()
        model, _, _ = load_model(self.folder / "best.ckpt")
        metrics = self.task.finish(model.to(self.accelerator.device), self.accelerator, self.folder)
        if self.log:
            self.log.close()
        return metrics

    def _build_loader(self) -> DataLoader:
        workers = self.config.data.workers
        self.sampler = DistributedSampler(
            self.task.train_set,
            num_replicas=self.accelerator.num_processes,
            rank=self.accelerator.process_index,
            shuffle=True,
            seed=self.config.seed,
        )
        return DataLoader(
            self.task.train_set,
            batch_size=self.config.train.batch_size,
            sampler=self.sampler,
            num_workers=workers,
            collate_fn=self.task.collate,
            persistent_workers=workers > 0,
            worker_init_fn=limit_threads,
            pin_memory=self.accelerator.device.type == "cuda",
            # A generator of its own keeps the loader from drawing on the model's random numbers.
            generator=torch.Generator().manual_seed(self.config.seed),
        )

    def _run_epoch(self, epoch: int) -> dict[str, float]:
        """Train one epoch; return mean losses, images a second and the learning rate."""
        self.model.train()
        self.sampler.set_epoch(epoch)
        self.task.train_set.set_epoch(epoch)
        sums: dict[str, float] = {}
        start, images = time.perf_counter(), 0
        with progress("{task.fields[words]}", disable=not self.accelerator.is_main_process) as bar:
            line = bar.add_task(f"epoch {epoch + 1}/{self.config.train.epochs}", total=len(self.loader), words="")
            for index, batch in enumerate(self.loader):
                if index == 0 and epoch == 0 and self.log:
                    self.log.picture("training samples", self.task.picture(batch), 0)
                for name, value in self._step(batch).items():
                    sums[name] = sums.get(name, 0.0) + value
                images += len(batch[0]) * self.accelerator.num_processes
                speed = images / (time.perf_counter() - start)
                loss = sum(sums.values()) / (index + 1)
                bar.update(line, advance=1, words=f"loss {loss:.3f}  {speed:.1f} images/s  {self._left(index, speed)}")
        count = len(self.loader)
        means = {name: value / count for name, value in sums.items()}
        return {
            "loss": sum(means.values()),
            **means,
            "images_per_second": images / (time.perf_counter() - start),
            "learning_rate": self.schedule.get_last_lr()[0],
        }

    def _left(self, index: int, speed: float) -> str:
        """Return the time that the whole run still takes, without its validations."""
        train = self.config.train
        batches = (train.epochs - self.state.epoch) * len(self.loader) - index - 1
        seconds = batches * train.batch_size * self.accelerator.num_processes / speed
        return f"run: {timedelta(seconds=round(seconds))} left"

    def _step(self, batch: Any) -> dict[str, float]:
        """Take one optimizer step; return the losses. Raises InputError at the first that is not finite."""
        with self.accelerator.autocast():
            losses: dict[str, Tensor] = self.task.losses(self.model, batch, self.accelerator.device)
        values = {name: float(value.detach()) for name, value in losses.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise InputError(
                    f"{self.folder}: {name} is {value} in epoch {self.state.epoch + 1} at step {self.state.step}, "
                    f"batch of {self.task.batch_name(batch)}; lower train.lr, or look at these radiographs"
                )
        self.accelerator.backward(sum(losses.values()))
        if self.config.train.clip_norm:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.train.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if not self.accelerator.optimizer_step_was_skipped:
            self.schedule.step()
        if self.averaged:
            self.averaged.update_parameters(self._plain_model())
        self.state.step += 1
        return values

    def _is_due(self) -> bool:
        done, train = self.state.epoch, self.config.train
        return done % train.validate_every == 0 or done == train.epochs

    def _validate(self) -> Metrics | None:
        model, device = self._best_guess(), self.accelerator.device
        if has_batch_norm(model):
            batches = islice(self.loader, BATCHES)
            settle_batch_norm(model, lambda model, batch: self.task.losses(model, batch, device), batches)
        if self.log and isinstance(self.task, Showing):
            self.log.picture("samples", self.task.show(model, self.folder, self.state.epoch), self.state.epoch)
        return self.task.validate(model, self.accelerator)

    def _plain_model(self) -> nn.Module:
        return self.accelerator.unwrap_model(self.model)

    def _best_guess(self) -> nn.Module:
        """Return the weights to predict with: the averaged ones if there are any."""
        return self.averaged.module if isinstance(self.averaged, AveragedModel) else self._plain_model()

    def _save(self, metrics: Metrics | None) -> None:
        if not self.accelerator.is_main_process:
            return
        score = (metrics or {}).get(self.task.metric)
        # Until there is a validation figure the latest weights are the best known.
        is_best = self.state.best == -math.inf if score is None else score > self.state.best
        if score is not None and is_best:
            self.state.best = score
        self.state.metrics = metrics or {}
        arguments = (self._best_guess(), self.config, self.task.categories, self.state.epoch, self.state.metrics)
        if is_best:
            save_checkpoint(self.folder / "best.ckpt", *arguments)
        save_checkpoint(self.folder / "last.ckpt", *arguments, training=self._training_state())

    def _training_state(self) -> dict[str, Any]:
        return {
            "model": self._plain_model().state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "step": self.state.step,
            "best": self.state.best,
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
            "random": random_states(),
        }

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        training = checkpoint["training"]
        self._plain_model().load_state_dict(training["model"])
        if self.averaged and training["averaged"]:
            self.averaged.load_state_dict(training["averaged"])
        self.optimizer.load_state_dict(training["optimizer"])
        self.schedule.load_state_dict(training["schedule"])
        if self.accelerator.scaler and training["scaler"]:
            self.accelerator.scaler.load_state_dict(training["scaler"])
        self.state = Progress(checkpoint["epoch"], training["step"], training["best"], checkpoint["metrics"])
        restore_random_states(training["random"])

    def _new_folder(self) -> Path:
        """Make `<output>/<config>/<time>/`, the same on every process."""
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = [self.config.output / self.config.name / stamp]
        while self.accelerator.is_main_process and folder[0].exists():
            folder[0] = folder[0].with_name(folder[0].name + "b")
        broadcast_object_list(folder)
        if self.accelerator.is_main_process:
            folder[0].mkdir(parents=True)
        return folder[0]

    def _print_row(self, row: dict[str, Any]) -> None:
        name = f"val_{self.task.metric}"
        score = f"  {self.task.metric} {row[name]:.3f}" if row.get(name) is not None else ""
        console.print(
            f"epoch {row['epoch']}/{self.config.train.epochs}  loss {row['loss']:.3f}{score}  "
            f"{row['images_per_second']:.1f} images/s"
        )


def train(config: ExperimentConfig, resume: Path | None = None) -> tuple[Path, Metrics | None]:
    """Train, evaluate the best weights, and return the run's folder and its figures (None without test data).

    Args:
        config: the resolved configuration.
        resume: the folder of a run that was interrupted; it goes on after its last whole epoch, with the same
            learning rate, averages and random numbers as if it had never stopped.

    Raises InputError for bad data or settings, and at the first loss that is not finite.

    """
    trainer = Trainer(config, resume)
    try:
        trainer.fit()
        metrics = trainer.finish()
    except KeyboardInterrupt:
        if (trainer.folder / "last.ckpt").exists():
            console.print(f"go on with: python tools/train.py --resume {trainer.folder}")
        raise
    if trainer.accelerator.is_main_process:
        console.print(f"run: {trainer.folder}")
    trainer.accelerator.end_training()
    return trainer.folder, metrics


def _read_resumable(run: Path, config: ExperimentConfig) -> dict[str, Any]:
    """Return the last checkpoint of a run. Raises InputError where `config` differs in what cannot change."""
    checkpoint = read_checkpoint(run / "last.ckpt")
    if checkpoint.get("training") is None:
        raise InputError(f"{run / 'last.ckpt'}: weights without a state of training; start with model.weights={run}")
    # Read as a configuration, so that fields younger than the run have their defaults.
    then, now = check_config(checkpoint["config"]).as_dict(), config.as_dict()
    fixed = ("optimizer", "lr", "momentum", "betas", "weight_decay", "batch_size", "ema_decay", "precision")
    changed = [f"train.{name}" for name in fixed if then["train"][name] != now["train"][name]]
    changed += ["model"] if then["model"] != now["model"] else []
    if changed:
        raise InputError(
            f"{run}: {', '.join(changed)} cannot change when a run is resumed; start a new one with model.weights={run}"
        )
    return checkpoint
