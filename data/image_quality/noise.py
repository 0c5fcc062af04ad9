"""Signal and noise of a radiograph, by blocks of pixels that a smooth surface is taken away from.

ISO 17636-2 measures the signal-to-noise ratio as mean over standard deviation of at least 1,100 pixels (20 x 55) of
uniform thickness, and normalizes it to a basic spatial resolution SRb of 88.6 um: SNR_N = SNR * 88.6 um / SRb. It asks
for gray values that are proportional to dose; behind an offset, a contrast curve or a window the figures compare
radiographs that were taken and exported in the same way, and no others.
"""

from dataclasses import dataclass

import numpy as np

BLOCK = 20, 55  # rows, columns
NORMAL_SRB_MM = 0.0886
UNIFORM = 1.25  # of the least ratio of block noise to noise from pixel to pixel; more is structure
CLIP = 3.0  # standard deviations beyond which a pixel is no noise
CLIPPED_SHARE = 0.986578  # standard deviation of a normal distribution cut off at three of its standard deviations
LIT = 0.05  # of the gray values used, above the darkest; blocks below are surround
END_SHARE = 0.002  # of the pixels at the highest or lowest gray value that occurs; more are clipped there
NEAR_END = 0.5 / 255


@dataclass(frozen=True)
class SignalNoise:
    """Signal and noise of a radiograph, medians over its uniform blocks, in gray values.

    Attributes:
        signal: gray value in [0, 1].
        noise: standard deviation of the gray value, from residuals to a smooth surface.
        snr: median of the blocks' signal over noise; None without a block that has noise.
        snr_normalized: `snr` * 88.6 um / SRb, None where SRb is not known.
        blocks: number of uniform blocks.
        saturated: share of pixels that are clipped at the upper or lower end of the gray values.

    """

    signal: float
    noise: float
    snr: float | None
    snr_normalized: float | None
    blocks: int
    saturated: float


def signal_and_noise(pixels: np.ndarray, srb_mm: float | None = None) -> SignalNoise:
    """Return signal and noise of gray values float [H, W] in [0, 1]; `srb_mm` normalizes the ratio."""
    ends = clipped_ends(pixels)
    clipped = (pixels <= ends[0]) | (pixels >= ends[1])
    blocks = _blocks(pixels)
    mean = blocks.mean(axis=1)
    saturated = _blocks(clipped.astype(np.float32)).mean(axis=1)
    low, high = (float(value) for value in np.percentile(pixels[::3, ::3], [0.5, 99.5]))
    flat = np.ptp(blocks, axis=1) < 1e-6  # clipped at a level that is no end, as by video or a caption
    usable = (saturated < 0.01) & (mean > low + LIT * (high - low)) & ~flat
    lost = float(clipped.mean()) + float((flat & (saturated < 0.01)).mean())
    if not usable.any():
        return SignalNoise(float(mean.mean()), 0.0, None, None, 0, min(lost, 1.0))
    blocks, mean = blocks[usable], mean[usable]
    noise, steps = block_noise(blocks), _pixel_steps(blocks)
    ratio = noise / np.maximum(steps, 1e-9)
    uniform = ratio <= UNIFORM * np.percentile(ratio, 10)
    mean, noise = mean[uniform], noise[uniform]
    noisy = noise > 1e-9
    snr = float(np.median(mean[noisy] / noise[noisy])) if noisy.any() else None
    normalized = None if snr is None or srb_mm is None else snr * NORMAL_SRB_MM / srb_mm
    signal = float(np.median(mean))
    return SignalNoise(signal, float(np.median(noise)), snr, normalized, int(uniform.sum()), min(lost, 1.0))


def clipped_ends(pixels: np.ndarray) -> tuple[float, float]:
    """Return the gray values from which pixels are clipped below and above: a heap at an end of those that occur.

    Without such a heap at an end, the value lies beyond all pixels.
    """
    low, high = float(pixels.min()), float(pixels.max())
    if not high > low:
        return low - 1, high + 1
    at_low = float((pixels <= low + NEAR_END).mean())
    at_high = float((pixels >= high - NEAR_END).mean())
    beside_low = float(((pixels > low + NEAR_END) & (pixels <= low + 3 * NEAR_END)).mean())
    beside_high = float(((pixels < high - NEAR_END) & (pixels >= high - 3 * NEAR_END)).mean())
    return (
        low + NEAR_END if at_low > max(END_SHARE, 2 * beside_low) else low - 1,
        high - NEAR_END if at_high > max(END_SHARE, 2 * beside_high) else high + 1,
    )


def block_noise(blocks: np.ndarray) -> np.ndarray:
    """Return the noise of blocks [K, pixels]: the standard deviation around a surface of second degree.

    Pixels beyond three standard deviations, such as dust or a defect, are left out.
    """
    rest = blocks.astype(np.float64) - blocks.mean(axis=1, keepdims=True)
    surface = _surface()
    rest = rest - (rest @ surface) @ surface.T
    freedom = np.sqrt(rest.shape[1] / (rest.shape[1] - surface.shape[1]))
    sigma = rest.std(axis=1)
    for _ in range(3):
        kept = np.abs(rest) <= CLIP * sigma[:, None] + 1e-12
        count = np.maximum(kept.sum(axis=1), 1)
        mean = (rest * kept).sum(axis=1) / count
        variance = ((rest - mean[:, None]) ** 2 * kept).sum(axis=1) / count
        sigma = np.sqrt(np.maximum(variance, 0)) / CLIPPED_SHARE
    noise: np.ndarray = sigma * freedom
    return noise


def _surface() -> np.ndarray:
    """Return an orthonormal basis float64 [pixels of a block, 6] of polynomials of second degree."""
    y, x = np.meshgrid(np.linspace(-1, 1, BLOCK[0]), np.linspace(-1, 1, BLOCK[1]), indexing="ij")
    columns = np.stack([np.ones_like(x), x, y, x * y, x**2, y**2], axis=-1).reshape(-1, 6)
    basis: np.ndarray = np.linalg.qr(columns)[0]
    return basis


def _blocks(values: np.ndarray) -> np.ndarray:
    """Return the whole blocks of 20 x 55 pixels, float [K, 1100]; a smaller radiograph is repeated by reflection."""
    height, width = values.shape
    rows, columns = BLOCK
    if height < rows or width < columns:
        values = np.pad(values, ((0, max(rows - height, 0)), (0, max(columns - width, 0))), mode="reflect" if min(
            height, width) > max(rows, columns) // 2 else "edge")  # fmt: skip
        height, width = values.shape
    down, across = height // rows, width // columns
    cut = values[: down * rows, : across * columns].reshape(down, rows, across, columns)
    return cut.transpose(0, 2, 1, 3).reshape(-1, rows * columns)


def _pixel_steps(blocks: np.ndarray) -> np.ndarray:
    """Return the noise of each block by differences from pixel to pixel, which slow structure leaves alone."""
    square = blocks.reshape(-1, *BLOCK)
    second = square[:, :, 2:] - 2 * square[:, :, 1:-1] + square[:, :, :-2]
    steps: np.ndarray = np.abs(second).mean(axis=(1, 2)) * np.sqrt(np.pi / 12)
    return steps
