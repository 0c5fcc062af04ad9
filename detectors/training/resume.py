"""What a run must have in common with the configuration that continues it."""

from pathlib import Path
from typing import Any

from data.errors import InputError
from detectors.backbones.checkpoint_file import read_checkpoint
from detectors.config.experiment import ExperimentConfig
from detectors.runs.checkpoint import checkpoint_config

# What may change from one start of a run to the next: where files lie, how fast it goes, how long it lasts.
FREE = {
    "": {"name", "output", "data", "train"},
    "data": {"train", "val", "test", "workers", "cache"},
    "train": {"epochs", "validate_every", "device"},
}


def read_resumable(run: Path, config: ExperimentConfig) -> dict[str, Any]:
    """Return the last checkpoint of a run.

    Raises InputError where there is none, and where `config` differs in what would make it another run.
    """
    checkpoint = read_checkpoint(run / "last.ckpt")
    if not checkpoint["training"]:
        raise InputError(f"{run / 'last.ckpt'}: weights without a state of training; start with model.weights={run}")
    # Read as a configuration, so that fields younger than the run have their defaults.
    then, now = checkpoint_config(run / "last.ckpt", checkpoint).as_dict(), config.as_dict()
    changed = _changed(then, now, "")
    changed += [f"data.{name}" for name in _changed(then["data"], now["data"], "data")]
    changed += [f"train.{name}" for name in _changed(then["train"], now["train"], "train")]
    if changed:
        raise _cannot_change(run, ", ".join(changed))
    return checkpoint


def check_categories(run: Path, checkpoint: dict[str, Any], categories: Any) -> None:
    """Raise InputError where the data name other classes than those that the run has learned."""
    then, now = checkpoint["categories"], [dict(category) for category in categories]
    if [(c["id"], c["name"]) for c in then] != [(c["id"], c["name"]) for c in now]:
        raise _cannot_change(run, f"the classes ({_names(then)} in the run, {_names(now)} in its data)")


def check_schedule(run: Path, checkpoint: dict[str, Any], config: ExperimentConfig, steps: int) -> None:
    """Raise InputError where the learning rate would jump: a cosine is laid out for all `steps` of the run."""
    then = checkpoint["training"].get("total_steps")
    if then is None:  # a run of before the steps were saved
        epochs = checkpoint_config(run / "last.ckpt", checkpoint).train.epochs
        then = steps if epochs == config.train.epochs else None
    if config.train.schedule.kind == "cosine" and then != steps:
        raise _cannot_change(
            run,
            f"the length of a cosine schedule ({then or 'other'} steps in the run, {steps} now: train.epochs, the "
            "number of training samples or of processes)",
        )


def _changed(then: dict[str, Any], now: dict[str, Any], section: str) -> list[str]:
    return [name for name in now if name not in FREE[section] and then.get(name) != now[name]]


def _names(categories: Any) -> str:
    return ", ".join(f"{category['id']} {category['name']!r}" for category in categories)


def _cannot_change(run: Path, what: str) -> InputError:
    return InputError(f"{run}: {what} cannot change when a run is resumed; start a new one with model.weights={run}")
