"""The window that a DICOM file asks to be shown with: VOI, linear, sigmoid or a look-up table (PS3.3 C.11.2)."""

from typing import Any

import numpy as np
import pydicom
from pydicom.multival import MultiValue

from data.gray_levels import FileWindow

SHOWN = (0.02, 0.98)  # of the scale: between them lie the ends that a curved window is said to have


def read_voi(
    dataset: pydicom.Dataset, depth: int, signed: bool, rescale: tuple[float, float], inverted: bool, dark: bool
) -> FileWindow | None:
    """Return a file's first window in its levels, None where it states none.

    Args:
        dataset: the header.
        depth: bits of a level.
        signed: whether levels are stored values moved up by half their range.
        rescale: slope (not 0) and intercept from stored values to the modality values that a window is stated in.
        inverted: whether levels are turned over, so that larger is brighter.
        dark: whether larger modality values are darker (MONOCHROME1).

    Raises ValueError, TypeError and whatever pydicom does for a header that cannot be read.

    """
    window = _linear_or_sigmoid(dataset)
    lut = dataset.get("VOILUTSequence")
    if window is None and not lut:
        return None
    slope, intercept = rescale
    top = 2**depth - 1
    levels = np.arange(2**depth, dtype=np.float64)
    stored = (top - levels if inverted else levels) - (2 ** (depth - 1) if signed else 0)
    modality = slope * stored + intercept
    if window is None:
        gray, name = _looked_up(lut[0], modality), "look-up table"
    else:
        function, center, width = window
        name = f"center {center:g}, width {width:g}"
        if function != "SIGMOID":
            low, high = _ends(function, center, width)
            # The ends in levels, by the straight line through the modality values.
            step = (modality[-1] - modality[0]) / top
            ends = sorted((end - modality[0]) / step for end in (low, high))
            if ends[1] <= ends[0]:
                return None
            return FileWindow(float(ends[0]), float(ends[1]), None, name)
        name += ", sigmoid"
        gray = 1 / (1 + np.exp(np.clip(-4 * (modality - center) / width, -700, 700)))
    table = (1 - gray if dark else gray).astype(np.float32)
    between = np.flatnonzero((table > SHOWN[0]) & (table < SHOWN[1]))
    if not len(between):
        return None
    return FileWindow(float(between[0]), float(between[-1]), table, name)


def _linear_or_sigmoid(dataset: pydicom.Dataset) -> tuple[str, float, float] | None:
    """Return function, center and width of the first window that makes sense."""
    center, width = (_first(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if center is None or width is None or not np.isfinite([center, width]).all():
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    least = 1.0 if function == "LINEAR" else 0.0
    return (function, center, width) if width > least and abs(center) < 1e9 and width < 1e9 else None


def _ends(function: str, center: float, width: float) -> tuple[float, float]:
    """Return the modality values that become black and white."""
    if function == "LINEAR_EXACT":
        return center - width / 2, center + width / 2
    return center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2


def _looked_up(item: pydicom.Dataset, modality: np.ndarray) -> np.ndarray:
    """Return the gray values in [0, 1] of modality values by a VOI look-up table."""
    entries, first, bits = (int(value) for value in item.LUTDescriptor)
    entries = entries or 2**16
    data = item.LUTData
    if isinstance(data, bytes):
        data = np.frombuffer(data, np.uint8 if len(data) == entries else "<u2")
    table = np.asarray(data, dtype=np.int64)
    if not 8 <= bits <= 16 or len(table) < entries or table.min() < 0 or table.max() > 2**bits - 1:
        raise ValueError(f"a look-up table of {len(table)} values, {entries} stated, of {bits} bits")
    places = np.clip(np.rint(modality) - first, 0, entries - 1).astype(np.int64)
    return table[places] / (2**bits - 1)


def _first(value: Any) -> float | None:
    """Return a number, or the first of several; None where there is none."""
    if isinstance(value, MultiValue | list | tuple):
        value = value[0] if len(value) else None
    return None if value is None or value == "" else float(value)
