"""Unsharpness from wire pairs: the dip between the two wires of each pair, and where it would be 20 %.

ISO 19232-5 and ASTM E2002 describe the indicator and read the first pair that is not resolved; ISO 17636-2 describes
the interpolated basic spatial resolution (iSRb) that is computed here: the wire diameter at which a polynomial of
second degree through the dips takes the value 20 %. Unsharpness is twice that.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data.errors import InputError
from data.image_quality.profiles import band_profile, robust_sigma

LEAST_DIP = 20.0  # percent
PLATE_QUANTILE = 0.15
LEAST_HEIGHT = 6.0  # of a pair over the noise of the profile
CLEAR_HEIGHT = 12.0  # of the pair with the first dip under 20 %, over the noise
RISE, FALL = 8.0, 60.0  # percent, from one pair to the next: more is no unsharpness
CALMING = np.array([-2, 3, 6, 7, 6, 3, -2]) / 21
LINES = 21  # that a profile averages, at least


@dataclass(frozen=True)
class DuplexReading:
    """The reading of a duplex-wire indicator.

    Attributes:
        diameters_mm: of the pairs found, thickest first.
        dips: percent, one a pair.
        isrb_mm: interpolated basic spatial resolution in mm.
        unsharpness_mm: twice that.
        first_unresolved: number of the first pair with a dip under 20 %, None where all are resolved.
        places: along the line in pixels, float64 [K], and
        profile: the gray values there, float64 [K], upright: wires are high.

    """

    diameters_mm: tuple[float, ...]
    dips: tuple[float, ...]
    isrb_mm: float
    unsharpness_mm: float
    first_unresolved: int | None
    places: np.ndarray
    profile: np.ndarray


def pair_diameter_mm(number: int) -> float:
    """Return the wire diameter of pair D1 ... D13: the R10 series of preferred numbers from 0.8 mm downwards."""
    return float(0.8 * 10 ** (-(number - 1) / 10))


def read_duplex(
    pixels: np.ndarray, start: tuple[float, float], end: tuple[float, float], width: float = LINES, first: int = 1
) -> DuplexReading:
    """Return the reading along a marked line.

    Args:
        pixels: float [H, W], gray values.
        start: x, y in pixels on the thick side, before the first pair.
        end: x, y beyond the last pair. The line crosses the wires at a right angle.
        width: pixels across the line that are averaged, 21 or more by the standard, all of them on the wires.
        first: number of the first pair on the line.

    Raises InputError where fewer than three pairs are found, the first is not resolved, or all of them are.

    """
    try:
        places, values = band_profile(pixels, start, end, width)
    except ValueError as error:
        raise InputError(f"duplex line {start} to {end}: {error}; mark it inside the radiograph") from error
    # A cubic through seven quarter pixels calms noise, which would deepen dips, and keeps peaks (Savitzky-Golay).
    noise = float(np.linalg.norm(CALMING)) * robust_sigma(np.diff(values)) / np.sqrt(2)
    profile = _upright(np.convolve(np.pad(values, 3, mode="edge"), CALMING, "valid"))
    floor = _floor(profile)
    groups = _pairs(places, profile - floor, noise)
    if len(groups) < 3:
        raise InputError(
            f"duplex line {start} to {end}: {len(groups)} wire pairs stand out, and three are needed; mark the line "
            "from before the thickest pair to beyond the thinnest, at a right angle to the wires"
        )
    groups = groups[: 14 - first]
    diameters = [pair_diameter_mm(first + k) for k in range(len(groups))]
    dips = [_dip(profile, floor, group) for group in groups]
    isrb = _interpolated(diameters, dips)
    unresolved = next((k for k, dip in enumerate(dips) if dip < LEAST_DIP), None)
    decides = groups[-1 if unresolved is None else unresolved]
    if float((profile - floor)[decides[0] : decides[1] + 1].max()) < CLEAR_HEIGHT * noise:
        raise InputError(
            f"duplex line {start} to {end}: noise hides the pairs that decide; average more lines, or more frames"
        )
    if isrb is None:
        what = "the first pair is not resolved" if dips[0] < LEAST_DIP else "every pair is resolved"
        raise InputError(f"duplex line {start} to {end}: {what}, so that 20 % cannot be interpolated; check the line")
    if any(not -RISE <= before - after <= FALL for before, after in pairwise(dips[: (unresolved or 0) + 1])):
        raise InputError(
            f"duplex line {start} to {end}: the dips {', '.join(f'{dip:.0f}' for dip in dips)} % do not fall from "
            "pair to pair as they should: something else lies on the line; mark it anew"
        )
    number = None if unresolved is None else first + unresolved
    return DuplexReading(tuple(diameters), tuple(dips), isrb, 2 * isrb, number, places, profile)


def _upright(values: np.ndarray) -> np.ndarray:
    """Return the profile with wires upwards, over the plate: what is between pairs is the more common side."""
    middle = float(np.median(values))
    upright = values - middle if values.max() - middle >= middle - values.min() else middle - values
    return upright


def _pairs(places: np.ndarray, height: np.ndarray, noise: float) -> list[tuple[int, int]]:
    """Return first and last index of every pair: what stands out, parted where gaps are wider than in the first."""
    high = float(np.percentile(height, 99.5))
    above = height > max(LEAST_HEIGHT * noise, 0.04 * high)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], above.astype(int), [0]])))
    runs = [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= 2]
    if len(runs) < 3:
        return []
    inner = places[runs[1][0]] - places[runs[0][1]]
    pairs = [runs[0]]
    for run in runs[1:]:
        if places[run[0]] - places[pairs[-1][1]] <= 1.25 * inner:
            pairs[-1] = (pairs[-1][0], run[1])
        else:
            pairs.append(run)
    return pairs


def _floor(profile: np.ndarray) -> np.ndarray:
    """Return the plate under the pairs: a low quantile in a window wider than a pair, which follows slow changes."""
    half = len(profile) // 14
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(profile, half, mode="edge"), 2 * half + 1)
    low = np.quantile(windows, PLATE_QUANTILE, axis=-1)
    floor: np.ndarray = np.convolve(np.pad(low, half // 2, mode="edge"), np.ones(half // 2 * 2 + 1), "valid")
    return floor / (half // 2 * 2 + 1)


def _dip(profile: np.ndarray, floor: np.ndarray, group: tuple[int, int]) -> float:
    """Return the dip of a pair in percent: 100 * (A + B - 2 C) / (A + B), heights over the plate."""
    first, last = group
    height = profile[first : last + 1] - floor[first : last + 1]
    middle = _valley(height)
    if middle is None:
        return 0.0
    left, right = float(height[:middle].max()), float(height[middle + 1 :].max())
    return float(np.clip(100 * (left + right - 2 * float(height[middle])) / (left + right), 0, 100))


def _valley(height: np.ndarray) -> int | None:
    """Return the lowest place between the wires, looked for in the middle third; None where it is no valley."""
    third = len(height) // 3
    if third < 1:
        return None
    middle = third + int(height[third : len(height) - third].argmin())
    left, right = height[:middle], height[middle + 1 :]
    if not len(left) or not len(right) or height[middle] >= min(left.max(), right.max()):
        return None
    return middle


def _interpolated(diameters: list[float], dips: list[float]) -> float | None:
    """Return the diameter with a dip of 20 %, by a parabola through the pairs on both sides; None without both."""
    below = next((k for k, dip in enumerate(dips) if dip < LEAST_DIP), None)
    if below is None or below == 0:
        return None
    # Two resolved pairs and one that is not: beyond these the dip is no parabola.
    chosen = [k for k in range(max(below - 2, 0), below + 1)]
    if len(chosen) < 3 and below + 1 < len(dips):
        chosen.append(below + 1)
    x, y = np.array(diameters)[chosen], np.array(dips)[chosen] - LEAST_DIP
    low, high = diameters[below], diameters[below - 1]
    if len(chosen) == 3:
        roots = np.roots(np.polyfit(x, y, 2))
        inside = [float(r.real) for r in roots if abs(r.imag) < 1e-9 and low <= r.real <= high]
        if len(inside) == 1:
            return inside[0]
    upper, lower = dips[below - 1] - LEAST_DIP, dips[below] - LEAST_DIP
    return low + (high - low) * -lower / (upper - lower)
