"""The image quality that a detector was judged on, and which radiographs are worse.

`image_quality.json` lies in the folder of a run: the ranges of signal-to-noise ratio, noise and saturation of the
radiographs of its evaluation. Prediction reads it and warns of radiographs outside.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InputError
from data.files import write_json
from data.gray_notes import LOOKED_AT
from data.gray_window import GrayWindow
from data.image_quality.noise import SignalNoise, signal_and_noise
from data.radiograph import read_radiograph

LIMITS_FILE = "image_quality.json"
MARGIN = 0.2  # of the ratio and the noise, beyond the worst radiograph that the detector was judged on
SATURATION_MARGIN = 0.05  # of the pixels


@dataclass(frozen=True)
class QualityLimits:
    """The worst of the radiographs that a detector was judged on.

    Attributes:
        snr: least signal-to-noise ratio, None where none had noise.
        noise: greatest standard deviation of the gray value.
        saturated: greatest share of clipped pixels.
        radiographs: how many were measured.

    """

    snr: float | None
    noise: float
    saturated: float
    radiographs: int

    def worse(self, found: SignalNoise) -> list[str]:
        """Return what is worse in a radiograph, in words; empty where nothing is."""
        issues = []
        if self.snr is not None and found.snr is not None and found.snr < self.snr * (1 - MARGIN):
            issues.append(f"signal-to-noise ratio {found.snr:.1f}, judged on {self.snr:.1f} or more")
        if found.noise > self.noise * (1 + MARGIN) + 1e-6:
            issues.append(f"noise {found.noise:.4f}, judged on {self.noise:.4f} or less")
        if found.saturated > self.saturated + SATURATION_MARGIN:
            issues.append(
                f"{100 * found.saturated:.0f} % of the pixels clipped, judged on {100 * self.saturated:.0f} % or less"
            )
        return issues


def measure_limits(images: Sequence[np.ndarray]) -> QualityLimits:
    """Return the limits of gray values float [H, W] in [0, 1], one radiograph or more, as the detector sees them."""
    found = [signal_and_noise(pixels) for pixels in images]
    ratios = [one.snr for one in found if one.snr is not None]
    return QualityLimits(
        min(ratios, default=None), max(one.noise for one in found), max(one.saturated for one in found), len(found)
    )


def limits_of_files(files: Sequence[Path], window: GrayWindow | None, count: int = LOOKED_AT) -> QualityLimits:
    """Return the limits of up to `count` radiographs, evenly spread, read through a window. Raises InputError."""
    places = np.unique(np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int))
    return measure_limits([read_radiograph(files[place], window=window).pixels for place in places])


def write_limits(folder: Path, limits: QualityLimits) -> Path:
    """Write the limits into the folder of a run, or of an exported model; return the file."""
    path = folder / LIMITS_FILE
    write_json(path, asdict(limits), indent=1)
    return path


def read_limits(folder: Path) -> QualityLimits | None:
    """Return the limits of a run's folder, or of the folder of its checkpoint; None without. Raises InputError."""
    if not folder.exists():  # weights that come with the toolkit, by their name
        return None
    path = (folder if folder.is_dir() else folder.parent) / LIMITS_FILE
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        limits = QualityLimits(
            None if content["snr"] is None else float(content["snr"]),
            float(content["noise"]),
            float(content["saturated"]),
            int(content["radiographs"]),
        )
        if not np.isfinite([limits.snr or 0.0, limits.noise, limits.saturated]).all():
            raise ValueError("a value is not finite")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: not readable ({error}); evaluate the run again") from error
    return limits


class QualityNotes:
    """Collects radiographs that are worse than the limits; one line says which.

    Args:
        limits: None looks at nothing.

    """

    def __init__(self, limits: QualityLimits | None) -> None:
        self._limits = limits
        self._found: list[str] = []

    def add(self, path: str | Path, pixels: np.ndarray) -> None:
        """Look at the gray values float [H, W] of a radiograph, as the detector sees them."""
        if self._limits is None:
            return
        issues = self._limits.worse(signal_and_noise(pixels))
        if issues:
            what = "worse than the radiographs that this detector was judged on"
            self._found.append(f"{path}: {what}: {'; '.join(issues)}")

    def lines(self) -> list[str]:
        """Return one line with the first radiograph and the number of others, or none."""
        if not self._found:
            return []
        more = len(self._found) - 1
        return [self._found[0] + (f" (and {more} more such radiographs)" if more else "")]
