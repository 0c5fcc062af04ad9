"""Carry zones to phantoms that were moved and turned by known amounts, and to other parts, where they must be refused.

    OMP_NUM_THREADS=1 python benchmarks/zones_carried.py

Thirty phantoms of two generators (384 x 288), each turned by up to 12 degrees, shifted by up to 25 px, with other gain
and noise, twice; the error is the farthest of four corners. Then each phantom against two others.
"""

import cv2
import numpy as np

from data.console import console, progress
from data.synthesis.phantom import make_phantom
from detectors.decisions.registration import register

PARTS, SIZE = 15, (384, 288)
CORNERS = np.array([[100, 80], [300, 80], [300, 220], [100, 220]], float)


def moved(pixels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    height, width = pixels.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), rng.uniform(-12, 12), 1.0)
    matrix = matrix + np.outer(rng.uniform(-25, 25, 2), [0, 0, 1])
    laid = cv2.warpAffine(pixels, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    noisy = rng.uniform(0.8, 1.1) * laid + rng.normal(0, rng.uniform(0.005, 0.03), laid.shape)
    return noisy.clip(0, 1).astype(np.float32), matrix


def main() -> None:
    rng = np.random.default_rng(0)
    kinds = ("castings", "varied_castings")
    parts = [make_phantom(kind, 5, k, size=SIZE).pixels for kind in kinds for k in range(PARTS)]
    errors, refused, accepted = [], 0, 0
    with progress(transient=True) as bar:
        for number in bar.track(range(len(parts))):
            for _ in range(2):
                pixels, matrix = moved(parts[number], rng)
                found = register(parts[number], pixels)
                back = (CORNERS @ matrix[:, :2].T + matrix[:, 2]) @ found.matrix[:, :2].T + found.matrix[:, 2]
                refused += bool(found.refused)
                if not found.refused:
                    errors.append(float(np.hypot(*(back - CORNERS).T).max()))
            for step in (7, 11):
                accepted += not register(parts[number], parts[(number + step) % len(parts)]).refused
    console.print(
        f"same part: {len(errors)} carried, {refused} refused; error {np.median(errors):.2f} px in the median,"
    )
    console.print(f"{max(errors):.2f} px at most; another part: {accepted} of {2 * len(parts)} carried")


if __name__ == "__main__":
    main()
