"""What a casting shows besides its shape and its defects: bosses, holes, markers, cast skin, dust, dead lines.

None of it is a defect, but all of it looks somewhat like one; a detector that never saw it would report it.
"""

import cv2
import numpy as np

from data.synthesis.casting_parts import Grid, box, circle, inside, texture


def add_details(rng: np.random.Generator, grid: Grid, thickness: np.ndarray, easy: bool) -> np.ndarray:
    """Return the thickness float32 [H, W] in mm with machined and cast details and a cast skin."""
    metal = (thickness > 0.5).astype(np.float32)
    typical = float(np.median(thickness[::4, ::4][thickness[::4, ::4] > 0.5])) if metal.any() else 1.0
    shortest = min(thickness.shape) * grid.pixel_mm
    center = float(grid.x.mean()), float(grid.y.mean())
    for _ in range(rng.integers(0, 3 if easy else 7)):
        cx, cy = (c + rng.uniform(-0.5, 0.5) * side for c, side in zip(center, grid.extent, strict=True))
        radius = rng.uniform(8, 26) * grid.pixel_mm if rng.random() < 0.7 else rng.uniform(0.03, 0.12) * shortest
        wall = rng.choice([0.3, rng.uniform(0.5, 4)])
        kind = rng.choice(["boss", "blind", "through", "pin", "washer", "rib", "pocket"])
        if kind in ("rib", "pocket"):
            half = (radius * rng.uniform(1, 6), radius * rng.uniform(0.3, 1.0))
            shape = inside(box(grid.x, grid.y, cx, cy, half, rng.uniform(0, 3.2), 2), wall, grid.pixel_mm)
            amount = rng.uniform(0.1, 0.6) if kind == "rib" else -rng.uniform(0.1, 0.5)
        else:
            distance = circle(grid.x, grid.y, cx, cy, radius)
            shape = inside(distance, wall, grid.pixel_mm)
            least, most = {"boss": (0.15, 0.8), "blind": (-0.8, -0.2), "through": (-1.0, -1.0), "pin": (-0.08, 0.08),
                           "washer": (-0.1, 0.4)}[str(kind)]  # fmt: skip
            amount = rng.uniform(least, most)
            if kind == "washer":
                shape = shape - inside(distance + radius * rng.uniform(0.3, 0.6), wall, grid.pixel_mm)
        thickness = thickness + shape * metal * np.float32(amount * typical)
    if not easy and rng.random() < 0.5:
        markers = cv2.GaussianBlur(
            _identification_marker(rng, metal.shape, (0.6, 2.5)), (0, 0), float(rng.uniform(0.6, 2.5))
        )
        thickness = thickness + markers * metal * np.float32(rng.uniform(-0.08, 0.1) * typical)
    skin = rng.uniform(0.0, 0.004 if easy else 0.012) * texture(rng, metal.shape, rng.uniform(6, 20))
    wave = rng.uniform(0.0, 0.04) * texture(rng, metal.shape, rng.uniform(60, 200))
    return np.maximum(thickness * (1 + skin + wave), 0).astype(np.float32)


def _identification_marker(rng: np.random.Generator, shape: tuple[int, int], scale: tuple[float, float]) -> np.ndarray:
    """Return a random short text, turned at random, as float32 [H, W] in [0, 1]."""
    height, width = shape
    canvas = np.zeros(shape, np.uint8)  # the only depth that OpenCV 5 writes text on
    text = "".join(rng.choice(list("ABCDEFGHKLMNPRSTUXZ0123456789-"), rng.integers(2, 7)))
    place = (int(rng.uniform(0.05, 0.8) * width), int(rng.uniform(0.1, 0.95) * height))
    cv2.putText(canvas, text, place, int(rng.integers(0, 4)), float(rng.uniform(*scale)), 255,
                int(rng.integers(1, 6)), cv2.LINE_AA)  # fmt: skip
    turn = cv2.getRotationMatrix2D(place, float(rng.uniform(0, 360)), 1.0)
    return cv2.warpAffine(canvas, turn, (width, height)).astype(np.float32) * np.float32(1 / 255)


def add_blemishes(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draw what belongs to the screen and camera into float32 [H, W] in [0, 1], in place: dust, lines, lead letters."""
    height, width = image.shape
    for _ in range(rng.poisson(1.2)):  # a speck on the screen or a stuck pixel: sharper than any defect
        x, y = int(rng.integers(width)), int(rng.integers(height))
        side = int(rng.integers(1, 3))
        patch = image[y : y + side, x : x + side]
        patch += np.float32(rng.choice([-1, 1]) * rng.uniform(0.02, 0.25))
    if rng.random() < 0.15:  # interlaced video: the second field lags by part of a pixel
        lag = np.float32(rng.uniform(0.2, 1.0))
        image[1::2, 1:] += lag * (image[1::2, :-1] - image[1::2, 1:])
    if rng.random() < 0.1:
        image[int(rng.integers(height))] *= np.float32(rng.uniform(0.9, 1.1))
    if rng.random() < 0.08:
        image[:, int(rng.integers(width))] *= np.float32(rng.uniform(0.9, 1.1))
    if rng.random() < 0.12:
        marker = _identification_marker(rng, image.shape, (0.4, 1.5))
        image += marker * (np.float32(rng.choice([0.0, 1.0, rng.uniform(0, 1)])) - image)
    np.clip(image, 0, 1, out=image)
