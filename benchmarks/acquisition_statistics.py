#!/usr/bin/env python3
"""Compare what simulated acquisitions look like with real radiographs: gray levels, noise, correlation, spectrum.

    python benchmarks/acquisition_statistics.py FOLDER [FOLDER ...] --out acquisition.png

The figure shows curves, no pixels. Noise is what is left of the calmest half of the unsaturated pixels when a
Gaussian of 2 px is taken away; the same is done to both sides.
"""

from pathlib import Path

import click
import cv2
import numpy as np
from matplotlib.figure import Figure

from data.radiograph import find_radiographs, read_radiograph
from data.synthesis.scene import make_scene

SIDE = 256
LAGS = 9


def crops_of(pixels: np.ndarray, rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """Return random crops float32 [SIDE, SIDE] of a radiograph that is large enough."""
    height, width = pixels.shape
    if min(height, width) < SIDE:
        return []
    places = zip(rng.integers(0, height - SIDE + 1, count), rng.integers(0, width - SIDE + 1, count), strict=True)
    return [pixels[y : y + SIDE, x : x + SIDE] for y, x in places]


def calm(crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the residual float32 [SIDE, SIDE] and the mask of pixels where it is noise."""
    residual = crop - cv2.GaussianBlur(crop, (0, 0), 2.0)
    smooth = cv2.GaussianBlur(crop, (0, 0), 3.0)
    slope = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    inside = (crop > crop.min() + 0.02) & (crop < crop.max() - 0.02)
    return residual, inside & (slope <= np.median(slope[inside]) if inside.any() else inside)


def statistics(crops: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return histogram [64], noise levels in gray levels of 255, autocorrelation along x and y, and spectrum."""
    histogram = np.mean([np.histogram(c, 64, (0, 1))[0] / c.size for c in crops], axis=0)
    noise, spectra = [], []
    along: list[list[float]] = []
    down: list[list[float]] = []
    for crop in crops:
        residual, mask = calm(crop)
        if mask.sum() < 2000:
            continue
        noise.append(residual[mask].std() * 255)
        variance = (residual[mask] ** 2).mean() + 1e-12
        for rows, axis in ((along, 1), (down, 0)):
            pairs = [mask & np.roll(mask, -lag, axis) for lag in range(LAGS)]
            rows.append(
                [(residual * np.roll(residual, -lag, axis))[pair].mean() / variance for lag, pair in enumerate(pairs)]
            )
        windowed = (crop - crop.mean()) * np.outer(np.hanning(SIDE), np.hanning(SIDE))
        power = np.abs(np.fft.rfft(windowed, axis=1)) ** 2
        spectra.append(power.mean(0))
    return {
        "histogram": histogram,
        "noise": np.array(noise),
        "along": np.mean(along, axis=0),
        "down": np.mean(down, axis=0),
        "spectrum": np.median(spectra, axis=0),
    }


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path("acquisition.png"), show_default=True)
@click.option("--scenes", type=click.IntRange(10), default=300, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def main(folders: tuple[Path, ...], out: Path, scenes: int, seed: int) -> None:
    """Draw the statistics of real radiographs and of as many simulated ones."""
    rng = np.random.default_rng(seed)
    files = find_radiographs(folders)
    per_file = max(scenes // len(files), 1)
    real = [crop for file in files for crop in crops_of(read_radiograph(file).pixels, rng, per_file)]
    simulated = [make_scene(np.random.default_rng([seed, k]), (SIDE, SIDE)).twin for k in range(scenes)]
    sides = {f"real ({len(files)} radiographs)": statistics(real), f"simulated ({scenes})": statistics(simulated)}
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    axes = figure.subplots(2, 2)
    for name, found in sides.items():
        axes[0, 0].plot(np.linspace(0, 255, 64), found["histogram"], label=name)
        axes[0, 1].hist(found["noise"], np.linspace(0, 14, 29), density=True, histtype="step", label=name)
        (line,) = axes[1, 0].plot(found["along"], "o-", label=f"{name}, along the lines")
        axes[1, 0].plot(found["down"], "s--", color=line.get_color(), label="across them")
        axes[1, 1].loglog(np.arange(1, len(found["spectrum"])) / SIDE, found["spectrum"][1:], label=name)
        saturated = found["histogram"][[0, 1, 2, 3]].sum(), found["histogram"][-4:].sum()
        quantiles = ", ".join(f"{value:.1f}" for value in np.quantile(found["noise"], [0.1, 0.5, 0.9]))
        print(
            f"{name}: noise {quantiles} levels (10, 50, 90 %); correlation of neighbors "
            f"{found['along'][1]:.2f} along, {found['down'][1]:.2f} across; "
            f"{saturated[0]:.0%} of the pixels below 16, {saturated[1]:.0%} above 239"
        )
    for axis, title, label in (
        (axes[0, 0], "gray levels", "gray level"),
        (axes[0, 1], "noise", "standard deviation, gray levels"),
        (axes[1, 0], "autocorrelation of the noise", "lag, px"),
        (axes[1, 1], "power spectrum along the lines", "cycles a pixel"),
    ):
        axis.set_title(title)
        axis.set_xlabel(label)
        axis.legend(fontsize=7)
    axes[0, 0].set_yscale("log")
    figure.savefig(out, dpi=90)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
