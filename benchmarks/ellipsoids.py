#!/usr/bin/env python3
"""Measure ellipsoids superimposed on a radiograph per second, beside a plain loop over their pixels, on one core."""

import time
from collections.abc import Callable
from functools import partial

import click
import cv2
import numpy as np
from rich.table import Table

from data.console import console
from data.synthesis.ellipsoid import Ellipsoids, Projection, project, random_rotations
from data.synthesis.superposition import AttenuationModel, superimpose
from radiograph.command import Command

SHAPE = (572, 768)
PROJECTION = Projection(pixel_mm=0.2, source_mm=1000.0, principal=(384.0, 286.0))
LAW = AttenuationModel.from_darkest(0.1, 400)


def draw(count: int, side: float) -> Ellipsoids:
    """Return ellipsoids about `side` pixels across, anywhere on the radiograph and in any pose."""
    rng = np.random.default_rng(0)
    height, width = SHAPE
    centers = PROJECTION.lift(rng.uniform((side, side), (width - side, height - side), (count, 2)), 20.0)
    half = side / 2 * PROJECTION.pixel_mm
    return Ellipsoids(half * rng.uniform(0.9, 1.1, (count, 3)), random_rotations(rng, count), centers)


def plainly(pixels: np.ndarray, ellipsoids: Ellipsoids, side: float) -> np.ndarray:
    """Return the radiograph with all ellipsoids, by a ray against a quadric for every pixel of a window around each."""
    out = pixels.copy()
    for axes, turn, center in zip(ellipsoids.semi_axes, ellipsoids.rotations, ellipsoids.centers, strict=True):
        to_sphere = turn.T / axes[:, None]
        source = np.array([0.0, 0.0, PROJECTION.source_mm])
        q = to_sphere @ (source - center)
        c = q @ q - 1
        scale = PROJECTION.source_mm / (PROJECTION.source_mm - center[2])
        x0, y0 = (int(v) for v in center[:2] * scale / PROJECTION.pixel_mm + PROJECTION.principal - 0.6 * side)
        for y in range(y0, y0 + round(1.2 * side)):
            for x in range(x0, x0 + round(1.2 * side)):
                foot = [(x + 0.5 - PROJECTION.principal[0]) * PROJECTION.pixel_mm,
                        (y + 0.5 - PROJECTION.principal[1]) * PROJECTION.pixel_mm, 0.0]  # fmt: skip
                ray = np.array(foot) - source
                m = to_sphere @ (ray / np.sqrt(ray @ ray))
                a, b = m @ m, m @ q
                if b * b > a * c:
                    chord = 2 * np.sqrt(b * b - a * c) / a
                    out[y, x] = min((out[y, x] - LAW.offset) * np.exp(LAW.mu * chord) + LAW.offset, 1.0)
    return out


def superimposed(pixels: np.ndarray, ellipsoids: Ellipsoids, blur: float = 0.0) -> np.ndarray:
    return superimpose(pixels, project(ellipsoids, PROJECTION, SHAPE), LAW, blur)


def seconds(job: Callable[[], object]) -> float:
    """Return the processor seconds of the quickest of three runs: other programs do not count."""
    times = []
    for _ in range(3):
        start = time.process_time()
        job()
        times.append(time.process_time() - start)
    return min(times)


@click.command(cls=Command)
@click.option("--n", type=click.IntRange(1), default=2000, help="Ellipsoids a measurement.")
def main(n: int) -> None:
    """Print a table of ellipsoids per second; both ways are checked to give the same pixels."""
    cv2.setNumThreads(1)
    pixels = np.random.default_rng(1).uniform(0.1, 0.4, SHAPE).astype(np.float32)
    table = Table(title=f"{n} ellipsoids superimposed on {SHAPE[1]} x {SHAPE[0]} pixels, one core")
    for column in ("diameter", "a second", "blurred, a second", "plain loop, a second", "ratio"):
        table.add_column(column, justify="right")
    for side in (10.0, 20.0, 40.0):
        many, few = draw(n, side), draw(20, side)
        fast = seconds(partial(superimposed, pixels, many)) / n
        soft = seconds(partial(superimposed, pixels, many, 1.0)) / n
        slow = seconds(partial(plainly, pixels, few, side)) / len(few)
        difference = superimpose(pixels, project(few, PROJECTION, SHAPE), LAW) - plainly(pixels, few, side)
        if np.abs(difference).max() > 1e-5:
            raise SystemExit(f"the two ways differ by {np.abs(difference).max()}")
        rates = (f"{1 / each:,.0f}" for each in (fast, soft, slow))
        table.add_row(f"{side:.0f} px", *rates, f"{slow / fast:.0f}")
    console.print(table)


if __name__ == "__main__":
    main()
