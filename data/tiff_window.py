"""The gray window of a TIFF that the toolkit wrote, in its image description: what a DICOM header calls VOI."""

import base64
import json
import math
import zlib

import numpy as np

from data.gray_levels import FileWindow

_START = '{"radiograph_window": '
_TOP = 2**16 - 1  # gray values of a table are whole multiples of 1 / _TOP


def describe_window(window: FileWindow) -> str:
    """Return the image description, ASCII, that `described_window` reads."""
    content: dict[str, float | str] = {"low": window.low, "high": window.high, "name": window.name}
    if window.table is not None:
        table = np.rint(window.table.astype(np.float64) * _TOP).astype("<u2")
        content["table"] = base64.b64encode(zlib.compress(table.tobytes(), 9)).decode("ascii")
    return json.dumps({"radiograph_window": content})


def described_window(description: str, depth: int) -> FileWindow | None:
    """Return the window in the image description of a TIFF whose levels have `depth` bits, None where it holds none.

    Raises ValueError for a damaged one.
    """
    if not description.startswith(_START):
        return None
    try:
        content = json.loads(description)["radiograph_window"]
        low, high, name = float(content["low"]), float(content["high"]), str(content["name"])[:200]
        packed = content.get("table")
        table = None if packed is None else _table(packed, 2**depth)
    except (KeyError, TypeError, AttributeError, RecursionError, OverflowError, ValueError, zlib.error) as error:
        raise ValueError(f"its gray window cannot be read: {error}") from error
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"its gray window goes from level {low:g} to {high:g}")
    return FileWindow(low, high, table, name)


def _table(packed: str, length: int) -> np.ndarray:
    """Return the gray values float32 [length] in [0, 1]."""
    content = zlib.decompressobj().decompress(base64.b64decode(packed, validate=True), 2 * length + 1)
    if len(content) != 2 * length:
        raise ValueError(f"its curve has not {length} entries")
    return (np.frombuffer(content, "<u2") / np.float64(_TOP)).astype(np.float32)
