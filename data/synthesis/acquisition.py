"""How a radiograph is acquired: tube and detector, image intensifier and video, window and digitizer.

Every step is drawn at random and can be switched off (`AcquisitionConfig`), because each came from one look at real
radiographs: interlaced analogue video (odd and even lines apart at edges, noise correlated along the lines, gray
values clipped at 15 and 240), a round field with dark corners, a window set on one wall so that half of the picture
is saturated, noise that follows the dose.
"""

from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data.synthesis.canvas import log_uniform
from data.synthesis.physics import correlated_noise, noise_kernel

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class AcquisitionConfig(BaseModel):
    """The ranges from which one acquisition is drawn; a share of 0 switches a step off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    blur: tuple[Positive, Positive] = Field((0.5, 3.2), description="Sigma in pixels of the unsharpness.")
    scatter: Share = Field(0.25, description="Largest scattered share of the open beam.")
    glare: Share = Field(0.18, description="Largest veiling glare, as a share of what is near.")
    noise: tuple[Positive, Positive] = Field(
        (0.5, 14.0), description="Standard deviation of the noise where the window is middle gray, in levels of 255."
    )
    one_wall_window: Share = Field(0.7, description="Share of radiographs whose window is set on one wall.")
    round_field: Share = Field(0.35, description="Share with the round, darker field of an image intensifier.")
    video: Share = Field(0.6, description="Share read out as video: line noise, bandwidth, clipping.")
    interlace: Share = Field(0.5, description="Share of video with odd and even lines apart.")
    halo: Share = Field(0.3, description="Share with a sharpening halo at edges.")


@dataclass(frozen=True)
class Acquisition:
    """One acquisition. Lengths in pixels; the signal is 1 in the open beam; display values are in [0, 1].

    `display = black + (white - black) * clip((signal - low) / (high - low), 0, 1) ** gamma`.
    """

    blur_x: float
    blur_y: float
    scatter: float
    glare: float
    low: float
    high: float
    gamma: float
    black: float
    white: float
    quantum: float  # noise at signal 1, in signal units; it follows the square root of the signal
    electronic: float  # in display units, the same everywhere
    reach_x: float
    reach_y: float
    mottle: float
    field: tuple[float, float, float] | None  # center x, center y, radius
    vignetting: float
    interlace: float
    jitter: float
    line_noise: float
    halo: float
    bits: int = 8

    def display(self, signal: np.ndarray) -> np.ndarray:
        """Return display values float32 in [black, white] of a signal of any shape."""
        level = np.clip((signal - np.float32(self.low)) / np.float32(self.high - self.low), 0, 1)
        return np.float32(self.black) + np.float32(self.white - self.black) * np.power(level, np.float32(self.gamma))

    def sigma(self, signal: float) -> float:
        """Return the standard deviation of the noise in display units around a signal value."""
        step = 0.02 * (self.high - self.low)
        ends = self.display(np.array([signal - step, signal + step], np.float32))
        slope = float(ends[1] - ends[0]) / (2 * step)
        return float(
            np.sqrt((self.quantum**2 * max(signal, 0.0)) * slope**2 + self.electronic**2 + (1 / 255) ** 2 / 12)
        )

    def noise_growth(self) -> float:
        """Return by how much the correlation raises the noise of a sum of pixels."""
        return float(noise_kernel(self.reach_x, self.mottle).sum() * noise_kernel(self.reach_y, self.mottle).sum())

    def blurred(self, values: np.ndarray) -> np.ndarray:
        """Return float32 [H, W] behind focal spot and detector."""
        return cv2.GaussianBlur(values, (0, 0), self.blur_x, sigmaY=self.blur_y, borderType=cv2.BORDER_REFLECT)


def ideal_signal(thickness: np.ndarray, blur: tuple[float, float], scatter: float, glare: float,
                 hardening: float) -> np.ndarray:  # fmt: skip
    """Return the noise-free signal float32 [H, W] behind an optical thickness, with stray light."""
    primary = np.exp(-thickness / (1 + np.float32(hardening) * thickness))
    signal = cv2.GaussianBlur(primary, (0, 0), blur[0], sigmaY=blur[1], borderType=cv2.BORDER_REFLECT)
    height, width = signal.shape
    small = cv2.resize(primary, (max(width // 8, 1), max(height // 8, 1)), interpolation=cv2.INTER_AREA)
    near = cv2.GaussianBlur(small, (0, 0), 2.5, borderType=cv2.BORDER_REFLECT)
    far = cv2.GaussianBlur(small, (0, 0), 12.0, borderType=cv2.BORDER_REFLECT)
    return signal + cv2.resize(np.float32(glare) * near + np.float32(scatter) * far, (width, height))


def draw_acquisition(rng: np.random.Generator, signal: np.ndarray, config: AcquisitionConfig, blur: tuple[float, float],
                     scatter: float, glare: float) -> Acquisition:  # fmt: skip
    """Return one acquisition whose window suits the noise-free `signal` float32 [H, W].

    The window is set on the whole part, or on one wall: a place is drawn, and what is much brighter or darker there
    is saturated.
    """
    height, width = signal.shape
    sample = signal[::3, ::3]
    if rng.random() < config.one_wall_window:
        level = float(sample.flat[int(rng.integers(sample.size))])
        if level > 0.9 * float(sample.max()):  # not the open beam
            level = float(np.quantile(sample, rng.uniform(0.2, 0.8)))
        low, high = level * (1 - rng.uniform(0.15, 1.0)), level * (1 + log_uniform(rng, 0.15, 2.0))
    else:
        low = float(np.quantile(sample, rng.uniform(0.0, 0.03))) * rng.uniform(0.3, 1.0)
        high = float(np.quantile(sample, rng.uniform(0.9, 1.0))) * rng.uniform(0.9, 1.2)
    high = max(high, low + 0.02 + 0.05 * abs(low))
    low = max(low, -0.05)
    gamma = log_uniform(rng, 0.5, 1.3)
    middle = low + (high - low) * 0.5
    slope = gamma * 0.5 ** (gamma - 1) / (high - low)
    dose = rng.uniform(0.3, 1.0)  # the share of the noise that follows the dose
    video = rng.random() < config.video
    total = log_uniform(rng, config.noise[0] * (3 if video else 1), config.noise[1]) / 255
    field = None
    if rng.random() < config.round_field:
        radius = float(np.hypot(height, width)) * rng.uniform(0.38, 0.56)
        field = (width / 2 + rng.normal(0, 0.06) * width, height / 2 + rng.normal(0, 0.06) * height, radius)
    return Acquisition(
        blur_x=blur[0],
        blur_y=blur[1],
        scatter=scatter,
        glare=glare,
        low=low,
        high=high,
        gamma=gamma,
        black=rng.uniform(0.0, 0.08),
        white=rng.uniform(0.8, 1.0),
        quantum=total * np.sqrt(dose) / (slope * np.sqrt(max(middle, 1e-3))),
        electronic=total * np.sqrt(1 - dose) + 0.15 / 255,
        # A video line is a time: its bandwidth correlates neighbors along it, and none across.
        reach_x=rng.uniform(0.5, 0.95) if video else rng.uniform(0, 0.4),
        reach_y=0.0 if video else rng.uniform(0.0, 0.4),
        mottle=0.0 if video and rng.random() < 0.8 else rng.uniform(0.0, 1.3),
        field=field,
        vignetting=rng.uniform(0, 0.4),
        interlace=log_uniform(rng, 0.4, 5.0) * rng.choice([-1, 1])
        if video and rng.random() < config.interlace
        else 0.0,
        jitter=log_uniform(rng, 0.05, 0.8) if video and rng.random() < 0.5 else 0.0,
        line_noise=total * rng.uniform(0, 0.4) if video else 0.0,
        halo=rng.uniform(0.1, 0.6) if rng.random() < config.halo else 0.0,
    )


def sensitivity(shape: tuple[int, int], acquisition: Acquisition) -> np.ndarray:
    """Return the detector's sensitivity float32 [H, W]: it falls towards the edge of the field."""
    height, width = shape
    x = np.arange(width, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    center_x, center_y, radius = acquisition.field or (width / 2, height / 2, 0.6 * float(np.hypot(width, height)))
    squared = ((x - np.float32(center_x)) ** 2 + (y - np.float32(center_y)) ** 2) / np.float32(radius**2)
    return np.maximum(1 - np.float32(acquisition.vignetting) * squared, np.float32(0.05))


def visibility(shape: tuple[int, int], acquisition: Acquisition) -> np.ndarray:
    """Return float32 [H, W], 1 inside the round field of view and 0 outside."""
    if acquisition.field is None:
        return np.ones(shape, np.float32)
    x = np.arange(shape[1], dtype=np.float32)
    y = np.arange(shape[0], dtype=np.float32)[:, None]
    center_x, center_y, radius = acquisition.field
    return np.clip((radius - np.hypot(x - np.float32(center_x), y - np.float32(center_y))) / 2.5 + 0.5, 0, 1)


def acquire(signal: np.ndarray, acquisition: Acquisition, rng: np.random.Generator) -> np.ndarray:
    """Return the radiograph float32 [H, W] in [0, 1], on whole gray levels of `bits`.

    Args:
        signal: float32 [H, W], noise-free, sensitivity applied.
        acquisition: the settings.
        rng: source of the noise.

    """
    shape = signal.shape
    noise = correlated_noise(shape, acquisition.reach_x, acquisition.reach_y, rng, acquisition.mottle)
    noisy = signal + noise * np.float32(acquisition.quantum) * np.sqrt(np.maximum(signal, 0))
    if acquisition.interlace or acquisition.jitter:
        noisy = _shift_lines(noisy, acquisition, rng)
    image = acquisition.display(noisy)
    visible = visibility(shape, acquisition)
    image = image * visible + _surround(shape, acquisition, rng) * (1 - visible)
    if acquisition.halo:
        smooth = cv2.GaussianBlur(image, (0, 0), 2.2)
        image = image + np.float32(acquisition.halo) * (image - smooth)
    image = image + np.float32(acquisition.electronic) * correlated_noise(
        shape, acquisition.reach_x, acquisition.reach_y, rng, acquisition.mottle
    )
    image += np.float32(acquisition.line_noise) * rng.standard_normal((shape[0], 1), dtype=np.float32)
    image = np.clip(image, np.float32(acquisition.black), np.float32(acquisition.white))
    levels = np.float32(2**acquisition.bits - 1)
    return np.round(np.clip(image, 0, 1) * levels) / levels


def _surround(shape: tuple[int, int], acquisition: Acquisition, rng: np.random.Generator) -> np.ndarray:
    """Return the dark surround of a round field float32 [H, W]: specks, scratches and a reflected ring on black."""
    dark = np.full(shape, np.float32(acquisition.black))
    if acquisition.field is None or rng.random() < 0.3:
        return dark
    flaws = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(0, 40))):  # they look like pores, but there is no metal here
        x, y = int(rng.uniform(0, shape[1])), int(rng.uniform(0, shape[0]))
        end = (x + int(rng.normal(0, 10)), y + int(rng.normal(0, 10))) if rng.random() < 0.4 else (x, y)
        cv2.line(flaws, (x, y), end, log_uniform(rng, 0.004, 0.15), int(rng.integers(1, 7)))
    if rng.random() < 0.5:
        center, radius = acquisition.field[:2], acquisition.field[2] * rng.uniform(1.02, 1.2)
        middle = (int(center[0] + rng.normal(0, 6)), int(center[1] + rng.normal(0, 6)))
        cv2.circle(flaws, middle, int(radius), float(rng.uniform(0.01, 0.08)), int(rng.integers(2, 7)))
    return dark + cv2.GaussianBlur(flaws, (0, 0), float(rng.uniform(0.7, 2.0)))


def _shift_lines(image: np.ndarray, acquisition: Acquisition, rng: np.random.Generator) -> np.ndarray:
    """Shift odd lines against even ones, and every line by a little: a part that moves, a clock that jitters."""
    height, width = image.shape
    shift = np.where(np.arange(height) % 2 == 0, 0.5, -0.5).astype(np.float32) * np.float32(acquisition.interlace)
    shift = shift + np.float32(acquisition.jitter) * rng.standard_normal(height, dtype=np.float32)
    x = np.arange(width, dtype=np.float32)[None] + shift[:, None]
    y = np.repeat(np.arange(height, dtype=np.float32)[:, None], width, axis=1)
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
