"""The training loop: plain enough to read in one sitting, the same for every task."""

import math
import time
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from data.console import console, progress
from data.errors import InputError
from data.locks import FolderLock
from detectors.backbones.checkpoint_file import read_checkpoint
from detectors.build import build_model
from detectors.config.experiment import ExperimentConfig
from detectors.config.files import with_window_of, write_config
from detectors.config.sources import training_files
from detectors.config.window import settle_window
from detectors.evaluation.metrics import Metrics
from detectors.runs.checkpoint import model_of, save_checkpoint
from detectors.training.batch_norm import BATCHES, has_batch_norm, recalibrate_batch_norm
from detectors.training.loader import build_loader
from detectors.training.logs import Row, RunLog
from detectors.training.optimization import averaged_model, build_optimizer, build_schedule
from detectors.training.processes import (
    from_first_process,
    make_accelerator,
    random_states,
    restore_random_states,
    seed_process,
)
from detectors.training.resume import check_categories, check_schedule, read_resumable
from detectors.training.run_folder import lock_run, new_run_folder, remove_leftovers
from detectors.training.state import TrainState
from detectors.training.task import Batch
from detectors.training.tasks import TASKS


class Trainer:
    """One run: model, optimizer, schedule and averaged weights over one task's samples.

    Args:
        config: the resolved configuration.
        resume: the folder of a run to go on with, or None for a new one.

    Raises InputError for everything that the configuration or the data have wrong, before any training.

    """

    def __init__(self, config: ExperimentConfig, resume: Path | None = None) -> None:
        self.config = config.model_copy(update={"model": config.model.resolved()})
        if resume:
            self.config = with_window_of(resume, self.config)
        self.accelerator = make_accelerator(config.train)
        self.state = TrainState()
        self.log: RunLog | None = None
        self._lock: FolderLock | None = None
        try:
            self._set_up(self.config, resume)
        except BaseException:
            self.close()
            raise

    def fit(self) -> None:
        """Train to the last epoch, writing `last.ckpt` after each and `best.ckpt` at each best validation."""
        if self.state.closed < self.state.epoch:
            self._close_epoch()
        while self.state.epoch < self.config.train.epochs:
            row: Row = {"epoch": self.state.epoch + 1, **self._run_epoch(self.state.epoch)}
            self.state.rows.append(row)
            self.state.epoch += 1
            if self._should_validate():
                # First, so that a validation that fails or is killed costs itself and not the epoch.
                self._save("last.ckpt")
            self._close_epoch()

    def finish(self) -> Metrics | None:
        """Evaluate the best weights and write metrics and plots into the run's folder."""
        self.accelerator.wait_for_everyone()
        path = self.folder / "best.ckpt"
        model = model_of(path, from_first_process(self.accelerator, lambda: read_checkpoint(path)))
        return self.task.finish(model.to(self.accelerator.device), self.accelerator, self.folder)

    def close(self) -> None:
        """Flush the log and let others go on with the run."""
        if self.log:
            self.log.close()
        if self._lock:
            self._lock.release()

    def _set_up(self, config: ExperimentConfig, resume: Path | None) -> None:
        train = config.train
        if resume and resume.is_dir() and self.accelerator.is_main_process:
            self._lock = lock_run(resume)
        seed_process(config.seed)
        checkpoint = from_first_process(self.accelerator, lambda: read_resumable(resume, config)) if resume else None
        # The first process makes phantoms that are not there yet; the others then find them.
        with self.accelerator.main_process_first():
            self.config = config = settle_window(config, training_files(config.data))
            self.task = TASKS[config.model.task](config)
        self.sampler, self.loader = build_loader(self.task, config, self.accelerator)
        if resume and checkpoint:
            check_categories(resume, checkpoint, self.task.categories)
            check_schedule(resume, checkpoint, config, self._total_steps)
        if self.accelerator.is_main_process:
            self.task.check_data()
        section = config.model.without_weights() if checkpoint else config.model
        model = build_model(section, len(self.task.categories))
        # From here on each process draws random numbers of its own; the first goes on with those it has.
        if self.accelerator.process_index:
            seed_process(config.seed, self.accelerator.process_index)
        if self.accelerator.device.type == "cpu":
            # Convolutions in this layout are about a fifth faster on a CPU.
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this one
        optimizer = build_optimizer(model, train)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        if self.accelerator.mixed_precision != "no":
            # Steps are taken under `autocast`; without accelerate's own wrapper validation is in float32, as
            # the test and every prediction are.
            self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        self.schedule = build_schedule(optimizer, train.schedule, self._total_steps)
        self.averaged = averaged_model(self._plain_model(), train.ema_decay) if train.ema_decay else None
        if checkpoint:
            self._restore(checkpoint, resume)
        self.folder = resume or self._new_folder()
        if self.accelerator.is_main_process:
            self._lock = self._lock or lock_run(self.folder)
            remove_leftovers(self.folder)
            write_config(self.folder / "config.yaml", config)
            self.log = RunLog(self.folder, max(self.state.epoch - 1, 0))
            if self.state.rows and self.state.closed == self.state.epoch:
                self.log.write(self.state.rows)  # the process may have died between checkpoint and log
        elif self.accelerator.is_local_main_process and not self.folder.is_dir():
            # A machine that does not share the folder of runs: what `--resume` will look for here.
            write_config(self.folder / "config.yaml", config)

    @property
    def _total_steps(self) -> int:
        return self.config.train.epochs * len(self.loader)

    def _run_epoch(self, epoch: int) -> Row:
        """Train one epoch; return mean losses, images a second and the learning rate."""
        self.model.train()
        self._set_epoch(epoch)
        sums: dict[str, float] = {}
        start, images = time.perf_counter(), 0
        with progress("{task.fields[status]}", disable=not self.accelerator.is_main_process) as bar:
            line = bar.add_task(f"epoch {epoch + 1}/{self.config.train.epochs}", total=len(self.loader), status="")
            for index, batch in enumerate(self.loader):
                if index == 0 and epoch == 0 and self.log:
                    self.log.picture("training samples", self.task.preview(batch), 0)
                for name, value in self._step(batch).items():
                    sums[name] = sums.get(name, 0.0) + value
                images += len(batch[0]) * self.accelerator.num_processes
                speed = images / (time.perf_counter() - start)
                loss = sum(sums.values()) / (index + 1)
                bar.update(line, advance=1, status=f"loss {loss:.3f}  {speed:.1f} images/s  {self._eta(index, speed)}")
        count = len(self.loader)
        means = {name: value / count for name, value in sums.items()}
        return {
            "loss": sum(means.values()),
            **means,
            "images_per_second": images / (time.perf_counter() - start),
            "learning_rate": float(self.schedule.get_last_lr()[0]),
        }

    def _set_epoch(self, epoch: int) -> None:
        self.sampler.set_epoch(epoch)
        self.task.train_set.set_epoch(epoch)

    def _eta(self, index: int, speed: float) -> str:
        """Return the time that the whole run still takes, without its validations."""
        train = self.config.train
        batches = (train.epochs - self.state.epoch) * len(self.loader) - index - 1
        seconds = batches * train.batch_size * self.accelerator.num_processes / speed
        return f"run: {timedelta(seconds=round(seconds))} left"

    def _step(self, batch: Batch) -> dict[str, float]:
        """Take one optimizer step; return the losses. Raises InputError at the first that is not finite."""
        with self.accelerator.autocast():
            found = self.task.losses(self.model, batch, self.accelerator.device)
        losses: dict[str, Tensor] = {name: value.float() for name, value in found.items()}
        values = {name: float(value.detach()) for name, value in losses.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise InputError(
                    f"{self.folder}: {name} is {value} in epoch {self.state.epoch + 1} at step {self.state.step}, "
                    f"batch of {self.task.describe_batch(batch)}; lower train.lr, or look at these radiographs"
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

    def _should_validate(self) -> bool:
        done, train = self.state.epoch, self.config.train
        return done % train.validate_every == 0 or done == train.epochs

    def _close_epoch(self) -> None:
        """Validate where it is time to, keep the weights, and write the log."""
        state = self.state
        metrics = self._validate() if self._should_validate() else None
        state.metrics = metrics or {}
        measured = {f"val_{name}": value for name, value in state.metrics.items() if value is not None}
        state.rows[-1] = {**state.rows[-1], **measured}
        state.closed = state.epoch
        if state.note_if_best(self.task.metrics):
            self._save("best.ckpt")
        self._save("last.ckpt")
        if self.log:
            self.log.write(state.rows)
            self._print_row(state.rows[-1])

    def _validate(self) -> Metrics | None:
        model, device = self._inference_model(), self.accelerator.device
        if has_batch_norm(model):
            self._set_epoch(self.state.epoch - 1)  # a validation that is made up for meets the same samples
            batches = islice(self.loader, BATCHES)
            recalibrate_batch_norm(model, lambda model, batch: self.task.losses(model, batch, device), batches)
        if self.log:
            picture = self.task.samples(model, self.folder, self.state.epoch)
            if picture is not None:
                self.log.picture("samples", picture, self.state.epoch)
        return self.task.validate(model, self.accelerator)

    def _plain_model(self) -> nn.Module:
        return self.accelerator.unwrap_model(self.model)

    def _inference_model(self) -> nn.Module:
        """Return the weights to predict with: the averaged ones if there are any."""
        return self.averaged.module if isinstance(self.averaged, AveragedModel) else self._plain_model()

    def _save(self, name: str) -> None:
        """Write a checkpoint; `last.ckpt` holds what resuming needs, too."""
        training = self._training_state() if name == "last.ckpt" else None
        if self.accelerator.is_main_process:
            state = self.state
            save_checkpoint(
                self.folder / name, self._inference_model(), self.config, list(self.task.categories), state.epoch,
                state.metrics, training,
            )  # fmt: skip

    def _training_state(self) -> dict[str, Any]:
        return {
            "model": self._plain_model().state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "total_steps": self._total_steps,
            **self.state.as_dict(),
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
            "random": random_states(self.accelerator),
        }

    def _restore(self, checkpoint: dict[str, Any], run: Path | None) -> None:
        training = checkpoint["training"]
        try:
            self._plain_model().load_state_dict(training["model"])
            if self.averaged and training["averaged"]:
                self.averaged.load_state_dict(training["averaged"])
            self.optimizer.load_state_dict(training["optimizer"])
            self.schedule.load_state_dict(training["schedule"])
            if self.accelerator.scaler and training["scaler"]:
                self.accelerator.scaler.load_state_dict(training["scaler"])
            self.state = TrainState.of_checkpoint(checkpoint, Path(run or ""))
            restore_random_states(training["random"], self.accelerator.process_index)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{run}/last.ckpt: its state of training does not fit this run ({type(error).__name__}: {reason}); "
                f"start a new one with model.weights={run}"
            ) from error

    def _new_folder(self) -> Path:
        """Make `<output>/<config>/<time>/`, the same on every process."""
        parent = self.config.output / self.config.name
        return from_first_process(self.accelerator, lambda: new_run_folder(parent))

    def _print_row(self, row: Row) -> None:
        metric = self.task.metrics[0]
        value = row.get(f"val_{metric}")
        score = f"  {metric} {value:.3f}" if value is not None else ""
        console.print(
            f"epoch {row['epoch']}/{self.config.train.epochs}  loss {row['loss']:.3f}{score}  "
            f"{row['images_per_second']:.1f} images/s",
            markup=False,
        )


def train(config: ExperimentConfig, resume: Path | None = None) -> tuple[Path, Metrics | None]:
    """Train, evaluate the best weights, and return the run's folder and its metrics (None without test data).

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
            console.print(f"continue with: radiograph train --resume {trainer.folder}", markup=False)
        raise
    finally:
        trainer.close()
    if trainer.accelerator.is_main_process:
        console.print(f"run: {trainer.folder}", markup=False)
    return trainer.folder, metrics
