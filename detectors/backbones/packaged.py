"""Weights that come with the toolkit: safetensors, which execute nothing, and a card that says what they are."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from data.errors import InputError
from data.files import atomic_path, write_json

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
SUFFIX = ".safetensors"
CARD_KEYS = {"config", "categories", "metrics"}


def packaged_names() -> list[str]:
    """Return the names of the weights that come with the toolkit."""
    return sorted(path.stem for path in WEIGHTS.glob(f"*{SUFFIX}"))


def find_packaged(name: str | Path) -> Path | None:
    """Return the file of packaged weights, or `name` itself where it is such a file, or None."""
    path = Path(name)
    if path.suffix == SUFFIX:
        return path
    file = WEIGHTS / f"{name}{SUFFIX}"
    return file if str(name) in packaged_names() and not path.exists() else None


def read_packaged(path: Path) -> dict[str, Any]:
    """Return weights as a checkpoint holds them: `model`, `config`, `categories`, `metrics`, `threshold`, `epoch`.

    Raises InputError for a missing or damaged file, and for a card (the JSON file of that name) that lacks something.
    """
    card_path = path.with_suffix(".json")
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        state: dict[str, Tensor] = load_file(str(path))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, SafetensorError) as error:
        raise InputError(
            f"{path}: weights and their card {card_path.name} are not readable ({error}); copy both anew"
        ) from error
    if not isinstance(card, dict) or not card.keys() >= CARD_KEYS:
        raise InputError(
            f"{card_path}: no card of weights: it lacks one of {', '.join(sorted(CARD_KEYS))}; copy it anew"
        )
    return {"epoch": 0, "training": None, "threshold": None, **card, "model": state}


def write_packaged(path: Path, state: dict[str, Tensor], card: dict[str, Any]) -> None:
    """Write weights as `path` (safetensors) and their card beside it, each atomically."""
    with atomic_path(path) as temporary:
        save_file({name: value.contiguous().cpu() for name, value in state.items()}, str(temporary))
    write_json(path.with_suffix(".json"), card, indent=1)
