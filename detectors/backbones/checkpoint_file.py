"""Reading checkpoints that may be torn, foreign or hostile: plain values and tensors, and nothing is executed."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.errors import InputError
from detectors.backbones.packaged import find_packaged, read_packaged

MAX_CATEGORIES = 10_000
FORMER_PARAMETERS = {
    "backbone.further.": "backbone.extra.",
    "heads.hidden.": "heads.head_convs.",
    "narrower.": "lateral.",
}
"""How names of parameters began in checkpoints of before, and how they begin now."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the checkpoint at `path`, a file or a run's folder (then its best.ckpt), on the CPU.

    `path` may also name weights that come with the toolkit, such as casting, or be a file of that kind. The checkpoint
    holds `model` (tensors by name), `config` (plain values), `categories` (COCO records with id and name), `epoch`,
    `metrics` and `training`; the last three may be None. Raises InputError for a missing file and for one that is not
    a whole checkpoint of this toolkit.
    """
    file = checkpoint_path(path)
    if find_packaged(path) is not None:
        checkpoint: Any = read_packaged(file)
        return _checked(file, checkpoint)
    try:
        _check_archive(file)
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and zipfile let many kinds through from files that are torn or something else
        if isinstance(error, InputError):
            raise
        words = " ".join(str(error).split(". ")[0].split())[:200]
        raise InputError(
            f"{file}: not a readable checkpoint ({words or type(error).__name__}); train again or copy it anew"
        ) from error
    return _checked(file, checkpoint)


def checkpoint_path(path: Path) -> Path:
    """Return the file with the weights of a run's folder, a checkpoint or packaged weights.

    Raises InputError for a missing checkpoint.
    """
    packaged = find_packaged(path)
    if packaged is not None:
        return packaged
    file = path / "best.ckpt" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{file}: no such checkpoint; give a .ckpt file or the folder of a run that has best.ckpt")
    return file


def _checked(file: Path, checkpoint: Any) -> dict[str, Any]:
    """Return what a file held, with the names of today. Raises InputError unless it is a checkpoint."""
    if not isinstance(checkpoint, dict) or not {"model", "config", "categories"} <= checkpoint.keys():
        raise InputError(f"{file}: no checkpoint of this toolkit: it lacks 'model', 'config' or 'categories'")
    checkpoint = {"epoch": 0, "metrics": None, "training": None} | checkpoint
    issue = _issue(checkpoint)
    if issue:
        raise InputError(f"{file}: no checkpoint of this toolkit: {issue}; train again or copy it anew")
    training = checkpoint["training"] or {}
    for section in (checkpoint, training):
        for key in ("model", "averaged"):
            if isinstance(section.get(key), dict):
                section[key] = {_present_name(str(name)): value for name, value in section[key].items()}
    return checkpoint


def _present_name(name: str) -> str:
    """Return the name of a parameter as modules are called now; an averaged model's names begin with 'module.'."""
    outer = "module." if name.startswith("module.") else ""
    inner = name.removeprefix(outer)
    for former, present in FORMER_PARAMETERS.items():
        if inner.startswith(former):
            return outer + present + inner.removeprefix(former)
    return name


def _check_archive(file: Path) -> None:
    """Raise InputError for an archive with a damaged or a packed entry: torch writes neither, and checks no sums."""
    with zipfile.ZipFile(file) as archive:
        packed = next((entry for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED), None)
        if packed is not None:
            raise InputError(f"{file}: not a checkpoint as torch writes it: entry {packed.filename!r} is compressed")
        damaged = archive.testzip()
    if damaged is not None:
        raise InputError(f"{file}: damaged: the checksum of {damaged!r} differs; copy it anew or train again")


def _issue(checkpoint: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the types of a checkpoint, None if nothing is."""
    model, categories, metrics = checkpoint["model"], checkpoint["categories"], checkpoint["metrics"]
    if not isinstance(model, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in model.items()):
        return "'model' does not hold tensors by name"
    if not isinstance(checkpoint["config"], dict):
        return f"'config' is of type {type(checkpoint['config']).__name__}, not a mapping"
    section = checkpoint["config"].get("model")
    if not isinstance(section, dict) or not isinstance(section.get("name"), str):
        return "'config' has no section 'model' with a 'name'"
    if not isinstance(categories, list) or not 0 < len(categories) <= MAX_CATEGORIES:
        return f"'categories' is no list of 1 to {MAX_CATEGORIES} classes"
    if not all(_is_category(category) for category in categories):
        return "a category has no whole number as 'id' or no text as 'name'"
    if type(checkpoint["epoch"]) is not int or checkpoint["epoch"] < 0:
        return "'epoch' is no whole number"
    if metrics is not None and not (
        isinstance(metrics, dict)
        and all(isinstance(k, str) and (v is None or type(v) in (int, float)) for k, v in metrics.items())
    ):
        return "'metrics' does not hold numbers by name"
    training = checkpoint["training"]
    return None if training is None or isinstance(training, dict) else "'training' is no mapping"


def _is_category(value: Any) -> bool:
    return isinstance(value, dict) and type(value.get("id")) is int and isinstance(value.get("name"), str)
