"""What prediction says of a run's bound on missed defects, and names of files: with the standard library alone."""

import json
from pathlib import Path
from typing import Any

from data.annotation_check import is_number
from data.errors import InputError

MISSES_FILE = "misses.json"
NORMAL_FILE = "normal.npz"  # what familiar radiographs look like
ALARMS_FILE = "alarms.json"  # beside the detections: which radiographs are not


def sentence_at(folder: Path, threshold: float) -> str | None:
    """Return what a run's bound says of a prediction at a threshold; None where the run has none.

    Raises InputError for a faulty file.
    """
    path = folder / MISSES_FILE
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); run radiograph bound-misses again") from error
    keys = ("alpha", "threshold", "radiographs")
    values: list[Any] = [record.get(key) if isinstance(record, dict) else None for key in keys]
    if not all(map(is_number, values)):
        raise InputError(f"{path}: lacks alpha, threshold or radiographs; run radiograph bound-misses again")
    alpha, limit, count = map(float, values)
    if threshold > limit:
        return (
            f"no bound on missed defects at score {threshold:.3f}: it holds up to {limit:.3f} (at most {alpha:.0%}); "
            f"predict with --threshold {limit:.4f}"
        )
    return (
        f"at most {alpha:.0%} of a radiograph's defects are expected to be missed, if new radiographs are drawn like "
        f"the {count:.0f} with defects that this was measured on"
    )
