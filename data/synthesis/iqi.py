"""Image quality indicators (IQI) on simulated welds: single wires, wire pairs, and what shows of them.

The preferred numbers of the R10 series, a tenth of a decade apart, give the diameters of wires and of wire pairs: wire
W n has 3.2 mm * 10**(-(n - 1) / 10) (ISO 19232-1), pair D n has 0.8 mm * 10**(-(n - 1) / 10) (ISO 19232-5).
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from data.synthesis.physics import Exposure, ideal_signal, noise_kernel, transmission

WIRES, WIRE_RATIO = 7, 0.8
REACH = 30  # pixels beside a wire's center, in which it is laid
STRETCH_MM = 10.0  # of a wire, over which it has to show (ISO 19232-1)
PAIRS, THICKEST_PAIR_MM = 13, 0.8
BETWEEN_PAIRS_MM = 1.6
PAIR_HEIGHT_MM = 5.0
STEEL_OF_TUNGSTEN = 20.0  # mm of steel that attenuate as 1 mm of tungsten does, roughly, at 100 to 200 kV
DIP = 0.2


@dataclass(frozen=True)
class WireIqi:
    """Seven wires, each 0.8 times the one before, from left to right.

    Attributes:
        start: column of the first wire's center at its top, in pixels.
        spacing: from one wire to the next, in pixels.
        diameter_mm: of the first wire.
        top: first row.
        length: rows.
        lean: columns a row.

    """

    start: float
    spacing: float
    diameter_mm: float
    top: int
    length: float
    lean: np.float32

    def rows(self) -> np.ndarray:
        """Return the rows that the wires lie in."""
        return np.arange(self.top, int(self.top + self.length))

    def box(self, margin: int = 25) -> tuple[int, int, int, int]:
        """Return x, y, width, height around the wires, in pixels; it may reach beyond the radiograph."""
        lean = float(self.lean) * self.length
        left, right = self.start + min(lean, 0), self.start + (WIRES - 1) * self.spacing + max(lean, 0)
        return int(left - margin), self.top, int(right - left + 2 * margin), int(self.length)

    def diameters_mm(self) -> list[float]:
        """Return the diameter of every wire."""
        return [self.diameter_mm * WIRE_RATIO**wire for wire in range(WIRES)]


@dataclass(frozen=True)
class DuplexIqi:
    """Wire pairs of tungsten, thickest first from left to right; wires of a pair are a diameter apart.

    Attributes:
        first: number of the first pair; D1 is the thickest.
        start: column of the left edge of the first pair's first wire at its top, in pixels.
        top: first row.
        rows: number of rows.
        lean: columns a row.
        pixel_mm: the pixel's size.

    """

    first: int
    start: float
    top: int
    rows: int
    lean: float
    pixel_mm: float

    def pairs(self) -> list[tuple[float, float, float]]:
        """Return (diameter in mm, center of the left wire, of the right wire in columns at the top) of every pair."""
        found, left = [], self.start
        for diameter in pair_diameters_mm()[self.first - 1 :]:
            side = diameter / self.pixel_mm
            found.append((diameter, left + side / 2, left + 2.5 * side))
            left += 3 * side + BETWEEN_PAIRS_MM / self.pixel_mm
        return found

    def line(self, margin: float = 10) -> tuple[float, float, float, float]:
        """Return x1 y1 x2 y2 of the line across the middle of all pairs, at a right angle to the wires."""
        length = _duplex_width(self.first, self.pixel_mm) + 2 * margin
        x, y = self.start + self.lean * self.rows / 2 - margin + length / 2, self.top + self.rows / 2
        dx, dy = np.array([1, -self.lean]) / np.hypot(1, self.lean) * length / 2
        return float(x - dx), float(y - dy), float(x + dx), float(y + dy)


@dataclass(frozen=True)
class IqiTruth:
    """What a simulated radiograph's indicators show without noise.

    Attributes:
        wires: the wires, None where there are none.
        wire_snr: matched-filter signal-to-noise ratio of every wire over 10 mm of its length; NaN where it lies
            outside of the radiograph.
        duplex: the pairs, None where there is no room for them.
        srb_mm: diameter of the pair whose dip would be 20 %: half the unsharpness, in mm; None without pairs.

    """

    wires: WireIqi | None
    wire_snr: list[float]
    duplex: DuplexIqi | None
    srb_mm: float | None

    def record(self) -> dict[str, Any]:
        """Return the truth for JSON: boxes and lines in pixels, as the command image-quality takes them."""
        found: dict[str, Any] = {}
        if self.wires is not None:
            found["wires"] = {
                "box": self.wires.box(),
                "diameters_mm": [round(diameter, 4) for diameter in self.wires.diameters_mm()],
                "snr_over_10_mm": [None if ratio != ratio else round(ratio, 2) for ratio in self.wire_snr],
            }
        if self.duplex is not None and self.srb_mm is not None:
            line = [round(value, 2) for value in self.duplex.line()]
            found["duplex"] = {"line": line, "first_pair": self.duplex.first, "srb_mm": round(self.srb_mm, 5)}
        return found


def pair_diameters_mm() -> list[float]:
    """Return the wire diameters of pairs D1 to D13."""
    return [THICKEST_PAIR_MM * 10 ** (-number / 10) for number in range(PAIRS)]


def draw_wire_iqi(rng: np.random.Generator, shape: tuple[int, int]) -> WireIqi:
    """Return a row of wires somewhere in a radiograph of a shape."""
    height, width = shape
    spacing, diameter = rng.uniform(20, 45), rng.uniform(0.4, 0.8)
    start, length = rng.uniform(0, 0.8) * width, height * rng.uniform(0.4, 0.9)
    top = int(rng.uniform(0, height - length))
    return WireIqi(start, spacing, diameter, top, length, np.float32(rng.normal(0, 0.02)))


def lay_wires(thickness: np.ndarray, pixel: float, iqi: WireIqi, sign: int = 1) -> None:
    """Add the wires to a thickness map float32 [H, W] in mm, in place; with `sign` -1, take them away."""
    rows = iqi.rows()
    for wire, diameter in enumerate(iqi.diameters_mm()):
        center = iqi.start + wire * iqi.spacing
        left, right = int(center - REACH), int(center + REACH)
        if left < 0 or right > thickness.shape[1]:
            continue
        x = (np.arange(left, right) - center - iqi.lean * (rows - iqi.top)[:, None]).astype(np.float32)
        x *= np.float32(pixel)
        radius = diameter / 2
        # A wire thinner than a pixel still takes its share of the pixel.
        chord = 2 * np.sqrt(np.maximum(max(radius, pixel / 2) ** 2 - x * x, 0)) * min(1.0, radius / (pixel / 2))
        thickness[rows[0] : rows[-1] + 1, left:right] += sign * chord


def draw_duplex_iqi(
    rng: np.random.Generator, across: np.ndarray, pixel: float, wires: WireIqi | None
) -> DuplexIqi | None:
    """Return wire pairs on the plate beside the bead and beside the wires, None where there is no room.

    `across` float32 [H, W] is the distance from the bead's center line in half widths.
    """
    height, width = across.shape
    rows = min(int(PAIR_HEIGHT_MM / pixel), height // 5)
    taken = (0.0, 0.0)
    if wires is not None:
        ends = sorted((wires.start, wires.start + float(wires.lean) * wires.length))
        taken = (ends[0] - 2 * REACH, ends[1] + WIRES * wires.spacing + REACH)
    plate = (np.abs(across) > 1.15).all(axis=1)
    tops = [top for top in range(4, height - rows - 4, 4) if plate[top : top + rows].all()]
    for first in (1, 3, 5):
        wide = _duplex_width(first, pixel)
        room = [(20.0, taken[0] - wide), (max(taken[1], 20.0), width - wide - 20)]
        room = [(low, high) for low, high in room if high > low]
        if tops and room:
            low, high = room[int(rng.integers(len(room)))]
            return DuplexIqi(first, rng.uniform(low, high), int(rng.choice(tops)), rows, rng.uniform(0.03, 0.08), pixel)
    return None


def _duplex_width(first: int, pixel: float) -> float:
    diameters = pair_diameters_mm()[first - 1 :]
    return (3 * sum(diameters) + BETWEEN_PAIRS_MM * (len(diameters) - 1)) / pixel


def lay_duplex(thickness: np.ndarray, iqi: DuplexIqi) -> None:
    """Add the pairs to a thickness map float32 [H, W] in mm of steel, in place, each pixel the mean over its width."""
    rows = np.arange(iqi.top, iqi.top + iqi.rows)
    columns = np.arange(thickness.shape[1])
    shift = iqi.lean * (rows - iqi.top)[:, None]
    for diameter, left, right in iqi.pairs():
        for center in (left, right):
            x = (columns - center - shift) * iqi.pixel_mm
            chord = _mean_chord(x, iqi.pixel_mm, diameter)
            thickness[rows[0] : rows[-1] + 1] += (STEEL_OF_TUNGSTEN * chord).astype(np.float32)


def _mean_chord(x: np.ndarray, width: float, diameter: float) -> np.ndarray:
    """Return the chord through a round wire around 0, averaged over `width` around x, all in mm."""
    radius = diameter / 2

    def integral(place: np.ndarray) -> np.ndarray:
        inside = np.clip(place / radius, -1, 1)
        return radius**2 * (inside * np.sqrt(1 - inside**2) + np.arcsin(inside))

    return (integral(x + width / 2) - integral(x - width / 2)) / width


def iqi_truth(
    thickness: np.ndarray,
    pixel: float,
    exposure: Exposure,
    sensitivity: np.ndarray,
    wires: WireIqi | None,
    duplex: DuplexIqi | None,
) -> IqiTruth:
    """Return what indicators in a thickness map float32 [H, W] show, worked out without noise."""
    ratios = [] if wires is None else _wire_snr(thickness, pixel, exposure, sensitivity, wires)
    return IqiTruth(
        wires, ratios, duplex, None if duplex is None else _twenty_percent_pair(thickness, exposure, duplex)
    )


def _wire_snr(
    thickness: np.ndarray, pixel: float, exposure: Exposure, sensitivity: np.ndarray, iqi: WireIqi
) -> list[float]:
    """Return each wire's matched signal-to-noise ratio over 10 mm: the upper quartile of such stretches.

    Which stretch of the plate is the uniform one is for the reader to find; a quarter of them lie on it.
    """
    without = thickness.copy()
    lay_wires(without, pixel, iqi, sign=-1)
    shown, bare = (ideal_signal(layer, exposure) * sensitivity for layer in (thickness, without))
    contrast = exposure.display(shown) - exposure.display(bare)
    rows = iqi.rows()
    stretch = max(int(STRETCH_MM / pixel), 1)
    across = noise_kernel(exposure.noise_reach_x, exposure.mottle)
    along = float(noise_kernel(exposure.noise_reach_y, exposure.mottle).sum())
    ratios = []
    for wire in range(WIRES):
        center = iqi.start + wire * iqi.spacing
        if int(center - REACH) < 0 or int(center + REACH) > thickness.shape[1]:
            ratios.append(float("nan"))
            continue
        half = int(min(iqi.spacing / 2, REACH))
        middle = np.rint(center + float(iqi.lean) * (rows - iqi.top)).astype(int)
        columns = np.clip(middle[:, None] + np.arange(-half, half + 1), 0, thickness.shape[1] - 1)
        profiles = contrast[rows[:, None], columns]
        energy = (profiles**2).sum(axis=1)
        # What the filter lets through of the noise, which is correlated along a row; its mean is taken away.
        filtered = profiles.mean(axis=0) - profiles.mean()
        growth = (
            along * float(np.linalg.norm(np.convolve(filtered, across))) / max(float(np.linalg.norm(filtered)), 1e-12)
        )
        levels = bare[rows, np.clip(middle, 0, thickness.shape[1] - 1)]
        noise = np.array([exposure.display_sigma(float(level)) for level in levels[::8]])
        per_row = energy[::8] / (noise * growth) ** 2
        whole = max(stretch // 8, 1)
        sums = np.convolve(per_row, np.ones(min(whole, len(per_row))), "valid") / min(whole, len(per_row)) * stretch
        ratios.append(float(np.sqrt(np.percentile(sums, 75))))
    return ratios


def _twenty_percent_pair(thickness: np.ndarray, exposure: Exposure, iqi: DuplexIqi, fine: int = 16) -> float:
    """Return the diameter in mm of the pair whose dip is 20 % behind this plate, by halving, on a grid of 1/16 px."""
    beside = thickness[iqi.top : iqi.top + iqi.rows, max(int(iqi.start) - 12, 0) : max(int(iqi.start) - 4, 1)]
    plate = float(np.median(beside))
    curve = transmission(exposure.material, exposure.kilovolts)
    step = iqi.pixel_mm / fine
    stray = 1 + exposure.scatter

    def dip(diameter: float) -> float:
        reach = 3 * diameter + 8 * exposure.blur_x * iqi.pixel_mm
        x = np.arange(-reach, reach, step)
        chord = _mean_chord(x - diameter, iqi.pixel_mm, diameter) + _mean_chord(x + diameter, iqi.pixel_mm, diameter)
        signal = curve((plate + STEEL_OF_TUNGSTEN * chord).astype(np.float32))
        signal = signal + np.float32((stray - 1) * float(curve(np.array([plate], np.float32))[0]))
        blurred = cv2.GaussianBlur(
            signal[None].astype(np.float32), (0, 0), exposure.blur_x * fine, borderType=cv2.BORDER_REPLICATE
        )[0]
        level = exposure.display(blurred)
        height = np.abs(level - level[0])
        middle = len(height) // 2
        peak = float(height.max())
        return (peak - float(height[middle])) / peak if peak > 0 else 0.0

    low, high = 0.2 * iqi.pixel_mm, 12 * iqi.pixel_mm
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if dip(middle) > DIP else (middle, high)
    return (low + high) / 2
