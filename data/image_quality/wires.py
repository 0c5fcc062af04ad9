"""Read a wire-type image quality indicator: how many wires show, by profiles across them.

ISO 19232-1: a wire counts where a continuous length of 10 mm of it shows on a uniform section. Here a length shows
where a matched filter over 10 mm has a signal-to-noise ratio of at least `VISIBLE`, Rose's criterion (A. Rose, J. Opt.
Soc. Am. 38 (1948) 196) with a margin; noise is what the same filter gives beside the wires, so that grain and uneven
plate count as well. The number that shows ends at the first wire that does not.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data.errors import InputError
from data.image_quality.profiles import robust_sigma, running_median

WIRES = 7
VISIBLE = 6.0
STRETCH_MM, STRETCH_PIXELS = 10.0, 100  # the second where the pixel size is unknown
PIECE = 48  # rows that are averaged at once
LEANS = np.arange(-0.08, 0.0801, 0.005)  # columns a row
SPACINGS = np.arange(14.0, 64.0, 0.25)
WINDOW = 41  # columns; of the plate that a profile is compared with
WIDTHS = (1.0, 1.8, 3.0)  # sigma of filters in pixels
STRONGEST = 15.0  # ratio beyond which a response says no more about where the wires are
BESIDE, MARGIN = 120, 20  # columns beside the wires that tell the noise, and those left out next to them
LEAST_NOISE = 2e-4  # of a profile: what the levels of 8 bits leave
STEADY = 0.8
DECLINE = 0.3, 1.2  # ratio of a wire over that of the thicker one beside it
CANDIDATES = 8  # rows of lines that are measured, of each direction and polarity


@dataclass(frozen=True)
class WireReading:
    """The reading of a wire indicator.

    Attributes:
        visible: number of wires that show, counted from the thickest.
        ratios: signal-to-noise ratio of each of the seven over 10 mm, thickest first; NaN beyond the radiograph.
        places: x, y of the middle of each wire in pixels.
        box: x1 y1 x2 y2 around the wires in pixels.
        upright: whether they run from top to bottom.

    """

    visible: int
    ratios: tuple[float, ...]
    places: tuple[tuple[float, float], ...]
    box: tuple[int, int, int, int]
    upright: bool


def wire_diameter_mm(number: int) -> float:
    """Return the diameter of wire W1 ... W19: the R10 series of preferred numbers from 3.2 mm downwards."""
    return float(3.2 * 10 ** (-(number - 1) / 10))


def read_wires(pixels: np.ndarray, box: tuple[int, int, int, int], pixel_mm: float | None = None) -> WireReading:
    """Return the reading of a marked wire indicator.

    Args:
        pixels: float [H, W].
        box: x1 y1 x2 y2 of the indicator in pixels, with all of its seven wires and little else.
        pixel_mm: size of a pixel, None where unknown: a stretch is 100 px then.

    Raises InputError for a box that is not inside the radiograph, or too small for seven wires.

    """
    height, width = pixels.shape
    stretch = STRETCH_PIXELS if pixel_mm is None else max(STRETCH_MM / pixel_mm, 1.0)
    x1, y1, x2, y2 = box
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise InputError(f"IQI box {x1},{y1},{x2},{y2} is not inside of {width} x {height} pixels; mark it anew")
    readings = _readings(pixels, box, stretch)
    if not readings:
        raise InputError(f"IQI box {x1},{y1},{x2},{y2} is too small for seven wires; mark it with a margin")
    return max(readings, key=lambda pair: pair[0])[1]


def _readings(
    pixels: np.ndarray,
    box: tuple[int, int, int, int],
    stretch: float,
) -> list[tuple[float, WireReading]]:
    """Return score and reading of the best row of wires inside a box, in each direction that it has room for."""
    x1, y1, x2, y2 = box
    found = []
    for upright in (True, False):
        turned, (left, top, right, bottom) = pixels, (x1, y1, x2, y2)
        if not upright:
            turned, (left, top, right, bottom) = pixels.T, (y1, x1, y2, x2)
        if right - left < WIRES * SPACINGS[0] or bottom - top < PIECE:
            continue
        outer = max(left - BESIDE, 0)  # the plate beside a marked indicator tells the noise
        region = turned[top:bottom, outer : right + BESIDE].astype(np.float32)
        score, ratios, places, rows = _read_upright(region, stretch, (left - outer, right - outer))
        found.append((score, _placed(ratios, places, rows, upright, (outer, top) if upright else (top, outer))))
    return found


def _read_upright(
    region: np.ndarray, stretch: float, inner: tuple[int, int]
) -> tuple[float, tuple[float, ...], list[tuple[float, float]], tuple[float, float]]:
    """Return (score, ratios, places, rows) of the best row of wires from top to bottom in float32 [H, W].

    The wires lie between the columns `inner`; what is beyond is plate.
    """

    def coherent(lean: float) -> np.ndarray:
        """Return the ratio of lines that run through at this lean, float [W]."""
        responses = _responses(_flat(_profiles(region, lean)), WIDTHS[1])
        strongest = np.sort(responses * _inverse_noise(responses), axis=0)
        half = max(len(strongest) // 2, 1)
        both = np.maximum(strongest[-half:].mean(axis=0), 0) + np.minimum(strongest[:half].mean(axis=0), 0)
        both[: inner[0]] = both[inner[1] :] = 0
        return np.clip(both, -STRONGEST, STRONGEST)

    found = [(coherent(float(lean)), float(lean)) for lean in LEANS]
    candidates = []
    for sign in (1, -1):
        ratio, lean = max(found, key=lambda pair: float((np.maximum(sign * pair[0], 0) ** 2).sum()))
        profiles = _profiles(region, lean)
        flat = sign * (profiles - running_median(profiles, WINDOW))
        responses = [_responses(flat, sigma) for sigma in WIDTHS]
        for score, comb in _best_combs(np.maximum(sign * ratio, -2)):
            measured = _measure(responses, lean, comb, stretch, region.shape[0])
            candidates.append((score * _decline(measured[0]), *measured))
    return max(candidates, key=lambda row: row[0])


def _profiles(region: np.ndarray, lean: float) -> np.ndarray:
    """Return the mean columns float64 [pieces, W] of pieces of rows, each row shifted by the lean, flattened."""
    height, width = region.shape
    count = max(height // PIECE, 1)
    shifts = np.rint(lean * (np.arange(height) - height / 2)).astype(int)
    profiles = np.empty((count, width))
    for piece in range(count):
        rows = range(piece * height // count, (piece + 1) * height // count)
        # Leans are small: rows of one shift are summed together, columns that leave on one side are repeated.
        total = np.zeros(width)
        for shift in np.unique(shifts[rows.start : rows.stop]):
            same = region[rows.start : rows.stop][shifts[rows.start : rows.stop] == shift].sum(axis=0)
            total += _moved(same, int(shift))
        profiles[piece] = total / len(rows)
    return profiles


def _moved(row: np.ndarray, shift: int) -> np.ndarray:
    """Return float [W] moved to the left by `shift`; the end is repeated."""
    if shift == 0:
        return row
    padded = np.pad(row, abs(shift), mode="edge")
    return padded[abs(shift) + shift : abs(shift) + shift + len(row)]


def _flat(profiles: np.ndarray) -> np.ndarray:
    """Return profiles float [pieces, W] less their mean over a window: quick, for the search."""
    sums = np.cumsum(np.pad(profiles, ((0, 0), (WINDOW // 2 + 1, WINDOW // 2)), mode="edge"), axis=1)
    flat: np.ndarray = profiles - (sums[:, WINDOW:] - sums[:, :-WINDOW]) / WINDOW
    return flat


def _responses(flat: np.ndarray, sigma: float) -> np.ndarray:
    """Return matched-filter responses float [pieces, W] to bright lines of a width in flattened profiles."""
    reach = int(4 * sigma) + 1
    x = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (x / sigma) ** 2)
    kernel -= kernel.mean()
    kernel /= np.linalg.norm(kernel)
    return np.stack([np.convolve(np.pad(row, reach, mode="edge"), kernel, "valid") for row in flat])


def _inverse_noise(responses: np.ndarray) -> np.ndarray:
    """Return 1 / noise of every piece, float [pieces, 1]."""
    inverse: np.ndarray = 1 / np.array([[max(robust_sigma(row), LEAST_NOISE)] for row in responses])
    return inverse


def _decline(ratios: tuple[float, ...]) -> float:
    """Return the share of wires in (0, 1] that follow on a thicker one as wires do: each shows a little less."""
    follows = 1
    for before, after in pairwise(ratios):
        weak = before < VISIBLE and after < VISIBLE
        if not (weak or DECLINE[0] * before <= after <= DECLINE[1] * before):
            break
        follows += 1
    return follows / WIRES


def _best_combs(ratio: np.ndarray) -> list[tuple[float, tuple[float, float, int]]]:
    """Return scores and (first column, spacing, direction) of rows of evenly spaced lines that stand out most.

    A comb gains by every line, by thick ones more, and loses by what stands out half way between.
    """
    width = len(ratio)
    near = np.maximum(np.maximum(ratio, np.roll(ratio, 1)), np.roll(ratio, -1))
    reach = int(WIRES * SPACINGS[-1]) + 2
    best: list[tuple[float, tuple[float, float, int]]] = []
    for direction in (1, -1):
        padded = np.pad(near[::direction], (0, reach))
        index = np.arange(width)
        score = np.zeros((len(SPACINGS), width))
        for wire in range(WIRES):
            at, between = (np.rint(place * SPACINGS).astype(int)[:, None] + index for place in (wire, wire + 0.5))
            score += 0.85**wire * (padded[at] - 0.7 * np.abs(padded[between]))
        for _ in range(CANDIDATES):
            row, column = np.unravel_index(int(score.argmax()), score.shape)
            first = int(column) if direction == 1 else width - 1 - int(column)
            best.append((float(score[row, column]), (float(first), float(SPACINGS[row]), direction)))
            score[max(row - 4, 0) : row + 5, max(column - 4, 0) : column + 5] = -np.inf
    return best


def _measure(
    sums: list[np.ndarray], lean: float, comb: tuple[float, float, int], stretch: float, height: int
) -> tuple[tuple[float, ...], list[tuple[float, float]], tuple[float, float]]:
    """Return the ratio of every wire over 10 mm, the wires' middles, and the rows that they lie in.

    `sums` are the responses float [pieces, W] of filters of every width.
    """
    first, spacing, direction = comb
    width = sums[0].shape[1]
    centers = first + direction * spacing * np.arange(WIRES)
    pieces = len(sums[0])
    low, high = sorted((centers[0], centers[-1]))
    near = np.zeros(width, bool)
    near[max(int(low - BESIDE), 0) : max(int(low - MARGIN), 0)] = True
    near[int(high + MARGIN) : int(high + BESIDE)] = True
    if near.sum() < BESIDE / 2:  # no plate on either side: what lies between the wires has to do
        near[max(int(low), 0) : int(high)] = True
        for center in centers:
            near[max(int(center - spacing / 4), 0) : max(int(center + spacing / 4) + 1, 0)] = False
    noise = np.array([[max(robust_sigma(row[near]), LEAST_NOISE) for row in rows] for rows in sums])
    thick = _at(sums[1], centers[0]) / noise[1]
    there = np.flatnonzero(thick >= 0.4 * float(thick.max())) if thick.max() > 0 else np.arange(pieces)
    # A piece whose noise was estimated low by luck must not be taken for the quietest.
    noise = np.maximum(noise, STEADY * np.median(noise[:, there], axis=1)[:, None])
    thick = _at(sums[1], centers[0]) / noise[1]
    # The uniform section: where the thickest wire stands out most, at least as long as a stretch.
    section = max(int(np.ceil(stretch * pieces / height)), len(there) // 4)
    quiet = there[np.argsort(-thick[there])][:section]
    rows = (float(there.min() * height / pieces), float((there.max() + 1) * height / pieces))
    per_piece = stretch / (height / pieces)
    ratios: list[float] = []
    for center in centers:
        if not 3 <= center < width - 3:
            ratios.append(float("nan"))
            continue
        best = max(
            float((_at(rows_of, center)[quiet] / of_noise[quiet]).mean())
            for rows_of, of_noise in zip(sums, noise, strict=True)
        )
        ratios.append(best * float(np.sqrt(per_piece)))
    middle = sum(rows) / 2
    shift = lean * (middle - height / 2)
    return tuple(ratios), [(float(center + shift), middle) for center in centers], rows


def _at(rows: np.ndarray, center: float) -> np.ndarray:
    """Return the highest response of each piece within 2 px of a column."""
    place = round(center)
    window = rows[:, max(place - 2, 0) : place + 3]
    highest: np.ndarray = window.max(axis=1) if window.shape[1] else np.zeros(len(rows))
    return highest


def _placed(
    ratios: tuple[float, ...],
    places: list[tuple[float, float]],
    rows: tuple[float, float],
    upright: bool,
    corner: tuple[int, int],
) -> WireReading:
    """Return a reading in the radiograph's own pixels."""
    shown = 0
    for ratio in ratios:
        if not ratio >= VISIBLE:
            break
        shown += 1
    columns = [x for x, _ in places]
    x1, x2, y1, y2 = min(columns) - 8, max(columns) + 8, *rows
    if not upright:
        places = [(y, x) for x, y in places]
        x1, x2, y1, y2 = y1, y2, x1, x2
    dx, dy = corner
    moved = tuple((x + dx, y + dy) for x, y in places)
    return WireReading(shown, ratios, moved, (round(x1) + dx, round(y1) + dy, round(x2) + dx, round(y2) + dy), upright)
